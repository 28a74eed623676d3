//! A sandbox that runs: waiting for it, signals to it, its end.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use sandboxlib_config::{Limit, Limits};
use sandboxlib_core::{End, Outcome, Started};

use crate::helper::Errand;

use super::console::Console;
use super::control::{Control, Signaller, Word};
use super::limits::{self, Monitor, Urgent};
use super::poll::{self, Interest};
use super::pool;
use super::shed;
use super::wire::{Used, kind};
use crate::ending::{self, decode, duration};
use crate::streams::{Ends, Gathered, Sink, Stream, Tap, Wish};
use crate::tty::WindowSize;

mod steps;

/// For how long the init program may take to kill the command's process group.
const GRACE: Duration = Duration::from_secs(1);

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
    /// The other end of the command's terminal, if it has one.
    terminal: Option<File>,
    /// The stream that is that other end too.
    shown: Option<Stream>,
    /// What came through the pipes and nobody has taken yet.
    gathered: [Vec<u8>; 2],
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
    /// What it used, as the init program told it.
    used: Option<Used>,
    outcome: Option<Outcome>,
    /// What belongs to the run of a helper program, if it is one.
    errand: Option<Errand>,
    /// The sandbox in which it is one of many.
    host: Option<Host>,
    /// Who buries the init program, where nobody need wait for it.
    undertaker: Option<Weak<pool::Shared>>,
    /// Whether the init program has said that it is the last process.
    alone: bool,
    /// Whether it waits until the processes that the command has left were looked at.
    holds: bool,
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
            direct: false,
        };
        Self::of(pid, handles, began, contained)
    }

    /// One of many commands in a sandbox, with a control socket of its own.
    pub(super) fn guest(host: &Host, control: Control) -> Self {
        let handles = Signaller {
            control: Arc::new(control),
            pidfd: None,
            by_force: Arc::new(AtomicBool::new(false)),
            direct: false,
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
            terminal: None,
            shown: None,
            gathered: Default::default(),
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
            used: None,
            outcome: None,
            errand: None,
            host: None,
            undertaker: None,
            alone: false,
            holds: false,
            verdict: None,
        }
    }

    /// With the caller's ends of its pipes.
    pub(super) fn with(mut self, ends: Ends) -> Self {
        self.connect(ends);
        self
    }

    /// These are other ends of its streams, and of its terminal if it has one.
    pub(super) fn connect(&mut self, ends: Ends) {
        self.stdin = ends.stdin.or(self.stdin.take());
        self.stdout = ends.stdout.or(self.stdout.take());
        self.stderr = ends.stderr.or(self.stderr.take());
        self.shown = ends.shown.or(self.shown.take());
        self.terminal = ends.terminal.or(self.terminal.take());
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

    /// What can be read from when it has ended.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.handles.as_raw_fd()
    }

    /// The init program runs, and has started the command.
    pub(super) fn has_begun(&self) {
        let force = self.contained;
        self.handles.by_force.store(force, Ordering::Release);
    }

    /// The first process is the command, and says nothing more.
    pub(super) fn is_the_command(&mut self) {
        self.handles.direct = true;
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
        // What is below the first process of a session is not this command's alone.
        let alone = !self.contained && !self.is_guest();
        match &mut self.monitor {
            _ if !alone => {}
            Some(monitor) => monitor.kill(),
            None => limits::kill_below(self.pid),
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
        self.wait_tapping([None, None], signals, None)
    }

    /// Waits as [`wait_forwarding`](Self::wait_forwarding) does, and copies what comes through the
    /// pipes of standard output and error to the caller's own, as fast as that takes it. Where
    /// nobody reads there any more, the command gets to know by SIGPIPE.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_relaying(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        let sinks = [Sink::Fd(1), Sink::Fd(2)];
        self.wait_tapping(sinks.map(Some), signals, None)
    }

    /// Waits as [`wait_relaying`](Self::wait_relaying) does; where the command has a terminal,
    /// somebody sits at it: what comes through the caller's standard input goes there. If that is
    /// a terminal it is made raw meanwhile, and its size is passed on when it changes.
    ///
    /// Besides `signals` this takes SIGWINCH, SIGTSTP and SIGCONT, so a caller with several
    /// threads should have blocked them in all. SIGTERM and SIGHUP go to the command, as far as
    /// they are among `signals`, and if it goes on after that, its terminal hangs up. It hangs up
    /// at once when the caller's does.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn wait_interactive(&mut self, signals: &[i32]) -> io::Result<Outcome> {
        let Some(terminal) = self.terminal.take() else {
            return self.wait_relaying(signals);
        };
        let keys = self.stdin.take();
        let mut console = Console::new(terminal, keys, signals, self.limits.kill_after)?;
        let screen = Sink::Fd(console.screen());
        let sinks = match self.shown {
            Some(Stream::Stderr) => [Sink::Fd(1), screen],
            _ => [screen, Sink::Fd(2)],
        };
        let incoming = console.signals();
        self.wait_tapping(sinks.map(Some), &incoming, Some(&mut console))
    }

    /// Gives the command's terminal this size. Without a terminal there is nothing to do.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => size.set(terminal.as_fd()),
            None => Ok(()),
        }
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
        let outcome = self.wait_tapping_until(sinks.map(Some), &[], None, until)?;
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
    /// What the operating system says, or `take`; then everything is killed.
    pub fn wait_streaming(
        &mut self,
        take: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let take = RefCell::new(take);
        let call = |stream, piece: &[u8]| (take.borrow_mut())(stream, piece);
        let sinks = [Sink::Callback(&call), Sink::Callback(&call)];
        self.wait_tapping(sinks.map(Some), &[], None)
    }

    /// Waits, moves what comes through the pipes to where it goes, and passes signals on.
    fn wait_tapping(
        &mut self,
        sinks: [Option<Sink<'_>>; 2],
        signals: &[i32],
        console: Option<&mut Console>,
    ) -> io::Result<Outcome> {
        let outcome = self.wait_tapping_until(sinks, signals, console, None)?;
        outcome.ok_or_else(ending::endless)
    }

    /// The same until a time, if there is one, and `None` if it has not ended by then. What was
    /// gathered in memory is in `gathered` afterwards.
    fn wait_tapping_until<'a>(
        &mut self,
        sinks: [Option<Sink<'a>>; 2],
        signals: &[i32],
        mut console: Option<&mut Console>,
        until: Option<Instant>,
    ) -> io::Result<Option<Outcome>> {
        drop(self.stdin.take());
        let looks = self.monitor.as_ref().is_some_and(Monitor::looks);
        let calls_back = sinks
            .iter()
            .any(|sink| matches!(sink, Some(Sink::Callback(_))));
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
        let screen = self.shown.map(|stream| match stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        });
        let screen = screen.filter(|n| !taps[*n].is_closed());
        let incoming = match signals {
            [] => None,
            signals => Some(poll::SignalFd::new(signals)?),
        };
        let mut urgent = None;
        let mut sheds = shed::due();
        let outcome = loop {
            // Without a gap: whoever lets others go first among thousands has to wait for all.
            if looks && urgent.is_none() {
                urgent = Urgent::new();
            }
            if let Some(outcome) = self.try_wait()? {
                break outcome;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                let [(out, held_out), (err, held_err)] = taps.map(Tap::into_parts);
                (self.stdout, self.stderr) = (out, err);
                self.gathered = [held_out, held_err];
                return Ok(None);
            }
            let signals = incoming.as_ref().map_or(-1, poll::SignalFd::as_raw_fd);
            let [out, err] = taps.each_ref().map(Tap::wants);
            let mut interests = [
                Interest::read(signals),
                Interest::of(out),
                Interest::of(err),
                Interest::of(console.as_ref().map_or(Wish::Nothing, |c| c.wants())),
                Interest::read(match self.status {
                    _ if self.handles.direct => -1,
                    None if looks || self.undertaker.is_some() => self.control().0.as_raw_fd(),
                    _ => -1,
                }),
            ];
            if sheds.is_some_and(|at| at <= Instant::now()) {
                sheds = None;
                shed::shed();
            }
            let left = self
                .next_look()
                .into_iter()
                .chain(sheds)
                .chain(console.as_ref().and_then(|c| c.due()))
                .chain(until)
                .min()
                .map(|at| at.saturating_duration_since(Instant::now()));
            let ready = poll::wait(self.handles.as_raw_fd(), &mut interests, left)?;
            if let Some(console) = &mut console
                && console.hangs_up()
            {
                taps.iter_mut().for_each(Tap::hang_up);
            }
            if !ready {
                continue;
            }
            if calls_back {
                // What comes now is not ours, and may take all the time of a processor.
                urgent = None;
            }
            while let Some(signal) = incoming.as_ref().and_then(poll::SignalFd::next) {
                if console.as_mut().is_none_or(|c| c.passes_on(signal)) {
                    // The command may have ended in the meantime.
                    let _ = self.handles.signal(signal);
                }
            }
            if let Some(console) = &mut console
                && interests[3].ready()
            {
                console.turn();
            }
            for (tap, interest) in taps.iter_mut().zip(&interests[1..3]) {
                if interest.ready() {
                    tap.turn()?;
                }
            }
            if screen.is_some_and(|n| taps[n].is_closed()) {
                // Where nobody looks any more a terminal hangs up, as a pipe breaks.
                self.terminal = None;
                if let Some(console) = &mut console {
                    console.hang_up();
                }
            }
            if taps.iter().any(Tap::is_over) {
                self.exceed_output()?;
            }
        };
        drop(urgent);
        for tap in &mut taps {
            // What was written before the end is still in the pipe; a process that got away and
            // holds it open is not waited for.
            tap.finish(|fd| writable(fd, incoming.as_ref()))?;
            if tap.is_over() {
                self.exceed_output()?;
            }
        }
        let outcome = self.outcome.clone().unwrap_or(outcome);
        self.gathered = taps.map(Tap::into_data);
        Ok(Some(outcome))
    }

    pub(super) fn control(&self) -> &Control {
        &self.handles.control
    }

    /// The next message of the child before the command runs; `None` if it ended without one.
    pub(super) fn first_word(&mut self) -> io::Result<Option<Word>> {
        loop {
            let mut interests = [Interest::read(self.control().0.as_raw_fd())];
            let pidfd = self.handles.pidfd.as_ref().map_or(-1, |fd| fd.as_raw_fd());
            let spoken = poll::wait(pidfd, &mut interests, None)?;
            if let Some(word) = self.control().hear_file() {
                return Ok(Some(word));
            }
            // Somebody may hold a copy of the child's end, so the socket alone does not tell.
            let ended = !spoken && pidfd >= 0 && poll::is_ready(pidfd)?;
            if ended || self.control().is_over() {
                return Ok(self.control().hear_file());
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
            Some(_) if self.leaves_nobody() => (None, self.listen()),
            Some(pidfd) => match wait_id(pidfd, flags)? {
                Some(ended) => {
                    self.listen();
                    if self.handles.direct {
                        self.status = ended.status;
                    }
                    (ended.signal(), ended.usage.map(used))
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
            // It was our signal.
            (Some(status), Some(end)) if decode(status) == End::Signalled(libc::SIGKILL) => end,
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
        if let Some(undertaker) = self.undertaker.take().filter(|_| self.alone) {
            self.leave_to(&undertaker);
        }
        self.outcome = Some(outcome);
        Ok(())
    }

    /// Takes in what was said. Tells what a command used that has ended.
    fn listen(&mut self) -> Option<Used> {
        while let Some(message) = self.control().hear() {
            if message.kind == kind::ENDED {
                self.status = Some(i32::from_ne_bytes(message.a.to_ne_bytes()));
                self.used = Some(Used::get(&message));
                self.alone = message.b == 1;
                self.holds = message.b == 2;
            }
        }
        self.used
    }

    /// Where there is somebody to bury the init program: whether it has said that nobody else is
    /// left. What it takes to end a sandbox in which nothing runs is not waited for then.
    fn leaves_nobody(&mut self) -> bool {
        let possible = self.undertaker.is_some() && self.monitor.is_none() && self.killed.is_none();
        possible && self.listen().is_some() && self.alone
    }

    /// Somebody else sees to the end of the init program from here on.
    fn leave_to(&mut self, undertaker: &Weak<pool::Shared>) {
        let handles = self.handles.clone();
        let left = Self::of(self.pid, handles, self.began, self.contained);
        match undertaker.upgrade() {
            Some(pool) => pool.bury(left),
            None => drop(left),
        }
    }

    /// The end of it is somebody's who has time for it.
    pub(super) fn has_undertaker(&mut self, undertaker: Weak<pool::Shared>) {
        self.undertaker = Some(undertaker);
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

/// Waits until `fd` can be written to. False if a signal comes first that asks to end.
pub(super) fn writable(fd: RawFd, signals: Option<&poll::SignalFd>) -> io::Result<bool> {
    const ENOUGH: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
    loop {
        let signalled = signals.map_or(-1, poll::SignalFd::as_raw_fd);
        let mut interests = [Interest::read(signalled), Interest::of(Wish::Write(fd))];
        poll::wait(-1, &mut interests, None)?;
        while let Some(signal) = signals.and_then(poll::SignalFd::next) {
            if ENOUGH.contains(&signal) {
                return Ok(false);
            }
        }
        if interests[1].ready() {
            return Ok(true);
        }
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

/// How a process ended, as wait(2) has it, and what it used; nothing where somebody else knows.
struct Ended {
    status: Option<i32>,
    usage: Option<libc::rusage>,
}

impl Ended {
    /// The signal that ended it, if one did.
    fn signal(&self) -> Option<i32> {
        match decode(self.status?) {
            End::Signalled(signal) => Some(signal),
            _ => None,
        }
    }
}

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
            e if e.raw_os_error() == Some(libc::ECHILD) => {
                let (status, usage) = (None, None);
                return Ok(Some(Ended { status, usage }));
            }
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
    let status = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(Ended {
        status: Some(status),
        usage: Some(usage),
    }))
}
