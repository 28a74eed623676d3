//! The programs that a row runs, in a place that every account can read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::rows::{Row, Who};
use crate::account::Account;
use crate::{Result, dist, doctor_docs, repo};

/// Nothing in a row waits for long; this is for what hangs.
const TIMEOUT: &str = "600";

/// What matrix-row says first.
const STARTED: &str = "matrix-row: started";

/// What matrix-row told of a row, or what went wrong with it.
pub(super) type Told = std::result::Result<Value, String>;

/// Static, so that they are the same on this machine and in a virtual one.
pub(super) struct Programs {
    place: tempfile::TempDir,
    filter: std::result::Result<PathBuf, String>,
}

/// What matrix-row needs beside it or in PATH, and itself.
const NAMES: [&str; 3] = ["matrix-row", "run-sandbox", "linux-user-chroot"];

impl Programs {
    pub(super) fn build() -> Result<Self> {
        let host = dist::host_triple()?;
        let mut cargo = repo::cargo();
        // In one go, or what they share is compiled twice, for the features of the ones and of the
        // others.
        cargo.args(["build", "--bins", "--example=matrix-row"]);
        cargo.args(
            ["sandboxlib-tests", "run-sandbox", "linux-user-chroot"].map(|p| format!("-p{p}")),
        );
        cargo.args(["--target", &host]);
        cargo.env("RUSTFLAGS", dist::static_flags());
        // Small and not slow, since a processor that is emulated runs it.
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.env("CARGO_PROFILE_DEV_STRIP", "symbols");
        repo::run(&mut cargo)?;
        let place = tempfile::Builder::new()
            .prefix("sandboxlib-matrix-")
            .tempdir_in("/var/tmp")?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let built = repo::target().join(&host).join("debug");
        for name in NAMES {
            let from = [built.join(name), built.join("examples").join(name)];
            let from = from.iter().find(|path| path.exists());
            let from = from.ok_or_else(|| format!("cargo built no {name}"))?;
            fs::copy(from, place.path().join(name))?;
        }
        let filter = place.path().join("filter");
        let filter = match doctor_docs::build_filter(&filter) {
            Ok(()) => Ok(filter),
            Err(why) => Err(why.to_string()),
        };
        Ok(Self { place, filter })
    }

    /// The files, to be put into a virtual machine.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        NAMES.iter().map(|name| self.place.path().join(name))
    }

    /// Runs a row on this machine.
    ///
    /// # Errors
    /// Why its environment cannot be made here.
    pub(super) fn run(&self, row: &Row) -> Result<Told> {
        let place = self.place.path();
        let script = place.join(format!("row-{}", row.name));
        fs::write(&script, format!("#!/bin/sh\n{}\n", row.environment))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", TIMEOUT, "/bin/sh", "-c", row.prepare])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null());
        for (name, value) in variables(place) {
            command.env(name, value);
        }
        command.env("ROW", script).env("AS", who(row)?);
        if row.environment.contains("$FILTER") {
            command.env("FILTER", self.filter.as_ref().map_err(Clone::clone)?);
        }
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        let without = || format!("{}: {}", output.status, said.trim());
        if !said.contains(STARTED) {
            return Err(without().into());
        }
        Ok(serde_json::from_str(&told).map_err(|error| format!("{error}; {}", without())))
    }
}

/// The environment of a row whose programs are in `place`.
pub(super) fn variables(place: &Path) -> Vec<(&'static str, String)> {
    let place = place.display();
    vec![
        ("PATH", format!("{place}:/usr/sbin:/usr/bin:/sbin:/bin")),
        ("HOME", "/tmp".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("R", format!("{place}/run-sandbox")),
        ("RUN", format!("{place}/matrix-row")),
    ]
}

/// The words that start a command as the one whom the row is for.
fn who(row: &Row) -> Result<String> {
    let root = repo::is_root();
    if row.needs_root() && !root {
        return Err("root alone can make it".into());
    }
    if row.who == Who::Root {
        return Ok(String::new());
    }
    let (name, words) = match root {
        true => {
            let account = Account::ordinary()?;
            (account.name.clone(), account.prefix())
        }
        false => {
            let name = repo::output(Command::new("id").arg("-un"))?;
            (name.trim().to_owned(), String::new())
        }
    };
    if row.who == Who::Ranged && !has_range(&name) {
        return Err(
            format!("the account {name} has no line in /etc/subuid and /etc/subgid").into(),
        );
    }
    Ok(words)
}

fn has_range(name: &str) -> bool {
    ["/etc/subuid", "/etc/subgid"].iter().all(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let first = |line: &str| line.split(':').next() == Some(name);
        text.lines().any(first)
    })
}
