//! A sandbox that runs: waiting for it, signals to it, its end.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sandboxlib_config::{Limit, Limits};
use sandboxlib_core::{End, FailedStep, Outcome, SpawnError, Started};

use crate::helper::Errand;

use super::limits::{Monitor, Urgent};
use super::poll::{self, Interest};
use super::raw;
use super::wire::{Message, Used, kind};
use crate::ending::{self, decode, duration};
use crate::streams::{Ends, Sink, Stream, Tap};

/// The parent's end of the control socket. Closing it ends the sandbox.
#[derive(Debug)]
pub(super) struct Control(OwnedFd);

impl Control {
    /// The parent's end, and the child's.
    pub(super) fn pair() -> Result<(Self, OwnedFd), SpawnError> {
        let mut fds = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: the array is live for the call and holds two numbers.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
            let error = io::Error::last_os_error();
            return Err(SpawnError::new(
                FailedStep::Resources("a control socket"),
                error,
            ));
        }
        // SAFETY: the kernel has just made these descriptors, and nobody else knows them.
        let [ours, theirs] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((Self(ours), theirs))
    }

    pub(super) fn say(&self, message: &Message) -> io::Result<()> {
        raw::send(self.0.as_raw_fd(), message.bytes())
            .map(drop)
            .map_err(io::Error::from_raw_os_error)
    }

    /// Sends `message` and descriptors, of which there are at most
    /// [`MOST_FDS`](super::wire::MOST_FDS).
    pub(super) fn say_with(&self, message: &Message, fds: &[RawFd]) -> io::Result<()> {
        super::rights::send(self.0.as_raw_fd(), message.bytes(), fds).map(drop)
    }

    /// Whether everything was heard, and nobody is left to say more.
    fn is_over(&self) -> bool {
        let mut byte = 0u8;
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        // SAFETY: the pointer is to a live byte.
        let got = unsafe { libc::recv(self.0.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
        got == 0 || (got < 0 && io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock)
    }

    /// The next message, without waiting for one.
    fn hear(&self) -> Option<Message> {
        let mut message = Message::new(0);
        let bytes = message.bytes_mut();
        // With MSG_TRUNC the length is that of the whole packet, so one that is larger is none.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: the pointer and length are those of a live slice.
        let got = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                flags,
            )
        };
        (usize::try_from(got) == Ok(Message::SIZE)).then_some(message)
    }
}

/// For how long the init program may take to kill the command's process group.
const GRACE: Duration = Duration::from_secs(1);

/// A way to send signals to a running sandbox from elsewhere, such as another thread.
#[derive(Debug, Clone)]
pub struct Signaller {
    control: Arc<Control>,
    /// The sandbox's first process; none for one of many commands, whose control socket is all
    /// that is its own.
    pidfd: Option<Arc<OwnedFd>>,
    /// Whether nothing but SIGKILL is left to end the init program with. While it is false, the
    /// command is in no process id namespace, and its group dies by the init program's hand.
    by_force: Arc<AtomicBool>,
}

impl Signaller {
    /// Sends `signal` to the command, as kill(2) does.
    ///
    /// # Errors
    /// What the operating system says; `BrokenPipe` if the sandbox has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let mut message = Message::new(kind::SIGNAL);
        message.a = u32::try_from(signal)
            .ok()
            .filter(|n| (1..=64).contains(n))
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.control.say(&message)
    }

    /// Kills everything in the sandbox; without a process id namespace, the command's process
    /// group. That it has ended already is no error.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&self) -> io::Result<()> {
        let end = Message::new(kind::END);
        let Some(pidfd) = &self.pidfd else {
            return match self.control.say(&end) {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                done => done,
            };
        };
        if !self.by_force.swap(true, Ordering::AcqRel) && self.control.say(&end).is_ok() {
            // Somebody may have stopped it, and it has to hear.
            return send_signal(pidfd, libc::SIGCONT);
        }
        send_signal(pidfd, libc::SIGKILL)
    }

    /// What can be read from when there is something to hear of the end.
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Signaller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.pidfd {
            Some(pidfd) => pidfd.as_fd(),
            None => self.control.0.as_fd(),
        }
    }
}

/// pidfd_send_signal(2): no other process can be hit, whatever became of this one.
pub(super) fn send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open; a null siginfo means that of kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        e => Err(e),
    }
}

/// A sandbox that stays up for many commands, as each of them sees it.
#[derive(Debug, Clone)]
pub(super) struct Host {
    handles: Signaller,
    pid: u32,
    /// The limit that ended it.
    ended_by: Arc<OnceLock<Limit>>,
}

impl Host {
    pub(super) fn control(&self) -> &Control {
        &self.handles.control
    }

    /// What can be read from when the sandbox has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.handles.as_fd()
    }
}

/// A command that runs in a sandbox.
///
/// Unlike `std::process::Child`, dropping it ends the sandbox: everything in it is killed, and
/// waited for.
#[derive(Debug)]
pub struct Child {
    /// The writing end of standard input, if it is a pipe.
    pub stdin: Option<File>,
    /// The reading end of standard output, if it is a pipe.
    pub stdout: Option<File>,
    /// The reading end of standard error, if it is a pipe.
    pub stderr: Option<File>,
    pid: u32,
    handles: Signaller,
    began: Instant,
    deadline: Option<Instant>,
    limits: Limits,
    /// The limit for which the command was told to end, and its time is running out.
    ending: Option<Limit>,
    monitor: Option<Monitor>,
    /// Whether the init program is process 1 of a namespace, so that its end is everybody's.
    contained: bool,
    killed: Option<End>,
    /// The wait status of the command, as the init program told it.
    status: Option<i32>,
    outcome: Option<Outcome>,
    /// What belongs to the run of a helper program, if it is one.
    errand: Option<Errand>,
    /// The sandbox in which it is one of many.
    host: Option<Host>,
    /// Where commands in it look up which limit ended it.
    verdict: Option<Arc<OnceLock<Limit>>>,
}

impl Child {
    pub(super) fn new(
        pid: u32,
        pidfd: OwnedFd,
        control: Control,
        began: Instant,
        contained: bool,
    ) -> Self {
        let handles = Signaller {
            control: Arc::new(control),
            pidfd: Some(Arc::new(pidfd)),
            by_force: Arc::new(AtomicBool::new(true)),
        };
        Self::of(pid, handles, began, contained)
    }

    /// One of many commands in a sandbox, with a control socket of its own.
    pub(super) fn guest(host: &Host, control: Control) -> Self {
        let handles = Signaller {
            control: Arc::new(control),
            pidfd: None,
            by_force: Arc::new(AtomicBool::new(false)),
        };
        let mut guest = Self::of(host.pid, handles, Instant::now(), false);
        guest.host = Some(host.clone());
        guest
    }

    fn of(pid: u32, handles: Signaller, began: Instant, contained: bool) -> Self {
        Self {
            stdin: None,
            stdout: None,
            stderr: None,
            pid,
            handles,
            began,
            deadline: None,
            limits: Limits::default(),
            ending: None,
            monitor: None,
            contained,
            killed: None,
            status: None,
            outcome: None,
            errand: None,
            host: None,
            verdict: None,
        }
    }

    /// With the caller's ends of its pipes.
    pub(super) fn with(mut self, ends: Ends) -> Self {
        self.stdin = ends.stdin;
        self.stdout = ends.stdout;
        self.stderr = ends.stderr;
        self
    }

    /// From here on its time counts; what was before was the set-up.
    pub(super) fn begin_now(&mut self) {
        self.began = Instant::now();
    }

    /// The sandbox, for commands that run in it side by side.
    pub(super) fn as_host(&mut self) -> Host {
        Host {
            handles: self.handles.clone(),
            pid: self.pid,
            ended_by: self.verdict.get_or_insert_default().clone(),
        }
    }

    /// When it has to be looked at, at the latest.
    pub(super) fn look_again(&self) -> Option<Instant> {
        self.due()
    }

    /// What can be read from when it has ended.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.handles.as_raw_fd()
    }

    /// The init program runs, and has started the command.
    pub(super) fn has_begun(&self) {
        let force = self.contained;
        self.handles.by_force.store(force, Ordering::Release);
    }

    /// Keeps what belongs to the run of a helper program until everything has ended.
    pub(crate) fn set_errand(&mut self, errand: Errand) {
        self.errand = Some(errand);
    }

    /// The process id, on the host, of the sandbox's first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// A way to send signals that outlives this borrow.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        self.handles.clone()
    }

    /// Whether every process of the sandbox is certain to be dead when it has been waited for.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        self.contained
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

    /// Has the limits of all processes together seen to while it is waited for.
    pub(super) fn watch(&mut self, monitor: Monitor) {
        self.monitor = Some(monitor);
    }

    /// Sends `signal` to the command.
    ///
    /// # Errors
    /// What the operating system says; `BrokenPipe` if the sandbox has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.handles.signal(signal)
    }

    /// Kills everything in the sandbox.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&mut self) -> io::Result<()> {
        self.end(End::Killed)
    }

    /// Kills everything, and again after a while where that is not certain to have worked.
    fn end(&mut self, how: End) -> io::Result<()> {
        self.killed.get_or_insert(how);
        if let (End::Limit(limit), Some(verdict)) = (how, &self.verdict) {
            // It is told once, before anybody can see the end.
            let _ = verdict.set(limit);
        }
        if !self.contained
            && let Some(monitor) = &mut self.monitor
        {
            monitor.kill();
        }
        self.deadline = (!self.contained).then(|| Instant::now() + GRACE);
        self.handles.kill()
    }

    /// The outcome, if everything has ended.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn try_wait(&mut self) -> io::Result<Option<Outcome>> {
        if self.outcome.is_none() {
            self.expire()?;
            self.reap(libc::WNOHANG)?;
        }
        Ok(self.outcome.clone())
    }

    /// Waits until everything has ended, or is killed because the time is up. Standard input is
    /// closed first, if it is a pipe.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait(&mut self) -> io::Result<Outcome> {
        drop(self.stdin.take());
        self.wait_forwarding(&[])
    }

    /// Waits as [`wait`](Self::wait) does, and sends the command each of `signals` that this
    /// process gets meanwhile. The caller must have blocked them before it started the command,
    /// see [`block_signals`](crate::block_signals).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_forwarding(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        self.wait_tapping([None, None], signals)
            .map(|(outcome, _)| outcome)
    }

    /// Waits as [`wait_forwarding`](Self::wait_forwarding) does, and copies what comes through the
    /// pipes of standard output and error to the caller's own, as fast as that takes it. Where
    /// nobody reads there any more, the command gets to know by SIGPIPE.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_relaying(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        let sinks = [Sink::Fd(1), Sink::Fd(2)];
        self.wait_tapping(sinks.map(Some), signals)
            .map(|(outcome, _)| outcome)
    }

    /// Waits, and gathers what comes through the pipes of standard output and error, whichever
    /// there are. Both are read as they fill, so neither can block the command for ever, and no
    /// more is kept than the limit of output allows.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_with_output(&mut self) -> io::Result<(Outcome, Vec<u8>, Vec<u8>)> {
        let sinks = [Sink::Memory(Vec::new()), Sink::Memory(Vec::new())];
        let (outcome, [out, err]) = self.wait_tapping(sinks.map(Some), &[])?;
        Ok((outcome, out, err))
    }

    /// Waits, and hands what comes through the pipes of standard output and error to `take`, piece
    /// by piece, as it comes. As long as `take` does not return nothing more is read, so a command
    /// that prints faster has to wait; and neither is a limit enforced.
    ///
    /// # Errors
    /// What the operating system says, or `take`; then everything is killed.
    pub fn wait_streaming(
        &mut self,
        take: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let take = RefCell::new(take);
        let call = |stream, piece: &[u8]| (take.borrow_mut())(stream, piece);
        let sinks = [Sink::Callback(&call), Sink::Callback(&call)];
        self.wait_tapping(sinks.map(Some), &[])
            .map(|(outcome, _)| outcome)
    }

    /// Waits, moves what comes through the pipes to where it goes, and passes signals on.
    fn wait_tapping<'a>(
        &mut self,
        sinks: [Option<Sink<'a>>; 2],
        signals: &[i32],
    ) -> io::Result<(Outcome, [Vec<u8>; 2])> {
        drop(self.stdin.take());
        let looks = self.monitor.as_ref().is_some_and(Monitor::looks);
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
        let incoming = match signals {
            [] => None,
            signals => Some(poll::SignalFd::new(signals)?),
        };
        let outcome = loop {
            let urgent = if looks { Urgent::new() } else { None };
            if let Some(outcome) = self.try_wait()? {
                break outcome;
            }
            let signals = incoming.as_ref().map_or(-1, poll::SignalFd::as_raw_fd);
            let [out, err] = taps.each_ref().map(Tap::wants);
            let mut interests = [
                Interest::read(signals),
                Interest::of(out),
                Interest::of(err),
            ];
            let left = self
                .due()
                .map(|at| at.saturating_duration_since(Instant::now()));
            if !poll::wait(self.handles.as_raw_fd(), &mut interests, left)? {
                continue;
            }
            // What comes now may take all the time of a processor, and is not.
            drop(urgent);
            while let Some(signal) = incoming.as_ref().and_then(poll::SignalFd::next) {
                // The command may have ended in the meantime.
                let _ = self.handles.signal(signal);
            }
            for (tap, interest) in taps.iter_mut().zip(&interests[1..]) {
                if interest.ready() {
                    tap.turn()?;
                }
            }
            if taps.iter().any(Tap::is_over) && self.killed.is_none() {
                self.end(End::Limit(Limit::Output))?;
            }
        };
        let mut outcome = outcome;
        for tap in &mut taps {
            // What was written before the end is still in the pipe; a process that got away and
            // holds it open is not waited for.
            tap.finish()?;
            if tap.is_over() && matches!(outcome.end, End::Exited(_) | End::Signalled(_)) {
                outcome.end = End::Limit(Limit::Output);
            }
        }
        self.outcome = Some(outcome.clone());
        Ok((outcome, taps.map(Tap::into_data)))
    }

    /// When there is something to see to, whatever happens until then.
    fn due(&self) -> Option<Instant> {
        let watch = self.monitor.as_ref().filter(|_| self.killed.is_none());
        let watch = watch.map(Monitor::next);
        [self.deadline, watch].into_iter().flatten().min()
    }

    /// Has the command end if the time is up, or it has come to another limit.
    fn expire(&mut self) -> io::Result<()> {
        let now = Instant::now();
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

    pub(super) fn control(&self) -> &Control {
        &self.handles.control
    }

    /// The first message of the child; `None` if it ended without one.
    pub(super) fn first_word(&mut self) -> io::Result<Option<Message>> {
        loop {
            let mut interests = [Interest::read(self.control().0.as_raw_fd())];
            let pidfd = self.handles.pidfd.as_ref().map_or(-1, |fd| fd.as_raw_fd());
            let spoken = poll::wait(pidfd, &mut interests, None)?;
            if let Some(message) = self.control().hear() {
                return Ok(Some(message));
            }
            // Somebody may hold a copy of the child's end, so the socket alone does not tell.
            let ended = !spoken && pidfd >= 0 && poll::is_ready(pidfd)?;
            if ended || self.control().is_over() {
                return Ok(self.control().hear());
            }
        }
    }

    /// Whether it is one of many commands in a sandbox.
    pub(super) fn is_guest(&self) -> bool {
        self.host.is_some()
    }

    /// Takes in what the init program has told, and the end of it if it has ended.
    fn reap(&mut self, flags: i32) -> io::Result<()> {
        let pidfd = self.handles.pidfd.clone();
        let (info, usage) = match &pidfd {
            Some(pidfd) => match wait_id(pidfd, flags)? {
                Some((info, usage)) => {
                    self.listen();
                    (info, usage.map(used))
                }
                None => return Ok(()),
            },
            None => match self.listen_for_the_end(flags)? {
                Some(used) => (None, used),
                None => return Ok(()),
            },
        };
        let limit = match (self.killed, self.ending) {
            (Some(End::Limit(limit)), _) | (None, Some(limit)) => Some(limit),
            // The whole sandbox came to a limit, and took this command along.
            _ if self.status.is_none() => {
                let host = self.host.as_ref();
                host.and_then(|host| host.ended_by.get().copied())
            }
            _ => None,
        };
        let end = match (self.status, self.killed) {
            (Some(status), _) => decode(status),
            (None, Some(end)) => end,
            // Somebody else killed the init program.
            (None, None) => End::Signalled(info.unwrap_or(libc::SIGKILL)),
        };
        let started = self
            .errand
            .as_mut()
            .map_or(Started::Yes, |errand| errand.started(end));
        let mut outcome = Outcome::new(end, started, self.pid);
        outcome.wall = self.began.elapsed();
        if let Some(used) = usage {
            outcome.user = Duration::from_micros(used.user);
            outcome.system = Duration::from_micros(used.system);
            outcome.peak_memory = Some(used.peak_memory * 1024);
        }
        let exceeded = self.monitor.as_mut().and_then(|m| m.finish(&mut outcome));
        // With it go the control groups.
        self.monitor = None;
        ending::judge(&mut outcome, limit.or(exceeded), &self.limits);
        self.outcome = Some(outcome);
        Ok(())
    }

    /// Takes in what was said. Tells what a command used that has ended.
    fn listen(&mut self) -> Option<Used> {
        let mut used = None;
        while let Some(message) = self.control().hear() {
            if message.kind == kind::ENDED {
                self.status = Some(i32::from_ne_bytes(message.a.to_ne_bytes()));
                used = Some(Used::get(&message));
            }
        }
        used
    }

    /// Of one of many commands there is nothing to hear any more when it has ended, and nothing at
    /// all if the sandbox has ended first. `None` if it still runs.
    fn listen_for_the_end(&mut self, flags: i32) -> io::Result<Option<Option<Used>>> {
        loop {
            let used = self.listen();
            if self.status.is_some() || self.control().is_over() {
                return Ok(Some(used));
            }
            if flags & libc::WNOHANG != 0 {
                return Ok(None);
            }
            poll::wait(self.as_raw_fd(), &mut [], None)?;
        }
    }

    /// Kills the sandbox and waits for its end, whatever state it is in.
    pub(super) fn bury(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        // All of it fails only for a process that is gone.
        let _ = self.end(End::Killed);
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline > Instant::now()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = poll::wait(self.handles.as_raw_fd(), &mut [], Some(left));
            if self.reap(libc::WNOHANG).is_err() || self.outcome.is_some() {
                return;
            }
        }
        let _ = self.handles.kill();
        let _ = self.reap(0);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.bury();
    }
}

/// In the units of the messages. Linux counts memory in KiB (getrusage(2)).
fn used(usage: libc::rusage) -> Used {
    let micros = |time| u64::try_from(duration(time).as_micros()).unwrap_or(u64::MAX);
    Used {
        user: micros(usage.ru_utime),
        system: micros(usage.ru_stime),
        peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }
}

/// The signal that ended the process, if one did, and what it used.
type Ended = (Option<i32>, Option<libc::rusage>);

/// waitid(2) by pidfd, with the use of resources, which libc's wrapper leaves out. `None` if the
/// process still runs.
fn wait_id(pidfd: &OwnedFd, flags: i32) -> io::Result<Option<Ended>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both structures are live for the call.
        let waited = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                info.as_mut_ptr(),
                libc::WEXITED | libc::__WALL | flags,
                usage.as_mut_ptr(),
            )
        };
        if waited == 0 {
            break;
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => {}
            // The caller ignores SIGCHLD, or somebody else has waited for it: it has ended.
            e if e.raw_os_error() == Some(libc::ECHILD) => return Ok(Some((None, None))),
            e => return Err(e),
        }
    }
    // SAFETY: all zero is a valid value of both structures, and the kernel has filled in what it
    // had to say.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: after waitid the fields of SIGCHLD are the ones that are set, or all are zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let signal = (info.si_code != libc::CLD_EXITED).then_some(status);
    Ok(Some((signal, Some(usage))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_a_whole_message_is_heard(
            bytes in prop::collection::vec(any::<u8>(), 0..2 * Message::SIZE),
            whole in any::<bool>(),
        ) {
            let (ours, theirs) = Control::pair().unwrap();
            let mut bytes = bytes;
            if whole {
                bytes.resize(Message::SIZE, 0x5a);
            }
            let sent = raw::send(theirs.as_fd().as_raw_fd(), &bytes);
            prop_assert_eq!(sent, Ok(bytes.len()));
            match ours.hear() {
                Some(message) => prop_assert_eq!(message.bytes(), &bytes[..]),
                None => prop_assert_ne!(bytes.len(), Message::SIZE),
            }
            // It is taken out in any case: what comes behind it is heard.
            let _ = raw::send(theirs.as_raw_fd(), Message::new(kind::STARTED).bytes());
            prop_assert_eq!(ours.hear().map(|m| m.kind), Some(kind::STARTED));
            prop_assert!(ours.hear().is_none());
            drop(theirs);
            prop_assert!(ours.hear().is_none());
        }
    }
}
