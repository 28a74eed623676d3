//! What a command sees that run-sandbox started, looked at from inside.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sandboxlib_tests::{RunSandbox, TinyRoot};

fn read_only(root: &TinyRoot) -> RunSandbox {
    RunSandbox::new(root.path()).options("--read-only")
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

#[test]
fn every_namespace_is_its_own() {
    let Some(root) = TinyRoot::new() else { return };
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let inside = read_only(&root).sh(&format!("readlink /proc/self/ns/{kind}"));
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(inside.good().starts_with(kind), "{inside:?}");
        assert_ne!(inside.good(), ours.to_str().unwrap());
    }
}

#[test]
fn a_namespace_can_be_shared_singly() {
    let Some(root) = TinyRoot::new() else { return };
    for kind in ["ipc", "uts", "cgroup"] {
        let script = "for n in ipc uts cgroup; do readlink /proc/self/ns/$n; done";
        let done = read_only(&root)
            .options(&format!("--share {kind}"))
            .sh(script);
        for (line, name) in done.good().lines().zip(["ipc", "uts", "cgroup"]) {
            let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert_eq!(
                line == ours.to_str().unwrap(),
                name == kind,
                "--share {kind}: {line}"
            );
        }
    }
}

#[test]
fn no_process_but_its_own_and_an_init_above() {
    let Some(root) = TinyRoot::new() else { return };
    let done = read_only(&root).sh("echo $$; for p in /proc/[0-9]*; do echo ${p#/proc/}; done");
    let mut lines = done.good().lines();
    let shell: u32 = lines.next().unwrap().parse().unwrap();
    let all: Vec<u32> = lines.map(|l| l.parse().unwrap()).collect();
    assert_ne!(shell, 1, "a command as pid 1 has no default signal actions");
    assert!(
        all.contains(&1) && all.contains(&shell) && all.len() <= 3,
        "{all:?}"
    );
}

#[test]
fn ids_are_the_callers_or_what_was_asked_for() {
    let Some(root) = TinyRoot::new() else { return };
    let me = fs::metadata("/proc/self").unwrap();
    let show = "echo $(id -u):$(id -g)";
    assert_eq!(
        read_only(&root).sh(show).good(),
        format!("{}:{}", me.uid(), me.gid())
    );
    assert_eq!(read_only(&root).options("--root").sh(show).good(), "0:0");
    let pair = read_only(&root).options("--uid 1234 --gid 2345").sh(show);
    assert_eq!(pair.good(), "1234:2345");
}

#[test]
fn a_host_name_of_its_own() {
    let Some(root) = TinyRoot::new() else { return };
    let ours = fs::read("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(
        read_only(&root)
            .options("--hostname box")
            .sh("hostname")
            .good(),
        "box"
    );
    assert_eq!(fs::read("/proc/sys/kernel/hostname").unwrap(), ours);
}

#[test]
fn the_environment_is_what_was_promised() {
    let Some(root) = TinyRoot::new() else { return };
    let environment = |sandbox: RunSandbox| {
        let mut line = sandbox.command(&[&"env"]).line();
        let line = line
            .env("OURS", "1 2")
            .env("SECRET", "x")
            .stdin(Stdio::null());
        let output = line.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut lines: Vec<_> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let bare = environment(read_only(&root));
    assert_eq!(bare.len(), 1, "{bare:?}");
    assert!(
        bare[0].starts_with("PATH=") && bare[0].contains("/usr/bin"),
        "{bare:?}"
    );

    let set = environment(read_only(&root).options("--env A=b=c --env OURS --env NOT_SET"));
    assert_eq!(set.len(), 3, "{set:?}");
    assert_eq!(set[..2], ["A=b=c", "OURS=1 2"]);

    let inherited = environment(read_only(&root).options("--inherit-env"));
    assert!(inherited.contains(&"SECRET=x".to_owned()), "{inherited:?}");
}

#[test]
fn no_file_is_open_but_the_standard_streams() {
    let Some(root) = TinyRoot::new() else { return };
    let line = read_only(&root)
        .command(&[
            &"sh",
            &"-c",
            &"ls /proc/self/fd; ls /proc/1/fd; : <&9 && echo leaked",
        ])
        .line();
    // A shell opens file 9 and leaves it open, as a careless caller would.
    let output = Command::new("sh")
        .args(["-c", "exec 9</etc/passwd; exec \"$@\"", "sh"])
        .arg(line.get_program())
        .args(line.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    // 3 is the directory that ls reads.
    assert_eq!(
        out.lines().take(4).collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "{output:?}"
    );
    assert!(!out.contains('9') && !out.contains("leaked"), "{output:?}");
}

#[test]
fn devices_are_those_promised_and_work() {
    let Some(root) = TinyRoot::new() else { return };
    let promised = "null zero full random urandom tty pts ptmx shm fd stdin stdout stderr";
    let listed = read_only(&root).sh("ls /dev");
    assert_eq!(words(listed.good()), words(promised));

    let script = "set -e
        echo x > /dev/null; head -c 3 /dev/null | wc -c
        head -c 3 /dev/zero | wc -c
        head -c 3 /dev/urandom | wc -c
        head -c 3 /dev/random | wc -c
        (echo x > /dev/full) 2>&1 | head -c 200
        test -c /dev/tty
        exec 3<>/dev/ptmx; ls /dev/pts; exec 3>&-
        echo x > /dev/shm/file; cat /dev/shm/file
        echo out > /dev/stdout; echo err > /dev/fd/2
        echo in | cat /dev/stdin";
    let done = read_only(&root).sh(script);
    let lines: Vec<_> = done.good().lines().collect();
    assert_eq!(lines[..4], ["0", "3", "3", "3"], "{done:#?}");
    assert!(lines[4].contains("No space left"), "{done:#?}");
    assert_eq!(words(&lines[5..7].join(" ")), words("0 ptmx"), "{done:#?}");
    assert_eq!(lines[7..], ["x", "out", "in"], "{done:#?}");
    assert_eq!(done.err.trim(), "err");
    assert!(!Path::new("/dev/shm/file").exists());
}

#[test]
fn devices_cannot_be_replaced() {
    let Some(root) = TinyRoot::new() else { return };
    for options in ["", "--root"] {
        let done = read_only(&root)
            .options(options)
            .sh("rm -f /dev/null; mv /dev/zero /dev/x; test -c /dev/null && test -c /dev/zero");
        assert!(done.status.success(), "{options}: {done:#?}");
    }
}

#[test]
fn the_network_is_a_loopback_interface_that_is_up() {
    let Some(root) = TinyRoot::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("nc 127.0.0.1 {port} </dev/null");

    let names = read_only(&root).sh("tail -n +3 /proc/net/dev 2>/dev/null || cat /proc/net/dev");
    let interfaces: Vec<_> = names.good().lines().filter(|l| l.contains(':')).collect();
    assert_eq!(interfaces.len(), 1, "{names:#?}");
    assert!(interfaces[0].trim().starts_with("lo:"), "{names:#?}");

    // Both sides keep their input open: nc ends when the other side has no more to say.
    let own = read_only(&root)
        .sh("(echo hello; sleep 1) | nc -l -p 5000 & sleep 0.3; sleep 1 | nc 127.0.0.1 5000");
    assert_eq!(own.good(), "hello", "lo is up");

    let hosts = read_only(&root).sh(&connect);
    assert!(
        !hosts.status.success() && hosts.err.contains("refused"),
        "{hosts:#?}"
    );
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came in");

    let shared = read_only(&root)
        .options("--network shared")
        .sh(&format!("{connect} & sleep 0.5"));
    assert!(shared.status.success(), "{shared:#?}");
    assert!(listener.accept().is_ok(), "shared is shared");
}

#[test]
fn the_hosts_root_is_read_only_and_the_working_directory_is_kept() {
    let Some(_) = TinyRoot::new() else { return };
    let script = "pwd; touch /etc/sandbox-canary /usr/sandbox-canary";
    let mut line = RunSandbox::new("/")
        .command(&[&"sh", &"-c", &script])
        .line();
    let done = line.current_dir("/usr/share").output().unwrap();
    let (out, err) = [&done.stdout, &done.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .into();
    assert_eq!(out.trim(), "/usr/share", "{done:?}");
    assert!(
        !done.status.success() && err.contains("Read-only file system"),
        "{done:?}"
    );
    assert!(!Path::new("/etc/sandbox-canary").exists());
    // What the host has mounted below its root is read-only too.
    let explained = RunSandbox::new("/").options("--explain").sh("true");
    let hidden = explained
        .good()
        .lines()
        .find_map(|l| l.strip_prefix("hidden: "));
    let hidden: Vec<_> = hidden.unwrap().split(", ").collect();
    let done = RunSandbox::new("/").sh("cat /proc/self/mounts");
    for line in done.good().lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let own = ["/proc", "/dev", "/tmp"]
            .iter()
            .any(|p| Path::new(fields[1]).starts_with(p));
        // What hides something is nobody's but the sandbox's.
        let own = own || fields[2] == "tmpfs" && hidden.contains(&fields[1]);
        let read_only = fields[3].split(',').any(|option| option == "ro");
        assert!(own || read_only, "{line}");
    }
}

#[test]
fn no_privilege_is_to_be_had() {
    let Some(root) = TinyRoot::new() else { return };
    let status = read_only(&root).sh("cat /proc/self/status");
    let field = |name: &str| {
        let line = status.good().lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let bits = u64::from_str_radix(&field(set), 16).unwrap();
        // chown, dac_override, fowner, fsetid, kill, setgid, setuid.
        let files = 0b1111_1011;
        let allowed = if root { files } else { 0 };
        assert_eq!(bits & !allowed, 0, "{set} {bits:#x}");
    }
    // Nor can a root inside take away what was mounted for it.
    let before = read_only(&root)
        .options("--root")
        .sh("cat /proc/self/mounts");
    let done = read_only(&root)
        .options("--root")
        .sh("umount /dev/null /dev /tmp / 2>/dev/null; cat /proc/self/mounts");
    assert_eq!(done.good(), before.good());
}

/// `..` of a root stays in it only if nothing is mounted on top of it: whatever was there while
/// the sandbox was built must be gone, however many layers the root has.
#[test]
fn nothing_lies_above_the_root() {
    let Some(root) = TinyRoot::new() else { return };
    let canary = tempfile::tempdir().unwrap();
    let outside = canary.path().join("escaped");
    for options in [
        "",
        "--read-only",
        "--read-only --tmpfs /new",
        "--read-only --tmpfs /new --mask /home",
        "--bare --read-only --tmpfs /new",
        "--bare --mask /home",
    ] {
        let script = format!(
            "ls -id / /.. /../.. | while read i n; do echo $i; done | sort -u | wc -l; touch /..{0} {0}; cd /..; ls",
            outside.display()
        );
        let done = RunSandbox::new(root.path()).options(options).sh(&script);
        assert!(!outside.exists(), "{options}: {done:#?}");
        let mut lines = done.out.lines();
        assert_eq!(
            lines.next().map(str::trim),
            Some("1"),
            "{options}: {done:#?}"
        );
        assert!(!lines.any(|name| name == "usr"), "{options}: {done:#?}");
    }
}

/// Files of procfs belong to root, and whoever is root on the host may use them without any
/// capability; so they are closed to it by mounts.
#[test]
fn the_levers_of_procfs_are_out_of_reach() {
    let Some(root) = TinyRoot::new() else { return };
    let script = "for f in sys/kernel/core_pattern sys/kernel/modprobe sysrq-trigger \
                      irq/default_smp_affinity; do \
                      [ -e /proc/$f ] && (: >>/proc/$f) 2>/dev/null && echo $f; \
                  done; \
                  [ $0 = root ] && for f in kcore vmcore kmsg kallsyms keys timer_list slabinfo vmallocinfo \
                      pagetypeinfo kpagecount kpageflags kpagecgroup; do \
                      [ -e /proc/$f ] && (: </proc/$f) 2>/dev/null && echo $f; \
                  done; true";
    let who = if sandboxlib::spawn::caller_ids().0 == 0 {
        "root"
    } else {
        "user"
    };
    for options in ["--read-only", "--read-only --share user"] {
        if who == "user" && options.contains("user") {
            continue;
        }
        let run = RunSandbox::new(root.path()).options(options);
        let done = run.command(&[&"sh", &"-c", &script, &who]).run();
        assert_eq!(done.good(), "", "{options}");
    }
}
