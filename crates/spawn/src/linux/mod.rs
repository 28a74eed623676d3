//! Linux: clone(2) with the caller's memory, the new mount API, pidfds.

mod console;
mod control;
mod diagnose;
mod doctor;
mod dumpable;
// What the init program does for a command, for one that is started without it.
#[path = "../init/exec.rs"]
mod exec;
#[cfg(test)]
mod exec_tests;
mod facts;
mod first;
mod fresh;
mod init;
mod landlock;
mod limits;
mod lower;
mod mounting;
mod ops;
mod order;
mod overlay;
mod pass;
mod passing;
mod poll;
mod pool;
mod process;
mod raw;
mod relay;
mod remount;
mod reopen;
mod rights;
#[path = "../init/limits.rs"]
mod rlimits;
mod session;
mod setup;
mod shared;
mod shed;
mod sockets;
mod stack;
mod start;
mod sys;
mod template;
mod terminal;
mod view;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use sandboxlib_core::{ChildScript, Os, SpawnError};

pub use control::Signaller;
pub use diagnose::{diagnose, diagnose_command};
pub use doctor::doctor;
pub use facts::facts;
pub(crate) use init::content;
pub(crate) use lower::filter_program;
pub use lower::{is_system_call, system_calls_but};
pub use process::Child;
pub use relay::Relay;
pub use rights::{peer_uid, receive_with_fds, send_with_fds};
pub use session::Session;
pub use shed::shed_program_pages_after;
pub use view::HostView;

use crate::run::Run;

/// The operating system that this was built for.
pub const OS: Os = Os::Linux;

/// A script that has been made ready to run, as often as asked and from any thread.
#[derive(Debug)]
pub(crate) struct Script {
    ready: Arc<Ready>,
    pool: Mutex<Option<Arc<pool::Pool>>>,
}

#[derive(Debug)]
struct Ready {
    script: ChildScript,
    lowered: lower::Lowered,
    keeper: template::Keeper,
}

impl Script {
    pub(crate) fn new(script: &ChildScript) -> Result<Self, SpawnError> {
        Ok(Self::of(script, lower::lower(script)?))
    }

    /// The script with an operation at its end that no step stands for.
    fn and_then(script: &ChildScript, last: ops::Op) -> Result<Self, SpawnError> {
        let mut lowered = lower::lower(script)?;
        lowered.ops.push(last);
        Ok(Self::of(script, lowered))
    }

    fn of(script: &ChildScript, lowered: lower::Lowered) -> Self {
        let script = script.clone();
        Self {
            ready: Arc::new(Ready {
                script,
                lowered,
                keeper: template::Keeper::default(),
            }),
            pool: Mutex::new(None),
        }
    }

    pub(crate) fn start(&self, run: &Run) -> Result<Child, SpawnError> {
        start::start(&self.ready, self.pool().as_deref(), run)
    }

    fn pool(&self) -> Option<Arc<pool::Pool>> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.clone()
    }

    /// Keeps up to `count` sandboxes ready for a command.
    pub(crate) fn warm(&self, count: usize) -> Result<(), SpawnError> {
        let new = match count {
            0 => None,
            _ => Some(Arc::new(pool::Pool::new(&self.ready, count)?)),
        };
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *pool, new);
        drop(pool);
        // It takes a while to end them.
        drop(old);
        Ok(())
    }

    /// How many are ready.
    pub(crate) fn warmed(&self) -> usize {
        self.pool().map_or(0, |pool| pool.len())
    }

    /// Sets up a sandbox for many commands.
    pub(crate) fn session(&self) -> Result<Session, SpawnError> {
        Session::new(&self.ready)
    }

    /// Carries out everything but the command.
    pub(crate) fn rehearse(&self) -> Result<(), SpawnError> {
        crate::rehearsal::judge(self.start(&Run::new("")))
    }
}
