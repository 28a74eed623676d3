//! What uses more than it may ends with the right verdict, soon, again and again, and leaves
//! nothing that runs.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sandboxlib_tests::TinyRoot;
use sandboxlib_tests::watch::{self, MARK};

use super::{is_root, root, run};

/// How soon after it has come to its limit.
const SOON: f64 = 2.0;

/// How often. `SANDBOXLIB_ROUNDS=200 cargo test -p sandboxlib-tests --test limits` is what to do
/// before a release.
fn rounds() -> u32 {
    let said = std::env::var("SANDBOXLIB_ROUNDS").ok();
    said.map_or(20, |text| text.parse().unwrap())
}

/// The best that the host gives, and what there is without control groups.
fn ways() -> &'static [&'static str] {
    if is_root() {
        &["auto", "none"]
    } else {
        &["auto"]
    }
}

struct Bomb {
    kind: &'static str,
    options: &'static str,
    limit: &'static str,
    /// How long it may run by right.
    lasts: f64,
}

fn again_and_again(root: &TinyRoot, bomb: &Bomb) {
    for way in ways() {
        let mut longest = 0.0f64;
        for round in 0..rounds() {
            let mark = watch::new_mark();
            let options = format!("{} --cgroup {way} --env {MARK}={mark}", bomb.options);
            let (done, report) = run(root, &options, &format!("exec bomb {}", bomb.kind));
            let left = watch::marked(&mark);
            assert_eq!(left, [], "still runs, {way}, round {round}");
            assert_eq!(
                report["limit"], bomb.limit,
                "{way}, {round}: {done:#?} {report:#}"
            );
            assert!(!done.status.success());
            let seconds = |name: &str| report[name].as_f64().unwrap();
            // Others use the processors too, so what is limited is what is looked at.
            let took = match bomb.limit {
                "cpu-time" => seconds("user_seconds") + seconds("system_seconds"),
                _ => seconds("wall_seconds"),
            };
            assert!(took < bomb.lasts + SOON, "{way}, {round}: {report:#}");
            assert!(took >= bomb.lasts, "{way}, {round}: {report:#}");
            longest = longest.max(took);
        }
        let (kind, rounds) = (bomb.kind, rounds());
        println!("{kind}, control groups {way}: {longest:.3} s at most in {rounds} rounds");
    }
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Meanwhile other programs can be started. Gives how long that took at most.
fn while_others_start<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Acquire) {
                let start = Instant::now();
                assert!(Command::new("true").status().unwrap().success());
                longest = longest.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            longest
        });
        // Also if it panics: the scope waits for the others.
        let ended = Ended(&over);
        let done = f();
        drop(ended);
        (done, others.join().unwrap())
    })
}

fn bomb(kind: &'static str, options: &'static str, limit: &'static str, lasts: f64) {
    let Some(root) = root() else { return };
    let bomb = Bomb {
        kind,
        options,
        limit,
        lasts,
    };
    let ((), longest) = while_others_start(|| again_and_again(&root, &bomb));
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

#[test]
fn a_fork_bomb() {
    bomb("fork", "--processes 32", "processes", 0.0);
}

#[test]
fn a_fork_bomb_of_processes_that_leave() {
    bomb("away", "--processes 32", "processes", 0.0);
}

#[test]
fn a_crowd_that_is_left_at_once() {
    bomb("gone", "--processes 8", "processes", 0.0);
}

#[test]
fn a_memory_bomb() {
    bomb("memory", "--memory 48M", "memory", 0.0);
}

#[test]
fn a_memory_bomb_of_shared_memory() {
    bomb("shared", "--memory 48M", "memory", 0.0);
}

#[test]
fn a_memory_bomb_of_many_processes() {
    bomb("many", "--memory 48M", "memory", 0.0);
}

#[test]
fn a_disk_bomb() {
    bomb("disk", "--memory 48M", "memory", 0.0);
}

#[test]
fn an_output_bomb() {
    bomb("output", "--output 1M", "output", 0.0);
}

#[test]
fn a_processor_burner() {
    bomb("cpu", "--cpu-time 200ms", "cpu-time", 0.2);
}

#[test]
fn processor_burners_for_which_nobody_waits() {
    bomb(
        "burners",
        "--cpu-time 400ms --processes 64",
        "cpu-time",
        0.4,
    );
}

#[test]
fn a_sleeper() {
    bomb("sleep", "--timeout 200ms", "wall", 0.2);
}
