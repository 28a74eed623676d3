//! Waiting on behalf of a command that another process runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::poll::{self, Interest, SignalFd};
use super::process::writable;
use crate::streams::{RelayEvent, Sink, Stream, Tap};

/// Waits for signals and for descriptors, and meanwhile copies what a command prints, which
/// another process has started, to the caller's own standard output and error.
pub struct Relay {
    signals: SignalFd,
    taps: Vec<Tap<'static>>,
    /// Whether it was told that the limit was reached.
    told: bool,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

impl Relay {
    /// One for `signals`, which the caller has blocked
    /// ([`block_signals`](crate::block_signals)).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        Ok(Self {
            signals: SignalFd::new(signals)?,
            taps: Vec::new(),
            told: false,
        })
    }

    /// Has up to `most` bytes copied from each of these pipes, as
    /// [`Child::wait_relaying`](crate::Child::wait_relaying) does.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn output(&mut self, stdout: File, stderr: File, most: u64) -> io::Result<()> {
        for (stream, from, to) in [(Stream::Stdout, stdout, 1), (Stream::Stderr, stderr, 2)] {
            let tap = Tap::new(stream, Some(from), Sink::Fd(to), Some(most))?;
            self.taps.push(tap);
        }
        Ok(())
    }

    /// Waits until a signal has come, the limit of output is reached, which is told once, or one
    /// of `fds` can be read from.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn next(&mut self, fds: &[BorrowedFd<'_>]) -> io::Result<RelayEvent> {
        loop {
            if let Some(signal) = self.signals.next() {
                return Ok(RelayEvent::Signal(signal));
            }
            if !self.told && self.taps.iter().any(Tap::is_over) {
                self.told = true;
                return Ok(RelayEvent::TooMuchOutput);
            }
            let mut interests = vec![Interest::read(self.signals.as_raw_fd())];
            interests.extend(fds.iter().map(|fd| Interest::read(fd.as_raw_fd())));
            interests.extend(self.taps.iter().map(|tap| Interest::of(tap.wants())));
            poll::wait(-1, &mut interests, None)?;
            let (before, taps) = interests.split_at(1 + fds.len());
            for (tap, interest) in self.taps.iter_mut().zip(taps) {
                if interest.ready() {
                    tap.turn()?;
                }
            }
            if let Some(ready) = before.iter().skip(1).position(Interest::ready) {
                return Ok(RelayEvent::Ready(ready));
            }
        }
    }

    /// Copies what is still in the pipes, and tells whether the command has printed more than it
    /// may. Whoever holds the other ends open is not waited for.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(&mut self) -> io::Result<bool> {
        for tap in &mut self.taps {
            tap.finish(|fd| writable(fd, Some(&self.signals)))?;
        }
        Ok(self.taps.iter().any(Tap::is_over))
    }
}
