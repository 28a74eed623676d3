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
fn who_waits_a_while_at_a_time_loses_nothing_and_holds_the_limits() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let little = Duration::from_millis(5);
    let start = |script: &str, most: Option<u64>| {
        let mut command = sh(&prepared, script);
        command.stdout(Stdio::Piped).stderr(Stdio::Piped);
        command.timeout(Duration::from_secs(10));
        if let Some(most) = most {
            command.output_limit(most);
        }
        command.spawn().unwrap()
    };
    let to_the_end = |child: &mut sandboxlib::Child| {
        let mut pauses = 0;
        loop {
            match child.wait_with_output_for(little).unwrap() {
                Some(output) => return (output, pauses),
                None => pauses += 1,
            }
        }
    };
    // What was printed before a pause is there, and what fills the pipe in one does not block.
    let script = "echo a; echo b >&2; sleep 0.1; \
                  i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; exit 3";
    let lines: String = (0..20_000).map(|i| format!("{i}\n")).collect();
    let (output, pauses) = to_the_end(&mut start(script, None));
    assert!(pauses > 2, "{pauses}");
    assert_eq!(output.outcome.end, End::Exited(3));
    assert!(output.stdout == format!("a\n{lines}").as_bytes());
    assert_eq!(output.stderr, b"b\n");
    // Each way of waiting goes on where another has stopped.
    let mut child = start("echo a; sleep 0.2; echo c", None);
    assert_eq!(child.wait_with_output_for(little * 20).unwrap(), None);
    assert_eq!(child.wait_with_output().unwrap().stdout, b"a\nc\n");
    // The limit of output is one of all pieces together.
    let script = "printf 123456; sleep 0.1; printf 789; sleep 0.1; printf 0123; exec sleep 60";
    let (output, _) = to_the_end(&mut start(script, Some(10)));
    assert_eq!(output.outcome.end, End::Limit(Limit::Output));
    assert_eq!(output.stdout, b"1234567890");
    let (output, _) = to_the_end(&mut start("printf 1234567890; sleep 0.1", Some(10)));
    assert_eq!(output.outcome.end, End::Exited(0));
    // And a time is one of the whole.
    let mut command = sh(&prepared, "exec sleep 60");
    command.timeout(Duration::from_millis(200));
    let mut child = command.spawn().unwrap();
    let (output, pauses) = to_the_end(&mut child);
    assert_eq!(output.outcome.end, End::Limit(Limit::Wall));
    assert!(pauses > 2, "{pauses}");
    // Whoever asks again is told the same.
    let again = child.wait_with_output_for(Duration::MAX).unwrap().unwrap();
    assert_eq!(again.outcome.end, End::Limit(Limit::Wall));
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
