//! A sandbox that stays up for many commands.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use sandboxlib_core::{Outcome, SpawnError};

use super::process::{Child, Host};
use super::{Ready, poll, start};
use crate::run::Run;

/// A sandbox in which commands run one after another or side by side, and see what the others
/// have left: files in what is mounted, and processes. With it everything in it ends.
#[derive(Debug)]
pub struct Session {
    ready: Arc<Ready>,
    host: Host,
    sandbox: Arc<Mutex<Child>>,
    /// Sees to the limits of all processes together.
    watcher: Option<JoinHandle<()>>,
}

fn lock(sandbox: &Mutex<Child>) -> MutexGuard<'_, Child> {
    sandbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub(super) fn new(ready: &Arc<Ready>) -> Result<Self, SpawnError> {
        let mut child = ready.park(false)?;
        let host = child.as_host();
        let watched = child.next_look().is_some();
        let sandbox = Arc::new(Mutex::new(child));
        let watcher = if watched {
            let theirs = sandbox.clone();
            let watcher = thread::Builder::new()
                .name("sandbox-session".into())
                .spawn(move || watch(&theirs))
                .map_err(start::resources("a thread"))?;
            Some(watcher)
        } else {
            None
        };
        Ok(Self {
            ready: ready.clone(),
            host,
            sandbox,
            watcher,
        })
    }

    /// Starts a command in it, and returns when it runs.
    ///
    /// Limits of all processes together are those of the sandbox, not of the command; when it has
    /// ended, what it started may go on. Killing it kills its process group, and it is the leader
    /// of a session of its own.
    ///
    /// # Errors
    /// [`SpawnError`] names the step that failed.
    pub fn start(&self, run: &Run) -> Result<Child, SpawnError> {
        start::start_in(
            &self.host,
            &self.ready.lowered,
            &self.ready.script.steps,
            run,
        )
    }

    /// The process id, on the host, of the sandbox's first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        lock(&self.sandbox).id()
    }

    /// Whether it has ended, which it does not do unless it comes to a limit or is killed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn try_wait(&self) -> io::Result<Option<Outcome>> {
        lock(&self.sandbox).try_wait()
    }

    /// Ends it: everything in it is killed, and waited for. What all commands have used together
    /// is in the outcome. The commands that are asked of it afterwards are refused.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn end(&self) -> io::Result<Outcome> {
        let mut sandbox = lock(&self.sandbox);
        if let Some(outcome) = sandbox.try_wait()? {
            return Ok(outcome);
        }
        sandbox.kill()?;
        sandbox.wait()
    }
}

/// Can be read from (poll(2)) when the sandbox has ended.
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.host.ended()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Dropping the child would see to it too, but the watcher holds it as well.
        let _ = self.end();
        if let Some(watcher) = self.watcher.take() {
            // Whatever it died of, there is nothing left for it to do.
            let _ = watcher.join();
        }
    }
}

/// Looks at the sandbox whenever that is due, until it has ended.
fn watch(sandbox: &Mutex<Child>) {
    loop {
        let mut child = lock(sandbox);
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let due = child.next_look();
        let fd = child.as_raw_fd();
        drop(child);
        let left = due.map(|at| at.saturating_duration_since(Instant::now()));
        // The descriptor stays open: the child is dropped with the last of those who hold it.
        if poll::wait(fd, &mut [], left).is_err() {
            return;
        }
    }
}
