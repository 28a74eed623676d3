//! Sandboxes that are set up ahead of time and wait for a command.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sandboxlib_core::{FailedStep, SpawnError};

use super::process::Child;
use super::{Ready, start};

/// Keeps sandboxes parked. A thread of its own makes them, and puts away those that are of no use
/// any more; with this they are all gone.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// How long the next sandbox is put off while there are enough, so that a short command does not
/// share the processors with it.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Shared {
    ready: Arc<Ready>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    parked: Vec<Child>,
    /// To be ended when there is time.
    stale: Vec<Child>,
    wanted: usize,
    /// None could be made the last time. The next start will tell why.
    failed: bool,
    /// How often all were found to be stale.
    generation: u64,
    stop: bool,
    mounts: Mounts,
}

impl State {
    /// Whether there are so few that somebody could have to wait.
    fn hurries(&self) -> bool {
        2 * self.parked.len() < self.wanted
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a sandbox in which nothing runs any more.
    pub(super) fn bury(&self, child: Child) {
        let mut state = self.lock();
        if state.stop {
            drop(state);
            drop(child);
        } else {
            state.stale.push(child);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Parks sandboxes as long as there are too few.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stop {
            let stale = std::mem::take(&mut state.stale);
            let idle = state.failed || state.parked.len() >= state.wanted;
            if stale.is_empty() && idle {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            if stale.is_empty() && !state.hurries() {
                let (next, waited) = self
                    .changed
                    .wait_timeout(state, PAUSE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = next;
                if !waited.timed_out() {
                    continue;
                }
            }
            let generation = state.generation;
            drop(state);
            drop(stale);
            let made = (!idle).then(|| self.ready.park(true));
            state = self.lock();
            match made {
                Some(Ok(child)) if state.generation == generation => state.parked.push(child),
                Some(Ok(child)) => state.stale.push(child),
                Some(Err(_)) => state.failed = true,
                None => {}
            }
        }
    }
}

impl Pool {
    /// Keeps up to `wanted` parked, of which the first is there when this returns.
    pub(super) fn new(ready: &Arc<Ready>, wanted: usize) -> Result<Self, SpawnError> {
        let mounts = Mounts::watch();
        let first = ready.park(true)?;
        let shared = Arc::new(Shared {
            ready: ready.clone(),
            state: Mutex::new(State {
                parked: vec![first],
                stale: Vec::new(),
                wanted,
                failed: false,
                generation: 0,
                stop: false,
                mounts,
            }),
            changed: Condvar::new(),
        });
        let theirs = shared.clone();
        let worker = thread::Builder::new()
            .name("sandbox-pool".into())
            .spawn(move || theirs.work())
            .map_err(start::resources("a thread"))?;
        Ok(Self {
            shared,
            worker: Some(worker),
        })
    }

    /// How many are parked.
    pub(super) fn len(&self) -> usize {
        self.shared.lock().parked.len()
    }

    /// One that is parked, if there is any. Another takes its place in the background.
    pub(super) fn take(&self) -> Option<Child> {
        let mut state = self.shared.lock();
        if state.mounts.have_changed() {
            // They have the mounts as they were.
            let mut parked = std::mem::take(&mut state.parked);
            state.stale.append(&mut parked);
            state.generation += 1;
        }
        state.failed = false;
        let mut taken = state.parked.pop();
        if let Some(child) = &mut taken {
            child.has_undertaker(Arc::downgrade(&self.shared));
        }
        drop(state);
        self.shared.changed.notify_one();
        taken
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(worker) = self.worker.take() {
            // Whatever it died of, there is nothing left for it to do.
            let _ = worker.join();
        }
    }
}

/// The mounts of the caller (proc(5), /proc/pid/mountinfo: it can be polled). Where there is no
/// procfs a change goes unnoticed.
#[derive(Debug)]
pub(super) struct Mounts(Option<File>);

impl Mounts {
    pub(super) fn watch() -> Self {
        let mounts = Self(File::open("/proc/thread-self/mountinfo").ok());
        mounts.have_changed();
        mounts
    }

    /// Whether they have changed since this was asked.
    pub(super) fn have_changed(&self) -> bool {
        let Some(file) = &self.0 else { return false };
        let mut fd = libc::pollfd {
            fd: file.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: the structure is live for the call, which does not wait.
        let ready = unsafe { libc::poll(&raw mut fd, 1, 0) };
        ready > 0 && fd.revents & (libc::POLLPRI | libc::POLLERR) != 0
    }
}

impl Ready {
    /// A sandbox without a command: for one, or for many.
    pub(super) fn park(&self, single: bool) -> Result<Child, SpawnError> {
        start::park(self, single)
    }
}

/// Whether it was the parked sandbox that was at fault, so that another may do.
pub(super) fn was_gone(error: &SpawnError) -> bool {
    matches!(error.step, FailedStep::Died)
}
