//! A command that runs: waiting for it, signals to it, its end.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sandboxlib_config::{Limit, Limits};
use sandboxlib_core::{End, Outcome, Started};

use super::poll::{self, Catcher};
use crate::ending::{self, decode, duration};
use crate::helper::Errand;
use crate::streams::{Ends, Gathered, Quota, Sink, Stream, Tap, Wish};
use crate::tty::WindowSize;

/// A process that is the caller's child. Its number is its own until it has been waited for,
/// which happens under the lock, so no signal can reach another process.
#[derive(Debug)]
struct Process {
    pid: libc::pid_t,
    waited_for: Mutex<bool>,
}

impl Process {
    /// Sends a signal to the process, or to its whole group, unless it has been waited for.
    fn send(&self, signal: i32, to_group: bool) -> io::Result<()> {
        let waited_for = self
            .waited_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *waited_for {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.send_locked(signal, to_group)
    }

    fn send_locked(&self, signal: i32, to_group: bool) -> io::Result<()> {
        let target = if to_group { -self.pid } else { self.pid };
        // SAFETY: kill takes numbers; the process has not been waited for, so its number and that
        // of its group still mean it.
        if unsafe { libc::kill(target, signal) } == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    /// Kills what is left of the group and takes the process's end. It must have ended, or be
    /// about to.
    fn reap(&self) -> io::Result<(i32, libc::rusage)> {
        let mut waited_for = self
            .waited_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *waited_for {
            return Err(io::Error::from_raw_os_error(libc::ECHILD));
        }
        // As long as the process has not been waited for, nobody else can have its number for a
        // group. It fails for a group in which nothing is left to kill.
        let _ = self.send_locked(libc::SIGKILL, true);
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        loop {
            // SAFETY: the number and the structure are live for the call.
            let pid = unsafe { libc::wait4(self.pid, &raw mut status, 0, usage.as_mut_ptr()) };
            if pid == self.pid {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                *waited_for = true;
                return Err(error);
            }
        }
        *waited_for = true;
        // SAFETY: all zero is a valid value, and wait4 has filled it in.
        Ok((status, unsafe { usage.assume_init() }))
    }
}

/// A way to send signals to a running command from elsewhere, such as another thread.
#[derive(Debug, Clone)]
pub struct Signaller(Arc<Process>);

impl Signaller {
    /// Sends `signal` to the command, as kill(2) does.
    ///
    /// # Errors
    /// What the operating system says; `BrokenPipe` if the command has ended and was waited for.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if !(1..=64).contains(&signal) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.0.send(signal, false)
    }

    /// Kills the command and its process group. That they have ended already is no error.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&self) -> io::Result<()> {
        match self.0.send(libc::SIGKILL, true) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            // So some systems call a group in which all have ended.
            Err(e) if e.raw_os_error() == Some(libc::EPERM) && has_ended(self.0.pid) => Ok(()),
            other => other,
        }
    }
}

/// Waits for the end of a process and leaves it to be waited for once more.
fn await_end(pid: libc::pid_t, flags: i32) -> Option<libc::siginfo_t> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    #[allow(
        clippy::unnecessary_fallible_conversions,
        reason = "an id_t has a sign on FreeBSD and none elsewhere"
    )]
    let id = libc::id_t::try_from(pid).ok()?;
    let flags = libc::WEXITED | libc::WNOWAIT | flags;
    loop {
        // SAFETY: the structure is live for the call.
        if unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags) } == 0 {
            // SAFETY: all zero is a valid value, and waitid has filled in what it had to say.
            return Some(unsafe { info.assume_init() });
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

fn has_ended(pid: libc::pid_t) -> bool {
    // With nothing to report the structure stays zero.
    await_end(pid, libc::WNOHANG).is_none_or(|info| info.si_signo != 0)
}

/// A file that can be read, or rather is at its end, once the process `pid` has ended: the
/// portable part of what a pidfd or a kqueue is.
pub(super) fn end_of(pid: libc::pid_t) -> io::Result<File> {
    let (read, write) = io::pipe()?;
    let watch = move || {
        await_end(pid, 0);
        drop(write);
    };
    thread::Builder::new()
        .name("sandbox end".to_owned())
        .spawn(watch)?;
    Ok(File::from(std::os::fd::OwnedFd::from(read)))
}

/// A command that runs in a sandbox.
///
/// Unlike `std::process::Child`, dropping it ends the command and its process group, and waits
/// for it.
#[derive(Debug)]
pub struct Child {
    /// The writing end of standard input, if it is a pipe.
    pub stdin: Option<File>,
    /// The reading end of standard output, if it is a pipe.
    pub stdout: Option<File>,
    /// The reading end of standard error, if it is a pipe.
    pub stderr: Option<File>,
    /// What came through the pipes and nobody has taken yet.
    gathered: [Vec<u8>; 2],
    process: Arc<Process>,
    /// At its end when the command has ended; `None` if that could not be had, before it ran.
    ended: Option<File>,
    began: Instant,
    deadline: Option<Instant>,
    limits: Limits,
    /// The limit for which the command was told to end, and its time is running out.
    ending: Option<Limit>,
    killed: Option<End>,
    outcome: Option<Outcome>,
    /// What belongs to the run of a helper program, if it is one.
    errand: Option<Errand>,
}

impl Child {
    pub(super) fn new(pid: libc::pid_t, began: Instant, ends: Ends) -> Self {
        Self {
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
            gathered: Default::default(),
            process: Arc::new(Process {
                pid,
                waited_for: Mutex::new(false),
            }),
            ended: None,
            began,
            deadline: None,
            limits: Limits::default(),
            ending: None,
            killed: None,
            outcome: None,
            errand: None,
        }
    }

    /// Begins to watch for the end.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        self.ended = Some(end_of(self.process.pid)?);
        Ok(())
    }

    /// Keeps what belongs to the run of a helper program until everything has ended.
    pub(crate) fn set_errand(&mut self, errand: Errand) {
        self.errand = Some(errand);
    }

    /// The process id of the command.
    #[must_use]
    pub fn id(&self) -> u32 {
        u32::try_from(self.process.pid).unwrap_or(0)
    }

    /// A way to send signals that outlives this borrow.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        Signaller(self.process.clone())
    }

    /// Whether every process of the sandbox is certain to be dead when it has been waited for.
    /// On this system a process that left the group may live on.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        false
    }

    /// Has everything killed once `timeout` has passed since the start. Waiting enforces it.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.limits.wall = Some(timeout);
        self.deadline = self.began.checked_add(timeout);
    }

    /// Has those of `limits` enforced by waiting that whoever waits holds: time and output. The
    /// others are a part of the launch, and are told here so that the outcome can name them.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if let Some(timeout) = limits.wall {
            self.set_timeout(timeout);
        }
    }

    /// Sends `signal` to the command.
    ///
    /// # Errors
    /// What the operating system says; `BrokenPipe` if the command has ended and was waited for.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.signaller().signal(signal)
    }

    /// Kills the command and its process group.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&mut self) -> io::Result<()> {
        self.killed.get_or_insert(End::Killed);
        self.signaller().kill()
    }

    /// The outcome, if the command has ended.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn try_wait(&mut self) -> io::Result<Option<Outcome>> {
        if self.outcome.is_none() {
            self.expire()?;
            if has_ended(self.process.pid) {
                self.reap()?;
            }
        }
        Ok(self.outcome.clone())
    }

    /// Waits until the command has ended, or is killed because the time is up. Standard input is
    /// closed first, if it is a pipe.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait(&mut self) -> io::Result<Outcome> {
        self.wait_tapping([None, None])
    }

    /// Waits as [`wait`](Self::wait) does, and sends the command each of `signals` that this
    /// process gets meanwhile. The caller must have blocked them before it started the command,
    /// see [`block_signals`](crate::block_signals).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_forwarding(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        let _catcher = self.catch(signals)?;
        self.wait()
    }

    /// Waits as [`wait_forwarding`](Self::wait_forwarding) does, and copies what comes through the
    /// pipes of standard output and error to the caller's own, as fast as that takes it. Where
    /// nobody reads there any more, the command gets to know by SIGPIPE.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_relaying(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        let _catcher = self.catch(signals)?;
        let sinks = [Sink::Fd(1), Sink::Fd(2)];
        self.wait_tapping(sinks.map(Some))
    }

    /// Waits as [`wait_relaying`](Self::wait_relaying) does: on this system no command has a
    /// terminal of its own.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_interactive(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        self.wait_relaying(signals)
    }

    /// Does nothing, for the same reason.
    ///
    /// # Errors
    /// None.
    pub fn resize(&self, _: WindowSize) -> io::Result<()> {
        Ok(())
    }

    fn catch(&self, signals: &[i32]) -> io::Result<Option<Catcher>> {
        let signaller = self.signaller();
        Catcher::new(signals, move |signal| {
            // The command may have ended in the meantime.
            let _ = signaller.signal(signal);
        })
    }

    /// Waits, and gathers what comes through the pipes of standard output and error, whichever
    /// there are. Both are read as they fill, so neither can block the command for ever, and no
    /// more is kept than the limit of output allows.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_with_output(&mut self) -> io::Result<Gathered> {
        self.gather(None)?.ok_or_else(ending::endless)
    }

    /// Waits as [`wait_with_output`](Self::wait_with_output) does, but no longer than `until`:
    /// `None` if it has not ended by then. What was read is kept for the next call, and there has to
    /// be one: who waits holds the limits.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_with_output_until(&mut self, until: Instant) -> io::Result<Option<Gathered>> {
        self.gather(Some(until))
    }

    fn gather(&mut self, until: Option<Instant>) -> io::Result<Option<Gathered>> {
        let sinks = mem::take(&mut self.gathered).map(Sink::Memory);
        let outcome = self.wait_tapping_until(sinks.map(Some), until)?;
        Ok(outcome.map(|outcome| {
            let [out, err] = mem::take(&mut self.gathered);
            (outcome, out, err)
        }))
    }

    /// Waits, and hands what comes through the pipes of standard output and error to `take`, piece
    /// by piece, as it comes. As long as `take` does not return nothing more is read, so a command
    /// that prints faster has to wait; and neither is a limit enforced.
    ///
    /// # Errors
    /// What the operating system says, or `take`.
    pub fn wait_streaming(
        &mut self,
        take: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let take = RefCell::new(take);
        let call = |stream, piece: &[u8]| (take.borrow_mut())(stream, piece);
        let sinks = [Sink::Callback(&call), Sink::Callback(&call)];
        self.wait_tapping(sinks.map(Some))
    }

    /// Waits, and moves what comes through the pipes to where it goes.
    fn wait_tapping(&mut self, sinks: [Option<Sink<'_>>; 2]) -> io::Result<Outcome> {
        self.wait_tapping_until(sinks, None)?
            .ok_or_else(ending::endless)
    }

    /// The same until a time, if there is one, and `None` if it has not ended by then. What was
    /// gathered in memory is in `gathered` afterwards.
    fn wait_tapping_until<'a>(
        &mut self,
        sinks: [Option<Sink<'a>>; 2],
        until: Option<Instant>,
    ) -> io::Result<Option<Outcome>> {
        drop(self.stdin.take());
        let most = self.limits.output;
        let tap = |stream, from: &mut Option<File>, to: Option<Sink<'a>>| match to {
            Some(to) => Tap::new(stream, from.take(), to, most),
            None => Tap::new(stream, None, Sink::Memory(Vec::new()), None),
        };
        let [out, err] = sinks;
        let mut taps = [
            tap(Stream::Stdout, &mut self.stdout, out)?,
            tap(Stream::Stderr, &mut self.stderr, err)?,
        ];
        let outcome = loop {
            if let Some(outcome) = self.try_wait()? {
                break outcome;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                let [(out, held_out), (err, held_err)] = taps.map(Tap::into_parts);
                (self.stdout, self.stderr) = (out, err);
                self.gathered = [held_out, held_err];
                return Ok(None);
            }
            let left = self
                .next_look()
                .into_iter()
                .chain(until)
                .min()
                .map(|at| at.saturating_duration_since(Instant::now()));
            let ended = self.ended.as_ref().map(AsRawFd::as_raw_fd);
            let ended = ended.map_or(Wish::Nothing, Wish::Read);
            let [out, err] = taps.each_ref().map(Tap::wants);
            let [_, ready @ ..] = poll::wait([ended, out, err], left)?;
            for (tap, ready) in taps.iter_mut().zip(ready) {
                if ready {
                    tap.turn()?;
                }
            }
            if taps.iter().any(Tap::is_over) {
                self.exceed_output()?;
            }
        };
        for tap in &mut taps {
            // What was written before the end is still in the pipe; a process that got away and
            // holds it open is not waited for.
            tap.finish(|fd| {
                let wanted = [Wish::Nothing, Wish::Write(fd), Wish::Nothing];
                poll::wait(wanted, None).map(|_| true)
            })?;
            if tap.is_over() {
                self.exceed_output()?;
            }
        }
        let outcome = self.outcome.clone().unwrap_or(outcome);
        self.gathered = taps.map(Tap::into_data);
        Ok(Some(outcome))
    }

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
        match &self.ended {
            Some(ended) => Ok(ended.try_clone()?.into()),
            None => Ok(end_of(self.process.pid)?.into()),
        }
    }

    /// When [`try_wait`](Self::try_wait) has to be called at the latest, because a time is up or
    /// the processes have to be looked at; `None` if nothing but the end is waited for.
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.killed.is_none())
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
        match &mut self.outcome {
            Some(outcome) if matches!(outcome.end, End::Exited(_) | End::Signalled(_)) => {
                outcome.end = End::Limit(Limit::Output);
                Ok(())
            }
            None if self.killed.is_none() => self.end(Limit::Output),
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
        // It fails for a process that is gone.
        let _ = self.kill();
        let mut ended = Self::new(self.process.pid, self.began, Ends::default());
        ended.outcome = Some(Outcome::new(End::Killed, Started::Unknown, self.id()));
        ended.process = self.process.clone();
        Some(mem::replace(self, ended))
    }

    /// Has the command end if the time is up: at once, or after it had some more to clean up.
    fn expire(&mut self) -> io::Result<()> {
        let over = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        match (over && self.killed.is_none(), self.limits.kill_after) {
            (false, _) => Ok(()),
            (true, Some(grace)) if self.ending.is_none() => {
                self.ending = Some(Limit::Wall);
                self.deadline = Instant::now().checked_add(grace);
                // It may have ended in the meantime.
                let _ = self.signal(libc::SIGTERM);
                Ok(())
            }
            (true, _) => self.end(Limit::Wall),
        }
    }

    fn end(&mut self, limit: Limit) -> io::Result<()> {
        self.killed = Some(End::Limit(limit));
        self.signaller().kill()
    }

    fn reap(&mut self) -> io::Result<()> {
        let (status, usage) = self.process.reap()?;
        let end = match (decode(status), self.killed) {
            (End::Signalled(libc::SIGKILL), Some(killed)) => killed,
            (end, _) => end,
        };
        let pid = self.id();
        let started = self
            .errand
            .as_mut()
            .map_or(Started::Yes, |errand| errand.started(end));
        let mut outcome = Outcome::new(end, started, pid);
        outcome.wall = self.began.elapsed();
        outcome.user = duration(usage.ru_utime);
        outcome.system = duration(usage.ru_stime);
        // macOS counts in bytes, all others in KiB (getrusage(2)).
        let unit = if cfg!(target_vendor = "apple") {
            1
        } else {
            1024
        };
        outcome.peak_memory = u64::try_from(usage.ru_maxrss).ok().map(|n| n * unit);
        let limit = match (self.killed, self.ending) {
            (Some(End::Limit(limit)), _) | (None, Some(limit)) => Some(limit),
            _ => None,
        };
        ending::judge(&mut outcome, limit, &self.limits);
        self.outcome = Some(outcome);
        Ok(())
    }

    /// Kills the group and waits for the end of the command, whatever state it is in.
    pub(super) fn bury(&mut self) {
        if self.outcome.is_none() {
            // It fails for a process that is gone.
            let _ = self.process.reap();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.bury();
    }
}
