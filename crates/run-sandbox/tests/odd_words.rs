//! Any words and any configuration file, through the real program with `--explain`, which runs
//! nothing: it explains or it says what is wrong, soon and with little memory. PROPTEST_CASES
//! sets the number of cases.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../src/options.rs"]
#[expect(dead_code, reason = "the names of the options are what counts here")]
mod options;
mod program;

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use options::OPTIONS;

/// Much longer than any of it takes, also on a machine with a lot to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES");
    ProptestConfig {
        cases: cases.ok().and_then(|n| n.parse().ok()).unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn bytes() -> impl Strategy<Value = OsString> {
    prop::collection::vec(1..=u8::MAX, 0..6).prop_map(OsString::from_vec)
}

/// A word that some option may take.
fn values() -> impl Strategy<Value = OsString> {
    let usual = select(vec![
        "/",
        "/a",
        "/a/b",
        "/new/deep",
        "/proc",
        "/proc/self/x",
        "/dev",
        "/dev/shm",
        "/tmp",
        "/loop",
        "/link/x",
        "/out",
        "/root",
        "/home",
        "/etc/passwd",
        "root",
        "root/a",
        "root/file",
        "missing",
        "c.toml",
        "..",
        "/a/..",
        "//a/./",
        "",
        "-",
        "--",
        "0",
        "7",
        "65534",
        "4294967294",
        "64K",
        "16777215T",
        "0644",
        "1777",
        "7777",
        "90s",
        "1.5h",
        "mask",
        "network,pid",
        "all",
        "user",
        "pid",
        "time",
        "shared",
        "isolated",
        "hidden",
        "shown",
        "userns",
        "chroot,userns",
        "bubblewrap",
        "sandbox-exec",
        "linux-user-chroot",
        "auto",
        "json",
        "text",
        "CAP_KILL",
        "none",
        "A=b",
        "A",
        "=",
        "host",
        "build",
        "strict-io",
        "filter.toml",
        "/run/socket",
        "/r\u{e9}\u{1b}[2Jt\n",
    ]);
    let long = select(vec!["x".repeat(300), "/x".repeat(3000), "/".repeat(5000)]);
    prop_oneof![
        12 => usual.prop_map(OsString::from),
        2 => bytes(),
        1 => long.prop_map(OsString::from),
    ]
}

/// An option, mostly with as many values as it takes.
fn an_option() -> impl Strategy<Value = Vec<OsString>> {
    let opt = select(OPTIONS.to_vec());
    (opt, values(), values(), 0..20_u8).prop_map(|(opt, one, two, how)| {
        let name = OsString::from(format!("--{}", opt.long[0]));
        let choice = opt.choices.get(usize::from(how) % opt.choices.len().max(1));
        let one = choice.map_or(one, |choice| OsString::from(*choice));
        let joined = |name: &OsStr| {
            let mut word = name.to_owned();
            word.push("=");
            word.push(&one);
            word
        };
        match (how, opt.short) {
            (0, _) => vec![name],
            (1, _) => vec![joined(&name), two],
            (2, Some(letter)) => vec![format!("-{letter}").into(), one.clone(), two],
            (3, _) => vec![one.clone()],
            (4, _) => vec![OsString::from(format!("--{}x", opt.long[0]))],
            (_, _) if opt.optional => vec![name],
            _ => std::iter::once(name)
                .chain([one.clone(), two].into_iter().take(opt.values.len()))
                .collect(),
        }
    })
}

fn command_lines() -> impl Strategy<Value = Vec<OsString>> {
    let sandbox = prop_oneof![
        8 => select(vec!["/", "root", "root", "root", "missing", "c.toml", "", "--"])
            .prop_map(OsString::from),
        1 => values(),
    ];
    let options = prop::collection::vec(an_option(), 0..6);
    let command = prop::collection::vec(values(), 0..4);
    (options, sandbox, command).prop_map(|(options, sandbox, command)| {
        let mut words: Vec<OsString> = options.into_iter().flatten().collect();
        words.push(sandbox);
        words.extend(command);
        words
    })
}

fn files() -> impl Strategy<Value = Vec<u8>> {
    let key = select(vec![
        "sandbox",
        "backend",
        "read-only",
        "writable",
        "host-secrets",
        "readable",
        "allow-socket",
        "bare",
        "network",
        "share",
        "isolate",
        "uid",
        "gid",
        "root",
        "map-subordinate",
        "cap-add",
        "hostname",
        "landlock",
        "prefer",
        "cwd",
        "inherit-env",
        "timeout",
        "command",
        "[env]\nA",
        "\"\\u001b]0;x\\u0007\"",
        "\"a\\nb\"",
    ]);
    let value = prop_oneof![
        4 => select(vec!["true", "false", "0", "7", "-1", "1.5", "[]", "{}", "\"\\u001b[2J\""])
            .prop_map(|text| text.as_bytes().to_vec()),
        8 => values().prop_map(|word| {
            format!("{:?}", word.to_string_lossy()).replace("\\u{1b}", "\\u001b").into_bytes()
        }),
        1 => bytes().prop_map(OsString::into_vec),
    ];
    let mount = (
        select(vec![
            "bind", "ro-bind", "tmpfs", "proc", "dev", "file", "symlink", "dir", "mask",
        ]),
        values(),
        select(vec![
            "",
            "source = \"root/a\"",
            "to = \"x\"",
            "size = 1",
            "perms = \"0\"",
            "text = \"\"",
        ]),
    )
        .prop_map(|(kind, target, more)| {
            let target = target.to_string_lossy().into_owned();
            format!("[[mount]]\ntype = \"{kind}\"\ntarget = {target:?}\n{more}\n")
        });
    let lines = prop::collection::vec((key, value), 0..4);
    let mounts = prop::collection::vec(mount, 0..4);
    (lines, mounts).prop_map(|(lines, mounts)| {
        let mut text = Vec::new();
        for (key, value) in lines {
            text.extend([key.as_bytes(), b" = ", &value, b"\n"].concat());
        }
        text.extend(mounts.concat().bytes());
        text
    })
}

/// A directory with a root in it that leads astray.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join("n".repeat(255))).unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    let filter = "default = \"build\"\n[[rule]]\ncall = \"getppid\"\naction = 77\n";
    std::fs::write(place.path().join("filter.toml"), filter).unwrap();
    std::fs::write(root.join("etc/passwd"), "\0\n:::\n").unwrap();
    for (name, to) in [("loop", "loop"), ("link", "/a"), ("out", "../../../etc")] {
        std::os::unix::fs::symlink(to, root.join(name)).unwrap();
    }
    place
}

fn names(dir: &Path) -> Vec<OsString> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            names.extend(self::names(&entry.path()));
        }
    }
    names.sort();
    names
}

/// Explains `words` in `place`, and gives the status and what was printed. The program has a
/// gigabyte of addresses, of which it needs a twentieth.
fn explained(place: &Path, format: &str, words: &[OsString]) -> (i32, String, String) {
    let told = tempfile::tempdir().unwrap();
    let to = |name: &str| File::create(told.path().join(name)).unwrap();
    let program = program::run_sandbox();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .arg(format)
        .args(words)
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(to("out"))
        .stderr(to("err"))
        .spawn()
        .unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words:?}: nothing after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(status.signal(), None, "{words:?}");
    let text = |name| String::from_utf8(std::fs::read(told.path().join(name)).unwrap()).unwrap();
    (status.code().unwrap(), text("out"), text("err"))
}

fn check(place: &Path, format: &str, words: &[OsString]) -> i32 {
    let before = names(place);
    let (status, out, err) = explained(place, format, words);
    assert_eq!(names(place), before, "{words:?}");
    let plain = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
    assert!(plain(&out) && plain(&err), "{words:?}:\n{out:?}\n{err:?}");
    match status {
        0 => {
            assert!(!out.is_empty() && err.is_empty(), "{words:?}: {err}");
            if format == "--explain=json" && out.starts_with('{') {
                let json: serde_json::Value = serde_json::from_str(&out).unwrap();
                assert!(json["backend"].is_string(), "{words:?}: {out}");
            }
        }
        125 => {
            assert!(out.is_empty(), "{words:?}: {out}");
            assert!(!err.is_empty(), "{words:?}");
            let ours = |line: &str| line.starts_with("run-sandbox: ");
            assert!(err.lines().all(ours), "{words:?}: {err}");
        }
        _ => panic!("{words:?}: status {status}: {err}"),
    }
    status
}

#[test]
fn odd_words_are_explained_or_refused() {
    let place = place();
    let (explained, refused) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(cases(64));
    let strategy = (
        select(vec!["--explain", "--explain=json"]),
        command_lines(),
        files(),
        any::<bool>(),
    );
    runner
        .run(&strategy, |(format, mut words, file, configured)| {
            std::fs::write(place.path().join("c.toml"), file).unwrap();
            if configured {
                words.splice(0..0, ["--config".into(), "c.toml".into()]);
            }
            match check(place.path(), format, &words) {
                0 => explained.set(explained.get() + 1),
                _ => refused.set(refused.get() + 1),
            }
            Ok(())
        })
        .unwrap();
    // Had all of them ended at the first word, nothing would have been tried.
    let counts = (explained.get(), refused.get());
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
}

#[test]
fn odd_files_are_explained_or_refused() {
    let place = place();
    let explained = Cell::new(0);
    let mut runner = TestRunner::new(cases(64));
    let strategy = (select(vec!["--explain", "--explain=json"]), files());
    runner
        .run(&strategy, |(format, file)| {
            std::fs::write(place.path().join("c.toml"), file).unwrap();
            let words = ["--config", "c.toml", "root"].map(OsString::from);
            let done = check(place.path(), format, &words) == 0;
            explained.set(explained.get() + u32::from(done));
            Ok(())
        })
        .unwrap();
    assert!(explained.get() > 0);
}

#[test]
fn names_cannot_write_to_the_terminal() {
    let place = place();
    for (file, words) in [
        (
            "\"\\u001b]0;title\\u0007\" = 1",
            &["--config", "c.toml", "root"][..],
        ),
        (
            "\"a\\r\\nrun-sandbox: done\" = 1",
            &["--config", "c.toml", "root"],
        ),
        ("cap-add = \"\\u009b2J\"", &["--config", "c.toml", "root"]),
        ("backend = \"\\u001b[2J\"", &["--config", "c.toml", "root"]),
        ("", &["--\u{1b}[2J", "root"]),
        ("", &["--backend", "\u{1b}[2J", "root"]),
        ("", &["--share", "\u{9b}2J", "root"]),
        ("", &["--verbose=\u{1b}[2J", "root"]),
    ] {
        std::fs::write(place.path().join("c.toml"), file).unwrap();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(check(place.path(), "--explain", &words), 125, "{words:?}");
    }
}

#[test]
fn what_has_no_end_is_not_read_to_its_end() {
    let place = place();
    std::fs::write(place.path().join("c.toml"), "").unwrap();
    for words in [
        &["--config", "/dev/zero", "root"][..],
        &["--file", "/dev/zero", "/etc/motd", "root"],
        &["--seccomp", "/dev/zero", "root"],
    ] {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let (status, _, err) = explained(place.path(), "--explain", &words);
        assert_eq!(status, 125, "{err}");
        assert!(
            err.contains("\"/dev/zero\"") && err.contains("larger than"),
            "{err}"
        );
    }
}

/// Ten times the words may take ten times as long, not a hundred times.
#[test]
fn many_words_take_no_more_than_their_share() {
    let place = place();
    std::fs::write(place.path().join("c.toml"), "").unwrap();
    let repeated = |words: &[&str], times: usize| -> Vec<OsString> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        std::iter::repeat_n(words, times).flatten().collect()
    };
    let with_root = |mut words: Vec<OsString>| {
        words.push("root".into());
        words
    };
    for words in [
        [
            repeated(&["--isolate", "pid"], 20_000),
            repeated(&["--share", "user"], 20_000),
        ]
        .concat(),
        repeated(&["--env", "A=b"], 20_000),
        repeated(&["--prefer", "mask"], 20_000),
        repeated(&["--cap-add", "kill"], 20_000),
        vec![OsString::from(format!("--{}", "x".repeat(100_000)))],
        vec![
            "--cwd".into(),
            OsStr::from_bytes(&b"/a".repeat(60_000)).into(),
        ],
        vec![
            "--dir".into(),
            OsStr::from_bytes(&b"/a".repeat(60_000)).into(),
        ],
        vec![
            "--writable".into(),
            OsStr::from_bytes(&b"/a".repeat(60_000)).into(),
        ],
    ] {
        check(place.path(), "--explain", &with_root(words));
    }
}
