//! What holds for every command line.

use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use toml::{Table, Value};

use super::*;

/// Something that can be said, on a command line and in a file.
#[derive(Debug, Clone)]
struct Said {
    words: Vec<String>,
    key: &'static str,
    value: Value,
}

fn said(words: &[&str], key: &'static str, value: impl Into<Value>) -> Said {
    Said {
        words: words.iter().map(|&word| word.to_owned()).collect(),
        key,
        value: value.into(),
    }
}

/// Text for places and arguments: no path component, whatever is in it.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,4}", "[ -.0-~\t\n\u{e9}]{1,6}"]
        .prop_filter("it climbs", |text| !text.starts_with('.') && text != "-")
}

/// Keys with one value, each of which is said once at most.
fn single(text: &str, number: u32, choice: bool) -> Vec<Said> {
    let path = format!("/{text}");
    let either = |a: &'static str, b: &'static str| if choice { a } else { b };
    let (network, secrets) = (either("shared", "isolated"), either("hidden", "shown"));
    let id = number.min(u32::MAX - 1).to_string();
    let hostname: String = text.chars().take(20).collect();
    let variable: Table = [(format!("V{}", text.replace('=', "")), Value::from(text))]
        .into_iter()
        .collect();
    let assignment = format!("V{}={text}", text.replace('=', ""));
    vec![
        said(&["--read-only"], "read-only", true),
        said(&["--host-secrets", secrets], "host-secrets", secrets),
        said(&["--bare"], "bare", true),
        said(&["--network", network], "network", network),
        said(&["--uid", &id], "uid", i64::from(number.min(u32::MAX - 1))),
        said(&["--gid", &id], "gid", i64::from(number.min(u32::MAX - 1))),
        said(&["--hostname", &hostname], "hostname", &*hostname),
        said(&["--no-landlock"], "landlock", false),
        said(&["--cwd", &path], "cwd", &*path),
        said(&["--env", &assignment], "env", variable),
        said(&["--inherit-env"], "inherit-env", true),
        said(
            &["--timeout", &format!("{}ms", number.max(1))],
            "timeout",
            format!("{}ms", number.max(1)),
        ),
        said(&["--seccomp", "strict-io"], "seccomp", "strict-io"),
        said(&["--allow-nested"], "allow-nested", true),
        said(&["--as-pid-1"], "as-pid-1", true),
        said(&["--share", "ipc"], "share", "ipc"),
        said(&["--isolate", "time"], "isolate", "time"),
        said(&["--prefer", "mask,pid"], "prefer", vec!["mask", "pid"]),
        said(&["--cap-add", "kill"], "cap-add", "kill"),
        said(
            &["--backend", "userns,chroot"],
            "backend",
            vec!["userns", "chroot"],
        ),
    ]
}

/// Keys that take as many as there are.
fn repeated() -> impl Strategy<Value = Vec<Said>> {
    let options = select(vec![
        ("--writable", "writable"),
        ("--readable", "readable"),
        ("--allow-socket", "allow-socket"),
    ]);
    let one = (options, texts()).prop_map(|((option, key), text)| {
        let path = format!("/{text}");
        said(&[option, &path], key, vec![&*path])
    });
    prop::collection::vec(one, 0..4)
}

fn mounts() -> impl Strategy<Value = Vec<Said>> {
    let kinds = select(vec![
        "bind", "ro-bind", "tmpfs", "proc", "dev", "file", "symlink", "dir", "mask",
    ]);
    let one = (
        kinds,
        texts(),
        texts(),
        any::<bool>(),
        0..=0o7777_u32,
        1..u32::MAX,
    )
        .prop_map(|(kind, text, source, covers, perms, size)| {
            let target = format!("/{text}");
            let (perms, size) = (format!("{perms:o}"), size.to_string());
            let mut table = Table::new();
            let mut words = Vec::new();
            let mut put = |key: &str, value: Value| drop(table.insert(key.into(), value));
            put("type", kind.into());
            put("target", (&*target).into());
            if covers {
                words.push("--cover".to_owned());
                put("cover", true.into());
            }
            if matches!(kind, "tmpfs" | "file" | "dir") {
                words.extend(["--perms".to_owned(), perms.clone()]);
                put("perms", perms.into());
            }
            if kind == "tmpfs" {
                words.extend(["--size".to_owned(), size.clone()]);
                put("size", size.into());
            }
            words.push(format!("--{kind}"));
            if matches!(kind, "bind" | "ro-bind" | "file" | "symlink") {
                let key = if kind == "symlink" { "to" } else { "source" };
                words.push(source.clone());
                put(key, source.into());
            }
            words.push(target);
            Said {
                words,
                key: "mount",
                value: vec![Value::from(table)].into(),
            }
        });
    prop::collection::vec(one, 0..5)
}

fn command_lines() -> impl Strategy<Value = Vec<OsString>> {
    let name =
        select(OPTIONS.to_vec()).prop_map(|opt| OsString::from(format!("--{}", opt.long[0])));
    let bytes = prop::collection::vec(1..=u8::MAX, 0..5).prop_map(OsString::from_vec);
    let usual = select(vec![
        "/", "/a", "7", "1s", "pid", "mask", "json", "A=b", "--", "-v", "-", "",
    ]);
    let word = prop_oneof![4 => name, 4 => usual.prop_map(OsString::from), 1 => bytes];
    prop::collection::vec(word, 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Said in words or in a file, it is the same.
    #[test]
    fn words_mean_what_a_file_means(
        (text, number, choice) in (texts(), any::<u32>(), any::<bool>()),
        chosen in subsequence((0..19).collect::<Vec<usize>>(), 0..10),
        repeated in repeated(),
        mounts in mounts(),
        command in prop::collection::vec("[^\0]{0,5}", 0..3),
    ) {
        let single = single(&text, number, choice);
        let chosen = chosen.into_iter().filter_map(|i| single.get(i).cloned());
        let all: Vec<Said> = chosen.chain(repeated).chain(mounts).collect();

        let mut file = Table::new();
        for Said { key, value, .. } in &all {
            match (file.get_mut(*key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
                _ => drop(file.insert((*key).into(), value.clone())),
            }
        }
        file.insert("sandbox".into(), "box".into());
        let command: Vec<String> =
            command.into_iter().skip_while(|word| word.starts_with('-')).collect();
        if !command.is_empty() {
            file.insert("command".into(), command.clone().into());
        }
        let file = file.to_string();
        let from_file: Settings =
            toml::from_str(&file).map_err(|e| TestCaseError::fail(format!("{e}\n{file}")))?;

        let words: Vec<OsString> = all
            .iter()
            .flat_map(|one| one.words.iter())
            .map(OsString::from)
            .chain(["box".into()])
            .chain(command.iter().map(OsString::from))
            .collect();
        let shown = format!("{words:?}");
        match parse(words) {
            Ok(Invocation::Run(args)) => prop_assert_eq!(args.settings, from_file),
            other => prop_assert!(false, "{}: {:?}", shown, other),
        }
    }

    #[test]
    fn any_words_are_an_invocation_or_a_message(words in command_lines()) {
        let joined: usize = words.iter().map(|word| word.len()).sum();
        match parse(words.clone()) {
            Err(message) => {
                prop_assert!(!message.is_empty());
                prop_assert!(message.len() <= 2000 + 8 * joined, "{message}");
            }
            Ok(Invocation::Run(args)) => {
                // What is run are the last words, as they are.
                let command = args.settings.command.unwrap_or_default();
                prop_assert!(words.ends_with(&command));
                let ns = args.settings.share.len() + args.settings.isolate.len();
                prop_assert!(ns <= Namespace::ALL.len());
            }
            Ok(_) => {}
        }
    }
}
