//! Bad input: a message that names what is wrong, exit 125, nothing run, nothing changed.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod program;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Runs run-sandbox with `options`, in a directory of its own, on a command that would leave a
/// canary, and gives what it said.
fn refused(files: &[(&str, &str)], options: &[&str], sandbox: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let before = listing(dir.path());
    let canary = dir.path().join("canary");
    let output = program::run_sandbox()
        .args(options)
        .args([
            OsStr::new("--bind"),
            dir.path().as_os_str(),
            OsStr::new("/mnt"),
        ])
        .args((!sandbox.is_empty()).then_some(sandbox))
        .args(["--", "/bin/sh", "-c", "touch /mnt/canary; touch \"$0\""])
        .arg(&canary)
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{options:?}: {said}");
    assert!(output.stdout.is_empty());
    assert!(!said.is_empty());
    assert!(
        said.lines().all(|line| line.starts_with("run-sandbox: ")),
        "{said}"
    );
    assert_eq!(listing(dir.path()), before, "{options:?}");
    said
}

fn listing(dir: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

#[test]
fn a_root_that_is_none() {
    assert!(refused(&[], &[], "missing").contains("cannot find SANDBOX \"missing\": No such file"));
    assert!(refused(&[("file", "")], &[], "file").contains("is no image"));
    assert!(refused(&[], &[], "").contains("\"-c\" follows SANDBOX"));
}

#[test]
fn a_source_that_is_missing() {
    let said = refused(&[], &["--ro-bind", "nothing here", "/srv"], "/");
    assert!(
        said.contains("nothing here") && said.contains("/srv"),
        "{said}"
    );
    let said = refused(&[], &["--file", "nothing here", "/srv"], "/");
    assert!(
        said.contains("--file SRC") && said.contains("nothing here"),
        "{said}"
    );
}

#[test]
fn paths_that_are_none() {
    for (options, message) in [
        (
            &["--bind", "/", "a/b"][..],
            "--bind DEST: path \"a/b\" is relative",
        ),
        (
            &["--tmpfs", "/a/../b"],
            "--tmpfs: path \"/a/../b\" contains a '..'",
        ),
        (&["--cwd", "build"], "--cwd: path \"build\" is relative"),
        (&["--writable", ""], "--writable: the path is empty"),
        (
            &["--symlink", "x", "y"],
            "--symlink PATH: path \"y\" is relative",
        ),
        (&["--mask", "../x"], "--mask: path \"../x\" is relative"),
    ] {
        let said = refused(&[], options, "/");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn values_that_mean_nothing() {
    for (options, message) in [
        (
            &["--timeout", "soon"][..],
            "--timeout: \"soon\" is not a span of time",
        ),
        (&["--timeout", "0s"], "--timeout: \"0s\" is no time at all"),
        (&["--uid", "me"], "--uid: \"me\" is not an id"),
        (
            &["--prefer", "net"],
            "--prefer: unknown feature \"net\"; known are",
        ),
        (&["--network", "none"], "--network: \"none\" is neither"),
        (&["--backend", "docker"], "unknown backend \"docker\""),
        (&["--hostname", &"x".repeat(65)], "--hostname: "),
        (&["--no-such-option"], "unknown option \"--no-such-option\""),
        (
            &["--report", "/nonexistent/report"],
            "--report: cannot write to",
        ),
        (
            &["--config", "/nonexistent/c.toml"],
            "--config: cannot read",
        ),
    ] {
        let said = refused(&[], options, "/");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn mounts_that_hide_one_another() {
    let said = refused(&[], &["--tmpfs", "/srv/a", "--tmpfs", "/srv"], "/");
    assert!(
        said.contains("hides") && said.contains("\"/srv/a\""),
        "{said}"
    );
    assert!(
        said.contains("run-sandbox: hint: ") && said.contains("--cover"),
        "{said}"
    );
}

#[test]
fn options_behind_the_sandbox() {
    let output = program::run_sandbox().args(["/", "-v"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in front of SANDBOX"));
}

#[test]
fn no_arguments() {
    let output = program::run_sandbox().output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no SANDBOX is given"));
}

#[test]
fn a_file_of_settings_with_a_fault_in_it() {
    for (text, message) in [
        (
            "bare = true\nred-only = true\n",
            "run-sandbox: c.toml:2:1: unknown field `red-only`",
        ),
        (
            "network = \"none\"\n",
            "run-sandbox: c.toml:1:11: \"none\" is neither",
        ),
        (
            "[[mount]]\ntype = \"bind\"\nsource = \"/\"\ntarget = \"x\"",
            "c.toml:4:10: path \"x\"",
        ),
        (
            "\nbackend = [\"docker\"]\n",
            "c.toml:2:12: unknown backend \"docker\"",
        ),
    ] {
        let said = refused(&[("c.toml", text)], &["--config", "c.toml"], "/");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn a_report_tells_of_the_failure() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let output = program::run_sandbox()
        .arg("--report")
        .arg(&report)
        .args(["/nonexistent", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(json["started"], "no");
    assert!(
        json["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/nonexistent")
    );
}

#[test]
fn a_message_about_a_name_with_a_newline_is_one_line() {
    let output = program::run_sandbox()
        .arg(OsStr::from_bytes(b"/no\nsuch \xff"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(r#""/no\nsuch \xFF""#), "{said}");
}
