//! Commands that are run. They work as root and as an ordinary user; what a sandbox encloses is
//! tested elsewhere.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod program;

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run_sandbox() -> Command {
    program::run_sandbox()
}

/// Runs a shell script on the host's root.
fn sh(options: &[&str], script: &str) -> Output {
    run_sandbox()
        .args(options)
        .args(["/", "sh", "-c", script])
        .output()
        .unwrap()
}

/// The exit status; the message of a set-up that failed is worth more than its number.
fn code(output: &Output) -> Option<i32> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(125), "{said}");
    output.status.code()
}

#[test]
fn the_status_is_the_commands() {
    assert_eq!(code(&sh(&[], "true")), Some(0));
    for status in [1, 42, 124, 125, 255] {
        let output = sh(&[], &format!("exit {status}"));
        assert_eq!(output.status.code(), Some(status));
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_signal_that_ended_the_command() {
    assert_eq!(code(&sh(&[], "kill -TERM $$")), Some(128 + 15));
    assert_eq!(code(&sh(&[], "kill -KILL $$")), Some(128 + 9));
}

#[test]
fn time_that_is_up() {
    let start = Instant::now();
    let output = sh(&["--timeout", "300ms"], "sleep 60");
    assert_eq!(code(&output), Some(124));
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(output.stderr.starts_with(b"run-sandbox: "));
}

#[test]
fn a_command_that_is_not_there_or_is_none() {
    for missing in ["no-such-command", "/no/such/command"] {
        let output = run_sandbox().args(["/", missing]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(127), "{said}");
        assert!(
            said.starts_with("run-sandbox: ") && said.contains(missing),
            "{said}"
        );
    }
    for no_program in ["/etc/passwd", "/etc"] {
        let output = run_sandbox().args(["/", no_program]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(126), "{said}");
        assert!(
            said.starts_with("run-sandbox: ") && said.contains(no_program),
            "{said}"
        );
    }
}

#[test]
fn the_environment_is_empty_but_for_what_was_set() {
    let output = run_sandbox()
        .args(["--env", "A=1", "--env", "B", "--env", "UNSET", "/", "env"])
        .env("B", "from the caller")
        .env("C", "not this")
        .env_remove("UNSET")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A=1",
            "B=from the caller",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
}

#[test]
fn arguments_are_bytes() {
    let odd = OsStr::from_bytes(b"a \n\"'$:\xff");
    let output = run_sandbox()
        .args(["/", "printf", "%s"])
        .arg(odd)
        .output()
        .unwrap();
    assert_eq!(output.stdout, odd.as_bytes());
}

#[test]
fn streams_and_signals_are_as_a_program_expects_them() {
    let mut child = run_sandbox()
        .args(["/", "sh", "-c", "cat; echo err >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"through"[..], &b"err\n"[..])
    );

    // Neither what this program ignores (SIGPIPE) nor what it blocks is inherited.
    let output = sh(&[], "grep -E 'Sig(Ign|Blk)' /proc/self/status");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("\t0000000000000000").count(), 2, "{text}");
}

#[test]
fn a_signal_to_run_sandbox_reaches_the_command() {
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("USR1", 10)] {
        let mut child = run_sandbox()
            .args(["/", "sh", "-c"])
            // It ends by itself, should the signal be lost.
            .arg(format!(
                "trap 'exit 7' {name}; echo ready; \
                 for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & wait; done; exit 8"
            ))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{number}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(7), "{name}");
    }
}

#[test]
fn a_report() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a report");
    let output = run_sandbox()
        .arg("--report")
        .arg(&path)
        .args(["-v", "/", "sh", "-c", "exit 3"])
        .output()
        .unwrap();
    assert_eq!(code(&output), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&json["started"], &json["exit_code"]),
        (&"yes".into(), &3.into())
    );
    assert!(json["pid"].as_u64().is_some_and(|pid| pid > 0));
    assert!(json["wall_seconds"].as_f64().is_some_and(|s| s > 0.0));
    assert!(json["signal"].is_null() && json["error"].is_null());
    let enforced = json["enforced"].as_array().unwrap();
    assert!(enforced.contains(&"network".into()), "{json}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.lines().all(|line| line.starts_with("run-sandbox: ")),
        "{said}"
    );
    assert!(said.contains("run-sandbox: backend: "), "{said}");
}

#[test]
fn a_report_to_a_stream_that_is_a_file_destroys_nothing() {
    let mut file = tempfile::tempfile().unwrap();
    for _ in 0..2 {
        let status = run_sandbox()
            .args(["--report", "/dev/stderr", "/", "sh", "-c", "echo said >&2"])
            .stderr(file.try_clone().unwrap())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(0));
    }
    let mut text = String::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("said\n{\n").count(), 2, "{text}");
}

#[test]
fn the_working_directory_is_the_callers_where_it_can_be_seen() {
    let temp = tempfile::tempdir_in("/var/tmp").unwrap();
    let temp = temp.path().to_str().unwrap();
    let pwd = |options: &[&str], directory: &str| {
        let output = run_sandbox()
            .args(options)
            .args(["/", "pwd", "-P"])
            .current_dir(directory)
            .output()
            .unwrap();
        let lines = [output.stdout, output.stderr].concat();
        String::from_utf8(lines).unwrap()
    };
    assert_eq!(pwd(&[], "/usr"), "/usr\n");
    for directory in [temp, "/var/tmp", "/tmp"] {
        let said = pwd(&[], directory);
        for words in ["is hidden", directory, "--writable", "--readable", "--cwd"] {
            assert!(said.contains(words), "{said}");
        }
        let said = pwd(&["--explain"], directory);
        assert!(said.contains("is hidden"), "{said}");
        assert_eq!(pwd(&["--cwd", "/"], directory), "/\n");
        assert_eq!(pwd(&["--cwd", "/tmp"], directory), "/tmp\n");
    }
    for option in ["--writable", "--readable"] {
        assert_eq!(pwd(&[option, temp], temp), format!("{temp}\n"));
    }
    assert_eq!(pwd(&["--bind", "/usr", temp], temp), "/\n");
    let shown = ["--host-secrets", "shown"];
    assert_eq!(pwd(&shown, temp), format!("{temp}\n"));
    assert_eq!(pwd(&shown, "/tmp"), "/\n");
}
