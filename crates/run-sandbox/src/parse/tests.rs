use std::os::unix::ffi::OsStringExt;

use super::*;

fn args(words: &[&str]) -> Result<Args, String> {
    match parse(words.iter().map(OsString::from))? {
        Invocation::Run(args) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

fn error(words: &[&str]) -> String {
    args(words).unwrap_err()
}

/// A value that `opt` takes.
fn sample(opt: &Opt, value: &str) -> &'static str {
    match (opt.choices.first(), value) {
        (Some(choice), _) => choice,
        (_, "BYTES" | "N" | "OCTAL") => "7",
        (_, "TIME") => "7s",
        (_, "LIST") => "mask",
        (_, "NAME=PATH") => "a=/x",
        (_, "NAME") if opt.id == Id::CapAdd => "CAP_KILL",
        _ => "/x",
    }
}

#[test]
fn the_parser_takes_every_option_under_every_name() {
    for opt in OPTIONS {
        let names = opt.long.iter().map(|long| format!("--{long}"));
        for name in names.chain(opt.short.map(|c| format!("-{c}"))) {
            let mut words = vec![name];
            if !opt.optional {
                words.extend(opt.values.iter().map(|v| sample(opt, v).to_owned()));
            }
            if matches!(opt.id, Id::Size | Id::Perms | Id::Cover) {
                words.extend(["--tmpfs".to_owned(), "/x".to_owned()]);
            }
            if !matches!(opt.id, Id::Doctor | Id::List | Id::Cache) {
                words.push("/".to_owned());
            }
            let shown = format!("{words:?}");
            parse(words.into_iter().map(OsString::from)).expect(&shown);
        }
        for choice in opt.choices {
            let word = format!("--{}={choice}", opt.long[0]);
            let words = if matches!(opt.id, Id::Doctor | Id::List | Id::Cache) {
                vec![word.as_str()]
            } else {
                vec![word.as_str(), "/"]
            };
            assert!(parse(words.iter().map(OsString::from)).is_ok(), "{word}");
        }
    }
}

#[test]
fn no_name_is_used_twice_and_texts_are_as_help_wants_them() {
    let mut names: Vec<&str> = OPTIONS.iter().flat_map(|opt| opt.long).copied().collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    let mut shorts: Vec<char> = OPTIONS.iter().filter_map(|opt| opt.short).collect();
    shorts.sort_unstable();
    let count = shorts.len();
    shorts.dedup();
    assert_eq!(shorts.len(), count);
    for opt in OPTIONS {
        assert!(opt.values.len() <= 2 && !opt.long.is_empty());
        assert!(
            !opt.help.ends_with('.') && opt.help.len() < 56,
            "{}",
            opt.help
        );
        assert!(
            opt.more.is_empty() || opt.more.ends_with('.'),
            "{}",
            opt.more
        );
    }
}

#[test]
fn the_features_in_the_help_are_those_that_exist() {
    let prefer = OPTIONS.iter().find(|opt| opt.id == Id::Prefer).unwrap();
    let list: Vec<&str> = sandboxlib::config::Feature::ALL
        .iter()
        .map(|feature| feature.name())
        .collect();
    assert!(
        prefer.more.contains(&list.join(", ")),
        "{}",
        list.join(", ")
    );
    let names: Vec<&str> = Namespace::ALL.iter().map(|ns| ns.name()).collect();
    for id in [Id::Share, Id::Isolate] {
        assert_eq!(
            OPTIONS.iter().find(|opt| opt.id == id).unwrap().choices,
            names
        );
    }
}

#[test]
fn mounts_keep_their_order_and_take_what_stands_in_front() {
    let args = args(&[
        "--bind=a b",
        "/x",
        "--size",
        "1K",
        "--perms",
        "755",
        "--tmpfs",
        "/y",
        "--cover",
        "--symlink",
        "/z",
        "/x/l",
        "--file",
        "f",
        "/f",
        "/",
    ])
    .unwrap();
    let mounts = args.settings.mounts;
    assert_eq!(
        mounts[0].mount,
        Mount::bind("a b", SandboxPath::new("/x").unwrap())
    );
    assert_eq!(
        mounts[1].mount.kind,
        MountKind::Tmpfs {
            size: Some(1024),
            mode: 0o755
        }
    );
    assert!(mounts[2].mount.covers && !mounts[1].mount.covers);
    assert_eq!(mounts[3].content, Some("f".into()));
}

#[test]
fn where_the_command_begins() {
    let command = |words: &[&str]| {
        let s = args(words).unwrap().settings;
        let command = s.command.unwrap_or_default();
        (
            s.sandbox,
            command
                .iter()
                .map(|w| w.to_str().unwrap().to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let root = || Some(PathBuf::from("/r"));
    assert_eq!(command(&["/r"]), (root(), vec![]));
    assert_eq!(command(&["/r", "--"]), (root(), vec![]));
    assert_eq!(
        command(&["/r", "ls", "-l", "--"]),
        (root(), vec!["ls".into(), "-l".into(), "--".into()])
    );
    assert_eq!(command(&["/r", "--", "-x"]), (root(), vec!["-x".into()]));
    assert_eq!(
        command(&["/r", "--", "--", "x"]),
        (root(), vec!["--".into(), "x".into()])
    );
    assert_eq!(command(&["--", "/r", "x"]), (root(), vec!["x".into()]));
    assert_eq!(
        command(&["--", "-r", "--", "x"]),
        (Some("-r".into()), vec!["x".into()])
    );
    assert_eq!(
        command(&["--config", "f", "--", "/x", "y"]),
        (None, vec!["/x".into(), "y".into()])
    );
    assert_eq!(
        command(&["--config", "f", "/r", "--", "y"]),
        (root(), vec!["y".into()])
    );
    assert_eq!(command(&["--config", "f"]), (None, vec![]));
    assert!(error(&["/r", "-v"]).contains("in front of SANDBOX"));
    assert!(error(&["/r", "--bare", "ls"]).contains("in front of SANDBOX"));
}

#[test]
fn errors_name_the_option() {
    for (words, message) in [
        (
            &["--bind", "x", "a/b", "/"][..],
            "--bind DEST: path \"a/b\" is relative where an absolute path is needed",
        ),
        (&["--bind", "", "/a", "/"], "--bind SRC: the value is empty"),
        (&["--bind", "x"], "--bind lacks its DEST"),
        (&["--bind"], "--bind lacks its SRC"),
        (
            &["--tmpfs", "/a/..", "/"],
            "--tmpfs: path \"/a/..\" contains a '..' component",
        ),
        (
            &["--symlink", "x", "", "/"],
            "--symlink PATH: the path is empty",
        ),
        (
            &["--timeout", "-1", "/"],
            "--timeout: \"-1\" is not a span of time",
        ),
        (&["--uid", "+1", "/"], "--uid: \"+1\" is not an id"),
        (&["--gid", "4294967295", "/"], "--gid: "),
        (
            &["--prefer", "net", "/"],
            "--prefer: unknown feature \"net\"; known are: all",
        ),
        (&["--network=none", "/"], "--network: \"none\" is neither"),
        (
            &["--share", "net", "/"],
            "--share: unknown namespace \"net\"",
        ),
        (
            &["--cap-add", "chow", "/"],
            "--cap-add: unknown capability \"chow\"",
        ),
        (&["--env", "=x", "/"], "--env: \"=x\" names no variable"),
        (&["--explain=xml", "/"], "--explain: \"xml\" is neither"),
        (
            &["--size", "1M", "--bind", "a", "/b", "/"],
            "--size means nothing for the --bind",
        ),
        (
            &["--perms", "755", "/"],
            "--perms belongs in front of a mount",
        ),
        (
            &["--read-onyl", "/"],
            "unknown option \"--read-onyl\"; is it --read-only?",
        ),
        (&["--frobnicate", "/"], "--help lists them"),
        (&["-x", "/"], "unknown option -x"),
        (&["--bare=yes", "/"], "'--bare'"),
        (
            &["--config", "a", "--config", "b", "/"],
            "--config: only one",
        ),
        (
            &["--explain", "--report", "x", "/"],
            "--explain runs nothing",
        ),
        (&["--doctor=xml"], "--doctor: \"xml\" is neither"),
        (&["--doctor", "/"], "--doctor looks at the host and stands"),
        (&["--doctor", "--", "x"], "--doctor looks at the host"),
        (&["--bare", "--doctor"], "--doctor looks at the host"),
        (&["-e", "userns,", "/"], "--backend: a name is empty"),
        (&["", "ls"], "SANDBOX is empty"),
        (&["@", "ls"], "\"\" is no name of a sandbox"),
        (
            &["@../x"],
            "a directory of that name is \"./\" and \"@../x\"",
        ),
        (&["--config", "x", "@y"], "\"@y\" is defined in a file"),
        (&["--list", "/"], "--list is no run and stands alone"),
        (&["--list=xml"], "--list: \"xml\" is neither"),
    ] {
        let said = error(words);
        assert!(said.contains(message), "{words:?}: {said}");
    }
}

#[test]
fn a_name_stands_for_a_sandbox() {
    for words in [
        &["@a.b-c_D", "ls"][..],
        &["--", "@a.b-c_D", "ls"],
        &["@a.b-c_D", "--", "ls"],
    ] {
        let args = args(words).unwrap();
        assert_eq!(args.name.unwrap().as_str(), "a.b-c_D");
        assert_eq!(args.settings.sandbox, None);
        assert_eq!(args.settings.command, Some(vec!["ls".into()]));
    }
    let args = args(&["./@a"]).unwrap();
    assert!(args.name.is_none() && args.settings.sandbox == Some("./@a".into()));
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let odd = OsString::from_vec(b"/a \xff\n:\"'".to_vec());
    let mut variable = OsString::from("N=");
    variable.push(&odd);
    let words: Vec<OsString> = vec![
        "--bind".into(),
        odd.clone(),
        odd.clone(),
        "--env".into(),
        variable,
        odd.clone(),
        odd.clone(),
    ];
    let Invocation::Run(args) = parse(words).unwrap() else {
        panic!()
    };
    assert_eq!(
        args.settings.mounts[0].mount,
        Mount::bind(&odd, SandboxPath::new(&odd).unwrap())
    );
    assert_eq!(args.settings.env[OsStr::new("N")], Some(odd.clone()));
    assert_eq!(args.settings.sandbox, Some(PathBuf::from(&odd)));
    assert_eq!(args.settings.command, Some(vec![odd.clone()]));
    let said = parse(["--timeout".into(), odd]).unwrap_err();
    assert!(said.contains("is not UTF-8"), "{said}");
}

#[test]
fn the_last_word_about_ids_and_namespaces_counts() {
    let s = args(&["--root", "--uid", "5", "/"]).unwrap().settings;
    assert_eq!((s.uid, s.gid, s.map_subordinate), (Some(5), Some(0), None));
    let s = args(&["--uid", "5", "--map-subordinate", "/"])
        .unwrap()
        .settings;
    assert_eq!((s.uid, s.gid, s.map_subordinate), (None, None, Some(true)));
    let s = args(&["--share", "pid", "--isolate", "pid", "/"])
        .unwrap()
        .settings;
    assert!(s.share.is_empty() && s.isolate == [Namespace::Pid]);
    let s = args(&["--cap-add", "none", "/"]).unwrap().settings;
    assert_eq!(s.capabilities, Some(vec![]));
}
