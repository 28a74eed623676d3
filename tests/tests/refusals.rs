//! Bad input: a clear error, status 125, nothing run and nothing changed.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::process::{Command, Stdio};

use sandboxlib_tests::snapshot::Snapshot;
use sandboxlib_tests::{Done, RunSandbox, TinyRoot, run_sandbox};

/// Each line of options is refused with a message that has all of the words, and the command does
/// not run.
fn refuses(root: &TinyRoot, table: &[(&str, &[&str])]) {
    let before = Snapshot::of(&[root.path()]);
    for (options, words) in table {
        let done = RunSandbox::new(root.path())
            .options(options)
            .sh("echo ran; echo x > /ran");
        assert_eq!(done.status.code(), Some(125), "{options}: {done:#?}");
        done.refused(words);
        assert_eq!(done.out, "", "{options}");
    }
    assert_eq!(before.differences(&Snapshot::of(&[root.path()])), [""; 0]);
}

#[test]
fn bad_paths_name_their_option() {
    let Some(root) = TinyRoot::new() else { return };
    refuses(
        &root,
        &[
            ("--bind /no/such/source /home", &["/no/such/source"]),
            ("--ro-bind /no/such/source /home", &["/no/such/source"]),
            ("--file /no/such/source /home/f", &["/no/such/source"]),
            ("--bind /etc relative", &["--bind", "relative"]),
            ("--tmpfs relative", &["--tmpfs", "relative"]),
            ("--mask relative", &["--mask", "relative"]),
            ("--dir ../up", &["--dir", "../up"]),
            ("--tmpfs /a/../b", &["--tmpfs", ".."]),
            ("--writable /a/../b", &["--writable", ".."]),
            ("--cwd relative", &["--cwd", "relative"]),
            ("--read-only --writable /no/such/path", &["/no/such/path"]),
        ],
    );
}

#[test]
fn bad_values_are_told() {
    let Some(root) = TinyRoot::new() else { return };
    refuses(
        &root,
        &[
            ("--timeout soon", &["--timeout", "soon"]),
            ("--timeout -1s", &["--timeout"]),
            ("--timeout 1fortnight", &["--timeout", "fortnight"]),
            ("--uid bob", &["--uid", "bob"]),
            ("--uid 4294967295", &["4294967295"]),
            ("--network none", &["--network", "none"]),
            ("--prefer networking", &["networking"]),
            ("--backend nonesuch", &["nonesuch"]),
            ("--no-such-option", &["--no-such-option"]),
            ("--env =x", &["--env"]),
            ("--tmpfs", &[]),
        ],
    );
}

#[test]
fn a_root_that_is_none_is_refused() {
    let Some(root) = TinyRoot::new() else { return };
    fs::write(root.join("etc/file"), "").unwrap();
    for (place, word) in [("no/such/root", "no/such/root"), ("etc/file", "etc/file")] {
        RunSandbox::new(root.join(place))
            .sh("echo ran")
            .refused(&[word]);
    }
}

#[test]
fn a_closed_root_is_refused() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Some(root) = TinyRoot::new() else { return };
    fs::create_dir(root.join("closed")).unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    let done = RunSandbox::new(root.join("closed")).sh("echo ran");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Nothing is closed to root; there is just no shell in there.
        assert_ne!(done.status.code(), Some(0), "{done:#?}");
    } else {
        done.refused(&["closed"]);
    }
}

fn with_config(root: &TinyRoot, text: &str) -> Done {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    fs::write(&file, text).unwrap();
    RunSandbox::new(root.path())
        .option("--config", &[&file])
        .sh("echo ran; cat /home/file")
}

#[test]
fn mistakes_in_a_file_are_placed() {
    let Some(root) = TinyRoot::new() else { return };
    for (text, words) in [
        (
            "hostname = \"box\"\nno-such-key = 1\n",
            ["no-such-key", "2"],
        ),
        ("network = \"none\"\n", ["none", "1"]),
        ("\n\ntimeout = \"soon\"\n", ["soon", "3"]),
        ("hostname = \n", ["1", "settings.toml"]),
    ] {
        let done = with_config(&root, text);
        done.refused(&words);
        assert_eq!(done.out, "");
    }
}

#[test]
fn no_arguments_are_refused_and_help_needs_no_reader() {
    let none = Command::new(run_sandbox())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(125), "{none:?}");
    let help = Command::new(run_sandbox()).arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--mask"));
    // A closed standard output is no reason to panic.
    let script = "exec \"$0\" --help | true";
    let piped = Command::new("sh")
        .args(["-c", script])
        .arg(run_sandbox())
        .output()
        .unwrap();
    assert!(
        !String::from_utf8_lossy(&piped.stderr).contains("panic"),
        "{piped:?}"
    );
}

#[test]
fn contradictions_are_refused() {
    let Some(root) = TinyRoot::new() else { return };
    refuses(
        &root,
        &[
            ("--isolate pid --share pid", &["pid"]),
            ("--hostname box --share uts", &["uts"]),
        ],
    );
}
