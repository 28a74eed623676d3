//! `--explain`: the whole plan, and nothing is run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sandboxlib::Check;
use sandboxlib::core::{Enforcement, Launch};
use serde::Serialize;

use crate::bytes::{self, escaped, shown};
use crate::image::{About, Opened};
use crate::render::candidate;
use crate::report::Held;
use crate::settings::Run;

/// The plan for people.
pub(crate) fn text(run: &Run, check: &Check, image: Option<&Opened>) -> String {
    let mut out = String::new();
    for line in image.iter().flat_map(|image| image.lines()) {
        let _ = writeln!(out, "{line}");
    }
    // Writing to a String does not fail.
    let _ = writeln!(out, "backend: {}", check.enforcement.backend);
    for rejected in &check.rejected {
        let _ = writeln!(out, "  passed over {}", candidate(rejected));
    }
    for line in enforcement(&check.enforcement) {
        let _ = writeln!(out, "{line}");
    }
    match &check.launch {
        Launch::Direct(script) => {
            let _ = write!(out, "steps:\n{script}");
        }
        Launch::Helper(call) => {
            let _ = writeln!(out, "helper:\n  {}", shown(&call.program));
            for argument in call.arguments(&run.directory) {
                let _ = writeln!(out, "  {}", shown(argument));
            }
        }
        _ => {}
    }
    let _ = writeln!(out, "environment:");
    for (name, value) in &run.environment {
        let _ = writeln!(out, "  {}={}", shown(name), shown(value));
    }
    let _ = writeln!(out, "working directory: {}", shown(run.directory.as_path()));
    if run.tty {
        let _ = writeln!(out, "terminal: of its own");
    }
    if run.as_pid_1 {
        let _ = writeln!(out, "process 1: the command");
    }
    if let Some(timeout) = run.config.limits.wall {
        let _ = writeln!(out, "timeout: {timeout:?}");
    }
    let mut command = shown(&run.program);
    for argument in &run.arguments {
        let _ = write!(command, " {}", shown(argument));
    }
    let _ = writeln!(out, "command: {command}");
    out
}

/// What is enforced and what is not, in lines; `-v` prints the same.
pub(crate) fn enforcement(enforcement: &Enforcement) -> Vec<String> {
    let names: Vec<&str> = enforcement
        .enforced
        .iter()
        .map(|feature| feature.name())
        .collect();
    let names = if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    };
    let mut lines = vec![
        format!("enforced: {names}"),
        format!("system calls: {}", enforcement.seccomp),
    ];
    if let Some(landlock) = &enforcement.landlock {
        let covered: Vec<&str> = landlock.covers().collect();
        let names = covered.join(", ");
        lines.push(format!("behind it Landlock ABI {}: {names}", landlock.abi));
    }
    if !enforcement.limits.is_empty() {
        let held = enforcement.limits.iter();
        let held: Vec<String> = held
            .map(|held| format!("{} ({})", held.limit, held.by.name()))
            .collect();
        lines.push(format!("limits: {}", held.join(", ")));
    }
    for d in &enforcement.degradations {
        lines.push(format!("not enforced: {}: {}", d.feature, d.reason));
    }
    for path in &enforcement.not_masked {
        lines.push(format!("not masked: {}", shown(path.as_path())));
    }
    if !enforcement.hidden.is_empty() {
        let mut places: Vec<String> = Vec::with_capacity(enforcement.hidden.len());
        places.extend(enforcement.hidden.iter().map(|p| shown(p.as_path())));
        places.sort();
        lines.push(format!("hidden: {}", places.join(", ")));
    }
    for path in &enforcement.created_on_host {
        lines.push(format!("made on the host: {}", shown(path.as_path())));
    }
    lines
}

#[derive(Serialize)]
struct Plan {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<About>,
    backend: &'static str,
    passed_over: Vec<PassedOver>,
    #[serde(flatten)]
    held: Held,
    steps: Option<Vec<String>>,
    helper: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
    working_directory: String,
    terminal: bool,
    as_pid_1: bool,
    timeout_seconds: Option<f64>,
    command: Vec<String>,
}

#[derive(Serialize)]
struct PassedOver {
    backend: String,
    reason: String,
}

/// The plan for programs.
pub(crate) fn json(run: &Run, check: &Check, image: Option<&Opened>) -> serde_json::Result<String> {
    let (mut steps, mut helper) = (None, None);
    match &check.launch {
        Launch::Direct(script) => {
            steps = Some(script.steps.iter().map(ToString::to_string).collect());
        }
        Launch::Helper(call) => {
            let mut words = vec![escaped(&call.program)];
            words.extend(call.arguments(&run.directory).map(escaped));
            helper = Some(words);
        }
        _ => {}
    }
    let mut command = vec![escaped(&run.program)];
    command.extend(run.arguments.iter().map(escaped));
    let plan = Plan {
        image: image.map(Into::into),
        backend: check.enforcement.backend,
        passed_over: check
            .rejected
            .iter()
            .map(|c| PassedOver {
                backend: c.backend.to_string(),
                reason: c.error.to_string(),
            })
            .collect(),
        held: (&check.enforcement).into(),
        steps,
        helper,
        environment: run
            .environment
            .iter()
            .map(|(n, v)| (escaped(n), escaped(v)))
            .collect(),
        working_directory: escaped(run.directory.as_path()),
        terminal: run.tty,
        as_pid_1: run.as_pid_1,
        timeout_seconds: run.config.limits.wall.map(|time| time.as_secs_f64()),
        command,
    };
    bytes::json(&plan)
}
