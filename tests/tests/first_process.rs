//! The command as process 1, with no init program above it: what is as it always is, and what is
//! not.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use sandboxlib::config::{Isolation, Mount, MountKind};
use sandboxlib::core::FailedStep;
use sandboxlib::{
    Command, End, Error, Ids, Limit, Limits, Prepared, Root, Sandbox, SandboxPath, Seccomp, Stdio,
    Tty, WindowSize,
};
use sandboxlib_tests::watch::{self, MARK};
use sandboxlib_tests::{RunSandbox, TinyRoot};

/// One test counts the descriptors of the program, and is alone then.
static ALONE: RwLock<()> = RwLock::new(());

fn with_others() -> RwLockReadGuard<'static, ()> {
    ALONE.read().unwrap_or_else(PoisonError::into_inner)
}

const LONG: Duration = Duration::from_secs(20);

fn sandbox(root: &TinyRoot) -> Sandbox {
    Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"])
}

fn sh<'p>(prepared: &'p Prepared, script: &str) -> Command<'p> {
    let mut command = prepared.command("sh");
    command.args(["-c", script]).as_pid_1();
    command
}

fn prints(command: &mut Command<'_>) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_is_process_1_and_alone() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let script = "echo $$ $PPID; cd /proc; echo [0-9]*; readlink self/exe; ls self/fd";
    let told = prints(&mut sh(&prepared, script));
    // `ls` has one more, the directory that it reads.
    assert_eq!(told, "1 0\n1\n/bin/busybox\n0\n1\n2\n3\n");
    // Beside it, what others see: the init program, and the command as process 2.
    let mut usual = prepared.command("sh");
    usual.args(["-c", "echo $$; cat /proc/1/comm"]);
    assert_eq!(prints(&mut usual), "2\nsandbox-init\n");
}

/// What a command sees of itself and of its sandbox is the same but for the process ids.
#[test]
fn everything_else_is_as_with_an_init_program() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let mut limits = Limits::default();
    (limits.open_files, limits.core) = (Some(33), Some(0));
    let kinds: [fn(Sandbox) -> Sandbox; 4] = [
        |sandbox| sandbox,
        |sandbox| sandbox.read_only().seccomp(Seccomp::None),
        |sandbox| sandbox.ids(Ids::Pair { uid: 0, gid: 0 }),
        |mut sandbox| {
            sandbox.config_mut().landlock = false;
            sandbox.allow_nested()
        },
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let prepared = kind(sandbox(&root)).prepare().unwrap();
        // Not which process it is, nor how often it waited for a processor, nor what memory it has.
        let status = "cat /proc/self/status | while read -r a b; do case $a in \
            Uid:|Gid:|Groups:|Sig[BIC]*|Cap*|NoNewPrivs:|Seccomp*|Umask:) echo $a $b;; esac; done";
        for script in [
            status,
            "id; pwd; env; umask; hostname; ls -a / /dev /tmp; ulimit -a",
            "cat /proc/self/limits /proc/self/mountinfo | sed 's/^[0-9]* [0-9]* [0-9:]* //'",
            "cat; echo error >&2; cat <&5",
            "for n in /proc/self/ns/*; do echo ${n##*/}; done",
        ] {
            let run = |first: bool| {
                let mut command = prepared.command("sh");
                command.args(["-c", script]).limits(limits);
                command.cwd(SandboxPath::new("/tmp").unwrap()).env("A", "b");
                let (read, mut write) = std::io::pipe().unwrap();
                write.write_all(b"through 5\n").unwrap();
                drop(write);
                command.fd(OwnedFd::from(read), 5);
                let (read, mut write) = std::io::pipe().unwrap();
                write.write_all(b"input\n").unwrap();
                drop(write);
                command.stdin(Stdio::Fd(read.into()));
                if first {
                    command.as_pid_1();
                }
                let output = command.output().unwrap();
                let text = |bytes| String::from_utf8(bytes).unwrap();
                (output.outcome.end, text(output.stdout), text(output.stderr))
            };
            let (as_first, usual) = (run(true), run(false));
            assert_eq!(as_first, usual, "{number}: {script}");
            assert!(!usual.1.is_empty(), "{number}: {script}");
        }
    }
}

#[test]
fn it_ends_as_it_ends() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let end = |script: &str| sh(&prepared, script).output().unwrap().outcome.end;
    assert_eq!(end("exit 0"), End::Exited(0));
    assert_eq!(end("exit 77"), End::Exited(77));
    // A signal of its own without a handler does nothing to process 1, not even SIGKILL.
    assert_eq!(end("kill -9 $$; kill -15 $$; exit 5"), End::Exited(5));
    assert_eq!(
        end("trap 'exit 6' TERM; kill -15 $$; exit 5"),
        End::Exited(6)
    );

    // From outside too, but for SIGKILL.
    let mut child = sh(
        &prepared,
        "trap 'exit 7' USR1; echo; while :; do sleep 0.1; done",
    );
    let mut child = child.stdout(Stdio::Piped).spawn().unwrap();
    let mut byte = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    child.signal(TERM).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none());
    child.signal(USR1).unwrap();
    assert_eq!(child.wait().unwrap().end, End::Exited(7));

    let mut child = sh(&prepared, "sleep 1000 & sleep 1000").spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().end, End::Killed);
    let mut child = sh(&prepared, "sleep 1000").spawn().unwrap();
    watch::signal(child.id(), "KILL");
    assert_eq!(child.wait().unwrap().end, End::Signalled(9));
}

const USR1: i32 = 10;
const TERM: i32 = 15;

/// Where the kernel would forget it (wait(2)): refused, and not told wrongly.
#[test]
fn how_it_ends_is_known_or_it_does_not_begin() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    for (option, status) in [("--as-pid-1", 125), ("--read-only", 5)] {
        let usual = RunSandbox::new(root.path())
            .options(option)
            .command(&[&"sh", &"-c", &"echo ran; exit 5"])
            .line();
        let mut command = std::process::Command::new("env");
        command.arg("--ignore-signal=CHLD");
        command.arg(usual.get_program()).args(usual.get_args());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(output.stdout.is_empty(), status == 125, "{output:?}");
    }
}

/// Each of the ways in which a command can be none is told as with an init program, also where a
/// filter closes what it takes to find out, as far as that goes.
#[test]
fn what_cannot_be_executed_is_told() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let put = |name: &str, content: &[u8], mode| {
        fs::write(root.join(name), content).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    put("bin/plain", b"#!/bin/sh\n", 0o644);
    put("bin/script", b"#!/no/where -x\n", 0o755);
    put("bin/bad", b"\x7fELF but no more", 0o755);
    symlink("loop", root.join("bin/loop")).unwrap();
    let prepared = sandbox(&root).prepare().unwrap();
    for program in [
        "nowhere",
        "/bin/nowhere",
        "plain",
        "/bin/plain",
        "script",
        "bad",
        "/tmp",
    ] {
        let failure = |first: bool| {
            let mut command = prepared.command(program);
            command.env("PATH", "/none:/bin:/sbin");
            if first {
                command.as_pid_1();
            }
            match command.spawn() {
                Err(Error::Spawn { error, .. }) => {
                    (format!("{:?}", error.step), error.source.raw_os_error())
                }
                other => panic!("{program}: {other:?}"),
            }
        };
        assert_eq!(failure(true), failure(false), "{program}");
    }
    let mut command = sh(&prepared, "true");
    match command.cwd(SandboxPath::new("/nowhere").unwrap()).spawn() {
        Err(Error::Spawn { error, .. }) => {
            assert!(
                matches!(error.step, FailedStep::WorkingDirectory(_)),
                "{error:?}"
            );
        }
        other => panic!("{other:?}"),
    }

    // The filter kills who looks for a file that is missing.
    let text =
        "default = \"kill\"\n[[rule]]\ncall = [\"execve\", \"exit_group\"]\naction = \"allow\"\n";
    let filter = root.join("filter.toml");
    fs::write(&filter, text).unwrap();
    let done = RunSandbox::new(root.path())
        .options("--as-pid-1")
        .option("--seccomp", &[&filter])
        .command(&[&"/bin/script"])
        .run();
    let told = "run-sandbox: cannot execute \"/bin/script\": No such file or directory\n";
    assert_eq!(
        (done.status.code(), &*done.err),
        (Some(126), told),
        "{done:#?}"
    );
}

/// Where it cannot be: refused, and nothing is run.
#[test]
fn it_is_refused_with_a_reason() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let why = |prepared: &Prepared, tty: bool| {
        let mut command = sh(prepared, "true");
        if tty {
            command.tty(Tty::new(WindowSize {
                rows: 9,
                columns: 9,
            }));
        }
        match command.spawn() {
            Err(Error::Spawn { error, .. }) => {
                assert_eq!(error.step, FailedStep::FirstProcess);
                assert!(!error.hints.is_empty(), "{error:?}");
                error.source.to_string()
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(why(&sandbox(&root).prepare().unwrap(), true).contains("terminal"));
    let mut shared = Sandbox::new(Root::Dir(root.path().into())).backends(["userns"]);
    let dev = SandboxPath::new("/dev").unwrap();
    shared = shared.mount(Mount::new(dev, MountKind::Dev));
    shared.config_mut().namespaces.pid = Isolation::Shared;
    let reason = why(&shared.prepare().unwrap(), false);
    assert!(reason.contains("process id namespace"), "{reason}");
    let session = sandbox(&root).prepare().unwrap().session().unwrap();
    let mut command = session.command("true");
    let refused = command.as_pid_1().spawn().map(drop).unwrap_err();
    assert!(format!("{refused:?}").contains("session"), "{refused:?}");
    drop(session);

    for options in [
        "--tty",
        "--share pid --bare --dev /dev",
        "--backend chroot --prefer all --share pid",
    ] {
        let done = RunSandbox::new(root.path())
            .options(&format!("--as-pid-1 {options}"))
            .sh("echo ran");
        assert_eq!(done.out, "", "{done:#?}");
        assert_eq!(done.status.code(), Some(125), "{done:#?}");
    }
}

#[test]
fn limits_hold_and_count_it() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let crowd = |most: u64, script: &str, first: bool| {
        let mut sandbox = sandbox(&root);
        sandbox.config_mut().limits.processes = Some(most);
        sandbox.config_mut().control_groups = sandboxlib::ControlGroups::None;
        let prepared = sandbox.prepare().unwrap();
        let mut command = prepared.command("sh");
        command.args(["-c", script]);
        if first {
            command.as_pid_1();
        }
        command.output().unwrap().outcome.end
    };
    let four = "sleep 1 & sleep 1 & sleep 1 & wait";
    for first in [true, false] {
        assert_eq!(crowd(4, four, first), End::Exited(0), "{first}");
        assert_eq!(
            crowd(3, four, first),
            End::Limit(Limit::Processes),
            "{first}"
        );
    }
    let prepared = sandbox(&root).prepare().unwrap();
    let mut command = sh(&prepared, "trap '' TERM; sleep 1000");
    let command = command.timeout(Duration::from_millis(300));
    assert_eq!(
        command.output().unwrap().outcome.end,
        End::Limit(Limit::Wall)
    );
}

/// When it has ended nothing of it is left, nor when the caller has been killed.
#[test]
fn nothing_is_left() {
    let _others = with_others();
    let Some(root) = TinyRoot::new() else { return };
    let leave = "(setsid sleep 1000 &) ; sleep 1000 & echo";
    let mark = watch::new_mark();
    let prepared = sandbox(&root).prepare().unwrap();
    sh(&prepared, leave).env(MARK, &mark).output().unwrap();
    assert_eq!(watch::marked(&mark), []);

    let mut child = RunSandbox::new(root.path())
        .options(&format!("--as-pid-1 --env {MARK}={mark}"))
        .start_sh(&format!("{leave}; while :; do sleep 1; done"));
    let all = || (watch::marked(&mark).len() >= 4).then_some(());
    assert!(
        watch::within(LONG, all).is_some(),
        "{:?}",
        watch::marked(&mark)
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = || watch::marked(&mark).is_empty().then_some(());
    assert!(
        watch::within(LONG, gone).is_some(),
        "{:?}",
        watch::marked(&mark)
    );
}

/// Descriptors of the caller do not come along, and none is left open by many starts.
#[test]
fn no_descriptor_leaks() {
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    let Some(root) = TinyRoot::new() else { return };
    let prepared = sandbox(&root).prepare().unwrap();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let kept = File::open(root.path()).unwrap();
    // The second start is the first from a template, which is kept.
    prints(&mut sh(&prepared, "true"));
    prints(&mut sh(&prepared, "true"));
    let before = count();
    for _ in 0..20 {
        assert_eq!(
            prints(&mut sh(&prepared, "ls /proc/self/fd")),
            "0\n1\n2\n3\n"
        );
        let refused = prepared.command("nowhere").as_pid_1().spawn();
        assert!(refused.is_err());
    }
    assert_eq!(count(), before);
    drop(kept);
    assert!(Path::new("/proc/self").exists());
}
