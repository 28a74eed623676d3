//! Terminals: a shell inside feels like a shell, and the terminal outside is as it was.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandboxlib::{End, Limit, Root, Sandbox, Tty, WindowSize};
use sandboxlib_tests::watch::{self, MARK, marked, new_mark};
use sandboxlib_tests::{RunSandbox, Terminal, TinyRoot, host_can, run_sandbox, skip};

/// Whether it comes to that within a while.
fn soon(mut f: impl FnMut() -> bool) -> bool {
    watch::within(Duration::from_secs(10), || f().then_some(())).is_some()
}

fn host() -> RunSandbox {
    RunSandbox::new("/")
}

/// A shell with job control on the host's root, with a prompt that nothing else prints.
fn bash(sandbox: RunSandbox) -> Terminal {
    let command = sandbox.option("--env", &[&"PS1=<$?>"]).command(&[
        &"bash",
        &"--norc",
        &"--noprofile",
        &"--noediting",
    ]);
    let mut terminal = Terminal::start(&command.line());
    terminal.expect("<0>");
    terminal
}

/// Goes through what job control is.
fn control_jobs(terminal: &mut Terminal) {
    terminal.line("sleep 1000 &", "[1] ");
    terminal.expect("<0>");
    terminal.line("sleep 2000", "sleep 2000\r\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys("\x1a");
    terminal.expect("Stopped");
    terminal.expect("<148>");
    let list = terminal.line("jobs", "<0>");
    assert!(
        list.contains("Running") && list.contains("Stopped"),
        "{list}"
    );
    terminal.line("bg %2", "<0>");
    let list = terminal.line("jobs -s; echo x$((6*7))", "x42");
    assert!(!list.contains("Stopped"), "{list}");
    terminal.expect("<0>");
    terminal.line("fg %2", "sleep 2000\r\n");
    std::thread::sleep(Duration::from_millis(300));
    // It ends the job in the foreground, and neither the other one nor the shell.
    terminal.keys("\x03");
    terminal.expect("<130>");
    let list = terminal.line("jobs", "<0>");
    assert!(list.contains("Running") && !list.contains("2000"), "{list}");
    terminal.line("kill %1; wait; echo y$((6*7))", "y42");
    terminal.expect("<0>");
}

#[test]
fn a_shell_has_its_own_terminal_and_job_control() {
    if !host_can() {
        return;
    }
    let mut terminal = bash(host());
    let outside = terminal.modes();
    terminal.line("tty", "/dev/pts/0\r\n");
    terminal.line("ps -o tty= -p $$", "pts/0");
    terminal.line("readlink /proc/self/fd/2", "/dev/pts/0\r\n");
    terminal.expect("<0>");
    assert!(
        outside.contains("-icanon") && outside.contains("-isig"),
        "{outside}"
    );
    control_jobs(&mut terminal);
    terminal.keys("exit 7\n");
    assert_eq!(terminal.wait().code(), Some(7));
}

/// Every backend that works here.
fn others() -> Vec<RunSandbox> {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let via = |backend: &str| host().options(&format!("-e {backend} --prefer all --tty"));
    let mut found = Vec::new();
    if Path::new("/usr/bin/bwrap").exists() {
        found.push(via("bubblewrap"));
    } else {
        skip("no bwrap (package bubblewrap)");
    }
    if root {
        found.push(via("chroot"));
    }
    // Without a /dev of its own, or with that of the host.
    found.push(host().options("--bare --host-secrets shown --tty"));
    found
}

#[test]
fn with_other_backends_a_shell_has_a_terminal_too() {
    if !host_can() {
        return;
    }
    for sandbox in others() {
        let mut terminal = bash(sandbox);
        // Each devpts has a number, and each terminal there.
        let outside = fs::metadata(terminal.path()).unwrap();
        let outside = format!("{}:{}\r", outside.dev(), outside.rdev());
        let inside = terminal.line("stat -Lc %d:%r /proc/self/fd/0", "<0>");
        assert!(!inside.contains(&outside), "{inside}");
        terminal.line("stty size", "30 100");
        terminal.expect("<0>");
        control_jobs(&mut terminal);
        terminal.keys("exit 3\n");
        assert_eq!(terminal.wait().code(), Some(3));
    }
}

#[test]
fn the_classic_command_line_at_a_terminal_has_job_control_too() {
    if !host_can() {
        return;
    }
    let beside = || run_sandbox().with_file_name("linux-user-chroot");
    let program = std::env::var_os("LINUX_USER_CHROOT").map_or_else(beside, PathBuf::from);
    if !program.exists() {
        skip("no linux-user-chroot: run `cargo build -p linux-user-chroot`");
        return;
    }
    let mut line = Command::new("env");
    line.arg("PS1=<$?>")
        .arg(program)
        .args(["/", "bash", "--norc", "--noprofile", "--noediting"]);
    let mut terminal = Terminal::start(&line);
    terminal.expect("<0>");
    assert!(terminal.modes().contains("-icanon"));
    control_jobs(&mut terminal);
    terminal.keys("exit 3\n");
    assert_eq!(terminal.wait().code(), Some(3));
}

#[test]
fn the_size_is_that_of_the_terminal_outside_and_follows_it() {
    if !host_can() {
        return;
    }
    let mut terminal = bash(host());
    terminal.line("stty size", "30 100");
    terminal.line("trap 'echo z$((6*7)) $(stty size)' WINCH", "<0>");
    terminal.expect("<0>");
    terminal.resize(44, 120);
    terminal.keys("\n");
    terminal.expect("z42 44 120");
    terminal.keys("exit\n");
    assert!(terminal.wait().success());
}

#[test]
fn an_editor_edits_and_saves() {
    let Some(root) = TinyRoot::new() else { return };
    symlink("busybox", root.join("bin/vi")).unwrap();
    fs::write(root.join("home/text"), "one\ntwo\n").unwrap();
    let sandbox = RunSandbox::new(root.path()).options("--tty");
    let line = sandbox.command(&[&"vi", &"/home/text"]).line();
    let mut terminal = Terminal::start(&line);
    terminal.expect("two");
    terminal.keys("Go");
    terminal.keys("three");
    terminal.expect("three");
    terminal.keys("\x1b");
    // A key that follows at once would be a part of a key that sends several characters.
    std::thread::sleep(Duration::from_millis(500));
    terminal.keys(":1d\n");
    terminal.keys(":wq\n");
    assert!(terminal.wait().success());
    let text = fs::read_to_string(root.join("home/text")).unwrap();
    assert_eq!(text, "two\nthree\n");
}

/// The modes of a new terminal, before anything has run there.
fn fresh_modes() -> String {
    let mut terminal = Terminal::start(&Command::new("true"));
    terminal.wait();
    terminal.modes()
}

#[test]
fn the_terminal_outside_is_as_it_was_however_it_ends() {
    let Some(root) = TinyRoot::new() else { return };
    let fresh = fresh_modes();
    assert!(fresh.contains("isig icanon"), "{fresh}");
    let sandbox = || RunSandbox::new(root.path()).options("--tty");
    let show = "busybox stty raw -echo; echo rea$((1))dy; ";
    for (options, script, signal, code) in [
        ("", "exit 5", None, Some(5)),
        ("", "kill -9 $$", None, Some(137)),
        ("--timeout 500ms", "sleep 100", None, Some(124)),
        ("--output 100K", "while :; do echo y; done", None, Some(137)),
        ("", "sleep 100", Some("TERM"), Some(143)),
        ("", "sleep 100", Some("HUP"), Some(129)),
        ("", "sleep 100", Some("INT"), Some(130)),
        ("", "trap '' TERM; read x", Some("TERM"), Some(129)),
        // A signal that it does not expect ends run-sandbox itself.
        ("", "sleep 100", Some("ALRM"), None),
    ] {
        let mark = new_mark();
        let line = sandbox()
            .options(options)
            .options(&format!("--env {MARK}={mark}"))
            .command(&[&"sh", &"-c", &format!("{show}{script}")])
            .line();
        let mut terminal = Terminal::start(&line);
        terminal.expect("rea1dy");
        if let Some(signal) = signal {
            assert!(terminal.modes().contains("-icanon"), "{script}");
            // The shell may not have come to its trap yet.
            std::thread::sleep(Duration::from_millis(300));
            terminal.signal(signal);
        }
        let status = terminal.wait();
        assert_eq!(status.code(), code, "{script} {signal:?}");
        assert_eq!(terminal.modes(), fresh, "{options} {script} {signal:?}");
        let gone = soon(|| marked(&mark).is_empty());
        assert!(gone, "{script} {signal:?}: {:?}", marked(&mark));
    }
    let line = sandbox().command(&[&"no-such-command"]).line();
    let mut terminal = Terminal::start(&line);
    assert_eq!(terminal.wait().code(), Some(127));
    assert_eq!(terminal.modes(), fresh);
}

#[test]
fn a_terminal_that_goes_away_takes_the_sandbox_along() {
    let Some(root) = TinyRoot::new() else { return };
    let mark = new_mark();
    let sandbox = RunSandbox::new(root.path()).options(&format!("--tty --env {MARK}={mark}"));
    let line = sandbox.command(&[&"sh", &"-c", &"sleep 1000 & sleep 2000"]);
    let mut terminal = Terminal::start_unread(&line.line());
    let there = || marked(&mark).len();
    assert!(soon(|| there() >= 3), "{:?}", marked(&mark));
    terminal.hang_up();
    let gone = soon(|| there() == 0);
    assert!(gone, "{:?}", marked(&mark));
    terminal.wait();
}

#[test]
fn it_can_be_suspended_by_the_shell_that_started_it() {
    let Some(root) = TinyRoot::new() else { return };
    let outer = ["--norc", "--noprofile", "--noediting"];
    let mut terminal = Terminal::start(Command::new("bash").args(outer));
    terminal.line("PS1='<$?>'", "<0>");
    let before = terminal.line("stty -a", "<0>");
    let line = RunSandbox::new(root.path())
        .options("--tty --env PS1=inside:")
        .line();
    let words: Vec<_> = [line.get_program()]
        .into_iter()
        .chain(line.get_args())
        .collect();
    let words: Vec<_> = words.iter().map(|w| w.to_str().unwrap()).collect();
    terminal.line(&format!("{} sh", words.join(" ")), "inside:");
    terminal.line("echo a$((6*7))", "a42");
    terminal.expect("inside:");
    let modes = terminal.modes();
    assert!(modes.contains("-icanon"), "{modes}");
    let child = Command::new("pgrep")
        .arg("-P")
        .arg(terminal.id().to_string())
        .output();
    let child = String::from_utf8(child.unwrap().stdout).unwrap();
    let stop = Command::new("kill")
        .args(["-s", "TSTP", child.trim()])
        .status();
    assert!(stop.unwrap().success());
    terminal.expect("Stopped");
    terminal.expect("<147>");
    let meanwhile = terminal.line("stty -a", "<0>");
    assert_eq!(meanwhile, before);
    terminal.resize(20, 70);
    terminal.keys("fg\n");
    terminal.line("busybox stty size", "20 70");
    terminal.line("echo b$((6*7))", "b42");
    terminal.expect("inside:");
    // Keys mean something inside again.
    terminal.keys("sleep 1000\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys("\x03");
    terminal.line("echo c$((6*7))", "c42");
    terminal.keys("exit 9\n");
    terminal.expect("<9>");
    let after = terminal.line("stty -a", "<0>");
    let after = after.replace("rows 20; columns 70", "rows 30; columns 100");
    // How many there are in a line is a matter of the size.
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&after), words(&before));
    terminal.keys("exit\n");
    terminal.wait();
}

/// Types a word as if on the keyboard, and says whether it was let.
const TYPE: &str = "$r = 1; for (split //, \"echo gua\" . \"rd\\n\") { $r &&= ioctl(STDIN, 0x5412, $_) } \
                    print $r ? \"typ\" . \"ed\\n\" : \"refu\" . \"sed: $!\\n\"; sleep 1";

#[test]
fn what_is_typed_inside_does_not_reach_the_terminal_outside() {
    if !host_can() {
        return;
    }
    if !Path::new("/usr/bin/perl").exists() {
        skip("no perl, which can call ioctl(2)");
        return;
    }
    let script = |prefix: &str| format!("{prefix} perl -e '{TYPE}'");
    let read = "read -t 2 x; echo got:[$x]";
    // Where nothing is in between it does.
    let naked = format!("{}; {read}", script(""));
    let mut terminal = Terminal::start(Command::new("bash").args(["-c", &naked]));
    terminal.expect("ed");
    let works = String::from_utf8_lossy(&terminal.shown()).contains("typed");
    terminal.expect("got:[");
    let got = terminal.expect("]");
    assert_eq!(works, got == "echo guard", "{got:?}");
    terminal.wait();
    let tool = run_sandbox();
    for options in ["--tty", "--tty --seccomp none", "--no-tty --seccomp none"] {
        let prefix = format!("{} {options} / ", tool.display());
        let line = format!("{}; {read}", script(&prefix));
        let mut terminal = Terminal::start(Command::new("bash").args(["-c", &line]));
        terminal.expect("ed");
        let told = String::from_utf8_lossy(&terminal.shown()).contains("typed");
        // Into its own it may, if it may make that call at all.
        assert_eq!(
            told,
            works && options == "--tty --seccomp none",
            "{options}"
        );
        terminal.expect("got:[");
        let got = terminal.expect("]");
        assert_eq!(got, "", "{options}");
        terminal.wait();
    }
}

#[test]
fn everything_that_was_printed_arrives_however_slowly_it_is_read() {
    let Some(root) = TinyRoot::new() else { return };
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i of many; i=$((i+1)); done";
    let wanted: String = (0..20_000)
        .map(|i| format!("line {i} of many\r\n"))
        .collect();
    let sandbox = RunSandbox::new(root.path()).options("--tty");
    let line = sandbox.command(&[&"sh", &"-c", &script]).line();
    let mut terminal = Terminal::start_unread(&line);
    // It comes to a halt, and nothing is held but what the kernel holds.
    std::thread::sleep(Duration::from_millis(500));
    terminal.read();
    assert!(terminal.wait().success());
    terminal.expect("line 19999 of many\r\n");
    assert!(String::from_utf8(terminal.shown()).unwrap() == wanted);
    // The same into a pipe.
    let done = RunSandbox::new(root.path()).options("--tty").sh(script);
    assert!(done.good() == wanted.trim(), "{} bytes", done.bytes.len());
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let Some(root) = TinyRoot::new() else { return };
    let sandbox = RunSandbox::new(root.path()).options("--tty --timeout 15s");
    let mut child = sandbox.start_sh("while :; do echo y; done");
    let mut line = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(&line, b"y\r\n");
    drop(child.stdout.take());
    // By SIGHUP, as where a terminal goes away.
    assert_eq!(child.wait().unwrap().code(), Some(129));
}

#[test]
fn limits_hold_also_where_nobody_reads() {
    let Some(root) = TinyRoot::new() else { return };
    let mark = new_mark();
    let sandbox = RunSandbox::new(root.path())
        .options(&format!("--tty --timeout 1s --env {MARK}={mark}"))
        .command(&[&"sh", &"-c", &"while :; do echo 0123456789; done"]);
    let begin = Instant::now();
    let mut terminal = Terminal::start_unread(&sandbox.line());
    let inside = || marked(&mark).iter().any(|p| !p.line.contains("--timeout"));
    assert!(soon(inside));
    assert!(soon(|| !inside()), "{:?}", marked(&mark));
    assert!(begin.elapsed() >= Duration::from_millis(900));
    terminal.read();
    assert_eq!(terminal.wait().code(), Some(124));
    terminal.expect("the time of 1s was up");
}

#[test]
fn the_limit_of_output_counts_what_the_terminal_shows() {
    let Some(root) = TinyRoot::new() else { return };
    let sandbox = RunSandbox::new(root.path()).options("--tty --output 3000");
    let line = sandbox.command(&[&"sh", &"-c", &"while :; do echo 0123456789; done"]);
    let mut terminal = Terminal::start(&line.line());
    assert_eq!(terminal.wait().code(), Some(137));
    let before = terminal.expect("run-sandbox: the limit of output");
    assert_eq!(before.len(), 3000);
}

#[test]
fn input_from_elsewhere_is_typed_and_its_end_is_told() {
    let Some(root) = TinyRoot::new() else { return };
    for (input, wanted) in [("one\ntwo\n", "one\r\ntwo\r\n"), ("one", "one"), ("", "")] {
        let mut child = RunSandbox::new(root.path())
            .options("--tty --timeout 20s")
            .command(&[&"sh", &"-c", &"busybox stty -echo; cat; echo end$((1))"])
            .line()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // By now the shell has turned echoing off, or what is typed would be shown twice.
        std::thread::sleep(Duration::from_millis(300));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{out}");
        assert!(out.ends_with(&format!("{wanted}end1\r\n")), "{out:?}");
    }
}

#[test]
fn without_a_shell_or_a_terminal_there_is_none_unless_asked() {
    let Some(root) = TinyRoot::new() else { return };
    // Whether it is the one outside: each devpts has a number of its own.
    let is_outer = |options: &str, command: &[&dyn AsRef<std::ffi::OsStr>]| {
        let sandbox = RunSandbox::new(root.path()).options(options);
        let mut terminal = Terminal::start(&sandbox.command(command).line());
        let outer = fs::metadata(terminal.path()).unwrap().dev();
        terminal.wait();
        terminal.expect("\r\n") == outer.to_string()
    };
    let stat: [&dyn AsRef<std::ffi::OsStr>; 5] =
        [&"stat", &"-Lc", &"%d", &"--", &"/proc/self/fd/0"];
    let shell: [&dyn AsRef<std::ffi::OsStr>; 3] = [&"sh", &"-c", &"stat -Lc %d /proc/self/fd/0; :"];
    assert!(!is_outer("", &shell));
    assert!(!is_outer("--tty", &stat));
    assert!(is_outer("", &stat));
    assert!(is_outer("--no-tty", &shell));
    // Standard error stays where it leads.
    let to_file = format!(
        "{} {} sh -c 'readlink /proc/self/fd/2; echo x >&2' 2>/dev/null",
        run_sandbox().display(),
        root.path().display()
    );
    let mut terminal = Terminal::start(Command::new("sh").args(["-c", &to_file]));
    terminal.expect("/dev/null");
    terminal.wait();
}

#[test]
fn the_library_gives_a_terminal_too() {
    a_terminal_by_the_library(true);
}

/// Then the init program has nothing to close beside the command.
#[test]
fn the_library_gives_a_terminal_without_landlock_too() {
    a_terminal_by_the_library(false);
}

fn a_terminal_by_the_library(landlock: bool) {
    let Some(root) = TinyRoot::new() else { return };
    let mut sandbox = Sandbox::new(Root::Dir(root.path().into())).usual_mounts();
    sandbox.config_mut().landlock = landlock;
    let prepared = sandbox.prepare().unwrap();
    let size = WindowSize {
        rows: 12,
        columns: 34,
    };
    let output = prepared
        .command("sh")
        .args([
            "-c",
            "tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all >&2",
        ])
        .tty(Tty::new(size))
        .output()
        .unwrap();
    assert_eq!(output.outcome.end, End::Exited(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "/dev/pts/0\r\nall\r\n");
    assert!(output.stderr.is_empty());

    let mut child = prepared
        .command("sh")
        .args([
            "-c",
            "trap 'exit 4' WINCH; echo go; while :; do sleep 0.1; done",
        ])
        .tty(Tty::new(size))
        .spawn()
        .unwrap();
    let mut got = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut got).unwrap();
    child
        .resize(WindowSize {
            rows: 13,
            columns: 34,
        })
        .unwrap();
    assert_eq!(child.wait().unwrap().end, End::Exited(4));

    let mut child = prepared
        .command("cat")
        .tty(Tty::new(size))
        .timeout(Duration::from_secs(20))
        .spawn()
        .unwrap();
    // What is typed is echoed, and 4 is the end of input.
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"typed\n\x04")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(0));
    assert_eq!(output.stdout, b"typed\r\ntyped\r\n");

    let output = prepared
        .command("sh")
        .args(["-c", "while :; do echo y; done"])
        .tty(Tty::new(size))
        .output_limit(1000)
        .output()
        .unwrap();
    assert_eq!(output.outcome.end, End::Limit(Limit::Output));
    assert_eq!(output.stdout.len(), 1000);
}
