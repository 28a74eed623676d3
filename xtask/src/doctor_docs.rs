//! `cargo xtask doctor-docs`: docs/doctor.md, with what run-sandbox's doctor says where
//! something is in the way.
//!
//! tests/tests/doctor.rs holds environments like these against what a run does there, and `cargo
//! xtask matrix` the same ones against the conformance suite.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::{Result, environments, host, repo};

const INTRODUCTION: &str = "\
# What the doctor says

`run-sandbox --doctor` tries what sandboxes are made of, each mechanism apart, and says what \
works, what does not and why, and what to do about it; `--doctor=json` says the same to programs, \
and `sandboxlib::doctor()` to Rust. Everything is rehearsed: children are born into namespaces of \
their own, carry out the steps of a real run and end before any command. Nothing on the host \
changes. The exit status is 0 if some backend can do all that a plain `run-sandbox / true` asks, \
and 1 if none can.

- **works**, **fails**: it was tried. **unknown**: what it needs fails, so it was not tried and is \
not blamed.
- The cause and the cures are found and worded by the same code as the hints of a run that fails.
- What a backend enforces was rehearsed with that backend, feature by feature. Of a backend that \
drives a program it is only said whether the program is there.
";

/// What is in the way, and the environment that makes it so.
const ENVIRONMENTS: &[(&str, &str)] = &[
    ("Nothing in the way", environments::NOTHING_IN_THE_WAY),
    (
        "User namespaces switched off",
        environments::NO_USER_NAMESPACES,
    ),
    (
        "A system call filter as container engines have it",
        environments::FILTERED,
    ),
    (
        "A /proc of which parts are covered, as in a container",
        environments::COVERED_PROC,
    ),
    (
        "Network namespaces switched off",
        environments::NO_NETWORK_NAMESPACES,
    ),
    (
        "As many processes as the user may have",
        environments::NO_PROCESSES,
    ),
];

pub(crate) fn main() -> Result {
    let place = tempfile::Builder::new()
        .prefix("sandboxlib-doctor-")
        .tempdir_in("/var/tmp")?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
    let program = place.path().join("run-sandbox");
    repo::run(repo::cargo().args(["build", "--package", "run-sandbox"]))?;
    fs::copy(repo::target().join("debug/run-sandbox"), &program)?;
    let filter = place.path().join("filter");
    let filter = build_filter(&filter).map(|()| filter);
    let account = if repo::is_root() {
        Some(Account::ordinary()?)
    } else {
        None
    };

    let mut text = format!(
        "<!-- written by cargo xtask doctor-docs -->\n{INTRODUCTION}\n{}, Linux {}, an ordinary \
         user.\n",
        host::today(),
        host::kernel()
    );
    for (title, script) in ENVIRONMENTS {
        let _ = write!(text, "\n## {title}\n\n");
        let said = match &filter {
            Err(why) if script.contains("$FILTER") => Err(why.to_string().into()),
            _ => visit(script, account.as_ref(), &program, filter.as_deref().ok()),
        };
        match said {
            Ok((status, said)) => {
                let _ = write!(text, "```text\n{said}```\n\nExit status {status}.\n");
            }
            Err(why) => {
                println!("left out: {title}: {why}");
                let why = why.to_string().replace('\n', " ");
                let _ = writeln!(text, "Could not be made on this machine: {why}");
            }
        }
    }
    let file = repo::root().join("docs/doctor.md");
    fs::write(&file, text)?;
    println!("{}", file.display());
    Ok(())
}

/// Compiles the launcher with a container engine's system call filter.
pub(crate) fn build_filter(to: &Path) -> Result {
    let source = repo::root().join("tests/tests/hints/filter.c");
    repo::run(Command::new("cc").arg("-o").arg(to).arg(source))
}

/// What the doctor says in an environment, and its exit status.
fn visit(
    script: &str,
    account: Option<&Account>,
    program: &Path,
    filter: Option<&Path>,
) -> Result<(i32, String)> {
    let mut command = match account {
        Some(account) => account.command(Path::new("/bin/sh"), Path::new("/")),
        None => Command::new("/bin/sh"),
    };
    command
        .arg("-c")
        .arg(script)
        .env("RUN", format!("{} --doctor", program.display()))
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(filter) = filter {
        command.env("FILTER", filter);
    }
    let output = command.output()?;
    let said = String::from_utf8(output.stdout)?;
    match output.status.code() {
        // What makes the environment says nothing on standard output.
        Some(status @ (0 | 1)) if said.starts_with("run-sandbox ") => Ok((status, said)),
        _ => Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into()),
    }
}
