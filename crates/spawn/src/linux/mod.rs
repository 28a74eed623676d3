//! Linux: clone(2) with the caller's memory, the new mount API, pidfds.

mod diagnose;
mod doctor;
mod dumpable;
// What the init program finds out about a command is tested here, where there is a test harness.
#[cfg(test)]
#[path = "../init/exec.rs"]
mod exec;
#[cfg(test)]
mod exec_tests;
mod facts;
mod init;
mod landlock;
mod limits;
mod lower;
mod mounting;
mod ops;
mod overlay;
mod poll;
mod process;
mod raw;
mod remount;
mod setup;
mod sockets;
mod start;
mod sys;
mod view;
mod wire;

use sandboxlib_core::{ChildScript, Os, SpawnError};

pub use diagnose::{diagnose, diagnose_command};
pub use doctor::doctor;
pub use facts::facts;
pub(crate) use init::content;
pub(crate) use lower::filter_program;
pub use process::{Child, Signaller};
pub use view::HostView;

use crate::run::Run;

/// The operating system that this was built for.
pub const OS: Os = Os::Linux;

/// A script that has been made ready to run, as often as asked and from any thread.
#[derive(Debug)]
pub(crate) struct Script {
    script: ChildScript,
    lowered: lower::Lowered,
}

impl Script {
    pub(crate) fn new(script: &ChildScript) -> Result<Self, SpawnError> {
        Ok(Self {
            script: script.clone(),
            lowered: lower::lower(script)?,
        })
    }

    pub(crate) fn start(&self, run: &Run) -> Result<Child, SpawnError> {
        start::start(&self.lowered, &self.script.steps, run)
    }

    /// Carries out everything but the command.
    pub(crate) fn rehearse(&self) -> Result<(), SpawnError> {
        crate::rehearsal::judge(self.start(&Run::new("")))
    }
}
