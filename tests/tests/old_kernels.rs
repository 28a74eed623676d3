//! What is done instead where the kernel is too old for something. Here a system call filter says
//! that there is no mount_setattr(2), which Linux has since 5.12, or answers as older kernels do,
//! so that the other way can be held against the usual one.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a surprise ends the test"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use sandboxlib_tests::{Filter, TinyRoot, install, run_sandbox};

const FILTER_OPTION: &str = "--no-mount-setattr";

/// Mounts of all sorts, in a mount namespace of their own, to be bound from /mnt/src. What is
/// called `hidden` cannot be reached, because something lies on top.
const MOUNTS: &str = r#"
    set -e
    mount -t tmpfs -o nosuid,nodev,noexec t /mnt
    mkdir -p /mnt/src
    cd /mnt/src
    mkdir 'a b' exec stack covered covered/deep
    touch file
    mount -t tmpfs -o relatime t 'a b'
    mkdir 'a b/in\ner'
    mount -t tmpfs -o noatime,nosuid t 'a b/in\ner'
    mount -t tmpfs -o nodev,noexec,strictatime t exec
    mount --bind file file
    mount -t tmpfs hidden stack
    mount -t tmpfs t stack
    mount -t tmpfs hidden covered/deep
    mount -t tmpfs t covered
    mount -t tmpfs t "$ROOT/run"
"#;

const OPTIONS: &str = "--read-only --ro-bind /mnt/src /home --bind /mnt/src /var --mask /etc \
                       --writable /tmp";

/// Runs `script` with [`MOUNTS`] around it; `$R` is run-sandbox and `$ROOT` a tiny root.
fn with_mounts(root: &TinyRoot, filter: &Filter, script: &str) -> Output {
    let done = Command::new("unshare")
        .args(["-Urm", "sh", "-c"])
        .arg(format!("{MOUNTS}\n{script}"))
        .env("R", run_sandbox())
        .env("FILTER", filter.path())
        .env("ROOT", root.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
    done
}

/// The lines of a mountinfo that count, without what is another number each time.
fn mounts(mountinfo: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(mountinfo);
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.contains(" - tmpfs hidden "))
        .map(|line| line.splitn(4, ' ').last().unwrap().to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn mounts_are_the_same_with_and_without_mount_setattr() {
    let (Some(root), Some(filter)) = (TinyRoot::new(), Filter::build()) else {
        return;
    };
    let seen = |launcher: &str| {
        let script = format!("exec {launcher} $R {OPTIONS} $ROOT cat /proc/self/mountinfo");
        mounts(&with_mounts(&root, &filter, &script).stdout)
    };
    let expected = seen("");
    let found = seen(&format!("$FILTER {FILTER_OPTION}"));
    assert_eq!(found, expected);
    // What is compared is what was meant to be.
    for (place, options) in [
        ("/home/a\\040b/in\\134ner", "ro,nosuid,nodev,noatime"),
        ("/var/a\\040b/in\\134ner", "rw,nosuid,nodev,noatime"),
        ("/home/exec", "ro,nosuid,nodev,noexec"),
        ("/home/file", "ro,nosuid,nodev,noexec"),
        ("/run", "ro,nosuid,nodev"),
    ] {
        let is_there = found.iter().any(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, with) = (fields.next(), fields.next().unwrap_or_default());
            at == Some(place) && with.starts_with(options)
        });
        assert!(is_there, "no {place} {options} in {found:#?}");
    }
    for line in &found {
        assert!(
            !line.contains("shared:") && !line.contains("master:"),
            "{line}"
        );
        assert!(line.contains("nosuid"), "{line}");
    }
}

#[test]
fn what_is_mounted_below_a_read_only_bind_is_read_only_without_mount_setattr() {
    let (Some(root), Some(filter)) = (TinyRoot::new(), Filter::build()) else {
        return;
    };
    let inside = r#"for dir in / /home "/home/a b" "/home/a b/in\ner" /home/exec /home/stack \
                    /home/covered /run; do
                        touch "$dir/new" && echo "wrote into $dir"
                    done
                    echo text >/home/file && echo "wrote into a file"
                    touch "/var/a b/in\ner/new" && echo done"#;
    let script = format!("exec $FILTER {FILTER_OPTION} $R {OPTIONS} $ROOT sh -c '{inside}'");
    let done = with_mounts(&root, &filter, &script);
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(out, "done\n", "{done:?}");
    let complaints = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(
        complaints.matches("Read-only file system").count(),
        9,
        "{complaints}"
    );
}

#[test]
fn a_command_that_cannot_share_memory_with_its_init_is_started_all_the_same() {
    let (Some(root), Some(filter)) = (TinyRoot::new(), Filter::build()) else {
        return;
    };
    install(b"text", &root.join("bin/text"), 0o755);
    install(b"#!/no/such/perl\n", &root.join("bin/script"), 0o755);
    let run = |command: &str| {
        let done = Command::new(filter.path())
            .arg("--no-vfork")
            .arg(run_sandbox())
            .arg(root.path())
            .args(["sh", "-c", command])
            .output()
            .unwrap();
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    assert_eq!(run("echo ran; exit 7"), (Some(7), "ran\n".to_owned()));
    // What is wrong with a command is told as ever.
    for (command, status, word) in [
        ("no-such-command", 127, "no-such-command"),
        ("text", 126, "no program for this machine"),
        ("script", 126, "/no/such/perl"),
    ] {
        let done = Command::new(filter.path())
            .arg("--no-vfork")
            .args([run_sandbox().as_path(), root.path(), Path::new(command)])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(status), "{command}: {told}");
        assert!(told.contains(word), "{command}: {told}");
    }
}
