//! The backends that drive helper programs, and the program linux-user-chroot, as black boxes.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sandboxlib_tests::snapshot::Snapshot;
use sandboxlib_tests::watch::{MARK, in_pid_namespace, marked, new_mark, within};
use sandboxlib_tests::{Done, TinyRoot, run_sandbox, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Ours, which cargo put beside run-sandbox; or another one to be tried.
fn linux_user_chroot() -> Option<PathBuf> {
    let program = std::env::var_os("LINUX_USER_CHROOT").map_or_else(
        || run_sandbox().with_file_name("linux-user-chroot"),
        PathBuf::from,
    );
    if !program.exists() {
        skip("no linux-user-chroot: run `cargo build -p linux-user-chroot`");
        return None;
    }
    Some(program)
}

fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A backend with its helper, a root, and a place for temporary files.
struct Via {
    backend: &'static str,
    helper: PathBuf,
    root: TinyRoot,
    place: TempDir,
}

impl Via {
    fn bubblewrap() -> Option<Self> {
        let helper = PathBuf::from("/usr/bin/bwrap");
        if !helper.exists() {
            skip("no bwrap (package bubblewrap)");
            return None;
        }
        Self::new("bubblewrap", helper)
    }

    fn linux_user_chroot() -> Option<Self> {
        Self::new("linux-user-chroot", linux_user_chroot()?)
    }

    fn new(backend: &'static str, helper: PathBuf) -> Option<Self> {
        let root = TinyRoot::new()?;
        fs::write(root.join("etc/secret"), "secret").unwrap();
        let place = tempfile::tempdir().unwrap();
        Some(Self {
            backend,
            helper,
            root,
            place,
        })
    }

    /// Both that there are.
    fn all() -> Vec<Self> {
        let both = [Self::bubblewrap(), Self::linux_user_chroot()];
        both.into_iter().flatten().collect()
    }

    /// A directory or file that the host has and the root has not.
    fn host(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn line(&self, options: &str, script: &str) -> Command {
        let mut path = OsString::from(self.helper.parent().unwrap());
        path.push(":/usr/bin:/bin");
        let temporary = self.host("tmp");
        let _ = fs::create_dir(&temporary);
        let mut line = Command::new(run_sandbox());
        line.env("PATH", path).env("TMPDIR", temporary);
        line.args(["--backend", self.backend]);
        line.args(
            options
                .replace('@', self.place.path().to_str().unwrap())
                .split(' ')
                .filter(|o| !o.is_empty()),
        );
        line.arg(self.root.path()).args(["--", "sh", "-c", script]);
        line
    }

    /// Runs a script. `@` in the options is the place for files of the host.
    fn sh(&self, options: &str, script: &str) -> Done {
        let done = finish(&mut self.line(options, script));
        let left: Vec<_> = fs::read_dir(self.host("tmp")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{}: {left:?}", self.backend);
        done
    }

    fn report(&self, options: &str, script: &str) -> Value {
        let file = self.host("report");
        let _ = self.sh(&format!("{options} --report @/report"), script);
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }
}

fn finish(line: &mut Command) -> Done {
    let output = line.stdin(Stdio::null()).output().unwrap();
    Done {
        status: output.status,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

#[test]
fn the_status_and_the_streams_are_the_commands() {
    for via in Via::all() {
        for status in [0, 1, 42, 255] {
            let done = via.sh("", &format!("echo out; echo err >&2; exit {status}"));
            assert_eq!(done.status.code(), Some(status), "{done:#?}");
            assert_eq!((done.out.trim(), done.err.trim()), ("out", "err"));
        }
        assert_eq!(via.sh("--cwd /home", "pwd").good(), "/home");
        let me = fs::metadata("/proc/self").unwrap();
        let ids = via.sh("", "echo $(id -u):$(id -g)");
        assert_eq!(ids.good(), format!("{}:{}", me.uid(), me.gid()));
    }
}

#[test]
fn it_is_known_whether_the_command_was_started() {
    for via in Via::all() {
        let good = via.report("", "exit 0");
        assert_eq!(
            (&good["started"], &good["exit_code"]),
            (&json!("yes"), &json!(0))
        );
        assert_eq!(good["backend"], via.backend);
        let own = via.report("", "exit 1");
        let failed = via.report("--cwd /no/such/directory", "exit 1");
        if via.backend == "bubblewrap" {
            assert_eq!(
                (&own["started"], &own["exit_code"]),
                (&json!("yes"), &json!(1))
            );
            assert_eq!(
                (&failed["started"], &failed["exit_code"]),
                (&json!("no"), &Value::Null)
            );
            let late = via.report("--timeout 300ms", "sleep 10");
            assert_eq!(
                (&late["timed_out"], &late["started"]),
                (&json!(true), &json!("unknown"))
            );
        } else {
            assert_eq!(
                (&own["started"], &own["exit_code"]),
                (&json!("unknown"), &json!(1))
            );
            assert_eq!(failed["started"], "unknown");
        }
    }
}

#[test]
fn a_timeout_kills_the_helper_and_all_that_it_started() {
    for via in Via::all() {
        let mark = new_mark();
        let options = format!("--timeout 300ms --env {MARK}={mark}");
        let done = via.sh(&options, "setsid sleep 100 & sleep 100");
        assert_eq!(done.status.code(), Some(124), "{}: {done:#?}", via.backend);
        let gone = || marked(&mark).is_empty().then_some(());
        let gone = within(Duration::from_secs(5), gone);
        assert!(gone.is_some(), "{}: {:?}", via.backend, marked(&mark));
    }
}

#[test]
fn a_read_only_root_is_unchanged_but_for_what_is_writable() {
    for via in Via::all() {
        if am_root() && !takes_read_only_from_root(&via) {
            continue;
        }
        fs::write(via.root.join("home/file"), "").unwrap();
        let before = Snapshot::of(&[via.root.path()]);
        let script = "for f in /new /etc/new /bin/new /home/new /home/file /dev/new; do \
                      echo x >$f && echo $f; done; touch /tmp/new && echo /tmp/new";
        assert_eq!(via.sh("--read-only", script).out.trim(), "/tmp/new");
        assert_eq!(
            before.differences(&Snapshot::of(&[via.root.path()])),
            [""; 0]
        );
        let some = via.sh("--writable /home", script);
        assert_eq!(
            some.out, "/home/new\n/home/file\n/tmp/new\n",
            "{}: {some:#?}",
            via.backend
        );
        let file = via.sh("--writable /home/file", script);
        assert_eq!(
            file.out, "/home/file\n/tmp/new\n",
            "{}: {file:#?}",
            via.backend
        );
        assert_eq!(fs::read(via.root.join("home/file")).unwrap(), b"x\n");
    }
}

/// The classic program leaves root the capability to undo it, so the backend refuses.
fn takes_read_only_from_root(via: &Via) -> bool {
    let done = via.sh("--read-only", "true");
    if done.status.code() == Some(125) {
        done.refused(&["read-only", "capability"]);
    }
    done.status.success()
}

#[test]
fn mount_points_that_are_missing_appear_inside_alone() {
    for via in Via::all() {
        if am_root() && !takes_read_only_from_root(&via) {
            continue;
        }
        fs::create_dir(via.host("src")).unwrap();
        fs::write(via.host("src/file"), "content").unwrap();
        fs::write(via.host("one"), "one").unwrap();
        let before = Snapshot::of(&[via.root.path()]);
        let options = "--read-only --bind @/src /build --ro-bind @/src /etc/src \
                       --ro-bind @/one /etc/one --symlink one /etc/link --dir /opt/dir \
                       --file @/one /etc/data";
        let script = "cat /build/file /etc/src/file /etc/one /etc/link /etc/data; echo; \
                      cat /etc/secret; echo; readlink /var/run; ls -d /opt/dir; \
                      for f in /new /etc/new /etc/src/new /etc/one /etc/data /opt/new /opt/dir/n; \
                      do echo x >$f && echo $f; done; echo y >/build/new";
        let done = via.sh(options, script);
        let wanted = "contentcontentoneoneone\nsecret\n/run\n/opt/dir\n";
        assert_eq!(done.out, wanted, "{}: {done:#?}", via.backend);
        assert_eq!(
            before.differences(&Snapshot::of(&[via.root.path()])),
            [""; 0]
        );
        assert_eq!(fs::read(via.host("src/new")).unwrap(), b"y\n");
        assert_eq!(fs::read(via.host("one")).unwrap(), b"one");
    }
}

#[test]
fn mounts_on_a_root_that_can_be_written_to() {
    for via in Via::all() {
        fs::create_dir(via.host("src")).unwrap();
        let done = via.sh(
            "--bind @/src /home --tmpfs /run --dir /run/a/b --symlink a /run/c",
            "touch /home/new /new; ls -d /run/c/b; touch /run/c/new && ls /run/a",
        );
        assert_eq!(done.good(), "/run/c/b\nb\nnew", "{}", via.backend);
        assert!(via.host("src/new").exists() && via.root.join("new").exists());
        assert!(!via.root.join("run/a").exists());
    }
}

#[test]
fn what_is_isolated_is_isolated() {
    for via in Via::all() {
        let done = via.sh(
            "",
            "for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done",
        );
        let inside: Vec<_> = done.good().lines().collect();
        for (kind, inside) in ["mnt", "pid", "net", "ipc", "uts"].iter().zip(inside) {
            let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_ne!(inside, ours.to_str().unwrap(), "{}", via.backend);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = via.sh("", &format!("nc 127.0.0.1 {port} </dev/null"));
        assert!(!connect.status.success(), "{connect:#?}");
        let shared = via.sh("--network shared", "readlink /proc/self/ns/net");
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(shared.good(), ours.to_str().unwrap());
        let seen = via.sh("", "ls -d /proc/[0-9]* | wc -l");
        assert!(seen.good().parse::<u32>().unwrap() <= 4, "{seen:#?}");
    }
}

/// Root needs no privilege to write to most of them: they are root's files.
#[test]
fn the_levers_in_proc_are_out_of_reach() {
    for via in Via::all() {
        let script = "for f in sys/kernel/core_pattern sys/kernel/modprobe sys/vm/drop_caches \
                      sysrq-trigger; do (: >>/proc/$f) 2>/dev/null && echo $f; done; true";
        assert_eq!(via.sh("", script).good(), "", "{}", via.backend);
    }
}

#[test]
fn no_file_and_no_privilege_gets_in() {
    for via in Via::all() {
        let script = "ls /proc/self/fd; env; cat /proc/self/status; : <&9 && echo leaked";
        let line = via.line("", script);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 9</etc/passwd; exec \"$@\"", "sh"]);
        shell.arg(line.get_program()).args(line.get_args());
        for (name, value) in line.get_envs() {
            shell.env(name, value.unwrap());
        }
        let done = finish(shell.env("SECRET", "x"));
        let lines: Vec<_> = done.out.lines().collect();
        assert_eq!(
            lines[..4],
            ["0", "1", "2", "3"],
            "{}: {done:#?}",
            via.backend
        );
        assert!(
            !done.out.contains("leaked") && !done.out.contains("SECRET"),
            "{done:#?}"
        );
        // The shell adds PWD and SHLVL, bwrap PWD.
        let strange = lines.iter().find(|l| {
            l.split_once('=')
                .is_some_and(|(name, _)| !["PATH", "PWD", "SHLVL"].contains(&name))
        });
        assert_eq!(strange, None, "{}", via.backend);
        let field = |name: &str| {
            let line = lines.iter().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(field("NoNewPrivs:"), "1");
        if am_root() && !takes_read_only_from_root(&via) {
            continue;
        }
        if am_root() {
            assert_eq!(field("Groups:"), "", "{}", via.backend);
        }
        let allowed = if am_root() { 0b1111_1011 } else { 0 };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            let bits = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(bits & !allowed, 0, "{}: {set} {bits:#x}", via.backend);
        }
    }
}

#[test]
fn everything_ends_with_the_command_and_with_the_caller() {
    for via in Via::all() {
        let mark = new_mark();
        let mark_option = format!("--env {MARK}={mark}");
        let done = via.sh(
            &mark_option,
            "setsid sleep 1000 </dev/null >/dev/null 2>&1 & exit 0",
        );
        assert!(done.status.success(), "{done:#?}");
        let gone = || marked(&mark).is_empty().then_some(());
        let patience = Duration::from_secs(10);
        assert!(
            within(patience, gone).is_some(),
            "{}: {:?}",
            via.backend,
            marked(&mark)
        );

        let mut line = via.line(&mark_option, "setsid sleep 1000 & sleep 1000");
        let mut child = line.stdin(Stdio::null()).spawn().unwrap();
        let pids = || sandboxlib_tests::watch::pid_namespace_of(&mark);
        let namespace = within(patience, pids).unwrap();
        assert!(
            within(patience, || (in_pid_namespace(&namespace).len() >= 2)
                .then_some(()))
            .is_some()
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = || in_pid_namespace(&namespace).is_empty().then_some(());
        assert!(within(patience, gone).is_some(), "{}", via.backend);
        // What a killed caller leaves behind in the directory for temporary files is told in the
        // documentation; it is not in the root.
        let _ = fs::remove_dir_all(via.host("tmp"));
    }
}

#[test]
fn what_bubblewrap_alone_can_do() {
    let Some(via) = Via::bubblewrap() else { return };
    assert_eq!(via.sh("--hostname box", "hostname").good(), "box");
    let sized = via.sh(
        "--size 64K --perms 700 --tmpfs /run",
        "stat -c %a /run; head -c 100000 /dev/zero >/run/f || echo full",
    );
    assert_eq!(sized.good(), "700\nfull");
    assert_eq!(via.sh("--root", "echo $(id -u):$(id -g)").good(), "0:0");
    let other = via.sh("--uid 1234 --gid 2345", "echo $(id -u):$(id -g)");
    assert_eq!(other.good(), "1234:2345");
    if am_root() {
        // The ids are real ones, not a name for root.
        let shared = via.host("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(via.place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(
            via.root.join("etc/secret"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        let options = "--uid 1234 --gid 2345 --bind @/shared /home";
        let done = via.sh(options, "touch /home/f; cat /etc/secret || echo closed");
        assert_eq!(done.good(), "closed", "{done:#?}");
        let made = fs::metadata(shared.join("f")).unwrap();
        assert_eq!((made.uid(), made.gid()), (1234, 2345));
    }
}

#[test]
fn masks_of_bubblewrap_answer_permission_denied() {
    let Some(via) = Via::bubblewrap() else { return };
    fs::create_dir(via.root.join("home/dir")).unwrap();
    fs::write(via.root.join("home/dir/file"), "hidden").unwrap();
    for options in ["", "--read-only", "--root"] {
        let script = "cat /etc/secret; echo x >/etc/secret; echo x >>/etc/secret; ls /home/dir; \
                      cat /home/dir/file; touch /home/dir/new; cat /home/absent; \
                      chmod 777 /home/dir; chmod 666 /etc/secret; rm -f /etc/secret; \
                      rmdir /home/dir; cat /etc/secret /home/dir/file";
        // Where the parent can be written to, an absent path cannot be masked.
        let absent = if options == "--read-only" {
            "--mask /home/absent"
        } else {
            ""
        };
        let options = format!("{options} --mask /etc/secret --mask /home/dir {absent}");
        let done = via.sh(&options, script);
        assert_eq!(done.out, "", "{options}: {done:#?}");
        let first: Vec<_> = done.err.lines().take(6).collect();
        assert!(
            first.iter().all(|l| l.contains("Permission denied")),
            "{options}: {done:#?}"
        );
    }
    assert_eq!(fs::read(via.root.join("etc/secret")).unwrap(), b"secret");
}

#[test]
fn what_a_helper_cannot_do_is_refused() {
    let table: &[(&str, &str, &[&str])] = &[
        ("bubblewrap", "--isolate time", &["time"]),
        ("linux-user-chroot", "--mask /etc/secret", &["mask"]),
        ("linux-user-chroot", "--hostname box", &["host name"]),
        (
            "linux-user-chroot",
            "--size 1M --tmpfs /run",
            &["size", "/run"],
        ),
        ("linux-user-chroot", "--share ipc", &["ipc and uts"]),
        ("linux-user-chroot", "--bind /etc /no/such/place", &["/no"]),
        ("linux-user-chroot", "--uid 1234", &["ids"]),
    ];
    for via in Via::all() {
        let before = Snapshot::of(&[via.root.path()]);
        for (backend, options, words) in table {
            if *backend == via.backend {
                let done = via.sh(options, "echo ran; touch /ran");
                done.refused(words);
                assert_eq!(done.out, "", "{options}");
            }
        }
        assert_eq!(
            before.differences(&Snapshot::of(&[via.root.path()])),
            [""; 0]
        );
    }
}

#[test]
fn a_helper_that_is_missing_is_told() {
    let Some(via) = Via::linux_user_chroot() else {
        return;
    };
    if Path::new("/usr/bin/linux-user-chroot").exists() {
        return;
    }
    let done = finish(via.line("", "true").env("PATH", "/nowhere"));
    done.refused(&["linux-user-chroot", "not installed"]);
}

#[test]
fn helpers_are_not_looked_for_where_they_are_not_needed() {
    let Some(via) = Via::bubblewrap() else { return };
    // A bwrap that tells when it is started.
    let fake = via.host("bwrap");
    let told = via.host("told");
    fs::write(&fake, format!("#!/bin/sh\ntouch {}\n", told.display())).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |backend: &str| {
        let mut line = via.line("", "true");
        line.env("PATH", via.place.path());
        let args: Vec<OsString> = line.get_args().map(Into::into).collect();
        let mut changed = Command::new(run_sandbox());
        changed
            .env("PATH", via.place.path())
            .args(["--backend", backend]);
        finish(changed.args(&args[2..]))
    };
    assert!(run("auto").status.success());
    assert!(!told.exists());
    run("bubblewrap").refused(&["0.8", "bwrap"]);
    assert!(told.exists());
}

// The program, called as the classic one is.

fn classic(root: &TinyRoot, options: &[&str], command: &[&str]) -> Option<Done> {
    let mut line = Command::new(linux_user_chroot()?);
    line.args(options).arg(root.path()).args(command);
    Some(finish(&mut line))
}

/// Runs a script by the program, with options split at spaces.
fn classic_sh(root: &TinyRoot, options: &str, script: &str) -> Option<Done> {
    let options: Vec<_> = options.split_whitespace().collect();
    classic(root, &options, &["sh", "-c", script])
}

macro_rules! ran {
    ($done:expr) => {
        match $done {
            Some(done) => done,
            None => return,
        }
    };
}

#[test]
fn classic_information() {
    let Some(program) = linux_user_chroot() else {
        return;
    };
    let help = finish(Command::new(&program).arg("--help"));
    assert!(help.good().contains("ROOTDIR"));
    let version = finish(Command::new(&program).args(["--unshare-net", "--version"]));
    assert!(version.good().starts_with("linux-user-chroot "));
    for words in [
        &[][..],
        &["/"],
        &["--mount-bind", "/a"],
        &["--bogus", "/", "true"],
    ] {
        let done = finish(Command::new(&program).args(words));
        assert_eq!(done.status.code(), Some(1), "{words:?}");
        assert!(!done.err.is_empty() && done.out.is_empty());
    }
}

#[test]
fn classic_status() {
    let Some(root) = TinyRoot::new() else { return };
    for status in [0, 1, 42, 255] {
        let done = ran!(classic_sh(&root, "", &format!("exit {status}")));
        assert_eq!(done.status.code(), Some(status));
    }
    assert_eq!(
        ran!(classic_sh(&root, "", "kill -9 $$")).status.code(),
        Some(1)
    );
    let missing = ran!(classic(&root, &[], &["nonesuch"]));
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.err.starts_with("linux-user-chroot: ") && missing.err.contains("nonesuch"));
    // What stands behind ROOTDIR belongs to the program, options and dashes too.
    let echo = ran!(classic(&root, &[], &["echo", "--", "--unshare-net"]));
    assert_eq!(echo.good(), "-- --unshare-net");
}

#[test]
fn classic_namespaces() {
    let Some(root) = TinyRoot::new() else { return };
    let show = "for n in ipc uts pid net; do readlink /proc/self/ns/$n; done";
    for (options, own) in [
        ("", [false; 4]),
        ("--unshare-ipc", [true, true, false, false]),
        ("--unshare-pid", [false, false, true, false]),
        ("--unshare-net", [false, false, false, true]),
        ("--unshare-ipc --unshare-pid --unshare-net", [true; 4]),
    ] {
        let done = ran!(classic_sh(
            &root,
            &format!("{options} --mount-proc /proc"),
            show
        ));
        let inside: Vec<_> = done.good().lines().map(str::to_owned).collect();
        for ((kind, inside), own) in ["ipc", "uts", "pid", "net"].iter().zip(&inside).zip(own) {
            let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_eq!(*inside != ours.to_str().unwrap(), own, "{options}: {kind}");
        }
    }
}

#[test]
fn classic_mounts() {
    let Some(root) = TinyRoot::new() else { return };
    let place = tempfile::tempdir().unwrap();
    let src = place.path().to_str().unwrap();
    fs::write(place.path().join("file"), "content").unwrap();
    fs::write(root.join("etc/file"), "").unwrap();
    let before = Snapshot::of(&[&root.join("bin")]);

    let done = ran!(classic_sh(
        &root,
        &format!("--mount-bind {src} /home"),
        "cat /home/file; touch /home/new"
    ));
    assert_eq!(done.good(), "content");
    assert!(place.path().join("new").exists());
    let file = format!("--mount-bind {src}/file /etc/file");
    assert_eq!(
        ran!(classic_sh(&root, &file, "cat /etc/file")).good(),
        "content"
    );

    let tries = "for f in /new /etc/new /home/new2 /tmp/new; do \
                 echo x >$f && echo $f; done; true";
    let some = ran!(classic_sh(
        &root,
        &format!("--mount-readonly /etc --mount-bind {src} /home"),
        tries
    ));
    assert_eq!(some.out, "/new\n/home/new2\n/tmp/new\n");
    let all = ran!(classic_sh(
        &root,
        &format!("--mount-readonly / --mount-bind {src} /home"),
        tries
    ));
    assert_eq!(all.out, "/home/new2\n");
    let bound = format!("--mount-bind {src} /home --mount-readonly /home");
    assert!(!ran!(classic_sh(&root, &bound, tries)).out.contains("home"));

    let dev = ran!(classic_sh(
        &root,
        "--mount-proc /proc --mount-devapi /dev",
        "echo x >/dev/null; head -c 2 /dev/zero | wc -c; echo in >/dev/stdout; touch /dev/new"
    ));
    assert_eq!(dev.out, "2\nin\n", "{dev:#?}");
    assert!(!root.join("dev/null").exists());

    let missing = ran!(classic_sh(
        &root,
        &format!("--mount-bind {src} /no/such"),
        "echo ran"
    ));
    assert_eq!((missing.status.code(), missing.out.as_str()), (Some(1), ""));
    assert!(missing.err.contains("/no"), "{missing:#?}");
    let source = ran!(classic_sh(&root, "--mount-bind /no/such /home", "echo ran"));
    assert_eq!((source.status.code(), source.out.as_str()), (Some(1), ""));
    assert_eq!(
        before.differences(&Snapshot::of(&[&root.join("bin")])),
        [""; 0]
    );
    assert!(!root.join("no").exists());
}

#[test]
fn classic_rest() {
    let Some(root) = TinyRoot::new() else { return };
    assert_eq!(
        ran!(classic_sh(&root, "--chdir /var/run", "pwd -P")).good(),
        "/run"
    );
    assert_eq!(ran!(classic_sh(&root, "", "pwd")).good(), "/");
    let none = ran!(classic_sh(
        &root,
        "--seccomp-profile-version -1",
        "echo ran"
    ));
    assert_eq!(none.good(), "ran");
    for version in ["0", "1", "x"] {
        let done = ran!(classic_sh(
            &root,
            &format!("--seccomp-profile-version {version}"),
            "echo ran"
        ));
        assert_eq!((done.status.code(), done.out.as_str()), (Some(1), ""));
    }
    // The environment is the caller's.
    let program = linux_user_chroot().unwrap();
    let mut line = Command::new(program);
    line.arg(root.path())
        .args(["sh", "-c", "echo $OURS"])
        .env("OURS", "1 2");
    assert_eq!(finish(&mut line).good(), "1 2");
    // More options than the classic program takes.
    let many = "--mount-readonly /etc ".repeat(1500);
    assert_eq!(
        ran!(classic_sh(&root, &many, "touch /etc/new || echo closed")).good(),
        "closed"
    );
}
