//! What the backends do in the environment that this is started in, and what the doctor says of
//! it, as one line of JSON. `cargo xtask matrix` starts it, linked statically, in each of its
//! rows; run-sandbox has to lie beside it.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for another one, whose output is its purpose"
)]

use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, fs};

use sandboxlib::config::{ControlGroups, FeatureSet, Limits, Root};
use sandboxlib::core::Backend;
use sandboxlib::{End, Sandbox};
use sandboxlib_conformance::{Case, Verdict, cases, run};
use serde_json::{Value, json};

fn main() -> ExitCode {
    // From here on it is not the environment that could not be made.
    eprintln!("matrix-row: started");
    match look() {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("matrix-row: {error}");
            ExitCode::FAILURE
        }
    }
}

fn look() -> Result<Value, Box<dyn Error>> {
    let backends: Vec<Value> = backends()
        .iter()
        .map(|backend| {
            let cases: Vec<Value> = cases().map(|case| play(case, &**backend)).collect();
            json!({
                "name": backend.name(),
                "cases": cases,
                "plain_run": plain_run(backend.name()).err().map(|why| told(&*why)),
            })
        })
        .collect();
    let (uid, _) = sandboxlib::spawn::caller_ids();
    Ok(json!({
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "uid": uid,
        "doctor": doctor()?,
        "limits": LIMITED.map(|limited| exceed(&limited).unwrap_or_else(|why| {
            json!({"limit": limited.0, "by": null, "ended": told(&*why)})
        })),
        "backends": backends,
    }))
}

fn backends() -> Vec<Box<dyn Backend>> {
    vec![
        Box::new(sandboxlib::userns::Userns),
        Box::new(sandboxlib::chroot::Chroot),
        Box::new(sandboxlib::bubblewrap::Bubblewrap::default()),
        Box::new(sandboxlib::linux_user_chroot::LinuxUserChroot::default()),
    ]
}

/// What came of a case: `held`; `refused` before anything was run; `forbidden` by the host when
/// it was started; `failed`; `untried`, because there is no probe.
fn play(case: &Case, backend: &dyn Backend) -> Value {
    let (result, why) = match run(case, backend) {
        Ok(Verdict::Held) => ("held", String::new()),
        Ok(Verdict::Refused(reason)) => ("refused", reason),
        Ok(Verdict::NoProbe) => ("untried", "there is no probe for this system".to_owned()),
        Err(fault) => match fault.forbidden() {
            Some(cause) => ("forbidden", cause),
            None => ("failed", fault.what.to_string()),
        },
    };
    let needs: Vec<&str> = case.needs.iter().map(|feature| feature.name()).collect();
    json!({"name": case.name, "needs": needs, "result": result, "why": why})
}

/// What the doctor calls a plain run, with a command: the host's root, the usual mounts, and
/// nothing of which less will do.
fn plain_run(backend: &str) -> Result<(), Box<dyn Error>> {
    let mut config = Sandbox::new(Root::Host).usual_mounts().config().clone();
    config.prefer = FeatureSet::EMPTY;
    let prepared = Sandbox::from_config(config).backends([backend]).prepare()?;
    let output = prepared.command("/bin/true").output()?;
    match output.outcome.end {
        End::Exited(0) => Ok(()),
        other => Err(format!("it ended by {other:?}").into()),
    }
}

/// Where control groups may be made, in rows in which somebody has delegated one.
const CGROUP: &str = "MATRIX_CGROUP";

/// A limit, and a script that exceeds it, by so much that a limit that does not hold costs little.
type Limited = (&'static str, fn(&mut Limits), &'static str);

const LIMITED: [Limited; 3] = [
    (
        "cpu-time",
        |limits| limits.cpu_time = Some(Duration::from_millis(300)),
        "i=0; while [ $i -lt 9000000 ]; do i=$((i+1)); done",
    ),
    (
        "memory",
        |limits| limits.memory = Some(24 << 20),
        "x=xxxxxxxx; while [ ${#x} -lt 40000000 ]; do x=$x$x; done; sleep 3",
    ),
    (
        "processes",
        |limits| limits.processes = Some(16),
        "i=0; while [ $i -lt 40 ]; do sleep 3 & i=$((i+1)); done; wait",
    ),
];

/// What holds a limit, and how a command ends that exceeds it.
fn exceed((name, set, script): &Limited) -> Result<Value, Box<dyn Error>> {
    let mut limits = Limits::default();
    limits.wall = Some(Duration::from_secs(60));
    set(&mut limits);
    let groups = match env::var_os(CGROUP) {
        Some(dir) => ControlGroups::Below(dir.into()),
        None => ControlGroups::Auto,
    };
    let sandbox = Sandbox::new(Root::Host).usual_mounts();
    let prepared = sandbox.limits(limits).control_groups(groups).prepare()?;
    let mut command = prepared.command("/bin/sh");
    let output = command.args(["-c", script]).output()?;
    let held = &prepared.enforcement().limits;
    let held = held.iter().find(|held| held.limit.name() == *name);
    let ended = match output.outcome.end {
        End::Limit(limit) => limit.name().to_owned(),
        other => format!("{other:?}"),
    };
    Ok(json!({"limit": name, "by": held.map(|held| held.by.name()), "ended": ended}))
}

/// An error with its causes.
fn told(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error: &&dyn Error| (*error).source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn doctor() -> Result<Value, Box<dyn Error>> {
    let program = env::current_exe()?.with_file_name("run-sandbox");
    let output = Command::new(&program)
        .arg("--doctor=json")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} --doctor=json: {error}: {said}", program.display()).into()
    })
}
