//! `cargo xtask tidy`: the invariants that docs/ARCHITECTURE.md states, held.
//!
//! The checks look at `cargo metadata` and at the sources as text. Text is enough to keep honest
//! people from slipping; the compiler and clippy do what needs more.

mod arrows;
mod layout;
mod sources;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Result, repo};

/// The only package that may hold unsafe code, platform `cfg`s and bindings to the system.
const SPAWN: &str = "sandboxlib-spawn";

const CONFORMANCE: &str = "sandboxlib-conformance";

const ESCAPES: &str = "sandboxlib-escapes";

/// The kinds of targets whose first file says what holds for all of them.
const ROOTS: [&str; 4] = ["lib", "bin", "proc-macro", "cdylib"];

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    place: String,
    what: String,
}

impl Fault {
    fn new(place: impl fmt::Display, what: impl Into<String>) -> Self {
        Self {
            place: place.to_string(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A package of the workspace, as cargo describes it.
#[derive(Debug)]
struct Package {
    name: String,
    dir: PathBuf,
    /// All names, of the workspace or not.
    dependencies: Vec<String>,
    /// Those that the tests alone need.
    dev_dependencies: Vec<String>,
    /// The files that libraries and programs start with.
    roots: Vec<PathBuf>,
    has_license: bool,
}

pub(crate) fn main() -> Result {
    let metadata = repo::output(repo::cargo().args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--offline",
    ]))?;
    let packages = packages(&serde_json::from_str(&metadata)?);
    let root = repo::root();
    let mut faults = arrows::check(&packages);
    faults.extend(layout::check(&root, &packages)?);
    faults.extend(sources::check(&root, &packages)?);
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    match faults.len() {
        0 => Ok(()),
        n => Err(format!("{n} faults").into()),
    }
}

fn packages(metadata: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = |dev: bool| {
                list(&package["dependencies"])
                    .iter()
                    .filter(|d| (d["kind"] == "dev") == dev)
                    .map(|d| string(&d["name"]))
                    .collect()
            };
            let manifest = PathBuf::from(string(&package["manifest_path"]));
            Package {
                name: string(&package["name"]),
                dir: manifest.parent().map(Path::to_owned).unwrap_or_default(),
                dependencies: dependencies(false),
                dev_dependencies: dependencies(true),
                roots: list(&package["targets"])
                    .iter()
                    .filter(|t| {
                        list(&t["kind"])
                            .iter()
                            .any(|k| ROOTS.iter().any(|root| k == root))
                    })
                    .map(|t| PathBuf::from(string(&t["src_path"])))
                    .collect(),
                has_license: package["license"].is_string(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let metadata = serde_json::json!({"packages": [{
            "name": "a", "manifest_path": "/w/crates/a/Cargo.toml", "license": "MIT",
            "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"},
                             {"name": "d", "kind": "build"}],
            "targets": [{"kind": ["cdylib"], "src_path": "/w/crates/a/src/lib.rs"},
                        {"kind": ["test"], "src_path": "/w/crates/a/tests/t.rs"}],
        }]});
        let packages = packages(&metadata);
        let package = &packages[0];
        assert_eq!(package.dependencies, ["b", "d"]);
        assert_eq!(package.dev_dependencies, ["c"]);
        assert_eq!(package.roots, [PathBuf::from("/w/crates/a/src/lib.rs")]);
        assert_eq!(package.dir, Path::new("/w/crates/a"));
        assert!(package.has_license);
    }
}
