//! `cargo xtask test`: every test, as whoever runs it and, for root, as an ordinary user too.
//!
//! The test programs are built once and started directly, in both halves alike, so that what is
//! counted does not depend on which runners a machine happens to have.

mod build;
mod harness;
mod python;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use build::Built;
use report::Tally;

use crate::account::Account;
use crate::{Result, lab, repo};

/// Set for the tests: what cannot be tested here is a failure instead of a skip.
const MUST_WORK: &str = "SANDBOXLIB_MUST_WORK";
/// Set for the tests: the program under test.
const RUN_SANDBOX: &str = "RUN_SANDBOX";

pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut must_work = false;
    let mut which = Which::All;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("must-work") => must_work = true,
            lexopt::Arg::Long("python") => which = Which::Python,
            other => return Err(other.unexpected().into()),
        }
    }

    let built = build::everything(which == Which::All)?;
    let lab = Lab::make();
    let python = python::Package::build()?;
    let environment = Environment {
        must_work,
        lab,
        python,
        which,
    };

    let mut tally = own_half(&built, &environment)?;
    if repo::is_root() {
        match Account::ordinary() {
            Ok(account) => tally += ordinary_half(&built, &environment, &account)?,
            Err(why) => tally += Tally::not_run(&format!("the ordinary user's half: {why}")),
        }
    } else {
        println!("\nthe tests of root's half were not run: this is not root (sudo is not used)");
    }

    for skip in &tally.skips {
        println!("SKIP: {skip}");
    }
    println!("{tally}");
    let bad = tally.failed > 0 || (must_work && tally.skipped > 0);
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The Debian root and the source package, or why they could not be had.
enum Lab {
    Dir(PathBuf),
    Missing(String),
}

impl Lab {
    fn make() -> Self {
        match lab::make(None) {
            Ok(dir) => Self::Dir(dir),
            Err(why) => Self::Missing(why.to_string().replace('\n', " ")),
        }
    }
}

struct Environment {
    must_work: bool,
    lab: Lab,
    python: python::Package,
    which: Which,
}

/// Which tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those of the Python package.
    Python,
}

impl Environment {
    fn apply(&self, command: &mut Command, run_sandbox: &Path) {
        command
            .env(RUN_SANDBOX, run_sandbox)
            .env("RUST_BACKTRACE", "1");
        command.env_remove(MUST_WORK);
        if self.must_work {
            command.env(MUST_WORK, "1");
        }
        match &self.lab {
            Lab::Dir(dir) => command.env(lab::DIR, dir),
            Lab::Missing(why) => command.env(lab::MISSING, why),
        };
    }
}

fn own_half(built: &Built, environment: &Environment) -> Result<Tally> {
    println!(
        "\n== as {} ==",
        if repo::is_root() { "root" } else { "this user" }
    );
    let mut tally = Tally::default();
    for program in &built.tests {
        let mut command = Command::new(&program.executable);
        command.current_dir(&program.package_dir);
        command.env("CARGO_MANIFEST_DIR", &program.package_dir);
        environment.apply(&mut command, &built.run_sandbox);
        tally += harness::run(&program.name, &mut command)?;
    }
    if environment.which == Which::All {
        let mut doc = repo::cargo();
        doc.args(["test", "--quiet", "--workspace", "--all-features", "--doc"]);
        environment.apply(&mut doc, &built.run_sandbox);
        tally += harness::run_doc(&mut doc)?;
    }
    tally += environment.python.test(|python, tests| {
        let mut command = Command::new(python);
        command.arg(tests);
        environment.apply(&mut command, &built.run_sandbox);
        command
    })?;
    Ok(tally)
}

fn ordinary_half(built: &Built, environment: &Environment, account: &Account) -> Result<Tally> {
    println!("\n== as {} (uid {}) ==", account.name, account.uid);
    let place = tempfile::Builder::new()
        .prefix("sandboxlib-test-")
        .tempdir_in("/var/tmp")?;
    make_readable(place.path())?;
    let copy = built.copy_to(place.path())?;
    let home = place.path().join("home");
    let temporary = place.path().join("tmp");
    for dir in [&home, &temporary] {
        std::fs::create_dir(dir)?;
        account.own(dir)?;
    }
    for program in &copy.tests {
        account.own(&program.package_dir)?;
    }
    let mut tally = Tally::default();
    for program in &copy.tests {
        let mut command = account.command(&program.executable, &home);
        command.current_dir(&program.package_dir);
        command.env("CARGO_MANIFEST_DIR", &program.package_dir);
        command.env("TMPDIR", &temporary);
        environment.apply(&mut command, &copy.run_sandbox);
        tally += harness::run(&program.name, &mut command)?;
    }
    tally += environment.python.test(|python, tests| {
        let mut command = account.command(python, &home);
        command
            .arg(tests)
            .current_dir(&home)
            .env("TMPDIR", &temporary);
        environment.apply(&mut command, &copy.run_sandbox);
        command
    })?;
    Ok(tally)
}

fn make_readable(dir: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Nothing to read, so that a test that asks fails instead of waiting for a person.
fn no_input(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null())
}
