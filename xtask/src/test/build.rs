//! Builds the test programs and run-sandbox, and finds out where cargo put them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Result, repo};

/// A test program of libtest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestProgram {
    /// Such as `sandboxlib-mount planner`.
    pub(super) name: String,
    pub(super) executable: PathBuf,
    /// The directory of its package, which it is run in.
    pub(super) package_dir: PathBuf,
}

/// Everything that a half needs.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) tests: Vec<TestProgram>,
    pub(super) run_sandbox: PathBuf,
}

/// The programs, and unless they are not wanted the tests.
pub(super) fn everything(with_tests: bool) -> Result<Built> {
    let arguments = [
        "--workspace",
        "--all-features",
        "--message-format=json-render-diagnostics",
    ];
    let tests = if with_tests {
        repo::output(repo::cargo().args(["test", "--no-run"]).args(arguments))?
    } else {
        String::new()
    };
    let programs = repo::output(repo::cargo().args(["build", "--bins"]).args(arguments))?;
    let run_sandbox = executables(&programs, false)
        .into_iter()
        .find(|p| p.executable.file_name().is_some_and(|n| n == "run-sandbox"))
        .ok_or("cargo built no run-sandbox")?
        .executable;
    Ok(Built {
        tests: executables(&tests, true),
        run_sandbox,
    })
}

/// The programs in cargo's messages, tests or others.
fn executables(messages: &str, tests: bool) -> Vec<TestProgram> {
    let mut found: Vec<_> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|m| m["reason"] == "compiler-artifact" && m["profile"]["test"] == tests)
        .filter_map(|m| {
            let manifest = Path::new(m["manifest_path"].as_str()?);
            let package_dir = manifest.parent()?.to_owned();
            Some(TestProgram {
                name: format!(
                    "{} {}",
                    package_dir.file_name()?.to_string_lossy(),
                    m["target"]["name"].as_str()?
                ),
                executable: m["executable"].as_str()?.into(),
                package_dir,
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Built {
    /// Copies the programs and the package directories, so that an account to which the checkout
    /// is closed can run them.
    pub(super) fn copy_to(&self, place: &Path) -> Result<Self> {
        let bin = place.join("bin");
        fs::create_dir(&bin)?;
        let copy = |program: &Path| -> Result<PathBuf> {
            let to = bin.join(program.file_name().ok_or("a program without a name")?);
            // They are large.
            if fs::hard_link(program, &to).is_err() {
                fs::copy(program, &to)?;
            }
            Ok(to)
        };
        let root = repo::root();
        let mut tests = Vec::new();
        // A package may lie below another, so that its directory is there before it is copied.
        let mut copied = BTreeSet::new();
        for test in &self.tests {
            let package_dir = place
                .join("src")
                .join(test.package_dir.strip_prefix(&root)?);
            if copied.insert(package_dir.clone()) {
                repo::copy_tree(&test.package_dir, &package_dir, &["target"])?;
            }
            let executable = copy(&test.executable)?;
            tests.push(TestProgram {
                name: test.name.clone(),
                executable,
                package_dir,
            });
        }
        Ok(Self {
            tests,
            run_sandbox: {
                // The tests look for it there.
                let helper = self.run_sandbox.with_file_name("linux-user-chroot");
                if helper.exists() {
                    copy(&helper)?;
                }
                copy(&self.run_sandbox)?
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_others() {
        let line = |test: bool, name: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/crates/mount/Cargo.toml",
                "target":{{"name":"{name}"}},"profile":{{"test":{test}}},
                "executable":"/w/target/debug/{name}"}}"#
            )
            .replace('\n', "")
        };
        let library = line(false, "lib").replace("\"/w/target/debug/lib\"", "null");
        let messages = [
            line(true, "plan"),
            line(false, "tool"),
            library,
            "not json".into(),
        ]
        .join("\n");
        let tests = executables(&messages, true);
        assert_eq!(tests.len(), 1);
        assert_eq!(tests[0].name, "mount plan");
        assert_eq!(tests[0].package_dir, Path::new("/w/crates/mount"));
        assert_eq!(executables(&messages, false)[0].name, "mount tool");
    }
}
