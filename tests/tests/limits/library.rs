//! Limits and output as a program sees them that uses the library.

use std::io;
use std::time::{Duration, Instant};

use sandboxlib::{End, Error, Limit, Means, Prepared, Root, Sandbox, Stdio, Stream};
use sandboxlib_tests::TinyRoot;

use super::root;

fn sandbox(root: &TinyRoot) -> Sandbox {
    Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"])
        .wall_limit(Duration::from_secs(20))
}

fn sh<'p>(prepared: &'p Prepared, script: &str) -> sandboxlib::Command<'p> {
    let mut command = prepared.command("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_is_bounded_in_memory() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).output_limit(1 << 20).prepare().unwrap();
    let output = sh(&prepared, "exec bomb output").output().unwrap();
    assert_eq!(output.outcome.end, End::Limit(Limit::Output));
    assert_eq!(output.stdout.len(), 1 << 20);
    let output = sh(&prepared, "echo a; echo b >&2").output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(0));
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"a\n"[..], &b"b\n"[..])
    );
    let mut command = sh(&prepared, "exec bomb output");
    command.output_limit(10);
    assert_eq!(command.output().unwrap().stdout, b"xxxxxxxxxx");
}

#[test]
fn a_limit_of_output_that_nobody_could_hold_is_refused() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).output_limit(10).prepare().unwrap();
    let refused = sh(&prepared, "true").status();
    assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");
    let mut command = sh(&prepared, "true");
    let file = std::fs::File::open("/dev/null").unwrap();
    let refused = command.stdout(file).stderr(Stdio::Piped).spawn();
    assert!(matches!(refused, Err(Error::Config { .. })));
    let mut command = sh(&prepared, "echo much more than that");
    let mut child = command
        .stdout(Stdio::Piped)
        .stderr(Stdio::Null)
        .spawn()
        .unwrap();
    let outcome = child.wait_streaming(|_, _| Ok(())).unwrap();
    assert_eq!(outcome.end, End::Limit(Limit::Output));
}

#[test]
fn pieces_come_as_they_are_printed_and_none_is_lost() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let script = "i=0; while [ $i -lt 100000 ]; do echo $i; echo $i >&2; i=$((i+1)); done";
    let mut command = sh(&prepared, script);
    command.stdout(Stdio::Piped).stderr(Stdio::Piped);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let take = |stream, piece: &[u8]| {
        match stream {
            Stream::Stdout => out.extend_from_slice(piece),
            Stream::Stderr => err.extend_from_slice(piece),
        }
        Ok(())
    };
    let outcome = command.spawn().unwrap().wait_streaming(take).unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    let lines: String = (0..100_000).map(|i| format!("{i}\n")).collect();
    assert!(out == lines.as_bytes() && err == lines.as_bytes());
    // Who does not want any more ends it.
    let mut command = sh(&prepared, "exec bomb output");
    let start = Instant::now();
    let mut child = command.stdout(Stdio::Piped).spawn().unwrap();
    let enough = child.wait_streaming(|_, _| Err(io::Error::other("enough")));
    assert!(matches!(enough, Err(Error::Wait { .. })), "{enough:?}");
    drop(child);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_command_that_prints_faster_than_it_is_read_waits() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let mut command = sh(&prepared, "exec bomb output");
    command
        .stdout(Stdio::Piped)
        .timeout(Duration::from_millis(700));
    let mut got = 0;
    let slow = |_, piece: &[u8]| {
        got += piece.len();
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    };
    let outcome = command.spawn().unwrap().wait_streaming(slow).unwrap();
    assert_eq!(outcome.end, End::Limit(Limit::Wall));
    // Some 15 pieces of 64 KiB; without waiting it would be a thousand times as much.
    assert!(got < 100 * 65536, "{got}");
}

#[test]
fn the_outcome_says_how_it_was_measured() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let outcome = sh(&prepared, "exit 3").status().unwrap();
    assert_eq!((outcome.exit_code, outcome.signal), (Some(3), None));
    assert_eq!(
        (outcome.cpu_by, outcome.memory_by),
        (Means::WaitedFor, Means::WaitedFor)
    );
    let prepared = sandbox(&root)
        .memory_limit(64 << 20)
        .control_groups(sandboxlib::ControlGroups::None)
        .prepare()
        .unwrap();
    let outcome = sh(&prepared, "exec bomb cow").status().unwrap();
    assert_eq!(
        (outcome.end, outcome.memory_by),
        (End::Exited(0), Means::Accounting)
    );
    let peak = outcome.peak_memory.unwrap();
    assert!((24 << 20..64 << 20).contains(&peak), "{outcome:?}");
}
