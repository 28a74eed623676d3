//! What a word of the child, or of the init program, says about a start that failed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use sandboxlib_core::{ExecProblem, FailedStep, SpawnError};

use super::resources;
use crate::linux::lower::Lowered;
use crate::linux::ops::{Action, Call, Op};
use crate::linux::setup::Tail;
use crate::linux::terminal;
use crate::linux::wire::{Message, kind, problem};
use crate::run::Run;

/// What the last word before the command runs says about it.
pub(super) fn judge(
    mut message: Message,
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
    run: &Run,
    tail: Tail,
) -> Result<(), SpawnError> {
    match message.kind {
        kind::STARTED | kind::READY => Ok(()),
        kind::TERMINAL_FAILED => {
            let source = io::Error::from_raw_os_error(message.errno);
            Err(terminal::failed(source))
        }
        kind::EXEC_FAILED => Err(exec_error(&message, run)),
        kind::FILTER_FAILED => {
            message.a = lowered.filter.as_ref().map_or(tail.init, |f| f.step);
            message.b = Call::Seccomp as u32;
            Err(step_error(&message, tail, steps, run))
        }
        kind::WALL_FAILED => {
            message.a = lowered.wall_step().unwrap_or(tail.init);
            message.b = Call::LandlockRestrict as u32;
            Err(step_error(&message, tail, steps, run))
        }
        // The command's own, which are no step.
        kind::LIMITS_FAILED if lowered.limits.is_none() => {
            let source = io::Error::from_raw_os_error(message.errno);
            Err(resources("the limits of the command")(source))
        }
        kind::LIMITS_FAILED => {
            message.a = lowered.limits.as_ref().map_or(tail.init, |(_, step)| *step);
            message.b = Call::FileLimit as u32;
            Err(step_error(&message, tail, steps, run))
        }
        kind::CWD_FAILED => {
            message.a = tail.cwd;
            Err(step_error(&message, tail, steps, run))
        }
        kind::STREAMS_FAILED => {
            message.a = tail.streams;
            Err(step_error(&message, tail, steps, run))
        }
        kind::REFUSED if message.errno == 0 => {
            let source = io::Error::from(io::ErrorKind::ResourceBusy);
            Err(resources(
                "a place among the commands of the sandbox, which has 256",
            )(source))
        }
        kind::REFUSED => {
            message.a = tail.init;
            Err(step_error(&message, tail, steps, run))
        }
        _ => Err(step_error(&message, tail, steps, run)),
    }
}

/// The control groups could not be made.
pub(super) fn groups_error(
    lowered: &Lowered,
    steps: &[sandboxlib_core::Step],
    source: io::Error,
) -> SpawnError {
    let enters = |op: &&Op| matches!(op.action, Action::EnterGroups);
    let index = lowered
        .ops
        .iter()
        .find(enters)
        .map_or(0, |op| op.step as usize);
    let step = steps.get(index).cloned();
    let step = step.map_or(FailedStep::Resources("a control group"), |step| {
        FailedStep::Script {
            index,
            step: Box::new(step),
            detail: "make a control group",
        }
    });
    SpawnError::new(step, source)
}

pub(super) fn exec_error(message: &Message, run: &Run) -> SpawnError {
    let len = (message.text_len as usize).min(Message::TEXT);
    let named = || OsStr::from_bytes(message.text.get(..len).unwrap_or_default()).into();
    let problem = match message.a {
        problem::NOT_FOUND => ExecProblem::NotFound,
        problem::NOT_EXECUTABLE => ExecProblem::NotExecutable,
        problem::INTERPRETER_MISSING => ExecProblem::InterpreterMissing(named()),
        problem::LOADER_MISSING => ExecProblem::LoaderMissing(named()),
        problem::BAD_FORMAT => ExecProblem::BadFormat,
        problem::TOO_LONG => ExecProblem::TooLong,
        _ => ExecProblem::Other,
    };
    let program = run.program.clone().into();
    SpawnError::new(
        FailedStep::Exec { program, problem },
        io::Error::from_raw_os_error(message.errno),
    )
}

pub(super) fn step_error(
    message: &Message,
    tail: Tail,
    steps: &[sandboxlib_core::Step],
    run: &Run,
) -> SpawnError {
    let index = message.a as usize;
    let step = if let Some(step) = steps.get(index) {
        let detail = Call::name(message.b);
        FailedStep::Script {
            index,
            step: Box::new(step.clone()),
            detail,
        }
    } else if message.a == tail.cwd {
        FailedStep::WorkingDirectory(run.cwd.clone())
    } else if message.a == tail.streams {
        FailedStep::Streams
    } else {
        FailedStep::Init
    };
    SpawnError::new(step, io::Error::from_raw_os_error(message.errno))
}
