//! Limits that hold, and the verdict of what ran into one.
//!
//! As root the host gives control groups, which is how `bombs` are held, and the other rungs are
//! asked for by `--cgroup none`; an ordinary user has no group that it may use, here or on most
//! hosts.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a surprise ends the test"
)]

mod bombs;
mod kills;
mod library;
mod lines;
mod rungs;

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sandboxlib_tests::{Compiled, Done, RunSandbox, TinyRoot, install};
use serde_json::Value;

/// A root with the program that uses too much, at /bin/bomb, for one test at a time: what a bomb does
/// to another is not what is looked at.
struct Place {
    root: TinyRoot,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Place {
    type Target = TinyRoot;

    fn deref(&self) -> &TinyRoot {
        &self.root
    }
}

fn root() -> Option<Place> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = TinyRoot::new()?;

    let bomb = Compiled::new(include_str!("bomb.c"), &["-static", "-O1"])?;
    install(
        &fs::read(bomb.path()).unwrap(),
        &root.join("bin/bomb"),
        0o755,
    );
    Some(Place {
        root,
        _alone: alone,
    })
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A run and what the report says of it. None lasts longer than 20 s, whatever does not hold.
fn run(root: &TinyRoot, options: &str, script: &str) -> (Done, Value) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let outer = match options.contains("--timeout") {
        true => "",
        false => "--timeout 20s",
    };
    let done = RunSandbox::new(root.path())
        .options("--read-only")
        .options(outer)
        .options(options)
        .option("--report", &[&file])
        .sh(script);
    let report = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    (done, report)
}

/// What held the limit of this name, by the report.
fn held_by<'a>(report: &'a Value, limit: &str) -> &'a str {
    let list = report["limits"].as_array().unwrap();
    let held = list.iter().find(|held| held["limit"] == limit);
    held.unwrap_or_else(|| panic!("{limit} in {report:#}"))["by"]
        .as_str()
        .unwrap()
}

/// The control groups of runs of this program that are there.
fn groups() -> Vec<PathBuf> {
    fn look(dir: &Path, depth: u32, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b"sandboxlib-") {
                found.push(entry.path());
            } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                look(&entry.path(), depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), 4, &mut found);
    found
}
