//! The command line of the classic program.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sandboxlib::SandboxPath;

use crate::inside;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    Help,
    Version,
    Run(Box<Args>),
}

/// A run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) unshare_ipc: bool,
    pub(crate) unshare_pid: bool,
    pub(crate) unshare_net: bool,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) chdir: SandboxPath,
    pub(crate) root: PathBuf,
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
}

/// A mount, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mount {
    Bind(PathBuf, SandboxPath),
    ReadOnly(SandboxPath),
    Proc(SandboxPath),
    Devapi(SandboxPath),
}

const USAGE: &str = "usage: linux-user-chroot [OPTIONS] ROOTDIR PROGRAM [ARGS...]; see --help";

/// Reads the words behind the name of the program.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let mut words: VecDeque<OsString> = words.into_iter().collect();
    let mut args = Args {
        unshare_ipc: false,
        unshare_pid: false,
        unshare_net: false,
        mounts: Vec::new(),
        chdir: SandboxPath::root(),
        root: PathBuf::new(),
        program: OsString::new(),
        args: Vec::new(),
    };
    while let Some(word) = words.pop_front() {
        // What is not UTF-8 is no option that there is; it may still be a ROOTDIR.
        let option = word.to_string_lossy().into_owned();
        let mut value = || {
            words
                .pop_front()
                .ok_or_else(|| format!("{option}: a value is missing"))
        };
        match option.as_str() {
            "--help" => return Ok(Invocation::Help),
            "--version" => return Ok(Invocation::Version),
            "--unshare-ipc" => args.unshare_ipc = true,
            "--unshare-pid" => args.unshare_pid = true,
            "--unshare-net" => args.unshare_net = true,
            "--mount-bind" => {
                let source = absolute(&option, value()?.as_ref())?;
                let target = inside(&option, value()?)?;
                args.mounts.push(Mount::Bind(source, target));
            }
            "--mount-readonly" => {
                let target = inside(&option, value()?)?;
                args.mounts.push(Mount::ReadOnly(target));
            }
            "--mount-proc" => {
                let target = inside(&option, value()?)?;
                args.mounts.push(Mount::Proc(target));
            }
            "--mount-devapi" => {
                let target = inside(&option, value()?)?;
                args.mounts.push(Mount::Devapi(target));
            }
            // A path without a slash at its beginning is one from the root, where the classic
            // program is by then.
            "--chdir" => args.chdir = inside(&option, Path::new("/").join(value()?))?,
            "--seccomp-profile-version" => match value()?.to_str() {
                Some("-1") => {}
                other => {
                    let which = other.unwrap_or("that");
                    return Err(format!(
                        "{option}: there is no profile but -1, not {which:?}"
                    ));
                }
            },
            other if other.starts_with("--") => return Err(format!("unknown option {other:?}")),
            _ => {
                args.root = absolute("ROOTDIR", word.as_ref())?;
                args.program = words.pop_front().ok_or(USAGE)?;
                args.args = words.into();
                return Ok(Invocation::Run(Box::new(args)));
            }
        }
    }
    Err(USAGE.to_owned())
}

/// The path as the caller means it.
fn absolute(option: &str, path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("{option}: {path:?}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, String> {
        super::parse(line.split_whitespace().map(OsString::from))
    }

    fn run(line: &str) -> Args {
        match parse(line) {
            Ok(Invocation::Run(args)) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn at(path: &str) -> SandboxPath {
        SandboxPath::new(path).unwrap()
    }

    #[test]
    fn every_option_is_read() {
        let args = run(
            "--unshare-ipc --unshare-pid --unshare-net --mount-proc /proc \
                        --mount-readonly / --mount-bind /s /d --mount-devapi /dev --chdir /b \
                        --seccomp-profile-version -1 /root sh -c --help --",
        );
        assert!(args.unshare_ipc && args.unshare_pid && args.unshare_net);
        let mounts = [
            Mount::Proc(at("/proc")),
            Mount::ReadOnly(at("/")),
            Mount::Bind("/s".into(), at("/d")),
            Mount::Devapi(at("/dev")),
        ];
        assert_eq!(args.mounts, mounts);
        assert_eq!((args.chdir, args.root), (at("/b"), "/root".into()));
        assert_eq!((args.program, args.args.len()), ("sh".into(), 3));
    }

    #[test]
    fn options_end_at_the_first_word_that_is_none() {
        let args = run("/root --unshare-net x");
        assert!(!args.unshare_net);
        assert_eq!(args.program, "--unshare-net");
        assert_eq!(run("--chdir x /root p").chdir, at("/x"));
        assert!(run("dir p").root.is_absolute());
    }

    #[test]
    fn information_is_given_wherever_it_is_asked_for() {
        assert_eq!(
            parse("--unshare-net --version").unwrap(),
            Invocation::Version
        );
        assert_eq!(parse("--help --bogus").unwrap(), Invocation::Help);
    }

    #[test]
    fn more_options_than_the_classic_program_takes() {
        let line = "--mount-readonly /x ".repeat(3000) + "/root p";
        assert_eq!(run(&line).mounts.len(), 3000);
    }

    #[test]
    fn an_option_that_is_no_text_is_no_root() {
        use std::os::unix::ffi::OsStringExt as _;
        let word = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let said = super::parse([word(b"--\xff"), word(b"/root"), word(b"p")]);
        assert!(said.unwrap_err().contains("unknown option"));
        let Ok(Invocation::Run(args)) = super::parse([word(b"/\xff"), word(b"--\xff")]) else {
            panic!()
        };
        assert_eq!(
            (args.root.into(), args.program),
            (word(b"/\xff"), word(b"--\xff"))
        );
    }

    mod properties {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

        use proptest::prelude::*;
        use proptest::sample::select;

        use super::*;

        fn words() -> impl Strategy<Value = OsString> {
            let usual = select(vec![
                "--unshare-ipc",
                "--unshare-pid",
                "--unshare-net",
                "--mount-bind",
                "--mount-readonly",
                "--mount-proc",
                "--mount-devapi",
                "--chdir",
                "--seccomp-profile-version",
                "-1",
                "--",
                "",
                "/",
                "/a",
                "a",
                "..",
                "/a/../b",
                "\u{1b}[2J",
                "--\u{9b}2J\n",
            ]);
            prop_oneof![
                8 => usual.prop_map(OsString::from),
                1 => prop::collection::vec(1..=u8::MAX, 0..5).prop_map(OsString::from_vec),
            ]
        }

        /// A run, said again as the program takes it.
        fn said_again(args: &Args) -> Vec<OsString> {
            let mut words: Vec<OsString> = Vec::new();
            let flags = [
                (args.unshare_ipc, "--unshare-ipc"),
                (args.unshare_pid, "--unshare-pid"),
                (args.unshare_net, "--unshare-net"),
            ];
            words.extend(
                flags
                    .iter()
                    .filter(|(on, _)| *on)
                    .map(|(_, word)| word.into()),
            );
            for mount in &args.mounts {
                let (name, source, target) = match mount {
                    Mount::Bind(source, target) => ("--mount-bind", Some(source), target),
                    Mount::ReadOnly(target) => ("--mount-readonly", None, target),
                    Mount::Proc(target) => ("--mount-proc", None, target),
                    Mount::Devapi(target) => ("--mount-devapi", None, target),
                };
                words.push(name.into());
                words.extend(source.map(OsString::from));
                words.push(target.as_path().into());
            }
            words.extend(["--chdir".into(), args.chdir.as_path().into()]);
            words.extend([args.root.clone().into(), args.program.clone()]);
            words.extend(args.args.iter().cloned());
            words
        }

        proptest! {
            #[test]
            fn any_words_are_a_run_or_a_message(words in prop::collection::vec(words(), 0..12)) {
                match super::super::parse(words.clone()) {
                    Ok(Invocation::Run(args)) => {
                        prop_assert!(args.root.is_absolute());
                        // What follows the root is the program's, as it is.
                        let tail = std::iter::once(&args.program).chain(&args.args);
                        let tail: Vec<&OsString> = tail.collect();
                        let end: Vec<&OsString> = words.iter().skip(words.len() - tail.len()).collect();
                        prop_assert_eq!(tail, end);
                        let root = &words[words.len() - args.args.len() - 2];
                        prop_assert!(!root.as_bytes().starts_with(b"--"));
                        let again = super::super::parse(said_again(&args));
                        prop_assert_eq!(again, Ok(Invocation::Run(args)));
                    }
                    Ok(_) => prop_assert!(false, "nobody asked for help"),
                    Err(message) => {
                        prop_assert!(!message.is_empty());
                        prop_assert!(!message.chars().any(char::is_control), "{message:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (line, word) in [
            ("", "usage"),
            ("/root", "usage"),
            ("--unshare-net", "usage"),
            ("--mount-bind /a", "--mount-bind"),
            ("--mount-proc", "--mount-proc"),
            ("--mount-proc proc /root p", "relative"),
            ("--mount-readonly /a/../b /root p", ".."),
            ("--seccomp-profile-version 0 /root p", "profile"),
            ("--seccomp-profile-version 1 /root p", "profile"),
            ("--bogus /root p", "--bogus"),
            ("-- /root p", "--"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.contains(word), "{line}: {said}");
        }
    }
}
