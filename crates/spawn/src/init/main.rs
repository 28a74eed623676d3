//! The first process of a sandbox: starts commands as it is told, reaps what they leave, passes
//! signals on, tells how they ended, and takes everything down with it when it ends.
//!
//! It is a program of its own, of a few kilobytes and without libc, because it may share no
//! memory with the caller and has to start in no time. The build script compiles it and the
//! library carries it. In a process id namespace it is process 1, so its end is the end of all
//! the others; elsewhere it is the subreaper of what the commands leave, as far as that goes.
//!
//! Most sandboxes run one command and end with it. One that is kept for many is told of each with
//! a control socket of its own ([`wire::kind::RUN`]), and ends when the caller says so or is gone.
//!
//! Arguments: `sandbox-init CONTROL FILTER LENGTH DIRECTORY PARKED LATER BOUND WALL
//! HANDLED`. CONTROL is the descriptor of
//! the control socket. FILTER is that of a file with LENGTH instructions of a system call filter,
//! which binds the commands and not this program; 0 for none. DIRECTORY is the descriptor of what
//! is to be the working directory of this program, or 0. PARKED is 1 if the caller wants to be
//! told when there is nothing left to do but to wait for a command. LATER is a descriptor, if there
//! is anything under that number, that takes its time to close, so it is done beside the command.
//! BOUND is 1 if the filter is to bind this program too, which saves each command loading it.
//! WALL is the descriptor of Landlock's rules, by which each command is to restrict itself, and
//! which are about HANDLED; or 0.

#![no_std]
#![no_main]

mod command;
mod exec;
#[path = "../linux/fresh.rs"]
mod fresh;
mod limits;
mod order;
#[path = "../linux/pass.rs"]
mod pass;
#[path = "../linux/raw.rs"]
mod raw;
#[path = "../linux/reopen.rs"]
mod reopen;
#[path = "../linux/wire.rs"]
mod wire;

mod support;
mod terminal;

use command::{Command, Wall, map_filter};
use fresh::Filter;
use order::{Fds, Packet, Placed};
use raw::{Errno, Fd, arg, nr};
use wire::{Message, Used, kind};

const ECHILD: Errno = 10;
const SIGKILL: i32 = 9;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
const WALL: usize = 0x4000_0000;
const POLLIN: i16 = 1;

/// # Safety
/// `stack` must be the initial stack pointer that the kernel gives a new program.
#[unsafe(no_mangle)]
unsafe extern "C" fn init_main(stack: *const usize) -> ! {
    const ARGUMENTS: usize = 10;
    // SAFETY: at the start of a program the stack holds argc and argv (execve(2)).
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    if argc != ARGUMENTS {
        raw::exit(125);
    }
    // SAFETY: argv has that many entries.
    let numbers = unsafe { [1, 2, 3, 4, 5, 6, 7, 8, 9].map(|i| number(*argv.add(i))) };
    if numbers.iter().any(Option::is_none) {
        raw::exit(125)
    }
    let [control, filter, len, directory, parked, later, bound, wall, handled] =
        numbers.map(Option::unwrap_or_default);
    let (Ok(control), Ok(later)) = (Fd::try_from(control), Fd::try_from(later)) else {
        raw::exit(125)
    };
    if directory != 0 {
        return_to(directory);
    }
    let first_process = is_first_process();
    harden(control, first_process);
    let wall = Wall::new(wall, handled);
    if let Some(wall) = wall {
        close_on_exec(wall.ruleset);
    }
    // Where there is nothing under that number, it is soon somebody else's.
    let later = if parked == 0 && close_on_exec(later) {
        later
    } else {
        raw::close(later);
        -1
    };
    let Some(signals) = watch_children() else { raw::exit(125) };
    let filter = match map_filter(filter, len) {
        Ok(filter) if bound != 0 => filter.load().map(|()| Filter::NONE),
        mapped => mapped,
    };
    let filter = match filter {
        Ok(filter) => filter,
        Err(errno) => {
            tell(control, kind::FILTER_FAILED, errno);
            raw::exit(127)
        }
    };
    if parked != 0 {
        tell(control, kind::READY, 0);
    }
    let mut sandbox = Sandbox {
        control,
        signals,
        first_process,
        filter,
        wall,
        later,
        places: [Place { pid: 0, control: -1, terminal: -1 }; MOST],
        count: 0,
        ends_with: 0,
        looks: false,
        packet: Packet::new(),
    };
    loop {
        sandbox.turn();
    }
}

/// How many commands are looked after at a time.
const MOST: usize = 256;

/// A command that runs.
#[derive(Clone, Copy)]
struct Place {
    pid: i32,
    /// Its own control socket; negative where nobody listens any more, or there is none of its own.
    control: Fd,
    /// Its terminal, held open so that the caller's end has no end before; or negative.
    terminal: Fd,
}

struct Sandbox {
    control: Fd,
    signals: Fd,
    first_process: bool,
    filter: Filter,
    wall: Option<Wall>,
    /// What is closed beside the command; or negative.
    later: Fd,
    /// The commands that run, the first `count` of them.
    places: [Place; MOST],
    count: usize,
    /// The process with which all ends, or 0.
    ends_with: i32,
    /// Whether the caller looks at what is left then, before it ends.
    looks: bool,
    /// What was heard last.
    packet: Packet,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PollFd {
    fd: Fd,
    events: i16,
    revents: i16,
}

impl PollFd {
    const fn of(fd: Fd) -> Self {
        Self { fd, events: POLLIN, revents: 0 }
    }
}

impl Sandbox {
    /// Waits for something to happen, and deals with it.
    fn turn(&mut self) {
        let mut fds = [PollFd::of(-1); MOST + 2];
        fds[0].fd = self.control;
        fds[1].fd = self.signals;
        let count = self.count;
        for i in 0..count {
            fds[i + 2].fd = self.places[i].control;
        }
        // SAFETY: a pointer to a live array of at least as many structures, no timeout or mask.
        let _ = unsafe { raw::call(nr::PPOLL, [fds.as_mut_ptr() as usize, count + 2, 0, 0, 8, 0]) };
        // First what is about the places as they were when it was asked.
        for i in 0..count {
            if fds[i + 2].revents != 0 {
                self.obey_about(i);
            }
        }
        if fds[1].revents != 0 {
            self.reap();
        }
        if fds[0].revents != 0 {
            self.obey();
        }
    }

    /// What the caller says of the sandbox, or of its one command.
    fn obey(&mut self) {
        match order::next(self.control, &mut self.packet) {
            Some((message, fds)) if message.kind == kind::RUN => self.run(&message, fds),
            Some((message, _)) if message.kind == kind::SIGNAL && self.ends_with != 0 => {
                kill(self.ends_with, message.a as i32);
            }
            // The caller wants it so (`kind::END`), is gone, or talks nonsense.
            _ => self.end(),
        }
    }

    /// What the caller says of one of many commands.
    fn obey_about(&mut self, i: usize) {
        let Place { pid, control, .. } = self.places[i];
        match order::next(control, &mut self.packet) {
            Some((message, _)) if message.kind == kind::SIGNAL => kill(pid, message.a as i32),
            Some((message, _)) if message.kind == kind::END => kill(-pid, SIGKILL),
            _ => {
                kill(-pid, SIGKILL);
                raw::close(control);
                self.places[i].control = -1;
            }
        }
    }

    fn run(&mut self, message: &Message, mut fds: Fds) {
        let is_short = self.packet.has_order();
        let file = if is_short { None } else { fds.take() };
        let own = if message.b == wire::run::APART { fds.take() } else { None };
        let control = own.unwrap_or(self.control);
        let full = self.count == MOST || (own.is_none() && self.ends_with != 0);
        let order = match file {
            _ if full => None,
            Some(fd) => {
                let mapped = Placed::map(fd, message.a as usize);
                raw::close(fd);
                Some(mapped)
            }
            None => is_short.then(|| Placed::within(&mut self.packet)),
        };
        let mut failure = Message::new(kind::REFUSED);
        let mut terminal = None;
        let started = match &order {
            // SAFETY: a string of the order.
            Some(Ok(order)) => match unsafe { terminal::make(order.terminal(), control) } {
                Ok(made) => {
                    terminal = made;
                    let own_group = own.is_some() || !self.first_process;
                    let mut command = Command::new(order, fds.rest(), self.filter, self.wall);
                    command.closes(self.later);
                    command.leads(own.is_some(), own_group, terminal);
                    command.start(order, &mut failure)
                }
                Err(errno) => {
                    failure = Message::new(kind::TERMINAL_FAILED);
                    failure.errno = errno;
                    None
                }
            },
            Some(Err(errno)) => {
                failure.errno = *errno;
                None
            }
            None => None,
        };
        drop(order);
        drop(fds);
        let Some(pid) = started else {
            let _ = raw::send(control, failure.bytes());
            raw::close(terminal.map_or(-1, |t| t.theirs));
            match own {
                Some(own) => raw::close(own),
                None => raw::exit(127),
            }
            return;
        };
        let mut started = Message::new(kind::STARTED);
        started.a = pid as u32;
        let _ = raw::send(control, started.bytes());
        let held = terminal.map_or(-1, |t| t.theirs);
        if own.is_none() {
            self.ends_with = pid;
            self.looks = message.b == wire::run::LOOK;
            // What was inherited for the command is the command's alone: where it closes the end
            // of a pipe, nobody else has it open.
            keep_only([self.control, self.signals, held]);
        }
        self.places[self.count] = Place { pid, control: own.unwrap_or(-1), terminal: held };
        self.count += 1;
    }

    fn reap(&mut self) {
        let mut info = [0u8; 128];
        let args = [arg(self.signals), info.as_mut_ptr() as usize, info.len(), 0, 0, 0];
        // SAFETY: the pointer and length are those of a live array.
        let _ = unsafe { raw::call(nr::READ, args) };
        loop {
            let mut status: i32 = 0;
            // struct rusage (getrusage(2)): two struct timeval, then the peak in KiB.
            let mut usage = [0u64; 18];
            let (status_at, usage_at) = (&raw mut status as usize, usage.as_mut_ptr() as usize);
            let args = [usize::MAX, status_at, WNOHANG | WALL, usage_at, 0, 0];
            // SAFETY: the pointers are to a live integer and a live array of the structure's size.
            let pid = match unsafe { raw::call(nr::WAIT4, args) } {
                Ok(0) | Err(ECHILD) => return,
                Ok(pid) => pid as i32,
                Err(_) => return,
            };
            let Some(i) = (0..self.count).find(|i| self.places[*i].pid == pid) else {
                continue;
            };
            let mut message = Message::new(kind::ENDED);
            message.a = status as u32;
            Used {
                user: usage[0] * 1_000_000 + usage[1],
                system: usage[2] * 1_000_000 + usage[3],
                peak_memory: usage[4],
            }
            .put(&mut message);
            if pid == self.ends_with {
                let alone = self.is_alone();
                message.b = if alone { 1 } else { 2 * u32::from(self.looks) };
                let _ = raw::send(self.control, message.bytes());
                if message.b == 2 {
                    self.wait_for_the_end();
                }
                self.end();
            }
            let control = self.places[i].control;
            if control >= 0 {
                let _ = raw::send(control, message.bytes());
                raw::close(control);
            }
            raw::close(self.places[i].terminal);
            self.count -= 1;
            self.places[i] = self.places[self.count];
        }
    }

    /// Whether no other process is left. Whatever loses its parent in a process id namespace
    /// becomes a child of the first process, so without children there is nobody.
    fn is_alone(&self) -> bool {
        let args = [usize::MAX, 0, WNOHANG | WALL, 0, 0, 0];
        loop {
            // SAFETY: wait4(2) without a place for the status.
            match unsafe { raw::call(nr::WAIT4, args) } {
                Err(ECHILD) => return self.first_process,
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
    }

    /// Waits until the caller says so, or is gone.
    fn wait_for_the_end(&mut self) {
        // A signal for the command comes too late.
        while let Some((message, _)) = order::next(self.control, &mut self.packet)
            && message.kind == kind::SIGNAL
        {}
    }

    /// Ends, and everything else with it: in a process id namespace the kernel sees to that,
    /// elsewhere at least the process groups of the commands are killed.
    fn end(&self) -> ! {
        if !self.first_process {
            for i in 0..self.count {
                kill(-self.places[i].pid, SIGKILL);
            }
        }
        raw::exit(0)
    }
}

/// Closes all descriptors but these.
fn keep_only(keep: [Fd; 3]) {
    let mut first = 0;
    loop {
        let mut next = Fd::MAX;
        for fd in keep {
            next = if fd >= first && fd < next { fd } else { next };
        }
        if next > first {
            // SAFETY: close_range(2) takes numbers.
            let _ = unsafe { raw::call(nr::CLOSE_RANGE, [arg(first), arg(next - 1), 0, 0, 0, 0]) };
        }
        if next == Fd::MAX {
            return;
        }
        first = next + 1;
    }
}

fn tell(control: Fd, kind: u32, errno: Errno) {
    let mut message = Message::new(kind);
    message.errno = errno;
    let _ = raw::send(control, message.bytes());
}

/// Makes the directory `fd` the working directory: where the caller's set-up had to leave it, it
/// is outside of the sandbox, and nothing may begin there.
fn return_to(fd: usize) {
    // SAFETY: fchdir(2) takes a number.
    if unsafe { raw::call(nr::FCHDIR, [fd, 0, 0, 0, 0, 0]) }.is_err() {
        raw::exit(125)
    }
    raw::close(Fd::try_from(fd).unwrap_or(-1));
}

/// A decimal number.
///
/// # Safety
/// `text` must be NUL-terminated.
unsafe fn number(text: *const u8) -> Option<usize> {
    // SAFETY: passed on to the caller.
    let (value, end) = unsafe { limits::digits(text) }?;
    // SAFETY: `end` is in the same text, or at its NUL.
    (unsafe { *end } == 0).then_some(value)
}

fn is_first_process() -> bool {
    const GETPID: usize = if cfg!(target_arch = "x86_64") { 39 } else { 172 };
    // SAFETY: getpid(2) takes nothing.
    let pid = unsafe { raw::call(GETPID, [0; 6]) };
    pid == Ok(1)
}

/// Nothing inside may look into this process or take its descriptors, and every signal has its
/// default again, whatever the caller ignored.
fn harden(control: Fd, first_process: bool) {
    const PR_SET_DUMPABLE: usize = 4;
    const PR_SET_NAME: usize = 15;
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    // SAFETY: prctl(2) with numbers and the address of a constant string.
    unsafe {
        let _ = raw::call(nr::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0, 0, 0]);
        let name = c"sandbox-init".as_ptr() as usize;
        let _ = raw::call(nr::PRCTL, [PR_SET_NAME, name, 0, 0, 0, 0]);
        if !first_process {
            let _ = raw::call(nr::PRCTL, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0]);
        }
    }
    close_on_exec(control);
    fresh::reset_signals();
}

/// False if it is not open.
fn close_on_exec(fd: Fd) -> bool {
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    // SAFETY: fcntl(2) with numbers.
    unsafe { raw::call(nr::FCNTL, [arg(fd), F_SETFD, FD_CLOEXEC, 0, 0, 0]) }.is_ok()
}

/// A descriptor that can be read when a child has ended. Signals are all blocked already.
fn watch_children() -> Option<Fd> {
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2_004_000;
    let mask: u64 = 1 << (SIGCHLD - 1);
    let args = [usize::MAX, &raw const mask as usize, 8, SFD_CLOEXEC_NONBLOCK, 0, 0];
    // SAFETY: the pointer is to a live mask of 8 bytes.
    let fd = unsafe { raw::call(nr::SIGNALFD4, args) }.ok()?;
    Fd::try_from(fd).ok()
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes numbers; the command is this process's child and not yet waited
    // for, so its number is still its own.
    let _ = unsafe { raw::call(nr::KILL, [arg(pid), arg(signal), 0, 0, 0, 0]) };
}
