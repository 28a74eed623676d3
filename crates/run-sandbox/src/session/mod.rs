//! `--session` and `--in`: one sandbox for the commands of many processes. docs/sessions.md tells
//! how it is used and what is promised.

mod client;
mod serve;
mod socket;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use client::run;
pub(crate) use serve::{Defaults, serve};

use crate::options::{Id, Opt};
use crate::parse::Args;

/// Where a command runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a sandbox of its own.
    #[default]
    Own,
    /// No command: a session is served on this socket.
    Serve(PathBuf),
    /// In the session that is served on this socket.
    In(PathBuf),
}

/// The options that are about one command of a session. All others are about the sandbox.
const OF_A_COMMAND: &[Id] = &[
    Id::In,
    Id::Cwd,
    Id::Env,
    Id::InheritEnv,
    Id::Timeout,
    Id::KillAfter,
    Id::Output,
    Id::FileSize,
    Id::OpenFiles,
    Id::Stack,
    Id::Core,
    Id::Report,
    Id::ReportFormat,
    Id::Verbose,
];

/// Why no command in a session can be it.
pub(crate) const HAS_PROCESS_1: &str =
    "process 1 of a session is its init program: leave out --as-pid-1";

/// The limits of all processes together.
const OF_THE_WHOLE: &[Id] = &[Id::CpuTime, Id::Memory, Id::Processes];

/// Refuses what makes no sense together. The error is a message.
pub(crate) fn check(
    place: &Place,
    given: &[&Opt],
    command: Option<&OsString>,
) -> Result<(), String> {
    let find = |wanted: &dyn Fn(Id) -> bool| given.iter().find(|opt| wanted(opt.id));
    match place {
        Place::Own => Ok(()),
        Place::Serve(_) => {
            if find(&|id| id == Id::In).is_some() {
                return Err("--session serves a sandbox and --in uses one: say either".to_owned());
            }
            if find(&|id| id == Id::Explain).is_some() {
                return Err(
                    "--session serves a sandbox, and --explain runs nothing: say either".to_owned(),
                );
            }
            match command {
                Some(command) => Err(format!(
                    "--session takes no COMMAND, and {command:?} is one: run it by run-sandbox \
                     --in SOCKET"
                )),
                None => Ok(()),
            }
        }
        Place::In(_) => match find(&|id| !OF_A_COMMAND.contains(&id)) {
            None => Ok(()),
            Some(opt) if opt.id == Id::Session => {
                Err("--session serves a sandbox and --in uses one: say either".to_owned())
            }
            Some(opt) if opt.id == Id::AsPid1 => Err(HAS_PROCESS_1.to_owned()),
            Some(opt) if OF_THE_WHOLE.contains(&opt.id) => Err(format!(
                "--{} counts all processes of the sandbox together, which stands already: give it \
                 to run-sandbox --session, not with --in",
                opt.long[0]
            )),
            Some(opt) => Err(format!(
                "--{} is about the sandbox, which stands already: give it to run-sandbox \
                 --session, not with --in",
                opt.long[0]
            )),
        },
    }
}

/// What follows the options is all COMMAND, because the session has the SANDBOX.
pub(crate) fn command(args: &mut Args, first: Option<OsString>, rest: Vec<OsString>) {
    let words: Vec<OsString> = first.into_iter().chain(rest).collect();
    args.settings.command = (!words.is_empty()).then_some(words);
}
