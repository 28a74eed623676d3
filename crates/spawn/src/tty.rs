//! Terminals: what the command's own is like, and the state of the caller's.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// The modes of a terminal (termios(3)).
#[derive(Clone, Copy)]
struct Modes(libc::termios);

impl fmt::Debug for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modes").finish_non_exhaustive()
    }
}

/// A terminal of the command's own: a pseudoterminal (pty(7)) that is the controlling terminal of
/// a session which the command leads. The standard streams for which nothing else is set lead to
/// it.
#[derive(Debug, Clone)]
pub struct Tty {
    /// Its size at the start.
    pub size: WindowSize,
    modes: Option<Modes>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowSize {
    /// Its height.
    pub rows: u16,
    /// Its width.
    pub columns: u16,
}

impl Tty {
    /// A terminal of this size, with the modes that the system gives a new one.
    #[must_use]
    pub fn new(size: WindowSize) -> Self {
        Self { size, modes: None }
    }

    /// A terminal with the size and the modes of the caller's: the first of the standard streams
    /// that is one. Without one it is as a new one of 24 rows and 80 columns.
    #[must_use]
    pub fn like_callers() -> Self {
        let usual = WindowSize {
            rows: 24,
            columns: 80,
        };
        Self {
            size: WindowSize::of_caller().unwrap_or(usual),
            modes: (0..3).find_map(|fd| Modes::of(fd).ok()),
        }
    }

    /// Makes the terminal whose other end `ours` is such a one.
    #[allow(dead_code, reason = "Linux alone has terminals for commands")]
    pub(crate) fn set_up(&self, ours: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(modes) = self.modes {
            modes.set(ours.as_raw_fd())?;
        }
        self.size.set(ours)
    }
}

impl WindowSize {
    /// That of the caller's terminal: the first of the standard streams that is one.
    #[must_use]
    pub fn of_caller() -> Option<Self> {
        (0..3).find_map(|fd| {
            let mut size = MaybeUninit::<libc::winsize>::zeroed();
            // SAFETY: the structure is live for the call, which fills it in.
            if unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, size.as_mut_ptr()) } != 0 {
                return None;
            }
            // SAFETY: all zero is a valid value.
            let size = unsafe { size.assume_init() };
            Some(Self {
                rows: size.ws_row,
                columns: size.ws_col,
            })
        })
    }

    /// Gives a terminal this size; the programs in the foreground of it get SIGWINCH if it is
    /// another one.
    #[allow(dead_code, reason = "Linux alone has terminals for commands")]
    pub(crate) fn set(self, terminal: BorrowedFd<'_>) -> io::Result<()> {
        let size = libc::winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the structure is live for the call, which reads it.
        match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Modes {
    fn of(fd: RawFd) -> io::Result<Self> {
        let mut modes = MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the structure is live for the call, which fills it in.
        if unsafe { libc::tcgetattr(fd, modes.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all zero is a valid value, and tcgetattr has filled it in.
        Ok(Self(unsafe { modes.assume_init() }))
    }

    /// At once, because nobody may take what was printed.
    fn set(self, fd: RawFd) -> io::Result<()> {
        loop {
            // SAFETY: the structure is live for the call, which reads it.
            if unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const self.0) } == 0 {
                return Ok(());
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            }
        }
    }
}

/// The character that ends the input of a program which reads lines (termios(3), `VEOF`).
#[allow(dead_code, reason = "Linux alone has terminals for commands")]
pub(crate) fn end_of_input(ours: BorrowedFd<'_>) -> Option<u8> {
    let modes = Modes::of(ours.as_raw_fd()).ok()?;
    modes.0.c_cc.get(libc::VEOF).copied()
}

/// What the caller's terminal was like before it was made raw.
static BEFORE: Mutex<Option<Modes>> = Mutex::new(None);

/// The caller's terminal, made raw: standard input, whose every key goes to the command's own
/// terminal and means something only there. It is put back when this is dropped.
#[derive(Debug)]
#[allow(dead_code, reason = "Linux alone has terminals for commands")]
pub(crate) struct Raw {
    raw: Modes,
}

#[allow(dead_code, reason = "Linux alone has terminals for commands")]
impl Raw {
    /// Nothing if standard input is no terminal, or somebody else in this process has it. A
    /// process in the background is stopped here until it is in the foreground (SIGTTOU).
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let Ok(modes) = Modes::of(libc::STDIN_FILENO) else {
            return Ok(None);
        };
        {
            let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
            if before.is_some() {
                return Ok(None);
            }
            *before = Some(modes);
        }
        let mut raw = modes;
        // SAFETY: the structure is live for the call, which changes it.
        unsafe { libc::cfmakeraw(&raw mut raw.0) };
        let this = Self { raw };
        // If it cannot be set, dropping this puts back what is there.
        this.again()?;
        Ok(Some(this))
    }

    /// Makes it raw once more, after it was put back or somebody else had it.
    pub(crate) fn again(&self) -> io::Result<()> {
        self.raw.set(libc::STDIN_FILENO)
    }

    /// Puts it back for the time being.
    pub(crate) fn pause(&self) {
        let before = *BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before {
            put_back(before);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Puts the caller's terminal back into the state in which it was before
/// [`Child::wait_interactive`](crate::Child::wait_interactive) made it raw; does nothing if it is
/// in that state. That function does so itself whenever it returns. This is for a panic hook in a
/// program that is built to abort.
pub fn restore_terminal() {
    // Whoever panics may hold it.
    let before = match BEFORE.try_lock() {
        Ok(mut before) => before.take(),
        Err(_) => None,
    };
    if let Some(before) = before {
        put_back(before);
    }
}

/// A process in the background may do so too, as long as it blocks SIGTTOU (termios(3)).
fn put_back(modes: Modes) {
    let ttou = crate::signals::mask(&[libc::SIGTTOU]);
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the mask is initialised, and `old` is live for the call, which initialises it.
    let blocked =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const ttou, old.as_mut_ptr()) };
    // The terminal may be gone.
    let _ = modes.set(libc::STDIN_FILENO);
    if blocked == 0 {
        // SAFETY: the call above has initialised the mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    }
}
