//! The backend of docs/writing-a-backend.md, as somebody outside this repository would write it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::sync::Arc;

use sandboxlib::core::{
    Backend, EffectiveConfig, HelperArg, HelperCall, HostFacts, Launch, PrepareError, Reason,
    Started, Support,
};
use sandboxlib::mount::MountPlan;
use sandboxlib::{Config, End, Error, FeatureSet, KillScope, Root, RootAccess, Sandbox};

#[derive(Debug)]
struct Env;

impl Backend for Env {
    fn name(&self) -> &'static str {
        "env"
    }
    fn support(&self, _: &HostFacts) -> Support {
        Support::nothing(Reason::new("env(1) isolates nothing"))
    }
    fn prepare(
        &self,
        _: &EffectiveConfig,
        _: MountPlan,
        _: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let mut call = HelperCall::new("/usr/bin/env", Started::Unknown);
        call.arg("--chdir").arg(HelperArg::Cwd);
        Ok(Launch::Helper(call))
    }
}

sandboxlib_conformance::conformance!(Env);

#[test]
fn the_page_shows_this_backend() {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = include_str!("../../docs/writing-a-backend.md");
    let code = page.split("```").nth(1).unwrap().trim_start_matches("rust");
    let shown = &code[code.find("#[derive(Debug)]").unwrap()..];
    assert!(flat(include_str!("out_of_tree.rs")).contains(&flat(shown)));
}

#[test]
fn what_it_does_not_claim_is_refused() {
    let sandbox = Sandbox::new(Root::Host)
        .backends(["env"])
        .with_backend(Arc::new(Env));
    match sandbox.check().unwrap_err() {
        Error::Negotiate { candidates } => {
            assert_eq!(candidates.len(), 1);
            let text = candidates[0].error.to_string();
            assert!(
                text.contains("network cannot be enforced: env(1) isolates nothing"),
                "{text}"
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_preferred_runs_and_is_reported() {
    let mut config = Config::new(Root::Host);
    config.root_access = Some(RootAccess::ReadWrite);
    config.prefer = FeatureSet::all();
    let sandbox = Sandbox::from_config(config)
        .backends(["env"])
        .with_backend(Arc::new(Env));
    let prepared = sandbox.prepare().unwrap();
    let enforcement = prepared.enforcement();
    assert_eq!(enforcement.backend, "env");
    assert_eq!(enforcement.enforced, FeatureSet::EMPTY);
    assert!(
        enforcement
            .degradations
            .iter()
            .any(|d| d.feature.name() == "network")
    );
    assert_eq!(enforcement.kill_scope, KillScope::ProcessGroup);
    let output = prepared
        .command("/bin/sh")
        .args(["-c", "echo $SET; exit 7"])
        .env("SET", "set")
        .output()
        .unwrap();
    assert_eq!(output.outcome.end, End::Exited(7));
    assert_eq!(output.stdout, b"set\n");
}
