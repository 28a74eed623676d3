//! Runs in tokio runtimes, of one thread and of several.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxlib::{
    Child, Command, ControlGroups, End, Limit, Prepared, Root, Sandbox, SandboxPath, Session, Stdio,
};
use sandboxlib_tests::TinyRoot;
use sandboxlib_tests::watch::{MARK, in_pid_namespace, new_mark, pid_namespace_of, within};
use tokio::runtime::{Builder, Runtime};

const LONG: Duration = Duration::from_secs(20);

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap(),
    ]
}

/// Does the same in each kind of runtime, as a task of it.
fn in_each<F>(test: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for runtime in runtimes() {
        let task = runtime.spawn(test());
        runtime.block_on(task).unwrap();
    }
}

fn sandbox(root: &TinyRoot) -> Sandbox {
    Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"])
}

fn prepared(root: &TinyRoot) -> Arc<Prepared> {
    Arc::new(sandbox(root).prepare().unwrap())
}

fn sh<'p>(prepared: &'p Prepared, script: &str) -> Command<'p> {
    let mut command = prepared.command("sh");
    command.args(["-c", script]);
    command
}

async fn sleeper(prepared: &Prepared) -> Child {
    let mut command = prepared.command("sleep");
    command.arg("1000").spawn_async().await.unwrap()
}

fn sh_in<'s>(session: &'s Session, script: &str) -> Command<'s> {
    let mut command = session.command("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn what_is_printed_and_how_it_ended() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    in_each(|| {
        let prepared = prepared.clone();
        async move {
            // More than both pipes hold, side by side, and the last of it just before the end.
            let script = "dd if=/dev/zero bs=1000 count=300 2>/dev/null & \
                          dd if=/dev/zero bs=1000 count=400 >&2 2>/dev/null; wait; \
                          echo end; exit 3";
            let output = sh(&prepared, script).output_async().await.unwrap();
            assert_eq!(output.outcome.end, End::Exited(3));
            assert_eq!(
                (output.stdout.len(), output.stderr.len()),
                (300_004, 400_000)
            );
            assert!(output.stdout.ends_with(b"\0end\n"));

            let status = prepared.command("false").status_async().await.unwrap();
            assert_eq!(status.end, End::Exited(1));
            let status = sh(&prepared, "kill -9 $$").status_async().await.unwrap();
            assert_eq!(status.end, End::Signalled(9));
        }
    });
}

#[test]
fn no_last_word_is_lost() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    prepared.warm(2).unwrap();
    in_each(|| {
        let prepared = prepared.clone();
        async move {
            for i in 0..100 {
                let mut command = prepared.command("echo");
                // With times to look out for the end at, it may be seen before the pipe is.
                let output = command.arg(i.to_string()).timeout(LONG);
                let output = output.output_async().await.unwrap();
                assert_eq!(output.stdout, format!("{i}\n").into_bytes());
            }
        }
    });
}

#[test]
fn failures_are_those_of_the_other_way() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    in_each(|| {
        let prepared = prepared.clone();
        async move {
            for (program, cwd) in [("no-such-program", "/"), ("/etc", "/"), ("sh", "/no/place")] {
                let mut command = prepared.command(program);
                command.cwd(SandboxPath::new(cwd).unwrap());
                let expected = command.output().unwrap_err().to_string();
                let error = command.output_async().await.unwrap_err();
                assert_eq!(error.to_string(), expected);
            }
            let mut inherits = prepared.command("true");
            let error = inherits.output_limit(1).status_async().await.unwrap_err();
            assert!(matches!(error, sandboxlib::Error::Config { .. }), "{error}");
        }
    });
}

#[test]
fn limits_are_held() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    let looked_at = |limit: &dyn Fn(Sandbox) -> Sandbox| {
        let sandbox = limit(sandbox(&root)).control_groups(ControlGroups::None);
        Arc::new(sandbox.prepare().unwrap())
    };
    let time = looked_at(&|sandbox| sandbox.cpu_time_limit(Duration::from_millis(300)));
    let processes = looked_at(&|sandbox| sandbox.process_limit(10));
    in_each(|| {
        let (prepared, time, processes) = (prepared.clone(), time.clone(), processes.clone());
        async move {
            let mut command = sh(&prepared, "sleep 1000 & sleep 1000");
            command.timeout(Duration::from_millis(100));
            let outcome = command.status_async().await.unwrap();
            assert_eq!(outcome.end, End::Limit(Limit::Wall));
            assert!(outcome.wall >= Duration::from_millis(100));

            let script = "trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.01; done";
            let mut command = sh(&prepared, script);
            command.timeout(Duration::from_millis(300)).kill_after(LONG);
            let output = command.output_async().await.unwrap();
            assert_eq!(output.outcome.end, End::Limit(Limit::Wall));
            assert_eq!(output.stdout, b"hi\nbye\n");

            for script in [
                "cat /dev/zero",
                "cat /dev/zero >&2",
                "head -c 100001 /dev/zero",
            ] {
                let mut command = sh(&prepared, script);
                let output = command.output_limit(100_000).output_async().await.unwrap();
                assert_eq!(output.outcome.end, End::Limit(Limit::Output), "{script}");
                assert_eq!(output.stdout.len() + output.stderr.len(), 100_000);
            }
            let mut command = sh(&prepared, "head -c 100000 /dev/zero");
            let output = command.output_limit(100_000).output_async().await.unwrap();
            assert_eq!(output.outcome.end, End::Exited(0));

            // By looking at the processes, at times that the runtime keeps.
            let mut command = sh(&time, "while :; do :; done");
            let outcome = command.status_async().await.unwrap();
            assert_eq!(outcome.end, End::Limit(Limit::CpuTime));
            let script = "while :; do sleep 1000 & sleep 0.01; done";
            let outcome = sh(&processes, script).status_async().await.unwrap();
            assert_eq!(outcome.end, End::Limit(Limit::Processes));
        }
    });
}

/// What is left of a sandbox, as seen from outside.
async fn until_gone(namespace: &str) {
    let began = Instant::now();
    while !in_pid_namespace(namespace).is_empty() {
        assert!(began.elapsed() < LONG, "{:?}", in_pid_namespace(namespace));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn to_drop_the_future_kills_the_tree() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    in_each(|| {
        let prepared = prepared.clone();
        async move {
            let mark = new_mark();
            let (its, of) = (mark.clone(), prepared.clone());
            let run = tokio::spawn(async move {
                let mut command = sh(&of, "setsid sleep 1000 & sleep 1000 & wait");
                command.env(MARK, its).output_async().await
            });
            let began = Instant::now();
            let namespace = loop {
                assert!(began.elapsed() < LONG);
                tokio::time::sleep(Duration::from_millis(5)).await;
                match pid_namespace_of(&mark) {
                    Some(found) if in_pid_namespace(&found).len() == 4 => break found,
                    _ => {}
                }
            };
            run.abort();
            assert!(run.await.unwrap_err().is_cancelled());
            until_gone(&namespace).await;

            // While it is being started, it is not there yet, and not to come later.
            for micros in [0, 100, 300, 1000, 3000] {
                let mark = new_mark();
                let mut command = sh(&prepared, "sleep 1000");
                command.env(MARK, &mark);
                let brief = Duration::from_micros(micros);
                let _ = tokio::time::timeout(brief, command.status_async()).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert_eq!(pid_namespace_of(&mark), None);
            }
        }
    });
}

#[test]
fn dropping_a_child_kills_at_once_and_waits_elsewhere() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        let child = sleeper(&prepared).await;
        let process = format!("/proc/{}", child.id());
        drop(child);
        // The one thread has not had a turn to wait for it.
        assert!(Path::new(&process).exists());
        let began = Instant::now();
        while Path::new(&process).exists() {
            assert!(began.elapsed() < LONG);
            tokio::task::yield_now().await;
        }
    });
    // Outside, there is nobody else to wait.
    let child = runtime.block_on(sleeper(&prepared));
    let process = format!("/proc/{}", child.id());
    drop(child);
    assert!(!Path::new(&process).exists());
}

#[test]
fn a_runtime_that_shuts_down_leaves_nothing() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    for runtime in runtimes() {
        let mut child = runtime.block_on(sleeper(&prepared));
        let first = format!("/proc/{}", child.id());
        let waiting = runtime.spawn(async move { child.wait_async().await.map(drop) });
        let child = runtime.block_on(sleeper(&prepared));
        let second = format!("/proc/{}", child.id());
        runtime.block_on(async move { drop(child) });
        drop(runtime);
        assert!(waiting.is_finished());
        assert!(!Path::new(&first).exists() && !Path::new(&second).exists());
    }
}

#[test]
fn waiting_can_be_left_and_taken_up_again() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = prepared(&root);
    in_each(|| {
        let prepared = prepared.clone();
        async move {
            let mut command = sh(
                &prepared,
                "trap 'exit 7' TERM; while :; do sleep 0.01; done",
            );
            let mut child = command.spawn_async().await.unwrap();
            for _ in 0..3 {
                let brief = Duration::from_millis(20);
                let waited = tokio::time::timeout(brief, child.wait_async()).await;
                assert!(waited.is_err());
            }
            assert_eq!(child.try_wait().unwrap(), None);
            tokio::time::sleep(Duration::from_millis(300)).await;
            child.signal(15).unwrap();
            let outcome = child.wait_async().await.unwrap();
            assert_eq!(outcome.end, End::Exited(7));
            assert_eq!(child.wait_async().await.unwrap(), outcome);

            // One that was started the other way, and one that is killed meanwhile.
            let mut child = prepared.command("true").spawn().unwrap();
            assert!(child.wait_async().await.unwrap().success());
            let mut command = prepared.command("sleep");
            let child = command.arg("1000").stdout(Stdio::Piped).spawn_async().await;
            let child = child.unwrap();
            let signaller = child.signaller();
            let output = tokio::spawn(child.wait_with_output_async());
            tokio::task::yield_now().await;
            signaller.kill().unwrap();
            let output = output.await.unwrap().unwrap();
            assert_eq!(output.outcome.end, End::Signalled(9));
        }
    });
}

#[test]
fn commands_of_a_session_and_sandboxes_that_stand_ready() {
    let Some(root) = TinyRoot::new() else { return };
    let session = Arc::new(sandbox(&root).session().unwrap());
    let warm = prepared(&root);
    warm.warm(2).unwrap();
    let parked = || within(LONG, || (warm.warmed() == 2).then_some(()));
    in_each(|| {
        assert!(parked().is_some());
        let (session, warm) = (session.clone(), warm.clone());
        async move {
            let runs = (0..20).map(|i| {
                let session = session.clone();
                tokio::spawn(async move {
                    let script = format!("echo {i} | cat; sleep 0.1; exit {i}");
                    sh_in(&session, &script).output_async().await.unwrap()
                })
            });
            for (i, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
                let output = run.await.unwrap();
                assert_eq!(output.outcome.end, End::Exited(i32::try_from(i).unwrap()));
                assert_eq!(output.stdout, format!("{i}\n").into_bytes());
            }
            let mut command = sh_in(&session, "sleep 1000");
            command.timeout(Duration::from_millis(50));
            let outcome = command.status_async().await.unwrap();
            assert_eq!(outcome.end, End::Limit(Limit::Wall));
            // A command whose future is dropped dies alone.
            let mut command = sh_in(&session, "echo $$ >/tmp/pid; exec sleep 1000");
            let brief = Duration::from_millis(200);
            let run = tokio::time::timeout(brief, command.status_async());
            assert!(run.await.is_err());
            let began = Instant::now();
            loop {
                let script = "kill -0 $(cat /tmp/pid) 2>/dev/null || echo gone";
                let output = sh_in(&session, script).output_async().await.unwrap();
                if output.stdout == b"gone\n" {
                    break;
                }
                assert!(began.elapsed() < LONG);
            }

            let mut child = sleeper(&warm).await;
            let comm = fs::read(format!("/proc/{}/comm", child.id())).unwrap();
            assert!(!comm.is_empty());
            child.kill().unwrap();
            assert_eq!(child.wait_async().await.unwrap().end, End::Killed);
            let output = sh(&warm, "echo warm").output_async().await.unwrap();
            assert_eq!(output.stdout, b"warm\n");
        }
    });
}
