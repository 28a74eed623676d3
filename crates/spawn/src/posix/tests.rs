use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sandboxlib_config::{Limit, Limits, SandboxPath};
use sandboxlib_core::{CapSet, End, ExecProblem, NamespaceSet, ProcessLimits, Started};

use super::*;
use crate::run::Stdio;
use crate::signals::block_signals;

fn script(steps: Vec<Step>) -> Script {
    Script::new(&ChildScript { steps }).unwrap()
}

fn plain() -> Script {
    script(vec![Step::Session])
}

fn sh(text: &str) -> Run {
    let mut run = Run::new("sh");
    run.args = vec!["-c".into(), text.into()];
    run
}

fn piped(text: &str) -> Run {
    Run {
        stdin: Stdio::Null,
        stdout: Stdio::Piped,
        stderr: Stdio::Piped,
        ..sh(text)
    }
}

fn printed(run: &Run) -> (End, String, String) {
    let (outcome, out, err) = plain().start(run).unwrap().wait_with_output().unwrap();
    assert_eq!(outcome.started, Started::Yes);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (outcome.end, text(out), text(err))
}

fn as_root() -> bool {
    crate::caller_ids().0 == 0
}

/// Waits until `done`, for a while.
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ends() {
    for (text, end) in [
        ("exit 0", End::Exited(0)),
        ("exit 7", End::Exited(7)),
        ("exit 255", End::Exited(255)),
        ("kill -TERM $$", End::Signalled(libc::SIGTERM)),
        ("kill -KILL $$", End::Signalled(libc::SIGKILL)),
    ] {
        let mut child = plain().start(&sh(text)).unwrap();
        assert!(!child.is_contained());
        let outcome = child.wait().unwrap();
        assert_eq!(outcome.end, end, "{text}");
        assert_eq!(outcome.pid, child.id());
        assert!(outcome.peak_memory.is_some_and(|bytes| bytes > 10_000));
        assert!(outcome.wall > Duration::ZERO);
        // The end stays what it was.
        assert_eq!(child.wait().unwrap(), outcome);
        assert_eq!(child.try_wait().unwrap(), Some(outcome));
    }
}

#[test]
fn time_on_a_processor_is_counted() {
    let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let outcome = plain().start(&sh(work)).unwrap().wait().unwrap();
    assert!(outcome.user > Duration::from_millis(5), "{outcome:?}");
    assert!(outcome.user <= outcome.wall * 4);
}

#[test]
fn the_command_has_what_it_was_given() {
    let mut run = piped("printf '%s|%s|%s|%s' \"$0\" \"$1\" \"$A\" \"$PWD\"; env");
    run.args.extend(["zero".into(), "o n\ne".into()]);
    run.env = vec![
        ("A".into(), "b=c".into()),
        ("PATH".into(), "/usr/bin:/bin".into()),
    ];
    run.cwd = SandboxPath::new("/usr").unwrap();
    let (end, out, err) = printed(&run);
    assert_eq!(end, End::Exited(0), "{err}");
    let (given, env) = out.split_at(out.find("/usr").unwrap() + 4);
    assert_eq!(given, "zero|o n\ne|b=c|/usr");
    for line in env.lines() {
        let name = line.split('=').next().unwrap();
        assert!(
            ["A", "PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name),
            "{line}"
        );
    }
}

#[test]
fn standard_streams() {
    let mut run = piped("cat; echo err >&2");
    run.stdin = Stdio::Piped;
    let mut child = plain().start(&run).unwrap();
    child.stdin.as_mut().unwrap().write_all(b"in").unwrap();
    let (_, out, err) = child.wait_with_output().unwrap();
    assert_eq!((&out[..], &err[..]), (&b"in"[..], &b"err\n"[..]));

    let mut run = piped("echo one; echo two >&2; echo three");
    run.stderr = Stdio::Stdout;
    assert_eq!(printed(&run).1, "one\ntwo\nthree\n");

    let mut file = tempfile::tempfile().unwrap();
    let mut run = piped("echo text");
    run.stdout = file.try_clone().unwrap().into();
    assert_eq!(printed(&run).1, "");
    std::io::Seek::rewind(&mut file).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text\n");
}

#[test]
fn a_wait_goes_on_where_it_was_left() {
    let run = piped("echo one; sleep 0.2; echo two; echo three >&2");
    let mut child = plain().start(&run).unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    assert_eq!(child.wait_with_output_until(soon).unwrap(), None);
    let late = Instant::now() + Duration::from_secs(60);
    let (outcome, out, err) = child.wait_with_output_until(late).unwrap().unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert_eq!((&out[..], &err[..]), (&b"one\ntwo\n"[..], &b"three\n"[..]));
}

#[test]
fn ten_megabytes_on_each_stream() {
    let text = "(head -c 10485760 /dev/zero >&2) & head -c 10485760 /dev/zero; wait";
    let mut child = plain().start(&piped(text)).unwrap();
    let (outcome, out, err) = child.wait_with_output().unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert_eq!((out.len(), err.len()), (10 << 20, 10 << 20));
}

#[test]
fn files_are_passed_by_name_and_no_others() {
    let (mut read, write) = std::io::pipe().unwrap();
    let (inherited, _other) = std::io::pipe().unwrap();
    // One that is inherited by mistake, as from a library in C.
    let leak: OwnedFd = inherited.into();
    // SAFETY: fcntl with numbers alone, on a descriptor that is open.
    let leaked = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&leak), libc::F_DUPFD, 30) };
    assert!(leaked >= 30);
    for number in [3, 4, 5, 9] {
        let text = format!(
            "echo hello >&{number}; \
             for f in 3 4 5 6 7 8 9; do (: >&$f) 2>/dev/null && echo $f; done; \
             test -e /dev/fd/{leaked} && echo leaked",
        );
        let mut run = piped(&text);
        run.fds = vec![(write.try_clone().unwrap().into(), number)];
        let (_, out, err) = printed(&run);
        assert_eq!(out, format!("{number}\n"), "{err}");
    }
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n".repeat(4));
    // SAFETY: the descriptor was made above and nobody else owns it.
    unsafe { libc::close(leaked) };

    let mut run = sh("");
    run.fds = vec![(leak, 2)];
    let error = plain().start(&run).unwrap_err();
    assert!(matches!(error.step, FailedStep::Lower { .. }), "{error}");
}

#[test]
fn many_passed_files_do_not_lose_the_word_that_all_is_well() {
    // Numbers at which std may have its own descriptors in the child.
    let file = tempfile::tempfile().unwrap();
    let mut run = piped("exit 3");
    run.fds = (3..40)
        .map(|n| (file.try_clone().unwrap().into(), n))
        .collect();
    assert_eq!(printed(&run).0, End::Exited(3));
    run.program = "/nonexistent".into();
    let error = plain().start(&run).unwrap_err();
    assert!(matches!(error.step, FailedStep::Exec { .. }), "{error}");
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    // In a thread of its own, whose mask the others do not share.
    std::thread::spawn(|| {
        block_signals(&[libc::SIGTERM, libc::SIGUSR1]).unwrap();
        let outcome = plain()
            .start(&sh("kill -USR1 $$; exit 1"))
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(outcome.end, End::Signalled(libc::SIGUSR1));
    })
    .join()
    .unwrap();
}

#[test]
fn signals_and_kills() {
    let trap = "trap 'echo caught; exit 5' TERM; echo ready; i=0; while [ $i -lt 500 ]; do i=$((i+1)); sleep 0.05; done";
    let mut child = plain().start(&piped(trap)).unwrap();
    let mut word = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut word)
        .unwrap();
    let signaller = child.signaller();
    child.signal(libc::SIGTERM).unwrap();
    let (outcome, out, _) = child.wait_with_output().unwrap();
    assert_eq!((outcome.end, &out[..]), (End::Exited(5), &b"caught\n"[..]));
    let late = signaller.signal(libc::SIGTERM).unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    signaller.kill().unwrap();
    assert_eq!(
        signaller.signal(0).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );

    let mut child = plain().start(&sh("sleep 100")).unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().end, End::Killed);
    // The command may have an end of its own before it is killed.
    let mut child = plain().start(&sh("exit 4")).unwrap();
    soon("the end", || has_zombie(child.id()));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().end, End::Exited(4));
}

/// Whether the process has ended and was not waited for.
fn has_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains(") Z ")
}

fn exists(pid: &str) -> bool {
    let pid: i32 = pid.trim().parse().unwrap();
    // SAFETY: signal 0 only asks.
    let there = unsafe { libc::kill(pid, 0) } == 0;
    there && !has_zombie(u32::try_from(pid).unwrap())
}

#[test]
fn the_whole_group_ends_with_the_command() {
    for text in [
        // The command ends and leaves somebody.
        "sleep 100 >/dev/null 2>&1 & echo $!",
        // It is killed.
        "sleep 100 >/dev/null 2>&1 & echo $!; exec >/dev/null; wait",
    ] {
        let mut child = plain().start(&piped(text)).unwrap();
        let mut line = String::new();
        while !line.ends_with('\n') {
            let mut byte = [0];
            child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut byte)
                .unwrap();
            line.push(char::from(byte[0]));
        }
        if text.ends_with("wait") {
            assert!(exists(&line));
            drop(child);
        } else {
            assert_eq!(child.wait().unwrap().end, End::Exited(0));
        }
        soon("the background process ends", || !exists(&line));
    }
}

#[test]
fn without_a_session_it_has_a_group_of_its_own() {
    let (_, out, _) = script(vec![])
        .start(&piped("ps -o pgid= -p $$; echo $$"))
        .unwrap()
        .wait_with_output()
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    let ids: Vec<&str> = text.split_whitespace().collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{text}");
}

#[test]
fn time_is_up() {
    for gather in [false, true] {
        let began = Instant::now();
        let mut child = plain()
            .start(&piped("trap '' TERM; sleep 100 & sleep 100; wait"))
            .unwrap();
        child.set_timeout(Duration::from_millis(200));
        let outcome = if gather {
            child.wait_with_output().unwrap().0
        } else {
            child.wait().unwrap()
        };
        assert_eq!(outcome.end, End::Limit(Limit::Wall));
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(outcome.wall >= Duration::from_millis(200));
    }
    let mut child = plain().start(&sh("exit 3")).unwrap();
    child.set_timeout(Duration::from_secs(60));
    assert_eq!(child.wait().unwrap().end, End::Exited(3));
    let mut child = plain().start(&sh("sleep 100")).unwrap();
    child.set_timeout(Duration::MAX);
    assert_eq!(child.try_wait().unwrap(), None);
}

#[test]
fn a_command_whose_time_is_up_may_clean_up() {
    let mut limits = Limits::default();
    limits.wall = Some(Duration::from_millis(200));
    limits.kill_after = Some(Duration::from_secs(5));
    let text = "trap 'echo cleaned; exit 5' TERM; while :; do sleep 0.05; done";
    let mut child = plain().start(&piped(text)).unwrap();
    child.set_limits(limits);
    let (outcome, out, _) = child.wait_with_output().unwrap();
    assert_eq!(outcome.end, End::Limit(Limit::Wall));
    assert_eq!((outcome.exit_code, &*out), (Some(5), &b"cleaned\n"[..]));
    let began = Instant::now();
    limits.kill_after = Some(Duration::from_millis(200));
    let text = "trap '' TERM; while :; do sleep 0.05; done";
    let mut child = plain().start(&piped(text)).unwrap();
    child.set_limits(limits);
    assert_eq!(child.wait().unwrap().end, End::Limit(Limit::Wall));
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[test]
fn what_is_printed_has_a_limit() {
    let mut limits = Limits::default();
    limits.output = Some(100_000);
    for text in ["yes", "yes >&2", "head -c 100001 /dev/zero"] {
        let mut child = plain().start(&piped(text)).unwrap();
        child.set_limits(limits);
        let (outcome, out, err) = child.wait_with_output().unwrap();
        assert_eq!(outcome.end, End::Limit(Limit::Output), "{text}");
        assert_eq!(out.len() + err.len(), 100_000, "{text}");
    }
    let mut child = plain().start(&piped("head -c 100000 /dev/zero")).unwrap();
    child.set_limits(limits);
    let (outcome, out, _) = child.wait_with_output().unwrap();
    assert_eq!((outcome.end, out.len()), (End::Exited(0), 100_000));
}

#[test]
fn it_can_be_waited_for_in_steps() {
    use std::os::fd::AsRawFd as _;
    let readable = |fd: &OwnedFd, wait| {
        let wish = crate::streams::Wish::Read(fd.as_raw_fd());
        let [ready] = poll::wait([wish], Some(wait)).unwrap();
        ready
    };
    let long = Duration::from_secs(20);
    let mut child = plain().start(&sh("sleep 1000")).unwrap();
    let fd = child.wait_fd().unwrap();
    assert_eq!(child.next_look(), None);
    assert!(!readable(&fd, Duration::from_millis(50)));
    child.set_timeout(Duration::from_millis(100));
    let due = child.next_look().unwrap();
    assert!(due <= Instant::now() + Duration::from_millis(100));
    soon("its time is up", || child.try_wait().unwrap().is_some());
    assert!(readable(&fd, long));
    let end = child.try_wait().unwrap().unwrap().end;
    assert_eq!(end, End::Limit(Limit::Wall));

    // Printed too much, and the outcome tells, before the end and after.
    let mut limits = Limits::default();
    limits.output = Some(3);
    for text in ["sleep 1000", "exit 0"] {
        let mut child = plain().start(&sh(text)).unwrap();
        child.set_limits(limits);
        let mut quota = child.quota();
        assert_eq!(quota.take(b"abcd"), b"abc");
        assert!(quota.is_over());
        if text == "exit 0" {
            child.wait().unwrap();
        }
        child.exceed_output().unwrap();
        assert_eq!(child.wait().unwrap().end, End::Limit(Limit::Output));
    }

    // Killed by one, waited for by another.
    let mut child = plain().start(&sh("sleep 1000")).unwrap();
    let (pid, fd) = (child.id(), child.wait_fd().unwrap());
    let mut rest = child.condemn().unwrap();
    assert_eq!(child.try_wait().unwrap().unwrap().end, End::Killed);
    assert!(child.condemn().is_none());
    drop(child);
    assert!(readable(&fd, long));
    assert!(has_zombie(pid), "nobody has waited for it");
    assert_eq!(rest.wait().unwrap().end, End::Killed);
    assert!(!has_zombie(pid));
}

#[test]
fn each_process_has_limits() {
    let mut each = ProcessLimits::default();
    each.open_files = Some(20);
    each.core = Some(0);
    each.file_size = Some(4096);
    let script = script(vec![Step::Session, Step::ProcessLimits(each)]);
    let mut run = piped("ulimit -n; ulimit -Hc; head -c 8192 /dev/zero > \"$1\"");
    let file = tempfile::NamedTempFile::new().unwrap();
    run.args.extend(["sh".into(), file.path().into()]);
    let mut limits = Limits::default();
    limits.file_size = each.file_size;
    let mut child = script.start(&run).unwrap();
    child.set_limits(limits);
    let (outcome, out, _) = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "20\n0\n");
    assert_eq!(outcome.end, End::Limit(Limit::FileSize), "{outcome:?}");
    assert_eq!(file.path().metadata().unwrap().len(), 4096);
}

#[test]
fn somebody_who_got_away_with_the_pipe_is_not_waited_for() {
    // setsid(1) leaves the group, so it survives and holds the pipe open.
    let text = "setsid sleep 3 & echo out; exit 0";
    let began = Instant::now();
    let (end, out, _) = printed(&piped(text));
    assert_eq!((end, out.as_str()), (End::Exited(0), "out\n"));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn signals_are_forwarded() {
    // In a process of its own, all of whose threads have the signals blocked.
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "posix::tests::a_process_that_forwards",
            "--nocapture",
        ])
        .env(FORWARDS, "1")
        .stdout(std::process::Stdio::piped());
    // SAFETY: the closure makes no call but sigaddset, sigemptyset and pthread_sigmask, which
    // are safe after fork(2).
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            block_signals(&[libc::SIGUSR1, libc::SIGUSR2])
        });
    }
    let mut process = command.spawn().unwrap();
    let mut out = std::io::BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0);
    }
    for expected in ["usr1", "usr2"] {
        let signal = if expected == "usr1" {
            libc::SIGUSR1
        } else {
            libc::SIGUSR2
        };
        let pid = libc::pid_t::try_from(process.id()).unwrap();
        // SAFETY: kill takes numbers, and the process has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        line.clear();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line.trim(), expected);
    }
    // What the test harness says besides.
    std::io::Read::read_to_string(&mut out, &mut line).unwrap();
    assert!(process.wait().unwrap().success());
}

/// Set where [`a_process_that_forwards`] is the process that signals_are_forwarded has started.
const FORWARDS: &str = "SANDBOXLIB_TEST_FORWARDS";

/// The inner half of signals_are_forwarded, which alone gives it signals to forward.
#[test]
fn a_process_that_forwards() {
    if std::env::var_os(FORWARDS).is_none() {
        return;
    }
    let text = "trap 'echo usr1' USR1; trap 'echo usr2; exit 6' USR2; echo ready; \
                i=0; while [ $i -lt 500 ]; do i=$((i+1)); sleep 0.02; done";
    let mut child = plain().start(&sh(text)).unwrap();
    let outcome = child
        .wait_forwarding(&[libc::SIGUSR1, libc::SIGUSR2])
        .unwrap();
    assert_eq!(outcome.end, End::Exited(6));
    // Nobody forwards any more, and the thread that did is gone.
    let outcome = plain()
        .start(&sh("exit 2"))
        .unwrap()
        .wait_forwarding(&[])
        .unwrap();
    assert_eq!(outcome.end, End::Exited(2));
}

fn refused(script: &Script, run: &Run) -> (ExecProblem, Option<i32>) {
    let error = script.start(run).unwrap_err();
    assert_eq!(error.started, Started::No);
    match error.step {
        FailedStep::Exec { program, problem } => {
            assert_eq!(program.as_os_str(), run.program);
            (problem, error.source.raw_os_error())
        }
        other => panic!("{other}"),
    }
}

#[test]
fn commands_that_cannot_be_executed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let mut elf = std::fs::read(std::fs::canonicalize("/bin/sh").unwrap()).unwrap();
    let at = elf
        .windows(9)
        .position(|w| w == b"/lib64/ld" || w == b"/lib/ld-l")
        .unwrap();
    elf[at..at + 4].copy_from_slice(b"/gon");
    let loader = elf[at..].split(|b| *b == 0).next().unwrap().to_vec();
    let loader = String::from_utf8(loader).unwrap();
    std::os::unix::fs::symlink("script", dir.path().join("link")).unwrap();
    let cases: Vec<(PathBuf, ExecProblem)> = vec![
        ("/nonexistent".into(), ExecProblem::NotFound),
        ("/nonexistent/x".into(), ExecProblem::NotFound),
        ("/etc/passwd/x".into(), ExecProblem::NotFound),
        ("surely-not-installed".into(), ExecProblem::NotFound),
        ("".into(), ExecProblem::NotFound),
        ("/usr".into(), ExecProblem::NotExecutable),
        (file("plain", b"exit 0", 0o644), ExecProblem::NotExecutable),
        (
            file("format", b"\x01\x02\x03\x04", 0o755),
            ExecProblem::BadFormat,
        ),
        (
            file("script", b"#!  /no/such -x\nexit 0", 0o755),
            ExecProblem::InterpreterMissing("/no/such".into()),
        ),
        (
            dir.path().join("link"),
            ExecProblem::InterpreterMissing("/no/such".into()),
        ),
        (
            file("elf", &elf, 0o755),
            ExecProblem::LoaderMissing(loader.into()),
        ),
    ];
    for (program, expected) in cases {
        let (problem, errno) = refused(&plain(), &Run::new(&program));
        assert_eq!(problem, expected, "{program:?}");
        assert!(errno.is_some_and(|n| n > 0));
    }
    let mut run = sh("");
    run.args
        .extend(std::iter::repeat_n("x".repeat(100_000).into(), 100));
    assert_eq!(refused(&plain(), &run).0, ExecProblem::TooLong);
    // As a shell: what may not be executed is passed over, and remembered.
    let mut run = Run::new("plain");
    let dirs = std::env::join_paths([dir.path(), "/bin".as_ref()]).unwrap();
    run.env = vec![("PATH".into(), dirs)];
    assert_eq!(refused(&plain(), &run).0, ExecProblem::NotExecutable);
    run.program = "true".into();
    assert_eq!(
        plain().start(&run).unwrap().wait().unwrap().end,
        End::Exited(0)
    );
}

#[test]
fn what_no_system_call_takes() {
    let mut run = sh("");
    run.args.push("a\0b".into());
    let error = plain().start(&run).unwrap_err();
    assert!(matches!(error.step, FailedStep::Lower { .. }));
    let mut run = sh("");
    run.cwd = SandboxPath::new("/nonexistent").unwrap();
    let error = plain().start(&run).unwrap_err();
    assert_eq!(error.step, FailedStep::WorkingDirectory(run.cwd));
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
}

#[test]
fn steps_of_other_systems_are_refused() {
    for (step, expected) in [
        (
            Step::Namespaces(NamespaceSet {
                pid: true,
                ..Default::default()
            }),
            "this system has no namespaces",
        ),
        (
            Step::PrivateMounts,
            "this system has no mounts of a sandbox's own",
        ),
        (Step::Chroot, "this system has no mounts of a sandbox's own"),
        (Step::Loopback, "this system has no network namespaces"),
        (
            Step::Hostname("x".into()),
            "this system has no host names of a sandbox's own",
        ),
        (
            Step::Capabilities(CapSet::EMPTY),
            "this system has no capabilities",
        ),
        (Step::NoNewPrivs, "this system has no no_new_privs"),
    ] {
        let script = ChildScript {
            steps: vec![Step::Session, step.clone()],
        };
        let error = Script::new(&script).unwrap_err();
        assert_eq!(
            error.step,
            FailedStep::Lower {
                what: step.to_string()
            }
        );
        assert_eq!(error.source.to_string(), expected);
    }
    let nul = Step::ChrootTo("/a\0b".into());
    assert!(Script::new(&ChildScript { steps: vec![nul] }).is_err());
}

/// A root directory with a shell and what it needs.
fn small_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let ldd = std::process::Command::new("ldd")
        .arg("/bin/sh")
        .output()
        .unwrap();
    let libraries = String::from_utf8(ldd.stdout).unwrap();
    let files = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in files.chain(["/bin/sh"]) {
        let to = root.path().join(file.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    root
}

#[test]
fn a_root_of_its_own_and_other_ids() {
    let root = small_root();
    let chroot = Step::ChrootTo(root.path().into());
    let steps = vec![chroot.clone(), Step::Session, Step::ClearGroups];
    if !as_root() {
        let error = script(steps).start(&sh("")).unwrap_err();
        let FailedStep::Script {
            index: 0,
            step,
            detail: "chroot",
        } = error.step
        else {
            panic!("{}", error.step)
        };
        assert_eq!(*step, chroot);
        assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
        return;
    }
    let mut with_ids = steps.clone();
    with_ids.push(Step::Ids {
        uid: 12345,
        gid: 23456,
    });
    std::fs::create_dir(root.path().join("open")).unwrap();
    std::fs::set_permissions(root.path().join("open"), PermissionsExt::from_mode(0o1777)).unwrap();
    let run = piped("cd /open; : > mine; pwd; echo /*; test -e /etc || echo no etc");
    let mut child = script(with_ids.clone()).start(&run).unwrap();
    let (outcome, out, err) = child.wait_with_output().unwrap();
    assert_eq!(
        outcome.end,
        End::Exited(0),
        "{}",
        String::from_utf8_lossy(&err)
    );
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("/open\n/bin /lib"), "{out}");
    assert!(out.ends_with("no etc\n"), "{out}");
    let mine = std::fs::metadata(root.path().join("open/mine")).unwrap();
    let owner = (mine.uid(), mine.gid());
    assert_eq!(owner, (12345, 23456));

    // What is missing is missing in there.
    let script_file = root.path().join("bin/tool");
    std::fs::write(&script_file, "#!/usr/bin/env sh\n").unwrap();
    std::fs::set_permissions(&script_file, PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/bin/tool", root.path().join("bin/alias")).unwrap();
    for program in ["tool", "/bin/tool", "alias"] {
        assert_eq!(
            refused(&script(with_ids.clone()), &Run::new(program)).0,
            ExecProblem::InterpreterMissing("/usr/bin/env".into())
        );
    }
    assert_eq!(
        refused(&script(steps.clone()), &Run::new("ls")).0,
        ExecProblem::NotFound
    );

    let missing = Step::ChrootTo(root.path().join("missing"));
    let error = script(vec![Step::Session, missing])
        .start(&sh(""))
        .unwrap_err();
    assert!(matches!(
        error.step,
        FailedStep::Script {
            index: 1,
            detail: "chroot",
            ..
        }
    ));
    // Without privilege there is no becoming somebody else.
    let again = vec![
        Step::Ids {
            uid: 12345,
            gid: 23456,
        },
        Step::Ids { uid: 0, gid: 0 },
    ];
    let error = script(again).start(&sh("")).unwrap_err();
    assert!(
        matches!(
            error.step,
            FailedStep::Script {
                index: 1,
                detail: "setgid",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn many_threads_start_at_once() {
    let script = plain();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let script = &script;
            scope.spawn(move || {
                for i in 0..8 {
                    let status = (thread * 8 + i) % 256;
                    let run = piped(&format!("echo {status}; exit {status}"));
                    let (outcome, out, _) = script.start(&run).unwrap().wait_with_output().unwrap();
                    assert_eq!(outcome.end, End::Exited(status));
                    assert_eq!(out, format!("{status}\n").as_bytes());
                }
            });
        }
    });
}

#[test]
fn nothing_is_left_open() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests run beside this one; a leak shows as growth without end.
    let before = open();
    for _ in 0..200 {
        plain()
            .start(&piped("exit 0"))
            .unwrap()
            .wait_with_output()
            .unwrap();
        let _ = plain().start(&Run::new("/nonexistent"));
        drop(plain().start(&piped("sleep 100")).unwrap());
    }
    let after = open();
    assert!(after < before + 200, "{before} then {after}");
}
