//! What ends a run ends all of it, also what does not want to, and what has left.

use std::time::{Duration, Instant};

use sandboxlib::config::{Isolation, Mount, MountKind};
use sandboxlib::{End, Prepared, Root, Sandbox, SandboxPath};
use sandboxlib_tests::watch::{self, MARK};
use sandboxlib_tests::{RunSandbox, TinyRoot};

use super::{is_root, root, run};

/// A child of a session of its own, daemons by a double fork, one of which has a child that knows
/// no parent any more, and all of them ignore what can be ignored.
const TREE: &str = "trap '' TERM HUP INT
    setsid sleep 1000 &
    (setsid sh -c '(sleep 1000 &) ; sleep 1000' &)
    (setsid sh -c '(setsid sleep 1000 &) ; exec sleep 1000' &)
    while :; do sleep 1; done";

/// The shell, and what it has started, at least: a shell may execute its last command itself.
const PROCESSES: usize = 6;

/// With a process id namespace and without, by both backends that need no helper.
fn ways() -> &'static [&'static str] {
    if is_root() {
        &[
            "",
            "--bare --dev /dev --share pid",
            "--backend chroot --prefer all",
            "--backend chroot --prefer all --share pid",
        ]
    } else {
        &["", "--bare --dev /dev --share pid"]
    }
}

#[test]
fn time_that_is_up() {
    let Some(root) = root() else { return };
    for way in ways() {
        for options in [
            "--timeout 700ms",
            "--timeout 500ms --kill-after 200ms",
            "--timeout 700ms --memory 1G --processes 100",
        ] {
            let mark = watch::new_mark();
            let began = Instant::now();
            let done = RunSandbox::new(root.path())
                .options(&format!("{way} {options} --env {MARK}={mark}"))
                .sh(&format!("{TREE} & sleep 0.3; echo ready; wait"));
            assert_eq!(watch::marked(&mark), [], "{way} {options}");
            assert_eq!(
                (done.out.as_str(), done.status.code()),
                ("ready\n", Some(124)),
                "{way} {options}: {done:#?}"
            );
            let took = began.elapsed();
            assert!(took < Duration::from_secs(3), "{way} {options}: {took:?}");
        }
    }
}

fn prepared(root: &TinyRoot, shared: bool) -> Prepared {
    let mut sandbox = Sandbox::new(Root::Dir(root.path().into())).read_only();
    if shared {
        // No /proc of its own without process ids of its own.
        let dev = SandboxPath::new("/dev").unwrap();
        sandbox = sandbox.mount(Mount::new(dev, MountKind::Dev));
        sandbox.config_mut().namespaces.pid = Isolation::Shared;
    } else {
        sandbox = sandbox.usual_mounts();
    }
    sandbox.backends(["userns"]).prepare().unwrap()
}

#[test]
fn by_hand_and_by_being_dropped() {
    let Some(root) = root() else { return };
    for shared in [false, true] {
        let prepared = prepared(&root, shared);
        for dropped in [false, true] {
            let mark = watch::new_mark();
            let mut command = prepared.command("sh");
            command.args(["-c", TREE]).env(MARK, &mark);
            let mut child = command.spawn().unwrap();
            let all = || (watch::marked(&mark).len() >= PROCESSES).then_some(());
            let all = watch::within(Duration::from_secs(10), all);
            assert!(all.is_some(), "{:#?}", watch::marked(&mark));
            if dropped {
                drop(child);
            } else {
                child.kill().unwrap();
                assert_eq!(child.wait().unwrap().end, End::Killed);
            }
            assert_eq!(watch::marked(&mark), [], "{shared} {dropped}");
        }
    }
}

/// Where no process id namespace ends them, they have to be caught one by one.
#[test]
fn a_fork_bomb_without_a_process_id_namespace() {
    let Some(root) = root() else { return };
    for kind in ["fork", "away"] {
        for _ in 0..10 {
            let mark = watch::new_mark();
            let options =
                format!("--bare --share pid --processes 32 --timeout 20s --env {MARK}={mark}");
            let (done, report) = run(&root, &options, &format!("exec bomb {kind}"));
            assert_eq!(watch::marked(&mark), [], "{kind}");
            assert_eq!(report["limit"], "processes", "{done:#?}");
            let wall = report["wall_seconds"].as_f64().unwrap();
            assert!(wall < 2.0, "{kind}: {wall}");
        }
    }
}
