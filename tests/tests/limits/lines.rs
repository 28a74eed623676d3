//! Much output on both streams comes through whole, in order, and without anybody waiting for the
//! other for ever. How fast is printed, and not held against anything: it is the machine's matter.

use std::time::{Duration, Instant};

use sandboxlib::{End, Root, Sandbox, Stdio, Stream};
use sandboxlib_tests::{RunSandbox, TinyRoot};

use super::root;

const LINES: usize = 200_000;

/// Both streams in turn, and the one not before all of the other.
const ORDERS: [&str; 2] = ["", "apart"];

fn sandbox(root: &TinyRoot) -> Sandbox {
    Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"])
        .wall_limit(Duration::from_secs(60))
}

fn lines(stream: u32) -> Vec<u8> {
    let lines = (0..LINES).map(|n| format!("{n} of {stream}\n"));
    lines.collect::<String>().into_bytes()
}

/// Whether each of both streams is what was printed on it.
fn check(way: &str, order: &str, began: Instant, out: &[u8], err: &[u8]) {
    let rate = 2.0 * LINES as f64 / began.elapsed().as_secs_f64();
    println!("{way} {order}: {rate:.0} lines a second");
    for (stream, got) in [(1, out), (2, err)] {
        let count = got.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(count, LINES, "{way} {order}: stream {stream}");
        assert!(got == lines(stream), "{way} {order}: stream {stream}");
    }
}

#[test]
fn gathered() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    for order in ORDERS {
        let mut command = prepared.command("sh");
        command.args(["-c", &format!("exec bomb lines {LINES} {order}")]);
        let began = Instant::now();
        let output = command.output().unwrap();
        assert_eq!(output.outcome.end, End::Exited(0));
        check("gathered", order, began, &output.stdout, &output.stderr);
    }
}

#[test]
fn piece_by_piece() {
    let Some(root) = root() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    for order in ORDERS {
        let mut command = prepared.command("sh");
        command.args(["-c", &format!("exec bomb lines {LINES} {order}")]);
        command.stdout(Stdio::Piped).stderr(Stdio::Piped);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let began = Instant::now();
        let take = |stream, piece: &[u8]| {
            match stream {
                Stream::Stdout => out.extend_from_slice(piece),
                Stream::Stderr => err.extend_from_slice(piece),
            }
            Ok(())
        };
        let outcome = command.spawn().unwrap().wait_streaming(take).unwrap();
        assert_eq!(outcome.end, End::Exited(0));
        check("piece by piece", order, began, &out, &err);
    }
}

/// With a limit of output run-sandbox stands in between; without one it does not.
#[test]
fn through_run_sandbox() {
    let Some(root) = root() else { return };
    for options in ["", "--output 100M"] {
        for order in ORDERS {
            let began = Instant::now();
            let done = RunSandbox::new(root.path())
                .options("--timeout 60s")
                .options(options)
                .sh(&format!("exec bomb lines {LINES} {order}"));
            assert!(done.status.success(), "{}", done.status);
            let way = format!("run-sandbox {options}");
            check(&way, order, began, &done.bytes, done.err.as_bytes());
        }
    }
}
