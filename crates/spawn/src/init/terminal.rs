//! The terminal of the command (pty(7)): one of the sandbox's own devpts, or one that the parent
//! has put in place.

use super::raw::{self, AT_FDCWD, Errno, Fd, arg, nr};
use super::wire::{Message, kind};
use super::{limits, pass};

const EINVAL: Errno = 22;
const EPIPE: Errno = 32;

const TIOCSCTTY: usize = 0x540e;
const TIOCSPTLCK: usize = 0x4004_5431;
const TIOCGPTPEER: usize = 0x5441;

const O_RDWR: usize = 0o2;
const O_NOCTTY: usize = 0o400;
const O_CLOEXEC: usize = 0o2_000_000;

/// The command's terminal.
#[derive(Clone, Copy)]
pub(crate) struct Terminal {
    /// A bit for each standard stream that leads there.
    streams: usize,
    /// The command's end, or negative where the streams lead there already.
    pub(crate) theirs: Fd,
}

/// Makes the terminal that `text` is about: nothing if it is empty, else `STREAMS:PATH`. STREAMS
/// has a bit for each standard stream that leads there, PATH is where terminals are opened; if it
/// is empty the streams lead there already.
///
/// This process holds it open as long as the command runs, so the parent's end has no end before.
///
/// # Safety
/// `text` must be NUL-terminated.
pub(crate) unsafe fn make(text: *const u8, control: Fd) -> Result<Option<Terminal>, Errno> {
    // SAFETY: the text has at least its NUL.
    if unsafe { *text } == 0 {
        return Ok(None);
    }
    // SAFETY: by the contract.
    let (streams, end) = unsafe { limits::digits(text) }.ok_or(EINVAL)?;
    // SAFETY: `end` is in the text, or at its NUL.
    if unsafe { *end } != b':' || !(1..8).contains(&streams) {
        return Err(EINVAL);
    }
    // SAFETY: `end` is at a colon, so there is at least the NUL behind it.
    let path = unsafe { end.add(1) };
    // SAFETY: as above.
    let theirs = match unsafe { *path } {
        0 => -1,
        // SAFETY: it is the rest of a NUL-terminated text.
        _ => unsafe { open(path, control) }?,
    };
    Ok(Some(Terminal { streams, theirs }))
}

/// Opens a terminal and hands the parent its end.
///
/// # Safety
/// `path` must be NUL-terminated.
unsafe fn open(path: *const u8, control: Fd) -> Result<Fd, Errno> {
    const FLAGS: usize = O_RDWR | O_NOCTTY | O_CLOEXEC;
    // SAFETY: by the contract `path` is as openat(2) takes it.
    let ours = unsafe { raw::call(nr::OPENAT, [arg(AT_FDCWD), path as usize, FLAGS, 0, 0, 0]) }?;
    let ours = Fd::try_from(ours).unwrap_or(-1);
    let unlocked: i32 = 0;
    // SAFETY: the address is that of a live integer, which the kernel reads.
    unsafe { raw::call(nr::IOCTL, [arg(ours), TIOCSPTLCK, &raw const unlocked as usize, 0, 0, 0]) }?;
    // SAFETY: numbers alone. No name is looked up, and this process, which leads a session, does
    // not take the terminal for its own.
    let theirs = unsafe { raw::call(nr::IOCTL, [arg(ours), TIOCGPTPEER, FLAGS, 0, 0, 0]) }?;
    let theirs = Fd::try_from(theirs).unwrap_or(-1);
    pass::send_with(control, &Message::new(kind::TERMINAL), ours)?;
    raw::close(ours);
    // The parent sets the size and the modes; the command is to see them from the start.
    let mut answer = Message::new(0);
    match raw::recv(control, answer.bytes_mut())? {
        Message::SIZE if answer.kind == kind::GO => Ok(theirs),
        // The parent gave up.
        _ => Err(EPIPE),
    }
}

impl Terminal {
    /// Puts it in the place of its streams, and makes the calling process lead a session of its
    /// own whose terminal it is. It leads no group of processes yet, being a child that was just
    /// made.
    pub(crate) fn take(self) -> Result<(), Errno> {
        for stream in (0..3).filter(|stream| self.streams >> stream & 1 != 0) {
            if self.theirs >= 0 {
                // SAFETY: numbers alone; the descriptor is open.
                unsafe { raw::call(nr::DUP3, [arg(self.theirs), stream, 0, 0, 0, 0]) }?;
            }
        }
        let first = self.streams.trailing_zeros() as usize;
        // SAFETY: setsid(2) takes nothing, ioctl(2) numbers here.
        unsafe {
            raw::call(nr::SETSID, [0; 6])?;
            raw::call(nr::IOCTL, [first, TIOCSCTTY, 0, 0, 0, 0])?;
        }
        Ok(())
    }
}
