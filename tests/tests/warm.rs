//! Sandboxes that stand ready. One test, because it looks at all processes of this program.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::time::Duration;

use sandboxlib::{Command, End, Prepared, Root, Sandbox, Stdio};
use sandboxlib_tests::TinyRoot;
use sandboxlib_tests::watch::{signal, within};

const LONG: Duration = Duration::from_secs(20);

fn sh<'p>(prepared: &'p Prepared, script: &str) -> Command<'p> {
    let mut command = prepared.command("sh");
    command.args(["-c", script]);
    command
}

fn prints(mut command: Command<'_>) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn until_warmed(prepared: &Prepared, count: usize) {
    let warmed = within(LONG, || (prepared.warmed() == count).then_some(()));
    assert!(warmed.is_some(), "{} stand ready", prepared.warmed());
}

/// The processes of this program.
fn children() -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("children");
        let text = fs::read_to_string(path).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    found.sort_unstable();
    found
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn sandboxes_stand_ready_and_are_like_others() {
    let Some(root) = TinyRoot::new() else { return };
    // Whatever is opened once for good, the init program among it.
    let sandbox = Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"]);
    assert_eq!(prints(sh(&sandbox.prepare().unwrap(), "echo a")), "a\n");
    assert_eq!(children(), []);
    let files = open_files();

    let prepared = sandbox.prepare().unwrap();
    assert_eq!(prepared.warmed(), 0);
    prepared.warm(3).unwrap();
    until_warmed(&prepared, 3);
    let parked = children();
    assert_eq!(parked.len(), 3);

    // One of them is taken, and another comes in its place.
    let mut child = sh(&prepared, "sleep 100").spawn().unwrap();
    assert!(parked.contains(&child.id()), "{parked:?} {}", child.id());
    until_warmed(&prepared, 3);
    assert_eq!(children().len(), 4);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().end, End::Killed);
    drop(child);

    runs_are_like_others(&sandbox, &prepared);
    what_went_wrong_meanwhile(&prepared);
    files_as_streams(&prepared);

    // Fewer, none, and more again.
    prepared.warm(1).unwrap();
    until_warmed(&prepared, 1);
    assert_eq!(children().len(), 1);
    prepared.warm(0).unwrap();
    assert_eq!((prepared.warmed(), children()), (0, vec![]));
    prepared.warm(2).unwrap();
    drop(prepared);
    assert_eq!(children(), []);
    assert_eq!(open_files(), files);
}

/// What a command sees, and how it fails, in a sandbox that stood ready and in one that was made
/// for it.
fn runs_are_like_others(sandbox: &Sandbox, warm: &Prepared) {
    let cold = sandbox.prepare().unwrap();
    for script in [
        "id; pwd; env; umask; hostname; ls -a / /dev /tmp",
        "cat /proc/mounts | sort; ls /proc/self/fd; cat /proc/self/limits",
        "grep -v -e ctxt_switches -e VmSize -e Vm -e Rss -e NSpid -e Cpus -e Mems -e mems /proc/self/status",
        "ps -o pid,ppid,comm; cat /proc/1/comm",
        "mount -t tmpfs t /tmp 2>&1; unshare -r true 2>&1; true",
    ] {
        until_warmed(warm, 3);
        let dressed = |prepared| {
            let mut command = sh(prepared, script);
            command
                .env("A", "b c")
                .env("PATH", "/bin")
                .cwd(sandboxlib::SandboxPath::new("/var").unwrap());
            prints(command)
        };
        assert_eq!(dressed(warm), dressed(&cold), "{script}");
    }
    // Nothing is handed from one to the next.
    assert_eq!(
        prints(sh(warm, "touch /tmp/left /dev/shm/left; ls /tmp")),
        "left\n"
    );
    assert_eq!(
        prints(sh(warm, "ls -A /tmp /dev/shm | grep left; true")),
        ""
    );
    for (program, cwd) in [
        ("no-such-program", "/"),
        ("/etc", "/"),
        ("sh", "/no/such/place"),
    ] {
        until_warmed(warm, 3);
        let error = |prepared: &Prepared| {
            let mut command = prepared.command(program);
            command.cwd(sandboxlib::SandboxPath::new(cwd).unwrap());
            command.output().unwrap_err().to_string()
        };
        assert_eq!(error(warm), error(&cold));
    }
}

/// A sandbox that was killed while it waited is passed over.
fn what_went_wrong_meanwhile(prepared: &Prepared) {
    until_warmed(prepared, 3);
    for pid in children() {
        signal(pid, "KILL");
    }
    assert_eq!(prints(sh(prepared, "echo still")), "still\n");
    until_warmed(prepared, 3);
    assert_eq!(prints(sh(prepared, "echo again")), "again\n");
}

/// A stream that is a file can be opened by its name, which Landlock has to know before.
fn files_as_streams(prepared: &Prepared) {
    until_warmed(prepared, 3);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("printed");
    let file = fs::File::create(&path).unwrap();
    let mut command = sh(prepared, "echo a; echo b >>/dev/stdout");
    let outcome = command.stdout(file).stdin(Stdio::Null).status().unwrap();
    let printed = fs::read_to_string(&path).unwrap();
    assert!(outcome.success());
    assert_eq!(printed, "a\nb\n");
    assert_eq!(prepared.warmed(), 3);
}
