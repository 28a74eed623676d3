//! What every run promises, whatever was asked for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use sandboxlib_config::{FeatureSet, Isolation, Network, RootAccess, Seccomp};
use sandboxlib_core::{End, Started};
use sandboxlib_spawn::Stdio;

use crate::Case;
use crate::case::CASE;
use crate::case::Expect::{AsOnHost, Begins, Bytes, Done, Holds, Is, NotAsOnHost, Variables};
use crate::fault::What;
use crate::stage::Stage;

const SIGTERM: i32 = 15;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the_environment_is_what_was_set",
        run: |run, _| {
            let variables: [(&str, &[u8]); 4] = [
                ("PLAIN", b"value"),
                ("EMPTY", b""),
                ("EQUALS", b"a=b=c"),
                ("BYTES", b"\xff\xfe"),
            ];
            let os = |(name, value): &(&str, &[u8])| -> (OsString, OsString) {
                ((*name).into(), OsStr::from_bytes(value).to_owned())
            };
            run.env = variables.iter().map(os).collect();
        },
        asks: &[(
            "environment",
            Variables(&[
                b"PLAIN=value\0",
                b"EMPTY=\0",
                b"EQUALS=a=b=c\0",
                b"BYTES=\xff\xfe\0",
            ]),
        )],
        ..CASE
    },
    Case {
        name: "arguments_are_bytes",
        run: |run, _| {
            let words: [&[u8]; 5] = [b"", b"two words", b"*", b"\xff\xfe", b"-x"];
            run.args
                .extend(words.map(|w| OsStr::from_bytes(w).to_owned()));
        },
        asks: &[("args", Bytes(b"\0two words\0*\0\xff\xfe\0-x\0"))],
        ..CASE
    },
    Case {
        name: "the_working_directory_is_the_one_asked_for",
        files: &[("root/some/dir/", "")],
        run: |run, world| run.cwd = world.at("some/dir"),
        asks: &[("cwd", Is("@some/dir"))],
        ..CASE
    },
    Case {
        name: "no_descriptor_is_open_but_those_passed",
        files: &[("outside/log", "")],
        run: |run, world| {
            let log = File::options()
                .append(true)
                .open(world.on_host("outside/log"));
            run.fds.extend(log.map(|file| (OwnedFd::from(file), 5)));
        },
        asks: &[("fds", Is("0 1 2 5")), ("put 5 written", Done)],
        leaves: &[("outside/log", "written")],
        ..CASE
    },
    Case {
        name: "signals_have_their_defaults",
        asks: &[("signals", Is("blocked 0 not default 0"))],
        ..CASE
    },
    Case {
        name: "limits_are_the_callers",
        asks: &[
            ("limits", AsOnHost("limits")),
            ("umask 0", AsOnHost("umask 022")),
        ],
        ..CASE
    },
    Case {
        name: "the_session_is_its_own",
        // 0 stands for a process outside.
        asks: &[
            (
                "session",
                Holds("a session of this sandbox", |_, id| id != "0"),
            ),
            ("session", NotAsOnHost("session")),
        ],
        ..CASE
    },
    Case {
        name: "standard_streams_lead_where_they_are_sent",
        files: &[("outside/input", "to be read")],
        by_hand: Some(standard_streams),
        ..CASE
    },
    Case {
        name: "the_end_is_told",
        by_hand: Some(ends),
        ..CASE
    },
    Case {
        name: "a_signal_reaches_the_command",
        by_hand: Some(signal),
        ..CASE
    },
    Case {
        name: "a_missing_command_is_no_run",
        by_hand: Some(|stage| {
            let mut run = stage.probe("pid");
            run.program = stage.world.inside("no-such-command").into();
            no_run(stage, &run)
        }),
        ..CASE
    },
    Case {
        name: "a_missing_directory_is_no_run",
        by_hand: Some(|stage| {
            let mut run = stage.probe("pid");
            run.cwd = stage.world.at("no-such-directory");
            no_run(stage, &run)
        }),
        ..CASE
    },
    Case {
        name: "ids_are_the_callers",
        asks: &[("ids", Begins("{uid} {uid} {uid} {gid} {gid} {gid}"))],
        ..CASE
    },
    Case {
        name: "what_is_not_asked_for_is_shared",
        before: &["shm make {key}"],
        asks: &[
            ("connect {port}", Done),
            ("shm find {key}", Done),
            ("kill {pid} 0", Done),
            ("hostname", AsOnHost("hostname")),
        ],
        after: &["shm remove {key}"],
        ..CASE
    },
    Case {
        name: "less_will_do",
        config: |config, _| {
            config.root_access = Some(RootAccess::ReadOnly);
            config.network = Network::Isolated;
            config.namespaces.pid = Isolation::Isolated;
            config.namespaces.ipc = Isolation::Isolated;
            config.namespaces.uts = Isolation::Isolated;
            config.namespaces.cgroup = Isolation::Isolated;
            config.namespaces.time = Isolation::Isolated;
            config.seccomp = Seccomp::Build;
            config.allow_nested = false;
            config.prefer = FeatureSet::all();
        },
        asks: &[("pid", Done)],
        ..CASE
    },
];

fn standard_streams(stage: &Stage<'_>) -> Result<(), What> {
    let mut run = stage.probe("read - : put 2 complaint");
    run.stdin = File::open(stage.world.on_host("outside/input"))?.into();
    let done = stage.run(&run)?;
    stage.check(
        &[("read -", Is("to be read")), ("put 2 complaint", Done)],
        &done,
    )?;
    if done.stderr != "complaint" {
        let found = &done.stderr;
        return Err(What::Other(format!(
            "standard error brought {found:?}, and \"complaint\" is what was written"
        )));
    }
    done.ended(stage, End::Exited(0))?;

    let mut run = stage.probe("put 2 to-one : pid");
    run.stderr = Stdio::Stdout;
    let done = stage.run(&run)?;
    if done.stderr.is_empty() {
        return done.ended(stage, End::Exited(0));
    }
    Err(What::Other(
        "standard error was not led to where output goes".to_owned(),
    ))
}

fn ends(stage: &Stage<'_>) -> Result<(), What> {
    for status in [0, 1, 42, 125, 126, 127, 255] {
        let done = stage.run(&stage.probe(&format!("exit {status}")))?;
        done.ended(stage, End::Exited(status))?;
    }
    for signal in [1, 2, 6, 9, 13, SIGTERM] {
        let done = stage.run(&stage.probe(&format!("die {signal}")))?;
        done.ended(stage, End::Signalled(signal))?;
    }
    Ok(())
}

fn signal(stage: &Stage<'_>) -> Result<(), What> {
    let mut child = stage.start(&stage.probe("pid : sleep 10"))?;
    // The command runs once it has answered.
    let mut output = child.stdout.take().map(BufReader::new);
    let mut line = String::new();
    if let Some(output) = &mut output {
        output.read_line(&mut line)?;
    }
    child.signal(SIGTERM)?;
    let done = stage.finish(child)?;
    done.ended(stage, End::Signalled(SIGTERM))
}

/// A command that was not started must not look like one that failed.
fn no_run(stage: &Stage<'_>, run: &sandboxlib_spawn::Run) -> Result<(), What> {
    let started = match stage.try_start(run) {
        Err(error) => error.started,
        Ok(child) => {
            let done = stage.finish(child)?;
            if done.outcome.success() || !done.answers.is_empty() {
                return Err(What::Other("it ran nevertheless".to_owned()));
            }
            done.outcome.started
        }
    };
    match started {
        Started::No => Ok(()),
        Started::Unknown if stage.helper => Ok(()),
        other => Err(What::Other(format!(
            "the command was not started, and the outcome says of that: {other:?}"
        ))),
    }
}
