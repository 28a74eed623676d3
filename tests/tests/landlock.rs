//! The second wall: what it holds that the mounts do not, each time against the same run without
//! it, and that it is not in the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;

use sandboxlib::core::{Landlock, Launch, Step};
use sandboxlib::spawn::Run;
use sandboxlib::{End, Feature, Isolation, Network, Prepared, Root, Sandbox};
use sandboxlib_tests::{TinyRoot, host_can, skip};

/// A sandbox in the host's root, in which perl is found, with and without the wall.
fn host(landlock: bool, change: impl FnOnce(&mut Sandbox)) -> Prepared {
    let mut sandbox = Sandbox::new(Root::Host).usual_mounts();
    sandbox.config_mut().landlock = landlock;
    change(&mut sandbox);
    sandbox.prepare().unwrap()
}

/// The ABI of this kernel, if it has what the test is about.
fn abi(at_least: u32) -> bool {
    if !host_can() {
        return false;
    }
    let found = host(true, |_| ()).enforcement().landlock.clone();
    let found = found.map_or(0, |landlock| landlock.abi);
    if found < at_least {
        skip(&format!("Landlock has ABI {found} here, not {at_least}"));
    }
    found >= at_least
}

fn exit(prepared: &Prepared, script: &str) -> i32 {
    match prepared
        .command("sh")
        .args(["-c", script])
        .status()
        .unwrap()
        .end
    {
        End::Exited(status) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_given_for_reading_is_not_opened_for_writing() {
    if !abi(Landlock::FILES) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    for (landlock, expected) in [(false, "changed\n"), (true, "input\n")] {
        fs::write(&file, "input\n").unwrap();
        let prepared = host(landlock, |_| ());
        let _ = prepared
            .command("sh")
            .args(["-c", "echo changed >/proc/self/fd/0"])
            .stdin(OwnedFd::from(File::open(&file).unwrap()))
            .stderr(sandboxlib::Stdio::Null)
            .status()
            .unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }
}

#[test]
fn a_directory_that_was_passed_shows_what_is_in_it_alone() {
    if !abi(Landlock::FILES) {
        return;
    }
    let Some(root) = TinyRoot::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("file"), "shown\n").unwrap();
    fs::write(dir.path().join("secret"), "secret\n").unwrap();
    let read = |landlock, path: &str| {
        let mut sandbox = Sandbox::new(Root::Dir(root.path().into())).usual_mounts();
        sandbox.config_mut().landlock = landlock;
        let output = sandbox
            .prepare()
            .unwrap()
            .command("cat")
            .arg(format!("/proc/self/fd/7/{path}"))
            .fd(File::open(&inner).unwrap().into(), 7)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read(false, "../secret"), "secret\n");
    assert_eq!(read(true, "../secret"), "");
    assert_eq!(read(true, "file"), "shown\n");
}

#[test]
fn what_the_plan_shows_is_not_in_the_way() {
    if !abi(Landlock::FILES) {
        return;
    }
    let Some(root) = TinyRoot::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for writable in [false, true] {
        let mut sandbox = Sandbox::new(Root::Dir(root.path().into())).usual_mounts();
        if !writable {
            sandbox = sandbox.read_only();
        }
        let prepared = sandbox.prepare().unwrap();
        assert!(prepared.enforcement().landlock.is_some());
        let script = "set -e
            mkdir /tmp/a /tmp/b
            echo x >/tmp/a/f
            mv /tmp/a/f /tmp/b/g
            ln /tmp/b/g /tmp/a/h
            ln -s g /tmp/b/l
            : >/tmp/b/l
            mkfifo /tmp/p
            cp /bin/sh /tmp/sh
            /tmp/sh -c 'exit 0'
            rm -r /tmp/a /tmp/b
            echo 0 >/proc/self/oom_score_adj
            echo null >/dev/null
            echo shm >/dev/shm/x
            echo log >>/dev/stdout
            echo log >>/proc/self/fd/2";
        let out = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        let outcome = prepared
            .command("sh")
            .args(["-c", script])
            .stdout(OwnedFd::from(out.try_clone().unwrap()))
            .stderr(OwnedFd::from(out))
            .status()
            .unwrap();
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!((outcome.end, said.as_str()), (End::Exited(0), "log\nlog\n"));
        fs::remove_file(&log).unwrap();
        if writable {
            let script = "echo x >/made && mkdir /dir && mv /made /dir/moved && rm -r /dir";
            assert_eq!(exit(&prepared, script), 0);
        }
    }
}

#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    if !abi(Landlock::SCOPES) {
        return;
    }
    let name = format!("sandboxlib-landlock-{}", std::process::id());
    let address = format!("pack(\"Sa*\", AF_UNIX, \"\\0{name}\")");
    let listen = format!(
        "socket(S, AF_UNIX, SOCK_STREAM, 0) and bind(S, {address}) and listen(S, 5) or die; \
         $| = 1; print \"listening\\n\"; sleep 60"
    );
    let mut listener = std::process::Command::new("perl")
        .args(["-MSocket", "-e", &listen])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 10];
    listener
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    let connect = format!(
        "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
         connect(S, {address}) or exit 1'"
    );
    for (landlock, status) in [(false, 0), (true, 1)] {
        let prepared = host(landlock, |sandbox| {
            sandbox.config_mut().network = Network::Shared;
        });
        assert_eq!(exit(&prepared, &connect), status, "{landlock}");
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
}

/// Where process ids are to be isolated and cannot be. No host makes that happen at will, so the
/// script of a run that shares them is changed.
#[test]
fn processes_that_cannot_be_hidden_are_out_of_reach() {
    if !abi(Landlock::SCOPES) {
        return;
    }
    let mut victim = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let mut sandbox = Sandbox::new(Root::Host).backends(["userns"]);
    sandbox.config_mut().namespaces.pid = Isolation::Shared;
    for (no_signals, status) in [(false, 0), (true, 1)] {
        let mut launch = sandbox.check().unwrap().launch;
        let Launch::Direct(script) = &mut launch else {
            panic!("{launch:?}")
        };
        let mut walls = 0;
        for step in &mut script.steps {
            if let Step::Landlock(landlock) = step {
                landlock.no_signals = no_signals;
                walls += 1;
            }
        }
        assert_eq!(walls, 1);
        let exit = |script: String| {
            let mut run = Run::new("/bin/sh");
            run.args = vec!["-c".into(), script.into()];
            let prepared = sandboxlib::spawn::Prepared::new(&launch).unwrap();
            prepared.start(&run).unwrap().wait().unwrap().end
        };
        let signal = format!("kill -0 {} 2>&-", victim.id());
        assert_eq!(exit(signal), End::Exited(status), "{no_signals}");
        // Its own are within.
        assert_eq!(exit("sleep 60 & kill $!".to_owned()), End::Exited(0));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn where_the_network_cannot_be_isolated_there_are_no_ports() {
    if !abi(Landlock::TCP) {
        return;
    }
    if fs::metadata("/root").is_ok() && fs::read_dir("/root").is_err() {
        // chroot needs root; this is an ordinary user.
        assert!(
            Sandbox::new(Root::Host)
                .backends(["chroot"])
                .prepare()
                .is_err()
        );
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!(
        "perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0) or die; \
         connect(S, sockaddr_in({port}, INADDR_LOOPBACK)) or exit 1'"
    );
    for (landlock, status) in [(false, 0), (true, 1)] {
        let prepared = host(landlock, |sandbox| {
            let config = sandbox.config_mut();
            config.prefer.insert(Feature::Network);
            config.root_access = Some(sandboxlib::RootAccess::ReadWrite);
            *sandbox = sandbox.clone().backends(["chroot"]);
        });
        assert_eq!(exit(&prepared, &connect), status, "{landlock}");
        let covered: Vec<&str> = prepared
            .enforcement()
            .landlock
            .iter()
            .flat_map(Landlock::covers)
            .collect();
        assert_eq!(covered.contains(&"tcp"), landlock);
    }
    drop(listener);
}

#[test]
fn a_command_that_may_mount_may_mount() {
    if !abi(Landlock::FILES) {
        return;
    }
    let prepared = host(true, |sandbox| {
        let config = sandbox.config_mut();
        config.ids = sandboxlib::Ids::ROOT;
        config.capabilities = sandboxlib::Capabilities::Only(vec!["CAP_SYS_ADMIN".to_owned()]);
        config.seccomp = sandboxlib::Seccomp::None;
    });
    assert_eq!(exit(&prepared, "mount -t tmpfs none /tmp"), 0);
    let covered: Vec<&str> = prepared
        .enforcement()
        .landlock
        .iter()
        .flat_map(Landlock::covers)
        .collect();
    assert!(!covered.contains(&"files"), "{covered:?}");
    assert!(Path::new("/tmp").exists());
}

/// What is left of an isolation of IPC that could not be had, and was not insisted on.
#[test]
fn where_ipc_cannot_be_isolated_there_are_no_message_queues() {
    if !abi(Landlock::FILES) {
        return;
    }
    let queues = |backend: &'static str, ipc| {
        let mut sandbox = Sandbox::new(Root::Host).backends([backend]);
        let config = sandbox.config_mut();
        config.namespaces.ipc = ipc;
        for feature in [
            Feature::Ipc,
            Feature::Network,
            Feature::Uts,
            Feature::Cgroup,
        ] {
            config.prefer.insert(feature);
        }
        config.root_access = Some(sandboxlib::RootAccess::ReadWrite);
        let checked = sandbox.check().ok()?;
        let Launch::Direct(script) = checked.launch else {
            panic!("{backend} is a script")
        };
        let mut walls = script.steps.iter().filter_map(|step| match step {
            Step::Landlock(landlock) => landlock.files.clone(),
            _ => None,
        });
        Some(walls.next().unwrap().queues)
    };
    assert_eq!(queues("userns", Isolation::Isolated), Some(true));
    assert_eq!(queues("userns", Isolation::Shared), Some(true));
    // An ordinary user has no chroot.
    let root = fs::read_dir("/root").is_ok();
    assert_eq!(queues("chroot", Isolation::Isolated), root.then_some(false));
    assert_eq!(queues("chroot", Isolation::Shared), root.then_some(true));
}
