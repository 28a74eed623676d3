//! Unix sockets of the host below what is read-only: a real listener, and a command that tries to
//! connect to it.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandboxlib::core::Landlock;
use sandboxlib::{Mount, Root, Sandbox, SandboxPath};
use sandboxlib_tests::{Filter, RunSandbox, host_can, run_sandbox, skip};
use tempfile::TempDir;

/// The ways to run with the host's root, as options. None counts on the second wall, so that what
/// is seen is what the plan does.
fn ways() -> Vec<&'static str> {
    if !host_can() {
        return Vec::new();
    }
    if !Path::new("/usr/bin/perl").exists() {
        skip("no perl on this host");
        return Vec::new();
    }
    let mut ways = vec!["-e userns --no-landlock"];
    if Path::new("/usr/bin/bwrap").exists() {
        ways.push("-e bubblewrap");
    } else {
        skip("no bwrap (package bubblewrap)");
    }
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        ways.push("-e chroot --no-landlock --prefer read-only,network,ipc,uts,cgroup");
    }
    ways
}

/// A directory with sockets, on which somebody listens.
struct Sockets {
    dir: TempDir,
    _stream: UnixListener,
    _below: UnixListener,
    datagram: UnixDatagram,
}

impl Sockets {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("sockets-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        // One that was bound by way of a link.
        std::os::unix::fs::symlink("sub", at("link")).unwrap();
        let stream = UnixListener::bind(at("stream")).unwrap();
        let below = UnixListener::bind(at("link/stream")).unwrap();
        let datagram = UnixDatagram::bind(at("datagram")).unwrap();
        datagram.set_nonblocking(true).unwrap();
        for name in ["", "sub"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in ["stream", "sub/stream", "datagram"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o666)).unwrap();
        }
        Self {
            dir,
            _stream: stream,
            _below: below,
            datagram,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Which of `paths` a command in `sandbox` can connect to.
fn reached(sandbox: RunSandbox, paths: &[PathBuf]) -> Vec<bool> {
    let script = "use Socket; for (@ARGV) { \
                  socket(my $s, PF_UNIX, /datagram/ ? SOCK_DGRAM : SOCK_STREAM, 0) or die; \
                  print connect($s, pack_sockaddr_un($_)) ? 1 : 0 }";
    let mut words: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"perl", &"-e", &script];
    for path in paths {
        words.push(path);
    }
    let done = sandbox.command(&words).run();
    let answers = done.good().chars().map(|c| c == '1').collect::<Vec<_>>();
    assert_eq!(answers.len(), paths.len(), "{done:#?}");
    answers
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let names = ["stream", "sub/stream", "datagram"];
    names.iter().map(|name| dir.join(name)).collect()
}

#[test]
fn below_a_read_only_bind() {
    let sockets = Sockets::new();
    let places = names(Path::new("/mnt"));
    for way in ways() {
        let with = |kind: &str| {
            let sandbox = RunSandbox::new("/").options(way);
            sandbox.option(kind, &[&sockets.path(), &"/mnt"])
        };
        assert_eq!(reached(with("--ro-bind"), &places), [false; 3], "{way}");
        assert_eq!(reached(with("--bind"), &places), [true; 3], "{way}");
        let one = with("--ro-bind").option("--allow-socket", &[&"/mnt/link/stream"]);
        assert_eq!(reached(one, &places), [false, true, false], "{way}");
        let all = with("--ro-bind").option("--allow-socket", &[&"/mnt"]);
        assert_eq!(reached(all, &places), [true; 3], "{way}");
        let stream = sockets.path().join("stream");
        let by_name = with("--ro-bind").option("--ro-bind", &[&stream, &"/mnt/sub/stream"]);
        assert_eq!(reached(by_name, &places), [false, true, false], "{way}");
    }
    let mut buffer = [0];
    assert!(sockets.datagram.recv(&mut buffer).is_err());
}

#[test]
fn in_the_hosts_root() {
    let sockets = Sockets::new();
    let places = names(sockets.path());
    for way in ways() {
        let host = || RunSandbox::new("/").options(way);
        let readable = || host().option("--readable", &[&sockets.path()]);
        assert_eq!(reached(host(), &places), [false; 3], "{way}");
        assert_eq!(reached(readable(), &places), [false; 3], "{way}");
        let one = readable().option("--allow-socket", &[&places[2]]);
        assert_eq!(reached(one, &places), [false, false, true], "{way}");
        let writable = host().option("--writable", &[&sockets.path()]);
        assert_eq!(reached(writable, &places), [true; 3], "{way}");
        let allowed = host().option("--allow-socket", &[&sockets.path()]);
        assert_eq!(reached(allowed, &places), [true; 3], "{way}");
    }
}

/// A program that finds nobody there goes on; one that could read, or may do what root may, must
/// not hang.
#[test]
fn a_closed_socket_looks_like_one_whose_program_has_ended() {
    if ways().is_empty() {
        return;
    }
    let sockets = Sockets::new();
    for options in ["-e userns --no-landlock", "-e userns --no-landlock --root"] {
        let script = "use Socket; use Errno; stat('/mnt/stream'); print -S _ ? 's' : '-'; \
                      socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; \
                      connect($s, pack_sockaddr_un('/mnt/stream')); \
                      print $!{ECONNREFUSED} ? 'r' : '-'; \
                      open(my $f, '<', '/mnt/stream'); print $!{ENXIO} ? 'x' : '-'; \
                      print chmod(0600, '/mnt/stream') ? 'c' : '-', unlink('/mnt/stream');";
        let done = RunSandbox::new("/")
            .options(options)
            .option("--ro-bind", &[&sockets.path(), &"/mnt"])
            .command(&[&"perl", &"-e", &script])
            .run();
        assert_eq!(done.good(), "srx-0", "{options}");
    }
}

#[test]
fn it_is_shown_before_it_is_done() {
    if !host_can() {
        return;
    }
    let sockets = Sockets::new();
    for way in ["-e userns", "-e bubblewrap"] {
        if way.contains("bubblewrap") && !Path::new("/usr/bin/bwrap").exists() {
            skip("no bwrap (package bubblewrap)");
            continue;
        }
        let done = RunSandbox::new("/")
            .options(way)
            .options("--explain")
            .option("--ro-bind", &[&sockets.path(), &"/mnt"])
            .sh("true");
        let text = format!("{}{}", done.out, done.err);
        assert!(text.contains("/mnt/sub/stream"), "{text}");
    }
}

/// As on Linux before 5.12, where a mount gets its attributes in another way.
#[test]
fn sockets_are_closed_without_mount_setattr() {
    if ways().is_empty() {
        return;
    }
    let Some(filter) = Filter::build() else {
        return;
    };
    let sockets = Sockets::new();
    let script = "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; \
                  print connect($s, pack_sockaddr_un('/mnt/stream')) ? 'open' : 'closed'";
    for (options, answer) in [(vec![], "closed"), (vec!["--allow-socket", "/mnt"], "open")] {
        let output = Command::new(filter.path())
            .arg("--no-mount-setattr")
            .arg(run_sandbox())
            .args(["-e", "userns", "--no-landlock", "--ro-bind"])
            .arg(sockets.path())
            .arg("/mnt")
            .args(options)
            .args(["--cwd", "/", "/", "perl", "-e", script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            answer,
            "{output:?}"
        );
    }
}

/// A prepared sandbox outlives what it saw.
#[test]
fn sockets_come_and_go() {
    if !host_can() {
        return;
    }
    let sockets = Sockets::new();
    let mut sandbox = Sandbox::new(Root::Host).usual_mounts().backends(["userns"]);
    let mount = Mount::bind_read_only(sockets.path(), SandboxPath::new("/mnt").unwrap());
    sandbox.config_mut().mounts.push(mount);
    let prepared = sandbox.prepare().unwrap();
    // Gone; something else; and with its directory.
    fs::remove_file(sockets.path().join("stream")).unwrap();
    fs::remove_file(sockets.path().join("datagram")).unwrap();
    fs::create_dir(sockets.path().join("datagram")).unwrap();
    fs::remove_dir_all(sockets.path().join("sub")).unwrap();
    let run = || {
        prepared
            .command("test")
            .args(["-d", "/mnt/datagram"])
            .status()
    };
    assert_eq!(run().unwrap().end, sandboxlib::End::Exited(0));
    // A link that was none is never followed, as everywhere.
    std::os::unix::fs::symlink("datagram", sockets.path().join("stream")).unwrap();
    let error = run().unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    assert!(cause.is_some_and(|text| text.contains("close socket \"/mnt/stream\"")));
}

/// What is closed by the plan is no claim of the second wall.
#[test]
fn the_report_says_what_the_kernel_holds() {
    if !host_can() {
        return;
    }
    let enforcement = Sandbox::new(Root::Host)
        .usual_mounts()
        .check()
        .unwrap()
        .enforcement;
    let Some(landlock) = enforcement.landlock else {
        return skip("no Landlock");
    };
    let claimed = landlock.covers().any(|what| what == "sockets");
    assert_eq!(claimed, landlock.abi >= Landlock::SOCKETS);
}
