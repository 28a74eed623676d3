//! The Python package: built as a wheel, installed into a virtual environment that every account
//! can reach, and tested there.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::harness;
use super::report::Tally;
use crate::{Result, repo};

/// What the package is built with, and what its tests run in a sandbox.
const NEEDED: [&str; 2] = ["maturin", "numpy"];

/// The installed package, or why there is none.
pub(super) enum Package {
    Installed {
        /// The interpreter of the virtual environment.
        python: PathBuf,
        /// The program that runs the tests.
        tests: PathBuf,
    },
    Missing(String),
}

impl Package {
    /// Builds and installs it. What the machine lacks is no error; a package that cannot be built
    /// is one.
    pub(super) fn build() -> Result<Self> {
        let place = repo::shared_dir("python")?;
        let venv = place.join("venv");
        if let Err(why) = environment(&venv) {
            return Ok(Self::Missing(format!("the Python package: {why}")));
        }
        let source = repo::root().join("crates/python");
        let wheels = tempfile::tempdir()?;
        repo::run(
            Command::new(venv.join("bin/maturin"))
                .args(["build", "--quiet", "--profile=dev", "--out"])
                .arg(wheels.path())
                .arg("--interpreter")
                .arg(venv.join("bin/python"))
                .current_dir(&source)
                .env("CARGO_TARGET_DIR", repo::target()),
        )?;
        let mut install = pip(&venv);
        install.args(["--no-deps", "--no-index", "--force-reinstall"]);
        for wheel in std::fs::read_dir(wheels.path())? {
            install.arg(wheel?.path());
        }
        repo::run(&mut install)?;
        let tests = place.join("tests");
        if tests.exists() {
            std::fs::remove_dir_all(&tests)?;
        }
        // Beside the documents that they run the examples of.
        repo::copy_tree(&source.join("tests"), &tests, &["__pycache__"])?;
        std::fs::copy(source.join("README.md"), tests.join("README.md"))?;
        std::fs::copy(repo::root().join("docs/python.md"), tests.join("python.md"))?;
        Ok(Self::Installed {
            python: venv.join("bin/python"),
            tests: tests.join("run.py"),
        })
    }

    /// Runs the tests by the command that `command` makes of interpreter and program.
    pub(super) fn test(&self, command: impl FnOnce(&Path, &Path) -> Command) -> Result<Tally> {
        match self {
            Self::Installed { python, tests } => {
                harness::run_as_libtest("python", &mut command(python, tests))
            }
            Self::Missing(why) => Ok(Tally::not_run(why)),
        }
    }
}

/// Makes the virtual environment, unless it is there.
fn environment(venv: &Path) -> Result {
    // Not one of a person's own, which other accounts may not be able to reach.
    let system = Path::new("/usr/bin/python3");
    let python = if system.exists() {
        system
    } else if repo::have("python3") {
        Path::new("python3")
    } else {
        return Err("no python3 (package python3)".into());
    };
    let tool = venv.join("bin/maturin");
    if tool.exists() {
        return Ok(());
    }
    let made = repo::run(
        Command::new(python)
            .args(["-m", "venv", "--clear"])
            .arg(venv),
    );
    made.map_err(|error| format!("no virtual environment (package python3-venv): {error}"))?;
    let got = repo::run(pip(venv).args(NEEDED));
    got.map_err(|error| format!("{NEEDED:?} cannot be had: {error}"))?;
    Ok(())
}

fn pip(venv: &Path) -> Command {
    let mut command = Command::new(venv.join("bin/python"));
    command.args(["-m", "pip", "install", "--quiet"]);
    command.arg("--disable-pip-version-check");
    command
}
