//! Waiting step by step, for a program with an event loop of its own.

use std::io;
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

use sandboxlib_config::Limit;
use sandboxlib_core::{End, Outcome, Started};

use super::{Child, Monitor};
use crate::streams::Quota;

impl Child {
    /// A descriptor to wait with, for a program with an event loop of its own: it can be read from
    /// (poll(2), epoll(7), kqueue(2)) when [`try_wait`](Self::try_wait) has something to take in.
    /// Nobody may read from it but that.
    ///
    /// Who waits so calls `try_wait` then, and no later than [`next_look`](Self::next_look) says,
    /// and so holds the limits as [`wait`](Self::wait) does.
    ///
    /// # Errors
    /// What the operating system says to one more descriptor.
    pub fn wait_fd(&self) -> io::Result<OwnedFd> {
        match &self.handles.pidfd {
            Some(pidfd) => pidfd.try_clone(),
            // It does not keep the command alive: whoever drops the child says so by a message.
            None => self.handles.control.0.as_fd().try_clone_to_owned(),
        }
    }

    /// When [`try_wait`](Self::try_wait) has to be called at the latest, because a time is up or
    /// the processes have to be looked at; `None` if nothing but the end is waited for.
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        let watch = self.monitor.as_ref().filter(|_| self.killed.is_none());
        let watch = watch.map(Monitor::next);
        [self.deadline, watch].into_iter().flatten().min()
    }

    /// How much of each stream the command may print, by its limit of output.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota::new(self.limits.output)
    }

    /// The command has printed more than its limit of output: everything is killed, if it has not
    /// ended, and the outcome says why. For whoever reads the pipes himself, within
    /// the [`quota`](Self::quota).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn exceed_output(&mut self) -> io::Result<()> {
        let why = End::Limit(Limit::Output);
        match &mut self.outcome {
            Some(outcome) if matches!(outcome.end, End::Exited(_) | End::Signalled(_)) => {
                outcome.end = why;
                Ok(())
            }
            None if self.killed.is_none() => self.end(why),
            _ => Ok(()),
        }
    }

    /// Kills everything, as dropping does, and leaves the waiting for its end to whoever takes
    /// what is returned; `None` if it has ended already. From here on this one counts as ended.
    #[must_use]
    pub fn condemn(&mut self) -> Option<Self> {
        if self.outcome.is_some() {
            return None;
        }
        // All of it fails only for a process that is gone.
        let _ = self.end(End::Killed);
        let handles = self.handles.clone();
        let mut ended = Self::of(self.pid, handles, self.began, self.contained);
        ended.outcome = Some(Outcome::new(End::Killed, Started::Unknown, self.pid));
        Some(mem::replace(self, ended))
    }

    /// Has the command end if the time is up, or it has come to another limit.
    pub(super) fn expire(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.monitor.as_ref().is_some_and(Monitor::looks) {
            self.listen();
        }
        if mem::take(&mut self.holds) {
            return self.look_at_what_is_left();
        }
        if self.killed.is_none()
            && let Some(monitor) = &mut self.monitor
            && now >= monitor.next()
            && let Some(limit) = monitor.look()
        {
            self.exceed(limit)?;
        }
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        match (self.killed, self.ending) {
            (Some(how), _) => self.end(how),
            (None, Some(limit)) => self.end(End::Limit(limit)),
            (None, None) => self.exceed(Limit::Wall),
        }
    }

    /// The command has ended, and the others are about to: it may have gone so fast that nobody has
    /// counted them.
    fn look_at_what_is_left(&mut self) -> io::Result<()> {
        let monitor = self.monitor.as_mut().filter(|_| self.killed.is_none());
        match monitor.and_then(Monitor::look) {
            Some(limit) => self.end(End::Limit(limit)),
            None => self.handles.kill(),
        }
    }

    /// The command has come to `limit`. If it is one of time it may be given some more to clean
    /// up; what others are about would get worse meanwhile.
    fn exceed(&mut self, limit: Limit) -> io::Result<()> {
        let patient = matches!(limit, Limit::Wall | Limit::CpuTime);
        match (self.ending, self.limits.kill_after) {
            // Its processor time goes on being used up while it cleans up.
            (Some(_), _) if patient => Ok(()),
            (None, Some(grace)) if patient => {
                self.ending = Some(limit);
                self.deadline = Instant::now().checked_add(grace);
                // It may have ended in the meantime.
                let _ = self.handles.signal(libc::SIGTERM);
                Ok(())
            }
            (first, _) => self.end(End::Limit(first.unwrap_or(limit))),
        }
    }
}
