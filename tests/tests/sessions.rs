//! A sandbox that stays up for many commands.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use sandboxlib::{
    Command, ControlGroups, End, Limit, Limits, Root, Sandbox, SandboxPath, Seccomp, SeccompAction,
    SeccompOtherwise, SeccompRule, SeccompRules, Session, Stdio, Stream,
};
use sandboxlib_tests::TinyRoot;
use sandboxlib_tests::watch::{in_pid_namespace, within};

const LONG: Duration = Duration::from_secs(20);

fn sandbox(root: &TinyRoot) -> Sandbox {
    Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"])
}

fn sh<'s>(session: &'s Session, script: &str) -> Command<'s> {
    let mut command = session.command("sh");
    command.args(["-c", script]);
    command
}

fn prints(mut command: Command<'_>) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_command_sees_what_the_one_before_has_left() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let pid = prints(sh(
        &session,
        "echo one >/tmp/a; sleep 1000 >/dev/null 2>&1 & echo $!",
    ));
    assert_eq!(
        prints(sh(&session, "cat /tmp/a; echo two >>/tmp/a")),
        "one\n"
    );
    assert_eq!(prints(sh(&session, "cat /tmp/a")), "one\ntwo\n");
    // It may end what another has started.
    let script = format!("kill -0 {0} && kill -9 {0} && echo done", pid.trim());
    assert_eq!(prints(sh(&session, &script)), "done\n");
    let outcome = session.close().unwrap();
    assert_eq!(outcome.end, End::Killed);
}

#[test]
fn each_command_has_what_is_its_own() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let mut first = sh(
        &session,
        "echo $A; pwd; read line; echo got $line >&2; exit 3",
    );
    first.env("A", "1").env("PATH", "/bin");
    first.cwd(SandboxPath::new("/tmp").unwrap());
    first
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .stderr(Stdio::Piped);
    let mut first = first.spawn().unwrap();
    // Side by side: the first still waits.
    assert_eq!(prints(sh(&session, "echo -$A-; pwd")), "--\n/\n");
    first.stdin.take().unwrap().write_all(b"this\n").unwrap();
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(3));
    assert_eq!(output.stdout, b"1\n/tmp\n");
    assert_eq!(output.stderr, b"got this\n");
    // Descriptors under whatever numbers, also such as are in use on the way.
    let place = tempfile::tempdir().unwrap();
    let mut command = sh(&session, "cat <&3; cat <&4; cat <&17; ls /proc/self/fd");
    for (number, text) in [(4, "four "), (3, "three "), (17, "seventeen ")] {
        let path = place.path().join(number.to_string());
        std::fs::write(&path, text).unwrap();
        command.fd(OwnedFd::from(File::open(path).unwrap()), number);
    }
    let printed = prints(command);
    // ls has one more, the directory that it reads.
    assert_eq!(printed, "three four seventeen 0\n1\n17\n2\n3\n4\n5\n");
}

/// The init program loads the usual filter once, for itself and for all commands. One that leaves
/// it too little is loaded by each command.
#[test]
fn the_filter_binds_every_command_and_never_hinders_the_init_program() {
    let Some(root) = TinyRoot::new() else { return };
    // Of a command, of the one after it, and of the init program.
    let found = |sandbox: Sandbox| {
        let session = sandbox.session().unwrap();
        let found = ["self", "self", "1"].map(|process| {
            let line = prints(sh(
                &session,
                &format!("grep Seccomp: /proc/{process}/status"),
            ));
            line.trim_start_matches("Seccomp:").trim().to_owned()
        });
        let mut sleeper = sh(&session, "exec sleep 1000");
        let outcome = sleeper
            .timeout(Duration::from_millis(100))
            .status()
            .unwrap();
        assert_eq!(outcome.end, End::Limit(Limit::Wall));
        found
    };
    assert_eq!(found(sandbox(&root)), ["2", "2", "2"]);
    // What the init program reports with, and what a shell does without.
    let rule = SeccompRule::new(["sendto", "sendmsg"], SeccompAction::Kill).unwrap();
    let rules = SeccompRules {
        rules: vec![rule],
        otherwise: SeccompOtherwise::Build,
    };
    let closed = sandbox(&root).seccomp(Seccomp::Rules(rules));
    assert_eq!(found(closed), ["2", "2", "0"]);
    let open = sandbox(&root).seccomp(Seccomp::None);
    assert_eq!(found(open), ["0", "0", "0"]);
}

#[test]
fn many_side_by_side() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let session = &session;
            scope.spawn(move || {
                for i in 0..25 {
                    let script = format!("echo {thread} {i}; exit $(({i} % 7))");
                    let output = sh(session, &script).output().unwrap();
                    assert_eq!(output.stdout, format!("{thread} {i}\n").as_bytes());
                    assert_eq!(output.outcome.end, End::Exited(i % 7));
                }
            });
        }
    });
}

#[test]
fn more_than_it_can_look_after_are_refused_and_do_no_harm() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let mut children = Vec::new();
    let refused = loop {
        let mut command = session.command("sleep");
        command.arg("1000").stdin(Stdio::Null).stdout(Stdio::Null);
        match command.spawn() {
            Ok(child) => children.push(child),
            Err(error) => break error,
        }
        assert!(children.len() <= 256);
    };
    assert_eq!(children.len(), 256);
    assert!(
        format!("{refused:?}").contains("ResourceBusy"),
        "{refused:?}"
    );
    drop(children.pop());
    assert_eq!(prints(sh(&session, "echo room")), "room\n");
}

#[test]
fn what_cannot_be_started_does_no_harm() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let error = session.command("no-such").output().unwrap_err();
    assert!(error.exec_problem().is_some(), "{error:?}");
    let mut command = sh(&session, "true");
    command.cwd(SandboxPath::new("/no/such").unwrap());
    let error = command.output().unwrap_err();
    assert!(error.to_string().contains("working directory"), "{error}");
    assert_eq!(prints(sh(&session, "echo fine")), "fine\n");
}

#[test]
fn the_end_of_one_is_not_the_end_of_the_others() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let spawn = |script: &str| {
        let mut command = sh(&session, script);
        command.stdin(Stdio::Null).stdout(Stdio::Null);
        command
    };
    let mut stays = spawn("sleep 1000").spawn().unwrap();
    let mut killed = spawn("sleep 1000; true").spawn().unwrap();
    let mut dropped = spawn("trap '' TERM; sleep 1000; true");
    drop(dropped.spawn().unwrap());
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().end, End::Killed);
    let mut signalled = spawn("sleep 1000").spawn().unwrap();
    signalled.signal(15).unwrap();
    assert_eq!(signalled.wait().unwrap().end, End::Signalled(15));
    let mut late = spawn("sleep 1000");
    let outcome = late.timeout(Duration::from_millis(50)).status().unwrap();
    assert_eq!(outcome.end, End::Limit(Limit::Wall));
    // One sleep is left of all of them.
    let left = within(LONG, || {
        let left = prints(sh(&session, "ps -o comm | grep -c '^sleep'"));
        (left == "1\n").then_some(())
    });
    assert!(left.is_some());
    assert!(stays.try_wait().unwrap().is_none());
    let began = Instant::now();
    drop(session);
    // With the session everything has ended.
    assert!(!stays.wait().unwrap().success());
    assert!(began.elapsed() < LONG);
}

#[test]
fn nothing_is_left_when_it_is_closed() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", session.id()));
    let namespace = namespace.unwrap().to_string_lossy().into_owned();
    let script = "(setsid sleep 1000 &) ; (trap '' TERM HUP; sleep 1000 &); exit 0";
    let mut command = sh(&session, script);
    command.stdin(Stdio::Null).stdout(Stdio::Null);
    assert!(command.status().unwrap().success());
    assert!(in_pid_namespace(&namespace).len() >= 3);
    session.close().unwrap();
    assert!(in_pid_namespace(&namespace).is_empty());
}

#[test]
fn its_outcome_tells_what_a_command_used() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let outcome = sh(&session, busy).stdin(Stdio::Null).status().unwrap();
    assert!(outcome.success());
    let idle = sh(&session, "true").stdin(Stdio::Null).status().unwrap();
    // Of the same program, one did much more.
    assert!(outcome.user > idle.user, "{outcome:?} {idle:?}");
    assert!(outcome.peak_memory.unwrap() > 100_000);
    let all = session.close().unwrap();
    assert!(all.wall >= outcome.wall);
}

#[test]
fn output_can_be_streamed_and_bounded() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root).session().unwrap();
    let mut command = sh(&session, "yes");
    command.output_limit(10_000);
    let output = command.output().unwrap();
    assert_eq!(output.outcome.end, End::Limit(Limit::Output));
    assert_eq!(output.stdout.len(), 10_000);
    let mut command = sh(&session, "echo a; echo b >&2");
    command.stdout(Stdio::Piped).stderr(Stdio::Piped);
    let mut seen = Vec::new();
    let mut child = command.spawn().unwrap();
    child
        .wait_streaming(|stream, piece| {
            seen.push((stream, piece.to_vec()));
            Ok(())
        })
        .unwrap();
    seen.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    let expected = [
        (Stream::Stdout, b"a\n".to_vec()),
        (Stream::Stderr, b"b\n".to_vec()),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_limit_of_the_whole_ends_it_and_every_command_says_so() {
    let Some(root) = TinyRoot::new() else { return };
    let session = sandbox(&root)
        .control_groups(ControlGroups::None)
        .cpu_time_limit(Duration::from_millis(300))
        .session()
        .unwrap();
    let mut idle = session.command("sleep");
    idle.arg("1000").stdin(Stdio::Null).stdout(Stdio::Null);
    let mut idle = idle.spawn().unwrap();
    let mut busy = sh(&session, "while :; do :; done");
    busy.stdin(Stdio::Null).stdout(Stdio::Null);
    let mut busy = busy.spawn().unwrap();
    assert_eq!(busy.wait().unwrap().end, End::Limit(Limit::CpuTime));
    assert_eq!(idle.wait().unwrap().end, End::Limit(Limit::CpuTime));
    let ended = within(LONG, || session.try_wait().unwrap());
    assert_eq!(ended.unwrap().end, End::Limit(Limit::CpuTime));
    let refused = sh(&session, "true").output().unwrap_err();
    assert!(refused.to_string().contains("ended"), "{refused}");
}

#[test]
fn a_command_has_limits_of_its_own_below_those_of_the_sandbox() {
    let Some(root) = TinyRoot::new() else { return };
    let mut limits = Limits::default();
    limits.open_files = Some(50);
    let session = sandbox(&root).limits(limits).session().unwrap();
    let files = |most, core| {
        let mut limits = Limits::default();
        (limits.open_files, limits.core) = (most, core);
        let mut command = sh(&session, "ulimit -n; ulimit -c");
        command.limits(limits);
        prints(command)
    };
    assert!(files(None, None).starts_with("50\n"));
    assert_eq!(files(Some(20), Some(0)), "20\n0\n");
    assert_eq!(files(Some(90), Some(0)), "50\n0\n");
    let mut limits = Limits::default();
    limits.file_size = Some(1000);
    let mut command = sh(&session, "head -c 2000 /dev/zero >/tmp/x");
    let output = command.limits(limits).output().unwrap();
    assert_eq!(output.outcome.end, End::Limit(Limit::FileSize));
    limits.memory = Some(1 << 30);
    let refused = sh(&session, "true").limits(limits).output().unwrap_err();
    assert!(refused.to_string().contains("as a whole"), "{refused}");
}

#[test]
fn a_backend_that_needs_a_helper_has_none() {
    let Some(root) = TinyRoot::new() else { return };
    if !Path::new("/usr/bin/bwrap").exists() {
        return sandboxlib_tests::skip("no bwrap (package bubblewrap)");
    }
    let sandbox = Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["bubblewrap"]);
    let Ok(prepared) = sandbox.prepare() else {
        return;
    };
    let error = prepared.warm(1).unwrap_err();
    assert!(
        error.to_string().contains("many") || error.to_string().contains("ready"),
        "{error}"
    );
    assert!(prepared.session().is_err());
}
