//! Somebody at the command's terminal: the caller's keys, screen and signals, for as long as the
//! command runs.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use crate::signals::mask;
use crate::streams::Wish;
use crate::tty::{Raw, WindowSize, end_of_input};

/// What a terminal has to say to the program that holds it.
const OF_TERMINALS: [i32; 3] = [libc::SIGWINCH, libc::SIGTSTP, libc::SIGCONT];

/// What ends a process that does not expect it, and comes from outside. The caller's terminal is
/// put back first.
const DEADLY: [i32; 7] = [
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGXCPU,
    libc::SIGSTKFLT,
];

/// For how long a command that was told to end keeps its terminal, unless the caller said how long
/// it may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes of keys are held.
const PIECE: usize = 4096;

pub(super) struct Console {
    /// The other end of the command's terminal; `None` once it has hung up.
    terminal: Option<File>,
    raw: Option<Raw>,
    keyboard: Keyboard,
    /// The caller's screen, opened anew so that writing to it need not wait.
    screen: Option<File>,
    /// What is to be passed on.
    forwarded: Vec<i32>,
    taken: Taken,
    patience: Duration,
    hang_up_at: Option<Instant>,
}

/// The caller's keys on their way to the command's terminal.
struct Keyboard {
    /// Standard input, until it ends.
    from: Option<RawFd>,
    to: Option<File>,
    held: Vec<u8>,
    is_terminal: bool,
    /// Whether the last byte ended a line, as the beginning does.
    line_ended: bool,
}

impl Console {
    pub(super) fn new(
        terminal: File,
        keys: Option<File>,
        forwarded: &[i32],
        patience: Option<Duration>,
    ) -> io::Result<Self> {
        // Nobody knows what those that the caller waits for elsewhere mean.
        let taken = Taken::new(forwarded)?;
        let raw = Raw::enter()?;
        let console = Self {
            keyboard: Keyboard {
                from: keys.is_some().then_some(libc::STDIN_FILENO),
                to: keys,
                held: Vec::new(),
                is_terminal: std::io::IsTerminal::is_terminal(&io::stdin()),
                line_ended: true,
            },
            terminal: Some(terminal),
            raw,
            screen: screen(),
            forwarded: forwarded.to_vec(),
            taken,
            patience: patience.unwrap_or(PATIENCE),
            hang_up_at: None,
        };
        // It may have changed since the start.
        console.resize();
        Ok(console)
    }

    /// Where what the command prints goes.
    pub(super) fn screen(&self) -> RawFd {
        self.screen.as_ref().map_or(1, |screen| screen.as_raw_fd())
    }

    /// All signals that are to be told.
    pub(super) fn signals(&self) -> Vec<i32> {
        [self.forwarded.as_slice(), &self.taken.signals].concat()
    }

    pub(super) fn wants(&self) -> Wish {
        let keys = &self.keyboard;
        match (&keys.to, keys.from) {
            (Some(to), _) if !keys.held.is_empty() => Wish::Write(to.as_raw_fd()),
            (Some(_), Some(from)) => Wish::Read(from),
            _ => Wish::Nothing,
        }
    }

    /// Does what [`wants`](Self::wants) said, now that it can be done.
    pub(super) fn turn(&mut self) {
        if self.keyboard.held.is_empty() {
            self.keyboard.read();
            if self.keyboard.is_terminal && self.keyboard.from.is_none() {
                // There is nobody any more.
                self.hang_up();
            }
        } else {
            self.keyboard.write();
        }
    }

    /// Takes notice of a signal. Tells whether the command is to have it too.
    pub(super) fn passes_on(&mut self, signal: i32) -> bool {
        match signal {
            libc::SIGWINCH => self.resize(),
            libc::SIGTSTP => self.suspend(),
            libc::SIGCONT => {
                // It fails where the terminal is gone, which the next key tells.
                let _ = self.raw.as_ref().map(Raw::again);
                self.resize();
            }
            libc::SIGTERM | libc::SIGHUP if self.hang_up_at.is_none() => {
                self.hang_up_at = Instant::now().checked_add(self.patience);
            }
            signal if DEADLY.contains(&signal) && !self.forwarded.contains(&signal) => {
                if let Some(raw) = &self.raw {
                    raw.pause();
                }
                die_of(signal);
            }
            _ => {}
        }
        self.forwarded.contains(&signal)
    }

    /// Has the terminal hang up as soon as somebody asks.
    pub(super) fn hang_up(&mut self) {
        self.hang_up_at = Some(Instant::now());
    }

    /// When there is something to see to.
    pub(super) fn due(&self) -> Option<Instant> {
        self.hang_up_at.filter(|_| self.terminal.is_some())
    }

    /// Lets the terminal hang up if it is time to, and tells whether it did. Who else has the other
    /// end of it has to close it then.
    pub(super) fn hangs_up(&mut self) -> bool {
        let over = self.due().is_some_and(|at| at <= Instant::now());
        if over {
            self.terminal = None;
            self.keyboard.to = None;
        }
        over
    }

    fn resize(&self) {
        if let (Some(terminal), Some(size)) = (&self.terminal, WindowSize::of_caller()) {
            // A terminal of a wrong size is better than none.
            let _ = size.set(terminal.as_fd());
        }
    }

    /// Stops this process as SIGTSTP would have, with the terminal as it was. The command goes on
    /// until it has something to print that nobody takes.
    fn suspend(&self) {
        if let Some(raw) = &self.raw {
            raw.pause();
        }
        // SAFETY: kill and getpid take numbers. What follows SIGCONT is done when that is told.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    }
}

impl Keyboard {
    fn read(&mut self) {
        let Some(from) = self.from else {
            return;
        };
        let mut piece = [0u8; PIECE];
        // SAFETY: the pointer and length are those of a live array.
        let got = unsafe { libc::read(from, piece.as_mut_ptr().cast(), piece.len()) };
        match usize::try_from(got) {
            Ok(got) if got > 0 => {
                self.held.extend_from_slice(&piece[..got]);
                self.line_ended = piece[got - 1] == b'\n';
            }
            Err(_) if retry(&io::Error::last_os_error()) => {}
            _ => {
                self.from = None;
                self.end();
            }
        }
    }

    /// The input is at its end. That can be told to a program which reads lines.
    fn end(&mut self) {
        let end = self.to.as_ref().and_then(|to| end_of_input(to.as_fd()));
        if let (Some(end), false) = (end, self.is_terminal) {
            // The first one ends a line that has begun.
            let times = if self.line_ended { 1 } else { 2 };
            self.held.extend(std::iter::repeat_n(end, times));
        }
    }

    fn write(&mut self) {
        let Some(to) = &self.to else {
            return;
        };
        // SAFETY: the pointer and length are those of a live vector.
        let done =
            unsafe { libc::write(to.as_raw_fd(), self.held.as_ptr().cast(), self.held.len()) };
        match usize::try_from(done) {
            Ok(done) => drop(self.held.drain(..done)),
            Err(_) if retry(&io::Error::last_os_error()) => {}
            // Nobody reads them.
            Err(_) => self.to = None,
        }
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Standard output opened anew, if it is a terminal: a mode of the descriptor itself would be
/// everybody's who shares it.
fn screen() -> Option<File> {
    let is_terminal = std::io::IsTerminal::is_terminal(&io::stdout());
    let open = || {
        File::options()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open("/proc/self/fd/1")
    };
    // Somebody else's terminal, as after su(1), cannot be opened; then writing may have to wait.
    is_terminal.then(open).and_then(Result::ok)
}

/// Ends this process by a signal that it has blocked. Does not come back unless somebody else
/// handles the signal.
fn die_of(signal: i32) {
    let mask = mask(&[signal]);
    // SAFETY: the mask is initialised; the others are numbers.
    unsafe {
        libc::kill(libc::getpid(), signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const mask, std::ptr::null_mut());
    }
}

/// Signals that are blocked in this thread until this is dropped, besides those that the caller
/// has blocked.
struct Taken {
    signals: Vec<i32>,
    before: libc::sigset_t,
}

impl Taken {
    fn new(forwarded: &[i32]) -> io::Result<Self> {
        let signals: Vec<i32> = OF_TERMINALS
            .into_iter()
            .chain(DEADLY)
            .filter(|signal| !forwarded.contains(signal))
            .collect();
        let wanted = mask(&signals);
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the mask is initialised, and `before` is live for the call.
        let error = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const wanted, before.as_mut_ptr())
        };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: the call has initialised it.
        let before = unsafe { before.assume_init() };
        Ok(Self { signals, before })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the mask is the one that pthread_sigmask returned.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}
