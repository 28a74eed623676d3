//! Sandboxes that stand ready, and those that are started again and again.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::os::unix::fs::PermissionsExt;

use sandboxlib::{
    Command, End, Ids, Mount, MountKind, Prepared, Root, Sandbox, SandboxPath, Stdio,
};
use sandboxlib_tests::TinyRoot;
use sandboxlib_tests::watch::{signal, within};

const LONG: Duration = Duration::from_secs(20);

fn sh<'p>(prepared: &'p Prepared, script: &str) -> Command<'p> {
    let mut command = prepared.command("sh");
    command.args(["-c", script]);
    command
}

fn prints(mut command: Command<'_>) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.outcome.end, End::Exited(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn until_warmed(prepared: &Prepared, count: usize) {
    let warmed = within(LONG, || (prepared.warmed() == count).then_some(()));
    assert!(warmed.is_some(), "{} stand ready", prepared.warmed());
}

/// The processes of this program.
fn children() -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("children");
        let text = fs::read_to_string(path).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    found.sort_unstable();
    found
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One test at a time: this one looks at all processes of the program.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn sandboxes_stand_ready_and_are_like_others() {
    let _alone = alone();
    let Some(root) = TinyRoot::new() else { return };
    // Whatever is opened once for good, the init program among it.
    let sandbox = Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .backends(["userns"]);
    assert_eq!(prints(sh(&sandbox.prepare().unwrap(), "echo a")), "a\n");
    assert_eq!(children(), [0u32; 0]);
    let files = open_files();

    let prepared = sandbox.prepare().unwrap();
    assert_eq!(prepared.warmed(), 0);
    prepared.warm(3).unwrap();
    until_warmed(&prepared, 3);
    let parked = children();
    assert_eq!(parked.len(), 3);

    // One of them is taken, and another comes in its place.
    let mut command = sh(&prepared, "sleep 100");
    // Where the tests print into a file, inherited streams are one.
    command.stdin(Stdio::Null).stdout(Stdio::Null);
    let mut child = command.stderr(Stdio::Null).spawn().unwrap();
    assert!(parked.contains(&child.id()), "{parked:?} {}", child.id());
    until_warmed(&prepared, 3);
    assert_eq!(children().len(), 4);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().end, End::Killed);
    drop(child);

    runs_are_like_others(&sandbox, &prepared);
    what_went_wrong_meanwhile(&prepared);
    files_as_streams(&prepared);

    // Fewer, none, and more again.
    prepared.warm(1).unwrap();
    until_warmed(&prepared, 1);
    assert_eq!(children().len(), 1);
    prepared.warm(0).unwrap();
    assert_eq!((prepared.warmed(), children()), (0, vec![]));
    prepared.warm(2).unwrap();
    drop(prepared);
    assert_eq!(children(), [0u32; 0]);
    assert_eq!(open_files(), files);
}

/// What a command sees, and how it fails, in a sandbox that stood ready and in one that was made
/// for it.
fn runs_are_like_others(sandbox: &Sandbox, warm: &Prepared) {
    let cold = sandbox.prepare().unwrap();
    for script in [
        "id; pwd; env; umask; hostname; ls -a / /dev /tmp",
        "cat /proc/mounts | sort -u; ls /proc/self/fd; cat /proc/self/limits",
        "grep -v -e ctxt_switches -e VmSize -e Vm -e Rss -e NSpid -e Cpus -e Mems -e mems /proc/self/status",
        "ps -o pid,ppid,comm; cat /proc/1/comm",
        "mount -t tmpfs t /tmp 2>&1; unshare -r true 2>&1; true",
    ] {
        until_warmed(warm, 3);
        let dressed = |prepared| {
            let mut command = sh(prepared, script);
            command
                .env("A", "b c")
                .env("PATH", "/bin")
                .cwd(SandboxPath::new("/var").unwrap());
            prints(command)
        };
        assert_eq!(dressed(warm), dressed(&cold), "{script}");
    }
    // Nothing is handed from one to the next.
    assert_eq!(
        prints(sh(warm, "touch /tmp/left /dev/shm/left; ls /tmp")),
        "left\n"
    );
    assert_eq!(
        prints(sh(warm, "ls -A /tmp /dev/shm | grep left; true")),
        ""
    );
    for (program, cwd) in [
        ("no-such-program", "/"),
        ("/etc", "/"),
        ("sh", "/no/such/place"),
    ] {
        until_warmed(warm, 3);
        let error = |prepared: &Prepared| {
            let mut command = prepared.command(program);
            command.cwd(SandboxPath::new(cwd).unwrap());
            command.output().unwrap_err().to_string()
        };
        assert_eq!(error(warm), error(&cold));
    }
}

/// A sandbox that was killed while it waited is passed over.
fn what_went_wrong_meanwhile(prepared: &Prepared) {
    until_warmed(prepared, 3);
    for pid in children() {
        signal(pid, "KILL");
    }
    assert_eq!(prints(sh(prepared, "echo still")), "still\n");
    until_warmed(prepared, 3);
    assert_eq!(prints(sh(prepared, "echo again")), "again\n");
}

/// A stream that is a file can be opened by its name, of which Landlock did not know before; and
/// nothing else of the host can.
fn files_as_streams(prepared: &Prepared) {
    until_warmed(prepared, 3);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("printed");
    let file = fs::File::create(&path).unwrap();
    let other = place.path().join("other");
    fs::write(&other, "secret").unwrap();
    let given = OwnedFd::from(fs::File::open(&other).unwrap());
    let script = "echo a; cat /proc/self/fd/60; \
                  (echo c >/proc/self/fd/60) 2>/dev/null || echo closed; echo b >>/dev/stdout";
    let mut command = sh(prepared, script);
    command.fd(given, 60);
    command.stdout(file).stdin(Stdio::Null).stderr(Stdio::Null);
    let parked = children();
    let mut child = command.spawn().unwrap();
    assert!(parked.contains(&child.id()), "one was taken");
    let outcome = child.wait().unwrap();
    let printed = fs::read_to_string(&path).unwrap();
    assert!(outcome.success());
    assert_eq!(printed, "a\nsecretclosed\nb\n");
    assert_eq!(fs::read_to_string(&other).unwrap(), "secret");
}

/// A sandbox that is started again and again copies mounts that were made once.
#[test]
fn the_third_run_is_like_the_first() {
    let _alone = alone();
    let Some(root) = TinyRoot::new() else { return };
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(place.path().join("file"), "shown").unwrap();
    let at = |path: &str| SandboxPath::new(path).unwrap();
    let sandbox = Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .mount(Mount::bind_read_only(place.path(), at("/home")))
        .mount(Mount::new(at("/etc"), MountKind::Mask))
        .mount(Mount::new(at("/var"), MountKind::Dir { mode: 0o700 }))
        .read_only()
        .backends(["userns"]);
    let prepared = sandbox.prepare().unwrap();
    for script in [
        "id; ls -la / /dev /dev/pts /dev/shm /home | sed -e 's/[0-9][0-9]:[0-9][0-9]//' -e '/ proc$/d'",
        "cut -d' ' -f 2- /proc/mounts | sort -u",
        "cat /home/file; ls /etc 2>&1; echo x >/home/new 2>&1; echo x >/new 2>&1; true",
        "set -- /proc/[0-9]*; echo $#; cat /proc/1/comm; ls /proc/1/root 2>&1; true",
        "cat /proc/sys/user/max_user_namespaces; cat /proc/self/uid_map /proc/self/gid_map",
        "umount /proc 2>&1; umount -l /proc 2>&1; umount /tmp 2>&1; mount -o remount,rw / 2>&1; true",
        "cat /proc/keys 2>&1; echo >/dev/null; head -c 4 /dev/zero | wc -c; echo a >/tmp/a; cat /tmp/a",
        "ifconfig lo | head -2; hostname",
    ] {
        let script = format!("{{ {script}; }} 2>&1");
        let first = prints(sh(&sandbox.prepare().unwrap(), &script));
        for _ in 0..3 {
            let again = prints(sh(&prepared, &script));
            assert_eq!(again, first, "{script}");
        }
    }
    // Nothing is left for the next.
    assert_eq!(
        prints(sh(&prepared, "touch /tmp/a /dev/shm/a; ls /tmp")),
        "a\n"
    );
    assert_eq!(prints(sh(&prepared, "ls -A /tmp; ls -A /dev/shm")), "");
}

/// With every capability of its user namespace but the one that makes a template impossible, and
/// with namespaces of its own, the command finds nothing below the procfs of its own.
#[test]
fn nothing_lies_below_what_was_copied() {
    let _alone = alone();
    let Some(root) = TinyRoot::new() else { return };
    let prepared = Sandbox::new(Root::Dir(root.path().into()))
        .usual_mounts()
        .ids(Ids::Pair {
            uid: 1000,
            gid: 1000,
        })
        .allow_nested()
        .backends(["userns"])
        .prepare()
        .unwrap();
    let script = "unshare -Urm sh -c '\
        umount /proc 2>/dev/null && echo gone; umount -l /proc 2>/dev/null && echo gone; \
        mkdir -p /tmp/x; mount --bind / /tmp/x 2>/dev/null && ls /tmp/x/proc; \
        mount --rbind / /tmp/x && umount -l /tmp/x/proc 2>/dev/null && ls /tmp/x/proc | wc -l; \
        cat /proc/1/comm'";
    for _ in 0..4 {
        assert_eq!(prints(sh(&prepared, script)), "sandbox-init\n");
    }
}
