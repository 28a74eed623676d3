//! What many runs in a tokio runtime leave behind in the caller. One test, because it counts what
//! its process has.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandboxlib::{End, Limit, Prepared, Root, Sandbox, Session};
use sandboxlib_tests::TinyRoot;
use sandboxlib_tests::watch::within;
use tokio::runtime::{Builder, Runtime};

const IN_FLIGHT: usize = 64;
/// How many runs in each runtime, unless `SANDBOXLIB_TOKIO_RUNS` has another number.
const RUNS: usize = 600;

/// One run, of a kind that depends on its number.
async fn run(prepared: &Prepared, session: &Session, number: usize) {
    let sleep = |arg: &str| {
        let mut command = prepared.command("sleep");
        command.arg(arg);
        command
    };
    match number % 8 {
        0 => {
            let brief = Duration::from_micros(number as u64 % 64 * 200);
            let mut command = sleep("1000");
            let run = tokio::time::timeout(brief, command.output_async());
            assert!(run.await.is_err());
        }
        1 => {
            let mut command = sleep("1000");
            command.timeout(Duration::from_millis(3));
            let outcome = command.status_async().await.unwrap();
            assert_eq!(outcome.end, End::Limit(Limit::Wall));
        }
        2 => {
            let mut command = prepared.command("no-such-command");
            assert!(command.spawn_async().await.is_err());
        }
        3 => drop(sleep("1000").spawn_async().await.unwrap()),
        4 => {
            let mut command = session.command("echo");
            let output = command.arg(number.to_string()).output_async().await;
            assert_eq!(output.unwrap().stdout, format!("{number}\n").into_bytes());
        }
        _ => {
            let mut command = prepared.command("echo");
            let output = command.arg(number.to_string()).output_async().await;
            let output = output.unwrap();
            assert_eq!(output.outcome.end, End::Exited(0));
            assert_eq!(output.stdout, format!("{number}\n").into_bytes());
        }
    }
}

/// `count` runs, of which as many as may be are in flight.
fn runs(runtime: &Runtime, prepared: &Arc<Prepared>, session: &Arc<Session>, count: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let worker = || {
        let (prepared, session, next) = (prepared.clone(), session.clone(), next.clone());
        async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                run(&prepared, &session, number).await;
            }
        }
    };
    let workers: Vec<_> = (0..IN_FLIGHT).map(|_| runtime.spawn(worker())).collect();
    for worker in workers {
        runtime.block_on(worker).unwrap();
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    descriptors: usize,
    threads: usize,
    children: usize,
    mounts: usize,
    temporary: usize,
}

fn seen() -> Seen {
    let tasks: Vec<_> = fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| task.unwrap().path())
        .collect();
    let children = tasks
        .iter()
        .filter_map(|task| fs::read_to_string(task.join("children")).ok());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    Seen {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: tasks.len(),
        children: children.map(|text| text.split_whitespace().count()).sum(),
        mounts: mounts.lines().count(),
        temporary: sandboxlib_tests::watch::temporary_files().len(),
    }
}

/// KiB that are resident.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[test]
fn runs_leave_no_descriptor_thread_process_mount_or_memory() {
    let Some(root) = TinyRoot::new() else { return };
    let count = std::env::var("SANDBOXLIB_TOKIO_RUNS").map_or(RUNS, |n| n.parse().unwrap());
    let sandbox = Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"]);
    let prepared = Arc::new(sandbox.prepare().unwrap());
    threads_while_waiting(&prepared);
    let session = Arc::new(sandbox.session().unwrap());
    let builders = [Builder::new_current_thread(), Builder::new_multi_thread()];
    for mut builder in builders {
        // So that those for what blocks are gone when they are counted.
        let builder = builder.thread_keep_alive(Duration::from_millis(20));
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runs(&runtime, &prepared, &session, 4 * IN_FLIGHT);
        let settled = || {
            let pause = async { tokio::time::sleep(Duration::from_millis(50)).await };
            runtime.block_on(pause);
            seen()
        };
        let before = within(Duration::from_secs(20), || {
            let seen = settled();
            (seen.children == 1 && seen == settled()).then_some(seen)
        });
        let before = before.unwrap();
        let memory = resident();
        let began = Instant::now();
        runs(&runtime, &prepared, &session, count);
        let took = began.elapsed();
        let same = within(Duration::from_secs(20), || {
            (settled() == before).then_some(())
        });
        assert!(same.is_some(), "{:?}, {before:?} before", seen());
        let now = resident();
        println!("{count} runs in {took:?}, {memory} KiB before, {now} KiB after, {before:?}");
        // An allocator keeps something of what was in use at once, whatever the number of runs.
        assert!(now < memory + 8 * 1024, "{memory} KiB before, {now} after");
    }
}

/// No thread waits for a command.
fn threads_while_waiting(prepared: &Arc<Prepared>) {
    let mut builder = Builder::new_current_thread();
    let builder = builder.thread_keep_alive(Duration::from_millis(20));
    let runtime = builder.enable_all().build().unwrap();
    let threads = seen().threads;
    let runs: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let prepared = prepared.clone();
            runtime.spawn(async move {
                let mut command = prepared.command("sleep");
                command.arg("1000").output_async().await.map(drop)
            })
        })
        .collect();
    let waiting = within(Duration::from_secs(20), || {
        let pause = async { tokio::time::sleep(Duration::from_millis(50)).await };
        runtime.block_on(pause);
        let seen = seen();
        (seen.children == IN_FLIGHT && seen.threads == threads).then_some(())
    });
    assert!(waiting.is_some(), "{:?}, {threads} threads before", seen());
    drop(runtime);
    assert!(runs.iter().all(tokio::task::JoinHandle::is_finished));
    assert_eq!(seen().children, 0);
}
