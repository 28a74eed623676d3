//! Ordinary programs under the default hardening: compilers, debuggers, interpreters, git and apt
//! do in a Debian root what they do outside, as root and as an ordinary user.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use sandboxlib_tests::{Lab, RunSandbox, skip};
use tempfile::TempDir;

fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A directory that is /w in a Debian root, which cannot be changed, and nothing but the defaults.
struct Place {
    lab: Lab,
    dir: TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        let lab = Lab::find()?;
        let dir = tempfile::tempdir().unwrap();
        Some(Self { lab, dir })
    }

    fn run(&self) -> RunSandbox {
        RunSandbox::new(&self.lab.root)
            .options("--read-only --cwd /w --env HOME=/w --timeout 120")
            .option("--bind", &[&self.dir.path(), &"/w"])
    }

    fn add(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// What a program says to a script of its own, which must end well.
    #[track_caller]
    fn says(&self, program: &str, script: &str) -> String {
        self.add("script", script);
        let done = self.run().command(&[&program, &"script"]).run();
        done.good().to_owned()
    }
}

/// That these lines are there, in this order, whatever is between them.
#[track_caller]
fn in_order(said: &str, lines: &[&str]) {
    let mut rest = said.lines();
    for line in lines {
        assert!(rest.any(|l| l.trim() == *line), "no {line:?} in:\n{said}");
    }
}

#[test]
fn nothing_but_the_defaults_is_tested_here() {
    let Some(place) = Place::new() else { return };
    let said = place.says("sh", "cat /proc/self/status");
    let status: BTreeMap<&str, &str> = said
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    assert_eq!(status["Seccomp"], "2", "a filter");
    assert_eq!(status["NoNewPrivs"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["Umask"], "0022");
    // Whether the kernel has it is asked of the kernel.
    let explained = place.run().options("--explain").run();
    let lsm = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if lsm.contains("landlock") {
        assert!(explained.good().contains("Landlock"), "{explained:#?}");
    }
}

#[test]
fn gcc_compiles_and_make_shares_its_jobs() {
    let Some(place) = Place::new() else { return };
    let said = place.says("bash", include_str!("programs/build.sh"));
    let lines = ["pool 168779.647", "slots --jobserver", "16", "count 16"];
    in_order(&said, &lines);
    let whole = fs::read_to_string(place.dir.path().join("whole")).unwrap();
    let parts: Vec<u32> = whole.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(parts, (1..=16).collect::<Vec<_>>());
    let made = fs::metadata(place.dir.path().join("pool")).unwrap();
    let own = fs::metadata("/proc/self").unwrap().uid();
    assert_eq!((made.mode() & 0o777, made.uid()), (0o755, own));
}

#[test]
fn cargo_builds_and_tests() {
    let Some(place) = Place::new() else { return };
    if !place.lab.rust.exists() {
        return skip("the Rust toolchain is the system's: the lab has no copy of it");
    }
    place.add("script", include_str!("programs/cargo.sh"));
    let run = place.run();
    let run = run.option("--ro-bind", &[&place.lab.rust, &"/opt/rust"]);
    let done = run.command(&[&"bash", &"script"]).run();
    let passed = [
        "script 55",
        "test a_unit ... ok",
        "test the_program_runs ... ok",
        "test src/lib.rs - (line 1) ... ok",
    ];
    in_order(done.good(), &passed);
}

#[test]
fn python_forks_locks_and_shares_memory() {
    let Some(place) = Place::new() else { return };
    // It is started again by name, so the name is one of Python's.
    place.add("script.py", include_str!("programs/script.py"));
    let done = place.run().command(&[&"python3", &"script.py"]).run();
    let expected = "fork 328350\nspawn 328350\nforkserver 328350\nqueued\nshared 7\n\
                    threads 328350\nsqlite 4950\nsubprocess OUT\nasyncio HELLO child\n\
                    ctypes 144\ntempfile nameless\nvenv in it";
    assert_eq!(done.good(), expected, "{done:#?}");
}

#[test]
fn node_does_without_io_uring() {
    let Some(place) = Place::new() else { return };
    place.add("script.js", include_str!("programs/script.js"));
    for uring in ["0", "1"] {
        let run = place
            .run()
            .option("--env", &[&format!("UV_USE_IO_URING={uring}")]);
        let done = run.command(&[&"node", &"script.js"]).run();
        let expected = "workers 40\nfiles 1225\ncopied 49\nwatched watched\nchild PIPED\n\
                        forked channel\nhttp served\nwasm 42";
        assert_eq!(done.good(), expected, "{done:#?}");
    }
}

#[test]
fn git_commits_clones_and_packs() {
    let Some(place) = Place::new() else { return };
    let said = place.says("bash", include_str!("programs/git.sh"));
    let lines = ["packs 1", "commits 5", "worktree 3", "new", "file other"];
    in_order(&said, &lines);
}

#[test]
fn gdb_and_strace_trace_their_own() {
    let Some(place) = Place::new() else { return };
    let said = place.says("bash", include_str!("programs/debug.sh"));
    let lines = [
        "Breakpoint 1, fib (n=2) at fib.c:3",
        "$1 = 42",
        "Hardware watchpoint 2: m",
        "New value = 2",
        "fib 13",
        "fib 13",
        "traced 1",
        "attached 1",
        "SUMMARY: AddressSanitizer: 10 byte",
        "SUMMARY: ThreadSanitizer: data race",
    ];
    in_order(&said, &lines);
}

#[test]
fn shells_have_jobs_and_terminals() {
    let Some(place) = Place::new() else { return };
    let said = place.says("bash", include_str!("programs/shell.sh"));
    let lines = [
        "1",
        "ended 143",
        "foreground 7",
        "12 34",
        "/dev/pts/0",
        "substituted",
        "COPROCESS",
        "here",
        "trapped",
        "16",
        "nice",
        "timeout 124",
        "from a child",
        "alarm",
        "-rwsr-x--- 2",
        "copy/fifo copy/soft 2711",
        "100000",
        "16384",
        "1073741824",
    ];
    in_order(&said, &lines);
}

// ---- what they ask of the kernel ----

/// What programs/kernel does that is closed on purpose, with the errno of docs/seccomp.md.
const CLOSED: &[(&str, &str)] = &[
    ("clone3_call", "38"),
    ("io_uring", "38"),
    ("page_faults", "1"),
    ("keyring", "38"),
    ("by_handle", "1"),
    ("performance", "1"),
];

const SOURCES: &[(&str, &str)] = &[
    ("kernel.h", include_str!("programs/kernel/kernel.h")),
    ("main.c", include_str!("programs/kernel/main.c")),
    ("files.c", include_str!("programs/kernel/files.c")),
    ("talk.c", include_str!("programs/kernel/talk.c")),
    ("processes.c", include_str!("programs/kernel/processes.c")),
    ("closed.c", include_str!("programs/kernel/closed.c")),
];

fn results(said: &str) -> BTreeMap<String, String> {
    let pairs = said.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// All that works outside works inside, but for what is closed.
#[track_caller]
fn as_outside(inside: &BTreeMap<String, String>, outside: &BTreeMap<String, String>) {
    assert_eq!(
        inside.keys().collect::<Vec<_>>(),
        outside.keys().collect::<Vec<_>>()
    );
    for (name, answer) in inside {
        match CLOSED.iter().find(|(closed, _)| closed == name) {
            Some((_, errno)) => assert_eq!(answer, errno, "{name}"),
            None if outside[name] == "ok" => assert_eq!(answer, "ok", "{name}"),
            None => {}
        }
    }
}

#[test]
fn the_kernel_does_for_programs_what_it_does_outside() {
    let Some(place) = Place::new() else { return };
    for (name, text) in SOURCES {
        place.add(name, text);
    }
    // Without shared libraries, because it is run outside as well.
    let compile = "gcc -O1 -static -pthread -o kernel *.c && mkdir in out as-root";
    assert!(place.run().sh(compile).status.success());

    let program = place.dir.path().join("kernel");
    let output = Command::new(&program)
        .arg(place.dir.path().join("out"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let outside = results(&String::from_utf8_lossy(&output.stdout));
    let works = outside.values().filter(|answer| *answer == "ok").count();
    assert!(works >= 35, "there is something to compare: {outside:#?}");

    let done = place.run().command(&[&"./kernel", &"in"]).run();
    let mut inside = results(done.good());
    if am_root() {
        // No capabilities: root was not asked for.
        for name in ["owners", "change_ids"] {
            assert_eq!(
                inside.insert(name.to_owned(), "ok".to_owned()).unwrap(),
                "1"
            );
        }
    }
    as_outside(&inside, &outside);

    let run = place.run().options(as_uid_0());
    let done = run.command(&[&"./kernel", &"as-root"]).run();
    let mut inside = results(done.good());
    if !am_root() {
        for name in ["owners", "change_ids"] {
            assert_eq!(inside.remove(name).unwrap(), "ok", "{name}");
        }
        // Removed from within, where their owners have names.
        let run = place.run().options(as_uid_0());
        assert!(run.sh("rm -r as-root").status.success());
    }
    as_outside(&inside, &outside);
}

// ---- packages ----

/// How to be uid 0 inside, with others to give files to.
fn as_uid_0() -> &'static str {
    if am_root() {
        "--root"
    } else {
        "--map-subordinate"
    }
}

/// A Debian root of one's own, with uid 0 for its owner.
struct OwnRoot {
    dir: TempDir,
    lab: Lab,
}

impl OwnRoot {
    fn new() -> Option<Self> {
        let lab = Lab::find()?;
        let dir = tempfile::tempdir().unwrap();
        let own = Self { dir, lab };
        // Half of it: what neither apt nor the maintainer scripts use.
        let without = [
            "lib/gcc",
            "lib/git-core",
            "lib/*/libnode*",
            "lib/*/libicu*",
            "share/nodejs",
        ];
        let without = without.map(|path| format!("--exclude=./usr/{path}"));
        let script = format!(
            "exec tar -C /mnt --numeric-owner --exclude='./dev/*' {} -xpf /root.tar",
            without.join(" ")
        );
        let done = own
            .seen_from_the_lab()
            .option("--ro-bind", &[&own.lab.tar, &"/root.tar"])
            .sh(&script);
        assert_eq!((done.good(), done.err.as_str()), ("", ""));
        Some(own)
    }

    /// In the lab's root, with this one at /mnt.
    fn seen_from_the_lab(&self) -> RunSandbox {
        RunSandbox::new(&self.lab.root)
            .options(as_uid_0())
            .options("--read-only")
            .option("--bind", &[&self.dir.path(), &"/mnt"])
    }

    fn run(&self) -> RunSandbox {
        RunSandbox::new(self.dir.path())
            .options(as_uid_0())
            .options("--timeout 120")
    }

    /// Owner and group as they are inside, and the mode.
    #[track_caller]
    fn owner(&self, path: &str) -> (u32, u32, u32) {
        let found = fs::symlink_metadata(self.dir.path().join(path)).unwrap();
        let own = fs::metadata("/proc/self").unwrap();
        let inside = |id, own, file| {
            if am_root() {
                id
            } else if id == own {
                0
            } else {
                id - first_subordinate(file) + 1
            }
        };
        (
            inside(found.uid(), own.uid(), "/etc/subuid"),
            inside(found.gid(), own.gid(), "/etc/subgid"),
            found.permissions().mode() & 0o7777,
        )
    }
}

impl Drop for OwnRoot {
    fn drop(&mut self) {
        // Files of subordinate ids cannot be removed from outside.
        let _ = self.seen_from_the_lab().sh("find /mnt -mindepth 1 -delete");
    }
}

/// The first of the ids that the host's administrator gave to this user (subuid(5)).
fn first_subordinate(file: &str) -> u32 {
    let uid = fs::metadata("/proc/self").unwrap().uid().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let name = users
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        })
        .unwrap();
    let granted = fs::read_to_string(file).unwrap();
    let mut lines = granted.lines().map(|line| line.split(':'));
    let mut fields = lines
        .find(|fields| fields.clone().next().is_some_and(|n| n == name || n == uid))
        .unwrap();
    fields.nth(1).unwrap().parse().unwrap()
}

#[test]
fn apt_installs_packages_with_owners_and_maintainer_scripts() {
    let Some(root) = OwnRoot::new() else { return };
    let done = root
        .run()
        .command(&[&"bash", &"-c", &include_str!("programs/package.sh")])
        .run();
    let lines = [
        "Setting up tool (1.0) ...",
        "tooluser",
        "tooluser",
        "tooluser",
        "tooluser",
        "tool installed",
        "tool-data installed",
        "tool data",
        "tool data",
        "log 2",
    ];
    in_order(done.good(), &lines);
    for line in done.err.lines() {
        assert!(
            !line.starts_with("W:") && !line.starts_with("E:"),
            "{done:#?}"
        );
    }

    // As dpkg leaves them without a sandbox, seen from outside.
    let users = fs::read_to_string(root.dir.path().join("etc/passwd")).unwrap();
    let line = users.lines().find(|l| l.starts_with("tooluser:")).unwrap();
    let ids: Vec<u32> = line
        .split(':')
        .skip(2)
        .take(2)
        .map(|id| id.parse().unwrap())
        .collect();
    let (user, group) = (ids[0], ids[1]);
    assert!((100..1000).contains(&user), "{line}");
    const MAIL: (u32, u32) = (8, 9);
    const ADM: u32 = 4;
    const SHADOW: u32 = 42;
    for (path, expected) in [
        ("usr/bin/tool", (0, 0, 0o755)),
        ("usr/lib/tool/of-mail", (MAIL.0, MAIL.1, 0o644)),
        ("usr/lib/tool/set-user-id", (0, 0, 0o4755)),
        ("usr/lib/tool/set-group-id", (0, SHADOW, 0o2711)),
        ("var/lib/tool", (user, group, 0o2775)),
        ("var/lib/tool/log", (user, ADM, 0o640)),
        ("var/lib/tool/fifo", (0, group, 0o600)),
        ("var/lib/tool/by-su", (user, group, 0o640)),
        // What was there before: the owners in the archive.
        ("etc/shadow", (0, SHADOW, 0o640)),
        ("usr/bin/passwd", (0, 0, 0o4755)),
    ] {
        assert_eq!(root.owner(path), expected, "{path}");
    }

    let remove = "set -e; export DEBIAN_FRONTEND=noninteractive
        apt-get -qq --yes purge tool && apt-get -qq --yes autoremove
        dpkg --install /srv/repo/tool-data_2.0_all.deb && dpkg --purge tool-data
        ! dpkg-query -W tool tool-data";
    let done = root.run().sh(remove);
    assert!(done.status.success(), "{done:#?}");
    for path in [
        "var/lib/tool",
        "usr/bin/t",
        "usr/bin/tool",
        "etc/tool",
        "usr/share/tool-data",
    ] {
        assert!(
            fs::symlink_metadata(root.dir.path().join(path)).is_err(),
            "{path} is left"
        );
    }
}
