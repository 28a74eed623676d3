//! Other POSIX systems: fork(2) by way of `std::process`, chroot(2), process groups.
//!
//! There is no init program here and no namespace, so the end of a run takes the command's
//! process group down and no more; the outcome says so. Nothing in this module is particular to
//! one system, and on Linux its tests run, though nothing else of it.

mod doctor;
mod find;
mod poll;
mod process;
mod relay;
mod seatbelt;
mod start;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::path::Path;

use sandboxlib_config::Config;
use sandboxlib_core::SyscallFilter;
use sandboxlib_core::{
    ChildScript, Diagnosis, FailedStep, HostFacts, Os, Outcome, SpawnError, Step,
};

pub use doctor::doctor;
pub use process::{Child, Signaller};
pub use relay::{Relay, peer_uid, receive_with_fds, send_with_fds};
pub use view::HostView;

/// Makes a process that waits smaller, on systems on which it is known how.
pub fn shed_program_pages_after(_: std::time::Duration) {}

pub(crate) use crate::helper::unlinked_file as content;

use crate::run::Run;

/// Whether there is a system call of this name. Filters are a matter of Linux, and nobody is told
/// here that a name is wrong.
#[must_use]
pub fn is_system_call(_: &str) -> bool {
    true
}

/// All system calls but these: there are no filters here.
#[must_use]
pub fn system_calls_but(_: &[&str]) -> Option<Vec<&'static str>> {
    None
}

/// System call filters are a matter of Linux.
pub(crate) fn filter_program(filter: &SyscallFilter) -> Result<Vec<u8>, SpawnError> {
    let what = format!("the system call filter: {filter}");
    Err(SpawnError::new(
        FailedStep::Lower { what },
        std::io::ErrorKind::Unsupported.into(),
    ))
}

/// A script that has been made ready to run, as often as asked and from any thread.
#[derive(Debug)]
pub(crate) struct Script {
    script: ChildScript,
    actions: Vec<start::Action>,
}

impl Script {
    pub(crate) fn new(script: &ChildScript) -> Result<Self, SpawnError> {
        let actions = script.steps.iter().map(lower).collect::<Result<_, _>>()?;
        Ok(Self {
            script: script.clone(),
            actions,
        })
    }

    pub(crate) fn start(&self, run: &Run) -> Result<Child, SpawnError> {
        if run.limits != sandboxlib_core::ProcessLimits::default() {
            return Err(unsupported("limits of one command"));
        }
        if run.as_pid_1 {
            let why = "this system has no process id namespaces";
            return Err(crate::prepared::no_first_process(why));
        }
        start::start(&self.actions, &self.script.steps, run)
    }

    /// Keeps sandboxes ready: there is no init program here that could wait for a command.
    pub(crate) fn warm(&self, count: usize) -> Result<(), SpawnError> {
        match count {
            0 => Ok(()),
            _ => Err(unsupported("sandboxes that stand ready")),
        }
    }

    pub(crate) fn warmed(&self) -> usize {
        0
    }

    /// Sets up a sandbox for many commands: see [`warm`](Self::warm).
    pub(crate) fn session(&self) -> Result<Session, SpawnError> {
        Err(unsupported("a sandbox for many commands"))
    }

    /// Carries out everything but the command.
    pub(crate) fn rehearse(&self) -> Result<(), SpawnError> {
        crate::rehearsal::judge(self.start(&Run::new("")))
    }
}

fn unsupported(what: &str) -> SpawnError {
    let what = what.to_owned();
    let why = "there is no init program on this system";
    let source = io::Error::new(io::ErrorKind::Unsupported, why);
    SpawnError::new(FailedStep::Lower { what }, source)
}

/// A sandbox that stays up for many commands, of which there is none on this system.
#[derive(Debug)]
pub struct Session {
    none: std::convert::Infallible,
}

impl Session {
    /// Starts a command in it.
    ///
    /// # Errors
    /// Never, because there is no value of this type.
    pub fn start(&self, _: &Run) -> Result<Child, SpawnError> {
        match self.none {}
    }

    /// The process id of its first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self.none {}
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// Never, as above.
    pub fn try_wait(&self) -> io::Result<Option<Outcome>> {
        match self.none {}
    }

    /// Ends it, while others may still use it.
    ///
    /// # Errors
    /// Never, as above.
    pub fn end(&self) -> io::Result<Outcome> {
        match self.none {}
    }
}

impl std::os::fd::AsFd for Session {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self.none {}
    }
}

fn lower(step: &Step) -> Result<start::Action, SpawnError> {
    let what = match step {
        Step::Session => return Ok(start::Action::Session),
        Step::ClearGroups => return Ok(start::Action::ClearGroups),
        Step::Ids { uid, gid } => {
            return Ok(start::Action::Ids {
                uid: *uid,
                gid: *gid,
            });
        }
        Step::ChrootTo(path) => return Ok(start::Action::ChrootTo(crate::words::text(path)?)),
        Step::ProcessLimits(limits) => {
            let list = crate::limits::resources(limits).collect();
            return Ok(start::Action::Limits(list));
        }
        Step::TreeLimits(_) => "way to count for all processes together",
        Step::Namespaces(_) | Step::TimeNamespace => "namespaces",
        Step::IdMap { .. } => "user namespaces",
        Step::PrivateMounts
        | Step::Mount(_)
        | Step::ProtectProc(_)
        | Step::MaskKeys(_)
        | Step::PivotRoot
        | Step::Chroot => "mounts of a sandbox's own",
        Step::Loopback => "network namespaces",
        Step::Hostname(_) => "host names of a sandbox's own",
        Step::Capabilities(_) => "capabilities",
        Step::NoNewPrivs => "no_new_privs",
        _ => "such a step",
    };
    Err(SpawnError::new(
        FailedStep::Lower {
            what: step.to_string(),
        },
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this system has no {what}"),
        ),
    ))
}

/// The operating system that this was built for.
pub const OS: Os = if cfg!(target_os = "macos") {
    Os::MacOs
} else if cfg!(target_os = "freebsd") {
    Os::FreeBsd
} else {
    Os::Posix
};

/// What is known about the host and the caller.
#[must_use]
pub fn facts(_: &Config) -> HostFacts {
    let (uid, gid) = crate::caller_ids();
    let mut facts = HostFacts::other(OS, uid, gid);
    facts.seatbelt = seatbelt::inside();
    facts
}

/// Looks for what may have made `step` fail.
#[must_use]
pub fn diagnose(facts: HostFacts, step: &FailedStep) -> Diagnosis {
    diagnose_command(facts, step, None)
}

/// As [`diagnose`]; `command` is where the program of [`FailedStep::Exec`] is on the host, if
/// that is known. What can be told of it is in the step already.
#[must_use]
pub fn diagnose_command(facts: HostFacts, _: &FailedStep, _: Option<&Path>) -> Diagnosis {
    Diagnosis::new(facts)
}
