//! The caller's ends of the pipes to a command.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};

use sandboxlib_core::Outcome;

/// The ends that the caller has, where a stream is a pipe.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
    /// Where the command has a terminal: the other end of it.
    #[allow(dead_code, reason = "Linux alone has terminals for commands")]
    pub(crate) terminal: Option<File>,
    /// The stream that is that other end too.
    #[allow(dead_code, reason = "Linux alone has terminals for commands")]
    pub(crate) shown: Option<Stream>,
}

/// How a command ended, and what came through the pipes of its standard output and error.
pub type Gathered = (Outcome, Vec<u8>, Vec<u8>);

/// One of the two streams that a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a [`Relay`](crate::Relay) was woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEvent {
    /// This signal came.
    Signal(i32),
    /// The descriptor with this index can be read from.
    Ready(usize),
    /// The command has printed more than it may.
    TooMuchOutput,
}

/// Where a stream goes.
pub(crate) enum Sink<'a> {
    /// It is kept.
    Memory(Vec<u8>),
    /// A descriptor of the caller's, which may block.
    Fd(RawFd),
    /// Somebody who takes it piece by piece.
    Callback(&'a dyn Fn(Stream, &[u8]) -> io::Result<()>),
}

/// What a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    Read(RawFd),
    Write(RawFd),
}

/// How much is moved at a time, and so all that is held of a stream that is passed on.
const PIECE: usize = 64 * 1024;

/// What a pipe that can be written to takes without blocking.
const UNBLOCKED: usize = libc::PIPE_BUF;

/// How much of a stream may still be taken.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// Bytes; `None` for any number of them.
    left: Option<u64>,
    over: bool,
}

impl Quota {
    /// A quota of `most` bytes, or of any number.
    #[must_use]
    pub fn new(most: Option<u64>) -> Self {
        Self {
            left: most,
            over: false,
        }
    }

    /// What of `piece` is within the quota, which is so much less from here on.
    pub fn take<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let Some(left) = &mut self.left else {
            return piece;
        };
        let fits = usize::try_from(*left)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        self.over |= fits < piece.len();
        *left -= fits as u64;
        &piece[..fits]
    }

    /// Whether there was more than it allows.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }
}

/// A stream of a command on its way to where it goes, as far as its limit.
pub(crate) struct Tap<'a> {
    stream: Stream,
    from: Option<File>,
    to: Sink<'a>,
    /// What was read and not passed on yet.
    held: Vec<u8>,
    quota: Quota,
}

impl<'a> Tap<'a> {
    /// From here on, reading takes what is there and does not wait. Without a file there is
    /// nothing to do. What a memory holds already counts towards the limit `most`.
    pub(crate) fn new(
        stream: Stream,
        from: Option<File>,
        to: Sink<'a>,
        most: Option<u64>,
    ) -> io::Result<Self> {
        if let Some(file) = &from {
            // SAFETY: fcntl with numbers alone, on a descriptor that is open.
            let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
            let flags = flags | libc::O_NONBLOCK;
            // SAFETY: as above.
            if flags < 0 || unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let kept = match &to {
            Sink::Memory(data) => data.len() as u64,
            _ => 0,
        };
        Ok(Self {
            stream,
            from,
            to,
            held: Vec::new(),
            quota: Quota::new(most.map(|most| most.saturating_sub(kept))),
        })
    }

    /// Whether the command has written more than it may.
    pub(crate) fn is_over(&self) -> bool {
        self.quota.is_over()
    }

    pub(crate) fn wants(&self) -> Wish {
        match (&self.to, &self.from) {
            (Sink::Fd(fd), _) if !self.held.is_empty() => Wish::Write(*fd),
            (_, Some(from)) if !self.is_over() => Wish::Read(from.as_raw_fd()),
            _ => Wish::Nothing,
        }
    }

    /// Does what [`wants`](Self::wants) said, now that it can be done.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            self.read().map(drop)
        } else {
            self.write(UNBLOCKED)
        }
    }

    /// Takes what is there, as far as one piece and the limit go. Tells whether there may be more.
    fn read(&mut self) -> io::Result<bool> {
        let Some(file) = self.from.as_mut().filter(|_| !self.quota.is_over()) else {
            return Ok(false);
        };
        let mut piece = [0; PIECE];
        let got = match file.read(&mut piece) {
            Ok(0) => {
                self.from = None;
                return Ok(false);
            }
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // All that was printed on a terminal has been read, and nobody has it open any more.
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {
                self.from = None;
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let taken = self.quota.take(&piece[..got]);
        match &mut self.to {
            Sink::Memory(data) => data.extend_from_slice(taken),
            Sink::Fd(_) => self.held.extend_from_slice(taken),
            Sink::Callback(take) if !taken.is_empty() => {
                take(self.stream, taken)?;
            }
            Sink::Callback(_) => {}
        }
        Ok(true)
    }

    /// Passes on up to `most` bytes of what is held.
    fn write(&mut self, most: usize) -> io::Result<()> {
        let Sink::Fd(fd) = self.to else {
            return Ok(());
        };
        let piece = &self.held[..self.held.len().min(most)];
        // SAFETY: the pointer and length are those of a live slice.
        let done = unsafe { libc::write(fd, piece.as_ptr().cast(), piece.len()) };
        match usize::try_from(done) {
            Ok(done) => drop(self.held.drain(..done)),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    // Nobody reads it. So the command finds out as if it had written there itself.
                    self.held.clear();
                    self.from = None;
                }
            },
        }
        Ok(())
    }

    /// Whether nothing more is read: it has ended, or nobody takes it.
    #[allow(dead_code, reason = "Linux alone has terminals for commands")]
    pub(crate) fn is_closed(&self) -> bool {
        self.from.is_none()
    }

    /// Reads no more. What was read is still passed on.
    #[allow(dead_code, reason = "Linux alone has terminals for commands")]
    pub(crate) fn hang_up(&mut self) {
        self.from = None;
    }

    /// Takes and passes on what is left when everything has ended. `ready` waits until a
    /// descriptor can be written to, or tells that nobody wants the rest.
    pub(crate) fn finish(
        &mut self,
        mut ready: impl FnMut(RawFd) -> io::Result<bool>,
    ) -> io::Result<()> {
        loop {
            while let (Sink::Fd(fd), false) = (&self.to, self.held.is_empty()) {
                if !ready(*fd)? {
                    return Ok(());
                }
                self.write(UNBLOCKED)?;
            }
            if !self.read()? {
                return Ok(());
            }
        }
    }

    /// What was kept.
    pub(crate) fn into_data(self) -> Vec<u8> {
        self.into_parts().1
    }

    /// The stream, if there may be more of it, and what was kept: who goes on later makes another
    /// of both.
    pub(crate) fn into_parts(self) -> (Option<File>, Vec<u8>) {
        match self.to {
            Sink::Memory(data) => (self.from, data),
            _ => (self.from, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write as _;
    use std::os::fd::OwnedFd;

    use super::*;

    fn tap<'a>(text: &str, to: Sink<'a>, most: Option<u64>) -> Tap<'a> {
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(text.as_bytes()).unwrap();
        let read = File::from(OwnedFd::from(read));
        Tap::new(Stream::Stdout, Some(read), to, most).unwrap()
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        for (most, kept, over) in [(3, "abc", true), (6, "abcdef", false), (7, "abcdef", false)] {
            let mut tap = tap("abcdef", Sink::Memory(Vec::new()), Some(most));
            tap.finish(|_| Ok(true)).unwrap();
            assert_eq!(tap.is_over(), over, "{most}");
            assert_eq!(tap.into_data(), kept.as_bytes());
        }
    }

    #[test]
    fn a_callback_gets_it_all_and_its_error_counts() {
        let got = RefCell::new(Vec::new());
        let take = |stream, piece: &[u8]| {
            assert_eq!(stream, Stream::Stdout);
            got.borrow_mut().extend_from_slice(piece);
            Ok(())
        };
        tap("abc", Sink::Callback(&take), None)
            .finish(|_| Ok(true))
            .unwrap();
        assert_eq!(*got.borrow(), b"abc");
        let refuse = |_, _: &[u8]| Err(io::Error::other("no"));
        assert!(
            tap("abc", Sink::Callback(&refuse), None)
                .finish(|_| Ok(true))
                .is_err()
        );
    }

    #[test]
    fn it_is_passed_on_in_order_and_a_reader_that_is_gone_ends_it() {
        let (mut read, write) = io::pipe().unwrap();
        let text = "0123456789".repeat(1000);
        let mut relay = tap(&text, Sink::Fd(write.as_raw_fd()), None);
        while relay.wants() != Wish::Nothing {
            relay.turn().unwrap();
        }
        drop(write);
        let mut got = String::new();
        read.read_to_string(&mut got).unwrap();
        assert_eq!(got, text);

        let (read, write) = io::pipe().unwrap();
        drop(read);
        let mut relay = tap("abc", Sink::Fd(write.as_raw_fd()), None);
        relay.turn().unwrap();
        assert_eq!(relay.wants(), Wish::Write(write.as_raw_fd()));
        relay.turn().unwrap();
        assert_eq!(relay.wants(), Wish::Nothing);
    }
}
