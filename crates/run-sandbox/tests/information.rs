//! What run-sandbox tells about itself and its plans, without running anything.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod program;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Output, Stdio};

fn run_sandbox(words: &[&str]) -> Output {
    program::run_sandbox().args(words).output().unwrap()
}

#[test]
fn help_and_version() {
    let long = run_sandbox(&["--help"]);
    let short = run_sandbox(&["-h"]);
    for output in [&long, &short] {
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("Usage: run-sandbox [OPTIONS] SANDBOX"),
            "{text}"
        );
    }
    assert!(long.stdout.len() > 2 * short.stdout.len());
    let version = run_sandbox(&["--version"]);
    assert_eq!(
        version.stdout,
        format!("run-sandbox {}\n", env!("CARGO_PKG_VERSION")).as_bytes()
    );
}

#[test]
fn nobody_to_read_the_help_is_no_failure_and_a_full_disk_is() {
    let mut child = program::run_sandbox()
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());

    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let output = program::run_sandbox()
            .arg("--help")
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
    }
}

#[test]
fn a_plan_is_shown_and_nothing_is_run_or_made() {
    let root = tempfile::tempdir().unwrap();
    for form in ["--explain", "--explain=json"] {
        let output = program::run_sandbox()
            .args([form, "--env", "A=a b", "--timeout", "1.5s", "--read-only"])
            .arg(root.path())
            .args(["/bin/true", "--flag"])
            .arg(OsStr::from_bytes(b"\xff"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        if form == "--explain" {
            assert!(
                text.contains("\ncommand: /bin/true --flag \"\\xFF\"\n"),
                "{text}"
            );
            assert!(text.contains("  A=\"a b\"\n"), "{text}");
        } else {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                json["command"],
                serde_json::json!(["/bin/true", "--flag", "\\xff"])
            );
            assert_eq!(json["environment"]["A"], "a b");
            assert_eq!(json["working_directory"], "/");
            assert_eq!(json["timeout_seconds"], 1.5);
            assert!(json["enforced"].is_array() && json["backend"].is_string());
        }
    }
}

#[test]
fn a_file_names_the_sandbox_and_the_command_line_wins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("box.toml");
    let text = "sandbox = \".\"\ncwd = \"/a\"\nread-only = true\ncommand = [\"make\"]\n[env]\nA = \"1\"\nB = \"1\"\n";
    std::fs::write(&file, text).unwrap();
    let explain = |words: &[&str]| -> serde_json::Value {
        let output = program::run_sandbox()
            .args(["--explain=json", "--config"])
            .arg(&file)
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
    };
    let json = explain(&[]);
    assert_eq!(json["command"], serde_json::json!(["make"]));
    assert_eq!(json["working_directory"], "/a");
    let json = explain(&["--cwd", "/b", "--env", "B=2", "--", "ls", "-l"]);
    assert_eq!(json["command"], serde_json::json!(["ls", "-l"]));
    assert_eq!(json["working_directory"], "/b");
    assert_eq!(
        (&json["environment"]["A"], &json["environment"]["B"]),
        (&"1".into(), &"2".into())
    );
}
