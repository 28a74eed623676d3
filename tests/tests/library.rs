//! The library as a build tool uses it: from a program with threads, pipes and a heap.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandboxlib::core::{ExecProblem, FailedStep};
use sandboxlib::{
    End, Error, Feature, KillScope, Limit, Mount, Network, Prepared, Root, Sandbox, SandboxPath,
    Stdio,
};
use sandboxlib_tests::{TinyRoot, host_can, install};

fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

/// A sandbox in a root of its own that costs little to start.
fn tiny(root: &TinyRoot) -> Prepared {
    Sandbox::new(Root::Dir(root.path().into()))
        .read_only()
        .usual_mounts()
        .network(Network::Shared)
        .backends(["userns"])
        .prepare()
        .unwrap()
}

#[test]
fn runs_and_tells_how_it_ended() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    for status in [0, 1, 42, 255] {
        let outcome = prepared
            .command("sh")
            .args(["-c", &format!("exit {status}")])
            .status()
            .unwrap();
        assert_eq!(outcome.end, End::Exited(status));
        assert!(outcome.wall > Duration::ZERO);
        assert!(outcome.peak_memory.unwrap() > 0);
    }
    for signal in [1, 2, 9, 15] {
        let outcome = prepared
            .command("sh")
            .args(["-c", &format!("kill -{signal} $$")])
            .status()
            .unwrap();
        assert_eq!(outcome.end, End::Signalled(signal));
    }
    assert_eq!(prepared.enforcement().kill_scope, KillScope::Everything);
    assert!(prepared.enforcement().enforced.contains(Feature::ReadOnly));
}

#[test]
fn a_command_that_cannot_be_executed_is_no_command_that_failed() {
    let Some(root) = TinyRoot::new() else { return };
    let mut elf = fs::read("/bin/true").unwrap();
    let loader = elf
        .windows(6)
        .position(|w| w == b"/lib64")
        .expect("a dynamic program");
    elf[loader..loader + 6].copy_from_slice(b"/no-64");
    let put = |name: &str, content: &[u8], mode: u32| {
        install(content, &root.join("/bin").join(name), mode);
    };
    put("text", b"no program", 0o755);
    put("script", b"#! /no/such/interpreter -x\n", 0o755);
    put("plain", b"echo hello\n", 0o644);
    put("dynamic", &elf, 0o755);
    let prepared = tiny(&root);
    let problem = |program: &str| match prepared.command(program).spawn().unwrap_err() {
        Error::Spawn { error, .. } => match error.step {
            FailedStep::Exec { problem, .. } => problem,
            other => panic!("{other:?}"),
        },
        other => panic!("{other}"),
    };
    assert_eq!(problem("no-such-command"), ExecProblem::NotFound);
    assert_eq!(problem("/bin/no-such-command"), ExecProblem::NotFound);
    assert_eq!(problem("/bin/plain"), ExecProblem::NotExecutable);
    assert_eq!(problem("/bin"), ExecProblem::NotExecutable);
    assert_eq!(problem("/bin/text"), ExecProblem::BadFormat);
    let missing = ExecProblem::InterpreterMissing("/no/such/interpreter".into());
    assert_eq!(problem("script"), missing);
    match problem("dynamic") {
        ExecProblem::LoaderMissing(path) => assert!(path.starts_with("/no-64"), "{path:?}"),
        other => panic!("{other:?}"),
    }
    let long = "x".repeat(200 * 1024);
    let error = prepared.command("true").arg(&long).spawn().unwrap_err();
    assert_eq!(error.exec_problem(), Some(&ExecProblem::TooLong));
}

#[test]
fn both_pipes_are_gathered_at_any_volume() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let script = "dd if=/dev/zero bs=1M count=24 2>/dev/null & \
                  dd if=/dev/zero bs=1M count=16 >&2 2>/dev/null & wait; echo end";
    let output = prepared
        .command("sh")
        .args(["-c", script])
        .output()
        .unwrap();
    assert_eq!(output.outcome.end, End::Exited(0));
    assert_eq!(output.stdout.len(), (24 << 20) + 4);
    assert_eq!(output.stderr.len(), 16 << 20);
    assert!(output.stdout.ends_with(b"end\n"));
}

#[test]
fn a_pipe_that_the_command_closes_is_closed() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    for _ in 0..3 {
        let mut command = prepared.command("sh");
        command.args(["-c", "echo last; exec >&-; read line"]);
        command.stdin(Stdio::Piped).stdout(Stdio::Piped);
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        // It comes to an end while the command still waits for input.
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        assert_eq!(said, "last\n");
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

#[test]
fn the_standard_streams_lead_where_they_are_sent() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let dir = tempfile::tempdir().unwrap();

    let mut child = prepared
        .command("cat")
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"through the pipe")
        .unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "through the pipe");
    assert!(child.wait().unwrap().success());

    let file = fs::File::create(dir.path().join("out")).unwrap();
    let status = prepared
        .command("sh")
        .args(["-c", "echo one; echo two >&2"])
        .stdout(file)
        .stderr(Stdio::Stdout)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(
        fs::read_to_string(dir.path().join("out")).unwrap(),
        "one\ntwo\n"
    );

    let output = prepared.command("cat").output().unwrap();
    assert_eq!(output.stdout, b"", "standard input is empty");
}

#[test]
fn files_are_passed_by_name_and_no_others() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    // The caller has many files open; none of them may get in.
    let open: Vec<_> = (0..50)
        .map(|_| fs::File::open("/dev/zero").unwrap())
        .collect();
    let (read, mut write) = std::io::pipe().unwrap();
    let mut command = prepared.command("sh");
    command
        .args(["-c", "cat <&7; cd /proc/self/fd; echo *"])
        .fd(OwnedFd::from(read), 7);
    write.write_all(b"by name\n").unwrap();
    drop(write);
    let output = command.output().unwrap();
    drop(open);
    let text = String::from_utf8(output.stdout).unwrap();
    // The shell has the directory itself open while it lists it.
    let (first, fds) = text.split_once('\n').unwrap();
    assert_eq!(first, "by name");
    let fds: Vec<u32> = fds.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(
        fds.iter().filter(|n| **n != 3).collect::<Vec<_>>(),
        [&0, &1, &2, &7],
        "{fds:?}"
    );
}

#[test]
fn the_environment_is_what_is_set() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let output = prepared
        .command("/bin/env")
        .env("A", "first")
        .env("B", "b\nwith a newline")
        .env("A", "last")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "B=b\nwith a newline\nA=last\n"
    );
}

#[test]
fn a_timeout_kills_everything_in_time() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let began = Instant::now();
    let script = "trap '' TERM INT HUP; setsid sleep 1000 & (sleep 1000 &) ; sleep 1000";
    let output = prepared
        .command("sh")
        .args(["-c", script])
        .timeout(Duration::from_millis(300))
        .output()
        .unwrap();
    assert_eq!(output.outcome.end, End::Limit(Limit::Wall));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn killing_and_dropping_leave_nothing() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let script = "setsid sleep 1001 & (setsid sleep 1001 &); echo ready; sleep 1001";
    for drop_it in [false, true] {
        let mut child = prepared
            .command("sh")
            .args(["-c", script])
            .stdout(Stdio::Piped)
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", child.id()));
        let namespace = match namespace {
            Ok(namespace) => namespace,
            // The init program is not dumpable, so an ordinary user may not look.
            Err(_) => Path::new("unknown").to_owned(),
        };
        let before = processes_in(&namespace);
        if namespace != Path::new("unknown") {
            assert!(before >= 3, "{before} processes");
        }
        if drop_it {
            drop(child);
        } else {
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().end, End::Killed);
        }
        assert_eq!(processes_in(&namespace), 0);
    }
}

fn processes_in(namespace: &Path) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .filter(|e| fs::read_link(e.path().join("ns/pid")).is_ok_and(|ns| ns == namespace))
        .count()
}

#[test]
fn signals_reach_the_command() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let script = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    let mut child = prepared
        .command("sh")
        .args(["-c", script])
        .stdout(Stdio::Piped)
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.signaller().signal(10).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(3));
    assert_eq!(output.stdout, b"got it\n");
}

#[test]
fn sixty_four_threads_allocate_lock_and_spawn_at_once() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let busy = AtomicBool::new(true);
    let done = AtomicUsize::new(0);
    let lock = std::sync::Mutex::new(BTreeMap::<u64, Vec<u8>>::new());
    std::thread::scope(|scope| {
        for n in 0..4u64 {
            let (busy, lock) = (&busy, &lock);
            scope.spawn(move || {
                let mut i = n;
                while busy.load(Ordering::Relaxed) {
                    i = i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let mut map = lock.lock().unwrap();
                    map.insert(i % 512, vec![0; usize::try_from(i % 20_000).unwrap()]);
                }
            });
        }
        let spawners: Vec<_> = (0..64)
            .map(|n| {
                let (prepared, done, lock) = (&prepared, &done, &lock);
                scope.spawn(move || {
                    for round in 0..5 {
                        let text = format!("thread {n} round {round}");
                        let output = prepared
                            .command("sh")
                            .args(["-c", "echo $0; exit $1", &text, &(n % 200).to_string()])
                            .output()
                            .unwrap();
                        assert_eq!(output.outcome.end, End::Exited(n % 200));
                        assert_eq!(output.stdout, format!("{text}\n").into_bytes());
                        lock.lock().unwrap().insert(1000, output.stdout);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for spawner in spawners {
            spawner.join().unwrap();
        }
        busy.store(false, Ordering::Relaxed);
    });
    assert_eq!(done.load(Ordering::Relaxed), 64 * 5);
}

#[test]
fn a_failed_step_is_named() {
    let Some(root) = TinyRoot::new() else { return };
    let prepared = tiny(&root);
    let mut command = prepared.command("true");
    let error = command.cwd(at("/no/such/directory")).spawn().unwrap_err();
    assert!(!error.hints().is_empty());
    match error {
        Error::Spawn { error, .. } => {
            let step = FailedStep::WorkingDirectory(at("/no/such/directory"));
            assert_eq!(error.step, step);
            assert_eq!(error.source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn namespaces_are_to_be_had_singly() {
    let Some(root) = TinyRoot::new() else { return };
    let kinds = ["pid", "ipc", "uts", "cgroup", "net", "time"];
    let own: BTreeMap<&str, _> = kinds
        .iter()
        .map(|kind| {
            (
                *kind,
                fs::read_link(format!("/proc/self/ns/{kind}")).unwrap(),
            )
        })
        .collect();
    for kind in kinds {
        use sandboxlib::Isolation::{Isolated, Shared};
        let only = |k: &str| if k == kind { Isolated } else { Shared };
        // A procfs of its own needs process ids of its own; the host's does to look at.
        let mut sandbox = Sandbox::new(Root::Dir(root.path().into()))
            .read_only()
            .mount(Mount::bind("/proc", at("/proc")))
            .network(if kind == "net" {
                Network::Isolated
            } else {
                Network::Shared
            })
            .backends(["userns"]);
        let namespaces = &mut sandbox.config_mut().namespaces;
        namespaces.pid = only("pid");
        namespaces.ipc = only("ipc");
        namespaces.uts = only("uts");
        namespaces.cgroup = only("cgroup");
        namespaces.time = only("time");
        if kind == "pid" {
            // The host's procfs does not know the process that asks.
            sandbox.config_mut().mounts[0] = Mount::new(at("/proc"), sandboxlib::MountKind::Proc);
        }
        let script = format!(
            "for k in {}; do readlink /proc/self/ns/$k; done",
            kinds.join(" ")
        );
        let prepared = sandbox.prepare().unwrap();
        let output = prepared
            .command("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.outcome.success(), "{kind}: {text} {complaint}");
        for (k, seen) in kinds.iter().zip(text.lines()) {
            let same = own[k] == Path::new(seen);
            assert_eq!(same, *k != kind, "{kind} isolated, {k}: {seen}");
        }
    }
}

#[test]
fn an_ordered_choice_lists_every_candidate_with_its_reason() {
    let mut sandbox = Sandbox::new(Root::Dir("/".into())).backends(["chroot", "chroot"]);
    sandbox.config_mut().network = Network::Isolated;
    match sandbox.check().unwrap_err() {
        Error::Negotiate { candidates } => {
            assert_eq!(candidates.len(), 2);
            assert!(candidates.iter().all(|c| c.backend == "chroot"));
        }
        other => panic!("{other}"),
    }
    let error = Sandbox::new(Root::Host)
        .backends(["nonsense"])
        .check()
        .unwrap_err();
    assert!(
        matches!(&error, Error::UnknownBackend { name, .. } if name == "nonsense"),
        "{error}"
    );
}

#[test]
fn a_check_runs_nothing_and_changes_nothing() {
    if !host_can() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let sandbox = Sandbox::new(Root::Dir(root.clone()))
        .usual_mounts()
        .backends(["userns"]);
    let check = sandbox.check().unwrap();
    let created: Vec<_> = check
        .enforcement
        .created_on_host
        .iter()
        .map(|p| p.to_string())
        .collect();
    assert_eq!(created, ["/proc", "/dev", "/tmp"]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}
