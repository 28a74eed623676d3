//! How a run ends, and what is left of it then: nothing.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use sandboxlib_tests::watch::{self, MARK};
use sandboxlib_tests::{RunSandbox, TinyRoot};

const GRACE: Duration = Duration::from_secs(2);

fn marked(root: &TinyRoot, mark: &str) -> RunSandbox {
    RunSandbox::new(root.path()).options(&format!("--read-only --env {MARK}={mark}"))
}

#[test]
fn every_exit_status_comes_through() {
    let Some(root) = TinyRoot::new() else { return };
    for status in 0..=255 {
        let done = RunSandbox::new(root.path()).sh(&format!("exit {status}"));
        assert_eq!(done.status.code(), Some(status), "{done:#?}");
        assert_eq!(done.err, "");
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    let Some(root) = TinyRoot::new() else { return };
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("KILL", 9),
        ("SEGV", 11),
        ("TERM", 15),
    ] {
        let done = RunSandbox::new(root.path()).sh(&format!("kill -{name} $$; sleep 5"));
        assert_eq!(done.status.code(), Some(128 + number), "{name}: {done:#?}");
    }
}

#[test]
fn a_command_that_cannot_be_started_is_told_apart() {
    let Some(root) = TinyRoot::new() else { return };
    fs::write(root.join("bin/plain"), "no program").unwrap();
    fs::write(root.join("bin/script"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(root.join("bin/script"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |command: &str| RunSandbox::new(root.path()).command(&[&command]).run();
    for (command, status, word) in [
        ("no-such-command", 127, "no-such-command"),
        ("/bin/no-such-command", 127, "no-such-command"),
        ("/bin/plain", 126, "plain"),
        ("/etc", 126, "etc"),
        ("/bin/script", 126, "/no/such/interpreter"),
    ] {
        let done = run(command);
        assert_eq!(done.status.code(), Some(status), "{command}: {done:#?}");
        assert!(done.err.starts_with("run-sandbox: "), "{done:#?}");
        assert!(done.err.contains(word), "{done:#?}");
    }
}

#[test]
fn a_timeout_kills_everything_and_is_told() {
    let Some(root) = TinyRoot::new() else { return };
    let mark = watch::new_mark();
    let start = Instant::now();
    let done = marked(&root, &mark)
        .options("--timeout 0.3s")
        .sh("trap '' TERM; (trap '' TERM; sleep 100) & sleep 100");
    assert_eq!(done.status.code(), Some(124), "{done:#?}");
    assert!(start.elapsed() > Duration::from_millis(300));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(watch::marked(&mark), []);
    let in_time = marked(&root, &mark).options("--timeout 1m").sh("exit 3");
    assert_eq!(in_time.status.code(), Some(3));
}

/// There it is not the end of the first process that kills the others.
#[test]
fn a_timeout_kills_the_process_group_without_a_pid_namespace_too() {
    let Some(root) = TinyRoot::new() else { return };
    let mark = watch::new_mark();
    let start = Instant::now();
    let done = marked(&root, &mark)
        .options("--bare --share pid --timeout 0.3s")
        .sh("trap '' TERM; (trap '' TERM; sleep 100) & sleep 100");
    assert_eq!(done.status.code(), Some(124), "{done:#?}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    // What is no child of ours may be a moment from being dead.
    let gone = || watch::marked(&mark).is_empty().then_some(());
    let gone = watch::within(Duration::from_secs(5), gone);
    assert!(gone.is_some(), "{:?}", watch::marked(&mark));
}

#[test]
fn what_the_command_left_behind_is_dead_when_the_run_is_over() {
    let Some(root) = TinyRoot::new() else { return };
    let mark = watch::new_mark();
    let script = "sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 &
        (setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000' >/dev/null 2>&1 &)
        sleep 0.2; readlink /proc/self/ns/pid";
    let done = marked(&root, &mark).sh(script);
    assert_eq!(watch::marked(&mark), []);
    assert_eq!(watch::in_pid_namespace(done.good()), []);
}

#[test]
fn a_daemon_that_holds_the_output_does_not_hold_the_run() {
    let Some(root) = TinyRoot::new() else { return };
    let start = Instant::now();
    let done = RunSandbox::new(root.path()).sh("setsid sleep 20 & echo done");
    assert_eq!(done.good(), "done");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn sigterm_to_the_supervisor_reaches_the_command() {
    let Some(root) = TinyRoot::new() else { return };
    let script = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = RunSandbox::new(root.path()).start_sh(script);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    watch::signal(child.id(), "TERM");
    assert_eq!(lines.next().unwrap().unwrap(), "got");
    assert_eq!(child.wait().unwrap().code(), Some(7));

    let mut child = RunSandbox::new(root.path()).start_sh("echo ready; exec sleep 100");
    let mut ready = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    watch::signal(child.id(), "TERM");
    assert_eq!(
        child.wait().unwrap().code(),
        Some(128 + 15),
        "its default action holds"
    );
}

#[test]
fn everything_dies_with_the_supervisor() {
    let Some(root) = TinyRoot::new() else { return };
    let mark = watch::new_mark();
    let script = "trap '' TERM HUP INT
        setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &)
        echo ready; while :; do sleep 1; done";
    let mut child = marked(&root, &mark).start_sh(script);
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let namespace = watch::pid_namespace_of(&mark).expect("it has a pid namespace of its own");
    assert!(
        watch::marked(&mark).len() >= 4,
        "there is something to kill"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = watch::within(GRACE, || {
        (watch::marked(&mark).is_empty() && watch::in_pid_namespace(&namespace).is_empty())
            .then_some(())
    });
    assert!(gone.is_some(), "{:#?}", watch::in_pid_namespace(&namespace));
}

#[test]
fn a_hundred_megabytes_come_through_unchanged() {
    let Some(root) = TinyRoot::new() else { return };
    // A period that no buffer size is a multiple of.
    let period: Vec<u8> = (0..=250).chain(0..=248).collect();
    let bytes: Vec<u8> = period.iter().copied().cycle().take(100_000_000).collect();
    let done = RunSandbox::new(root.path()).input(bytes.clone()).sh("cat");
    assert!(done.status.success(), "{}", done.err);
    assert!(
        done.bytes == bytes,
        "{} of {} bytes",
        done.bytes.len(),
        bytes.len()
    );
}

/// What run-sandbox has read and planned with is of no use while it waits.
#[test]
fn who_waits_for_long_is_small() {
    let Some(root) = TinyRoot::new() else { return };
    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = RunSandbox::new(root.path()).start_sh(script);
    let mut ready = [0; 6];
    let said = child.stdout.as_mut().unwrap().read_exact(&mut ready);
    assert!(said.is_ok() && ready == *b"ready\n");
    let status = format!("/proc/{}/status", child.id());
    let kib = |key: &str| {
        let text = fs::read_to_string(&status).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let small = || (2 * kib("VmRSS:") < kib("VmHWM:")).then_some(());
    let small = watch::within(Duration::from_secs(20), small);
    let sizes = (kib("VmRSS:"), kib("VmHWM:"));
    // The pages that were given back are there again when they are needed.
    watch::signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(small.is_some(), "{sizes:?}");
}
