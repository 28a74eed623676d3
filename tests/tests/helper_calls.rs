//! What a launch by a helper program can say, tried with a helper that isolates nothing.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::sync::Arc;

use sandboxlib::core::{
    Backend, Degradation, EffectiveConfig, FailedStep, HelperCall, Hint, HostFacts, Knob, Launch,
    Os, PrepareError, Reason, Started, Support,
};
use sandboxlib::mount::MountPlan;
use sandboxlib::{
    Config, End, Error, Feature, FeatureSet, Network, Prepared, Root, RootAccess, Sandbox,
    SandboxPath,
};

/// Starts the command where it is to run, by this command line.
#[derive(Debug, Clone, Copy)]
struct Through {
    line: &'static [&'static str],
    /// Claims an isolated network, and then has it not.
    loses_network: bool,
}

const PLAIN: Through = Through {
    line: &["/usr/bin/env"],
    loses_network: false,
};

impl Backend for Through {
    fn name(&self) -> &'static str {
        "through"
    }
    fn support(&self, _: &HostFacts) -> Support {
        let support = Support::nothing(Reason::new("the helper isolates nothing"));
        if self.loses_network {
            support.with([Feature::Network])
        } else {
            support
        }
    }
    fn prepare(
        &self,
        _: &EffectiveConfig,
        _: MountPlan,
        _: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let mut call = HelperCall::new(self.line[0], Started::Unknown);
        call.args(&self.line[1..]);
        call.in_cwd = true;
        if self.loses_network {
            call.degradations.push(Degradation {
                feature: Feature::Network,
                reason: Reason::new("it was too much"),
            });
        }
        Ok(Launch::Helper(call))
    }
    fn helper_failure(&self, facts: &HostFacts, status: i32, stderr: &[u8]) -> Option<Reason> {
        assert_eq!(facts.os, Os::Linux);
        let said = stderr.windows(6).any(|word| word == b"broken");
        (status == 71 && said).then(|| {
            let hint = Hint::new(Knob::Request("helper"), "mend it");
            Reason::new("the helper is broken").hint(hint)
        })
    }
}

sandboxlib_conformance::conformance!(PLAIN);

fn bare() -> Config {
    let mut config = Config::new(Root::Host);
    config.root_access = Some(RootAccess::ReadWrite);
    config.network = Network::Shared;
    config.hidden = Some(Vec::new());
    config
}

fn sandbox(backend: Through, config: Config) -> Sandbox {
    Sandbox::from_config(config)
        .backends(["through"])
        .with_backend(Arc::new(backend))
}

fn prepared(line: &'static [&'static str]) -> Prepared {
    let backend = Through { line, ..PLAIN };
    sandbox(backend, bare()).prepare().unwrap()
}

#[test]
fn the_helper_is_started_where_the_command_is_to_run() {
    let prepared = prepared(PLAIN.line);
    let run = |cwd: &str| {
        prepared
            .command("/bin/pwd")
            .cwd(SandboxPath::new(cwd).unwrap())
            .output()
    };
    assert_eq!(run("/usr").unwrap().stdout, b"/usr\n");
    assert_eq!(run("/").unwrap().stdout, b"/\n");
    match run("/no/such/directory").unwrap_err() {
        Error::Spawn { error, .. } => {
            assert_eq!(error.started, Started::No);
            let wanted = SandboxPath::new("/no/such/directory").unwrap();
            assert_eq!(error.step, FailedStep::WorkingDirectory(wanted));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_failure_of_the_helper_that_can_be_told_is_an_error_with_its_cure() {
    let broken = prepared(&["/bin/sh", "-c", "echo broken >&2; exit 71"]);
    match broken.command("/bin/true").output().unwrap_err() {
        Error::Spawn { error, .. } => {
            assert_eq!(error.step, FailedStep::HelperSetup("/bin/sh".into()));
            assert_eq!(error.source.to_string(), "the helper is broken");
            assert_eq!(error.hints[0].advice, "mend it");
            // The command may have done the same.
            assert_eq!(error.started, Started::Unknown);
        }
        other => panic!("{other}"),
    }
    // With nobody to keep what it says, it cannot be told from the command.
    let outcome = broken
        .command("/bin/true")
        .stderr(sandboxlib::Stdio::Null)
        .status()
        .unwrap();
    assert_eq!(outcome.end, End::Exited(71));
    assert_eq!(outcome.started, Started::Unknown);
    let quiet: [&[&str]; 3] = [
        &["/bin/sh", "-c", "exit 71"],
        &["/bin/sh", "-c", "echo broken >&2; exit 1"],
        &["/bin/sh", "-c", "echo broken >&2"],
    ];
    for quiet in quiet {
        let output = prepared(quiet).command("/bin/true").output().unwrap();
        assert!(
            matches!(output.outcome.end, End::Exited(0 | 1 | 71)),
            "{quiet:?}"
        );
    }
}

#[test]
fn what_a_launch_does_not_enforce_is_listed_or_refused() {
    let backend = Through {
        loses_network: true,
        ..PLAIN
    };
    let mut config = bare();
    config.network = Network::Isolated;
    match sandbox(backend, config.clone()).check().unwrap_err() {
        Error::Prepare { error, .. } => assert_eq!(error.to_string(), "it was too much"),
        other => panic!("{other}"),
    }
    config.prefer.insert(Feature::Network);
    let prepared = sandbox(backend, config).prepare().unwrap();
    let enforcement = prepared.enforcement();
    assert_eq!(enforcement.enforced, FeatureSet::EMPTY);
    let lost = enforcement.degradations.iter();
    let lost: Vec<_> = lost.map(|d| (d.feature, &*d.reason.text)).collect();
    assert!(
        lost.contains(&(Feature::Network, "it was too much")),
        "{lost:?}"
    );
}

#[test]
fn the_backend_of_another_system_says_so_and_is_not_offered() {
    let named = Sandbox::new(Root::Host).backends(["sandbox-exec"]);
    let error = named.check().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Seatbelt exists on macOS alone"), "{text}");
    assert_eq!(error.hints()[0].knob, Knob::Os);

    let doctor = sandboxlib::doctor();
    assert!(doctor.backends.iter().all(|b| b.name != "sandbox-exec"));
    assert!(doctor.checks.iter().all(|c| c.name != "sandbox-exec"));
}
