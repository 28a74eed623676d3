//! System call filters and further namespaces, looked at from inside, and held against what the
//! same calls answer outside of any sandbox.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sandboxlib_tests::{Compiled, Done, RunSandbox, TinyRoot, host_can, install, skip};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EPROTONOSUPPORT: i32 = 93;
const EAFNOSUPPORT: i32 = 97;
const SIGSYS: i32 = 31;

/// When a call that `build` closes answers something else outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outside {
    /// Always.
    Differs,
    /// To root alone; anybody else is refused with the same error.
    DiffersForRoot,
    /// Only if the kernel has it: it may be left out.
    MayBeMissing,
}
use Outside::{Differs, DiffersForRoot, MayBeMissing};

/// What `build` closes, by the names that calls.c prints.
const CLOSED: &[(&str, i32, Outside)] = &[
    ("io_uring_setup", ENOSYS, Differs),
    ("io_uring_enter", ENOSYS, Differs),
    ("io_uring_register", ENOSYS, Differs),
    ("userfaultfd", EPERM, DiffersForRoot),
    ("bpf", EPERM, Differs),
    ("perf_event_open", EPERM, Differs),
    ("add_key", ENOSYS, Differs),
    ("request_key", ENOSYS, Differs),
    ("keyctl", ENOSYS, Differs),
    ("init_module", EPERM, DiffersForRoot),
    ("finit_module", EPERM, DiffersForRoot),
    ("delete_module", EPERM, DiffersForRoot),
    ("kexec_load", EPERM, DiffersForRoot),
    ("kexec_file_load", EPERM, DiffersForRoot),
    ("reboot", EPERM, DiffersForRoot),
    ("open_by_handle_at", EPERM, DiffersForRoot),
    ("syslog", EPERM, DiffersForRoot),
    ("swapon", EPERM, DiffersForRoot),
    ("swapoff", EPERM, DiffersForRoot),
    ("acct", EPERM, DiffersForRoot),
    ("quotactl", EPERM, Differs),
    ("quotactl_fd", EPERM, Differs),
    ("tiocsti", EPERM, Differs),
    ("tiocsti-high", EPERM, Differs),
    ("tiocsti-all-high", EPERM, Differs),
    ("tioclinux", EPERM, Differs),
    ("socket-netlink-sock-diag", EPROTONOSUPPORT, MayBeMissing),
    ("socket-netlink-audit", EPROTONOSUPPORT, MayBeMissing),
    // Refused before the kernel looks at the type, which there is none of.
    ("socket-packet", EAFNOSUPPORT, MayBeMissing),
    ("socket-alg", EAFNOSUPPORT, MayBeMissing),
    ("socket-alg-high", EAFNOSUPPORT, MayBeMissing),
    ("socket-vsock", EAFNOSUPPORT, MayBeMissing),
    ("socketpair-alg", EAFNOSUPPORT, MayBeMissing),
    ("far", ENOSYS, MayBeMissing),
];

/// The same on x86-64, by its other ABIs.
const CLOSED_X86: &[(&str, i32, Outside)] = &[
    ("iopl", EPERM, MayBeMissing),
    ("ioperm", EPERM, MayBeMissing),
    ("x32-getppid", ENOSYS, MayBeMissing),
    ("x32-keyctl", ENOSYS, MayBeMissing),
    ("i386-keyctl", ENOSYS, Differs),
    ("i386-io_uring_setup", ENOSYS, Differs),
    ("i386-ioctl-tiocsti", EPERM, Differs),
    ("i386-socket-alg", EAFNOSUPPORT, MayBeMissing),
    ("i386-socketcall-socket", ENOSYS, Differs),
];

/// What is closed unless `--allow-nested`.
const NESTED: &[(&str, i32, Outside)] = &[
    ("clone3", ENOSYS, Differs),
    ("clone-user", EPERM, Differs),
    ("unshare-user", EPERM, Differs),
    ("unshare-user-and-net", EPERM, Differs),
    ("setns", EPERM, Differs),
    ("mount", EPERM, Differs),
    ("umount2", EPERM, Differs),
    ("pivot_root", EPERM, DiffersForRoot),
    ("fsopen", EPERM, DiffersForRoot),
    ("fsconfig", EPERM, Differs),
    ("fsmount", EPERM, DiffersForRoot),
    ("fspick", EPERM, DiffersForRoot),
    ("open_tree", EPERM, Differs),
    ("move_mount", EPERM, DiffersForRoot),
    ("mount_setattr", EPERM, DiffersForRoot),
];

const NESTED_X86: &[(&str, i32, Outside)] = &[
    ("i386-umount", EPERM, Differs),
    ("i386-unshare-user", EPERM, Differs),
];

/// What stays as it is outside.
const OPEN: &[&str] = &[
    "clone-plain",
    "unshare-files",
    "tiocgwinsz",
    "socket-unix",
    "socket-inet",
    "socket-netlink-route",
    "socketpair-unix",
    "socketpair-inet",
    "getppid",
    "lseek-low",
    "lseek-high",
    "lseek-higher",
];

const OPEN_X86: &[&str] = &[
    "i386-getppid",
    "i386-unshare-files",
    "i386-socket-unix",
    "i386-socketcall-bind",
    "i386-ipc-shmget",
];

fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A root with the programs of this test.
struct Place {
    root: TinyRoot,
    outside: Answers,
}

type Answers = BTreeMap<String, i32>;

fn answers(text: &str) -> Answers {
    let line = |line: &str| {
        let (name, errno) = line.split_once(' ').unwrap();
        (name.to_owned(), errno.parse().unwrap())
    };
    text.lines().map(line).collect()
}

impl Place {
    fn new() -> Option<Self> {
        let root = TinyRoot::new()?;
        let calls = Compiled::new(include_str!("seccomp/calls.c"), &["-static"])?;
        let strict = Compiled::new(
            include_str!("seccomp/strict.c"),
            &[
                "-O1",
                "-static",
                "-nostdlib",
                "-fno-builtin",
                "-fno-stack-protector",
            ],
        )?;
        for (program, name) in [(&calls, "calls"), (&strict, "strict")] {
            let content = fs::read(program.path()).unwrap();
            install(&content, &root.join("bin").join(name), 0o755);
        }
        let output = Command::new(root.join("bin/calls"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let outside = answers(&String::from_utf8(output.stdout).unwrap());
        Some(Self { root, outside })
    }

    fn run(&self, options: &str) -> RunSandbox {
        RunSandbox::new(self.root.path())
            .options("--backend userns")
            .options(options)
    }

    fn calls(&self, options: &str) -> Answers {
        answers(self.run(options).command(&[&"calls"]).run().good())
    }

    /// A file outside of the root.
    fn file(&self, text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn is_closed(&self, inside: &Answers, table: &[(&str, i32, Outside)]) {
        for (name, errno, when) in table {
            assert_eq!(inside.get(*name), Some(errno), "{name}");
            let differs = self.outside[*name] != *errno;
            let must = match when {
                Differs => true,
                DiffersForRoot => am_root(),
                MayBeMissing => false,
            };
            assert!(differs || !must, "{name} answers {errno} without a filter");
        }
    }

    fn is_open(&self, inside: &Answers, names: &[&str]) {
        for name in names {
            assert_eq!(inside.get(*name), self.outside.get(*name), "{name}");
            assert!(inside.contains_key(*name), "{name}");
        }
    }
}

const X86: bool = cfg!(target_arch = "x86_64");

/// The same for i386, if the kernel has it: then the plainest call works.
fn has_i386(place: &Place) -> bool {
    let has = X86 && place.outside["i386-getppid"] == 0;
    if X86 && !has {
        skip("this kernel has no i386 calls");
    }
    has
}

#[test]
fn build_closes_what_it_says_and_leaves_the_rest() {
    let Some(place) = Place::new() else { return };
    let inside = place.calls("");
    place.is_closed(&inside, CLOSED);
    place.is_closed(&inside, NESTED);
    place.is_open(&inside, OPEN);
    if has_i386(&place) {
        place.is_closed(&inside, CLOSED_X86);
        place.is_closed(&inside, NESTED_X86);
        place.is_open(&inside, OPEN_X86);
    }
    // Each of them answers something else somewhere, or the kernel has not got it.
    let shown = CLOSED
        .iter()
        .filter(|(name, errno, _)| place.outside[*name] != *errno);
    assert!(shown.count() > 15);
}

#[test]
fn without_a_filter_nothing_is_closed() {
    let Some(place) = Place::new() else { return };
    let inside = place.calls("--seccomp none --allow-nested");
    for (name, errno, when) in [CLOSED, NESTED].concat() {
        if when == Differs {
            assert_ne!(inside[name], errno, "{name}");
        }
    }
    place.is_open(&inside, OPEN);
    let status = place
        .run("--seccomp none --allow-nested")
        .sh("cat /proc/self/status");
    assert!(status.good().contains("Seccomp:\t0"));
}

#[test]
fn nested_namespaces_are_opened_by_an_option() {
    let Some(place) = Place::new() else { return };
    let inside = place.calls("--allow-nested");
    place.is_closed(&inside, CLOSED);
    for (name, errno, when) in NESTED {
        if *when == Differs {
            assert_ne!(inside[*name], *errno, "{name}");
        }
    }
    assert_eq!(inside["unshare-user"], place.outside["unshare-user"]);
}

/// The limit by itself: no filter is there to help it.
#[test]
fn the_limit_of_user_namespaces_cannot_be_raised_again() {
    let Some(place) = Place::new() else { return };
    for ids in ["", "--root"] {
        let options = format!("--seccomp none --isolate user {ids}");
        let script = "cat /proc/self/status | while read name value; do \
                      test $name = Seccomp: && echo $value; done; \
                      cat /proc/sys/user/max_user_namespaces; \
                      echo 100 >/proc/sys/user/max_user_namespaces || echo refused; \
                      cat /proc/sys/user/max_user_namespaces";
        assert_eq!(place.run(&options).sh(script).good(), "0\n0\nrefused\n0");
        let inside = place.calls(&options);
        const ENOSPC: i32 = 28;
        assert_eq!(inside["unshare-user"], ENOSPC);
        assert_eq!(inside["clone-user"], ENOSPC);
        assert_eq!(inside["unshare-files"], 0);
    }
    // The host's own is what it was.
    let host = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
    assert_ne!(host.trim(), "0");
}

/// Where the limit could be raised, or is not there, a filter does the same.
#[test]
fn a_filter_stands_in_for_the_limit() {
    let Some(place) = Place::new() else { return };
    let raises = "--seccomp none --root --cap-add sys_resource";
    let inside = place.calls(raises);
    assert_eq!(inside["unshare-user"], EPERM);
    assert_eq!(inside["clone3"], ENOSYS);
    assert_eq!(inside["keyctl"], place.outside["keyctl"]);
    if am_root() {
        let inside = place.calls("--seccomp none --share user");
        assert_eq!(inside["unshare-user"], EPERM);
        assert_eq!(inside["keyctl"], place.outside["keyctl"]);
        let chroot = RunSandbox::new(place.root.path())
            .options("--backend chroot --prefer all --seccomp none")
            .command(&[&"calls"])
            .run();
        let inside = answers(chroot.good());
        assert_eq!(inside["unshare-user"], EPERM);
        assert_eq!(inside["keyctl"], place.outside["keyctl"]);
    }
}

#[test]
fn the_init_program_is_not_bound() {
    let Some(place) = Place::new() else { return };
    let script = "for p in 1 self; do while read name value; do \
                  test $name = Seccomp: && echo $value; done </proc/$p/status; done; true";
    assert_eq!(place.run("").sh(script).good(), "0\n2");
    // It waits, is told to end things, and tells how they ended, under a filter that lets the
    // command do none of it.
    let strict = |options: &str, words: &[&dyn AsRef<std::ffi::OsStr>]| {
        place
            .run(options)
            .options("--seccomp strict-io")
            .command(words)
            .input(b"hello\n".to_vec())
            .run()
    };
    assert_eq!(strict("", &[&"strict"]).good(), "hello");
    let ended = strict("", &[&"strict", &"pid"]);
    assert_eq!(ended.status.code(), Some(128 + SIGSYS), "{ended:?}");
    assert!(ended.out.is_empty());
    let dynamic = strict("", &[&"sh", &"-c", &"echo hello"]);
    assert_eq!(dynamic.status.code(), Some(128 + SIGSYS), "{dynamic:?}");
}

#[test]
fn a_command_that_cannot_be_executed_is_told_under_every_filter() {
    let Some(place) = Place::new() else { return };
    install(b"#!/no/such/perl\n", &place.root.join("bin/script"), 0o755);
    install(b"text", &place.root.join("bin/plain"), 0o644);
    for filter in ["none", "build", "strict-io"] {
        for (command, status, word) in [
            ("nosuch", 127, "cannot find"),
            ("/bin/nosuch", 127, "cannot find"),
            ("script", 126, "/no/such/perl"),
            ("/bin/script", 126, "/no/such/perl"),
            ("plain", 126, "Permission denied"),
        ] {
            let done = place
                .run("--env PATH=/nowhere:/sbin:/bin:/usr/bin --seccomp")
                .options(filter)
                .command(&[&command])
                .run();
            assert_eq!(
                done.status.code(),
                Some(status),
                "{filter} {command} {done:?}"
            );
            assert!(done.err.contains(word), "{filter} {command} {done:?}");
        }
    }
}

#[test]
fn lists_of_ones_own() {
    let Some(place) = Place::new() else { return };
    // The whole of 64 bits counts, and the first rule that fits decides.
    let rules = r#"
        default = "allow"
        [[rule]]
        call = "lseek"
        action = 77
        when = [{ arg = 1, op = "eq", value = 0x100000005 }]
        [[rule]]
        call = "lseek"
        action = "EACCES"
        when = [{ arg = 1, op = "ge", value = "0x200000005" }]
        [[rule]]
        call = ["getppid", "lseek"]
        action = 78
        when = [{ arg = 1, op = "ne", value = 5 }]
        [[rule]]
        call = "keyctl"
        action = "log"
    "#;
    let file = place.file(rules);
    let options = format!("--allow-nested --seccomp {}", file.path().display());
    let inside = place.calls(&options);
    assert_eq!(inside["lseek-high"], 77);
    assert_eq!(inside["lseek-higher"], 13);
    assert_eq!(inside["lseek-low"], place.outside["lseek-low"]);
    assert_eq!(inside["keyctl"], place.outside["keyctl"]);
    assert_eq!(inside["unshare-user"], place.outside["unshare-user"]);
    if X86 {
        // By its own number, and by that of another ABI.
        assert_eq!(inside["x32-getppid"], ENOSYS);
    }
    // On top of build, in a configuration file, and with the multiplexer of i386 closed as well.
    let text = format!(
        "sandbox = {:?}\nbackend = \"userns\"\ncommand = [\"calls\"]\n[seccomp]\ndefault = \"build\"\n\
         [[seccomp.rule]]\ncall = [\"getppid\", \"bind\"]\naction = \"EIO\"\n",
        place.root.path()
    );
    let config = place.file(&text);
    let done = Command::new(sandboxlib_tests::run_sandbox())
        .arg("--config")
        .arg(config.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let inside = answers(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(inside["getppid"], 5);
    place.is_closed(&inside, CLOSED);
    place.is_closed(&inside, NESTED);
    if has_i386(&place) {
        assert_eq!(inside["i386-getppid"], 5);
        assert_eq!(inside["i386-socketcall-bind"], 5);
        assert_eq!(inside["i386-keyctl"], ENOSYS);
    }
}

/// That x32 calls are closed shows where something else would answer otherwise.
#[test]
fn a_list_holds_for_every_number_and_abi() {
    let Some(place) = Place::new() else { return };
    // Everything that the program needs, and no getppid.
    let rules = r#"
        default = 79
        [[rule]]
        call = ["execve", "exit_group", "read", "write", "writev", "brk", "mmap", "munmap",
                "mprotect", "fstat", "newfstatat", "statx", "uname", "readlink", "readlinkat",
                "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
                "getrandom", "clone", "wait4", "ioctl", "fcntl", "futex"]
        action = "allow"
    "#;
    let file = place.file(rules);
    let inside = place.calls(&format!("--seccomp {}", file.path().display()));
    assert_eq!((inside["getppid"], inside["far"]), (79, 79));
    assert_eq!(inside["keyctl"], 79);
    assert_eq!(inside["tiocgwinsz"], place.outside["tiocgwinsz"]);
    assert_eq!(inside["clone-plain"], 0);
    assert_eq!(inside["clone-user"], EPERM);
    if X86 {
        assert_eq!(inside["x32-getppid"], 79);
    }
    if has_i386(&place) {
        assert_eq!(
            (inside["i386-getppid"], inside["i386-socketcall-bind"]),
            (79, 79)
        );
    }
}

#[test]
fn what_makes_no_filter_is_refused_before_anything_runs() {
    let Some(place) = Place::new() else { return };
    let many: String = (0..600)
        .map(|n| {
            format!(
                "[[rule]]\ncall = \"read\"\naction = \"kill\"\n\
                 when = [{{ arg = 0, op = \"eq\", value = {} }}]\n",
                n + 1000
            )
        })
        .collect();
    for (rules, word) in [
        (
            "default = \"allow\"\n[[rule]]\ncall = \"raed\"\naction = \"kill\"\n",
            "\"raed\"",
        ),
        ("default = \"kill\"\n", "execve"),
        (
            "default = \"allow\"\n[[rule]]\ncall = \"exit_group\"\naction = \"kill\"\n",
            "exit_group",
        ),
        (&*format!("default = \"allow\"\n{many}"), "4096"),
        (
            "default = \"allow\"\n[[rule]]\ncal = \"read\"\n",
            ":3:1: unknown field `cal`",
        ),
        ("default = \"maybe\"\n", ":1:11: "),
        ("rule = []\n", "missing field `default`"),
    ] {
        let file = place.file(rules);
        place
            .run(&format!("--seccomp {}", file.path().display()))
            .command(&[&"echo", &"ran"])
            .run()
            .refused(&[word]);
    }
    place
        .run("--seccomp buidl")
        .command(&[&"true"])
        .run()
        .refused(&["presets"]);
    place
        .run("--seccomp ./no-such")
        .command(&[&"true"])
        .run()
        .refused(&["No such file"]);
}

/// What holds is told by the plan and by the report.
#[test]
fn the_filter_is_told() {
    let Some(place) = Place::new() else { return };
    let plan = place.run("--explain").run();
    assert!(
        plan.good()
            .contains("load a system call filter: build, no further namespaces")
    );
    assert!(plan.good().contains("limit further user namespaces to 0"));
    let file = place.file("default = \"build\"\n[[rule]]\ncall = \"getppid\"\naction = \"EIO\"\n");
    let option = format!("--seccomp {}", file.path().display());
    let plan = place.run(&option).options("--explain").run();
    assert!(
        plan.good().contains("getppid: EIO; otherwise build"),
        "{plan:?}"
    );
    for (options, name) in [
        ("", "build"),
        ("--seccomp none", "none"),
        (&*option, "rules"),
    ] {
        let done = place
            .run(options)
            .options("--report /dev/stdout")
            .command(&[&"true"])
            .run();
        let report: serde_json::Value = serde_json::from_str(done.good()).unwrap();
        assert_eq!(report["seccomp"], name);
        let enforced = report["enforced"].as_array().unwrap();
        assert_eq!(enforced.contains(&"seccomp".into()), name != "none");
        assert!(enforced.contains(&"nested".into()));
    }
}

#[test]
fn a_helper_is_given_the_filter_too() {
    if !Path::new("/usr/bin/bwrap").exists() {
        skip("no bwrap (package bubblewrap)");
        return;
    }
    let Some(place) = Place::new() else { return };
    let run = |options: &str| {
        RunSandbox::new(place.root.path())
            .options("--backend bubblewrap")
            .options(options)
    };
    let inside = answers(run("").command(&[&"calls"]).run().good());
    place.is_closed(&inside, CLOSED);
    place.is_closed(&inside, NESTED);
    place.is_open(&inside, OPEN);
    let inside = answers(run("--seccomp none").command(&[&"calls"]).run().good());
    assert_eq!(inside["unshare-user"], EPERM);
    assert_eq!(inside["keyctl"], place.outside["keyctl"]);
    let open = run("--seccomp none --allow-nested")
        .command(&[&"calls"])
        .run();
    assert_eq!(
        answers(open.good())["unshare-user"],
        place.outside["unshare-user"]
    );
    run("--seccomp strict-io")
        .command(&[&"strict"])
        .run()
        .refused(&["userns"]);
    let strict = run("--seccomp strict-io --share pid --bare")
        .command(&[&"strict"])
        .input(b"hello\n".to_vec())
        .run();
    assert_eq!(strict.good(), "hello");
}

#[test]
fn a_sandbox_in_a_sandbox_needs_to_be_allowed() {
    if !host_can() {
        return;
    }
    // Root inside lacks the capability to map itself once more, so it becomes somebody else.
    let who = if am_root() {
        "--uid 65534 --gid 65534"
    } else {
        ""
    };
    let run = |options: &str| -> Done {
        let program = sandboxlib_tests::run_sandbox();
        let dir = program.parent().unwrap().to_owned();
        RunSandbox::new("/")
            .options("--backend userns --bare --seccomp build")
            .options(who)
            .options(options)
            .option("--ro-bind", &[&dir, &"/tmp"])
            .option("--proc", &[&"/proc"])
            .command(&[
                &"/tmp/run-sandbox",
                &"--backend",
                &"userns",
                &"--bare",
                &"/",
                &"echo",
                &"inner",
            ])
            .run()
    };
    assert_eq!(run("--allow-nested").good(), "inner");
    let refused = run("");
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(!refused.out.contains("inner"));
}

/// Where the filter leaves the calls open that use keys, the caller's are still not to be had.
#[test]
fn the_callers_keys_are_not_the_commands() {
    if !host_can() {
        return;
    }
    let (add_key, keyctl) = match std::env::consts::ARCH {
        "x86_64" => (248, 250),
        _ => (217, 219),
    };
    // KEYCTL_JOIN_SESSION_KEYRING, then a key in it (KEY_SPEC_SESSION_KEYRING is -3), which is
    // looked for (KEYCTL_SEARCH) by what is executed then.
    let look = format!(
        r#"my ($t, $d) = ("user", "sandboxlib-test"); \
           exit(syscall({keyctl}, 10, -3, $t, $d, 0) == -1)"#
    );
    let with_key = |command: &mut Command| {
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_owned())
            .collect();
        let add = format!(
            r#"my ($t, $d, $v) = ("user", "sandboxlib-test", "x"); \
               syscall({keyctl}, 1, 0) != -1 or die "join: $!"; \
               syscall({add_key}, $t, $d, $v, 1, -3) != -1 or die "add_key: $!"; \
               exec {{ $ARGV[0] }} @ARGV"#
        );
        let status = Command::new("perl").args(["-e", &add]).args(words).status();
        status.unwrap().code()
    };
    assert_eq!(with_key(Command::new("perl").args(["-e", &look])), Some(0));
    for backend in ["userns", "bubblewrap", "chroot"] {
        if backend == "chroot" && !am_root() {
            continue;
        }
        let mut line = RunSandbox::new("/")
            .options("--cwd / --seccomp none --prefer all --backend")
            .options(backend)
            .command(&[&"perl", &"-e", &look])
            .line();
        assert_eq!(with_key(&mut line), Some(1), "{backend}");
    }
}

/// Programs that are installed here, in the host's root, under the default filter.
mod programs {
    use super::*;

    /// Runs a script in an empty writable directory; `None`, and a skip, if `program` is missing.
    fn script(program: &str, text: &str) -> Option<Done> {
        if !host_can() {
            return None;
        }
        // A program may be there for its owner alone.
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\" && \"$0\" --version"])
            .arg(program)
            .env("PATH", PATH)
            .output()
            .unwrap();
        if !found.status.success() {
            skip(&format!("no {program} for this user"));
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        Some(
            RunSandbox::new("/")
                .options("--backend userns --prefer cgroup --seccomp build")
                .option("--env", &[&format!("PATH={PATH}")])
                .option("--env", &[&"HOME=/tmp"])
                .option("--bind", &[&dir.path(), &"/var/tmp"])
                .option("--cwd", &[&"/var/tmp"])
                .sh(text),
        )
    }

    const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

    const HELLO: &str = "cat >hello.c <<'END'\n#include <stdio.h>\n#include <pthread.h>\n\
                         static void *run(void *n) { return n; }\n\
                         int main(void) { pthread_t t; pthread_create(&t, 0, run, 0); \
                         pthread_join(t, 0); puts(\"hello\"); return 0; }\nEND\n\
                         cc -g -O1 -pthread -o hello hello.c || exit 1\n";

    #[test]
    fn compilers_and_make() {
        let text = format!(
            "{HELLO}./hello\nprintf 'all: a b c d\\n%%: ; @sleep 0.1; echo $@ >$@; ./hello >/dev/null\\n' \
             >Makefile\nmake -s -j4 && cat a b c d"
        );
        if let Some(done) = script("make", &text) {
            assert_eq!(done.good(), "hello\na\nb\nc\nd");
        }
    }

    #[test]
    fn python() {
        let text = r#"python3 - <<'END'
import asyncio, ctypes, multiprocessing, os, socket, subprocess, tempfile, threading
assert subprocess.check_output(["echo", "a"]) == b"a\n"
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
a, b = socket.socketpair()
a.send(b"x"); assert b.recv(1) == b"x"
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
assert socket.getaddrinfo("127.0.0.1", 80)
async def child():
    p = await asyncio.create_subprocess_exec("true")
    return await p.wait()
assert asyncio.run(child()) == 0
with tempfile.TemporaryFile() as f:
    f.write(b"x")
os.posix_spawn("/bin/true", ["true"], {}); os.wait()
print("done")
END"#;
        if let Some(done) = script("python3", text) {
            assert_eq!(done.good(), "done");
        }
    }

    #[test]
    fn git() {
        let text = "git init -q r && cd r && git config user.email a@b && git config user.name a && \
                    echo x >f && git add f && git commit -qm m && git clone -q . ../c && \
                    git -C ../c log --format=%s && git gc -q && git fsck";
        if let Some(done) = script("git", text) {
            assert_eq!(done.good(), "m");
        }
    }

    #[test]
    fn node() {
        let text = "node -e 'const fs = require(\"fs\"), cp = require(\"child_process\"); \
                    fs.writeFileSync(\"f\", \"x\"); cp.execSync(\"true\"); \
                    const net = require(\"net\").createServer().listen(0, \"127.0.0.1\", () => \
                    { net.close(); fs.readFile(\"f\", \"utf8\", (e, s) => console.log(s)); })'";
        if let Some(done) = script("node", text) {
            assert_eq!(done.good(), "x");
        }
    }

    #[test]
    fn debuggers_of_their_own_children() {
        let gdb = format!(
            "{HELLO}gdb -q -batch -nx -ex 'break run' -ex run -ex bt -ex 'show disable-randomization' \
             -ex continue ./hello 2>&1"
        );
        if let Some(done) = script("gdb", &gdb) {
            let out = done.good();
            assert!(out.contains("run (n="), "{out}");
            assert!(out.contains("exited normally"), "{out}");
            // It is off for the child, and nothing complained (personality(2)).
            assert!(
                !out.to_lowercase().contains("error disabling address space"),
                "{out}"
            );
        }
        // strace answers in the place of the kernel, by telling it to make no call.
        let strace = "strace -f -o log -e inject=getppid:retval=4242 sh -c 'echo $PPID; true' && \
                      grep -q execve log && grep -q exited log";
        if let Some(done) = script("strace", strace) {
            assert_eq!(done.good(), "4242");
        }
    }

    #[test]
    fn memory_of_ones_own_children() {
        let text = r#"python3 - <<'END'
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
text = ctypes.create_string_buffer(b"secret")
pid = os.fork()
if pid == 0:
    time.sleep(10)
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
into = ctypes.create_string_buffer(6)
local = iovec(ctypes.addressof(into), 6)
remote = iovec(ctypes.addressof(text), 6)
n = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
os.kill(pid, 9)
print(n, into.raw)
END"#;
        if let Some(done) = script("python3", text) {
            assert_eq!(done.good(), "6 b'secret'");
        }
    }
}
