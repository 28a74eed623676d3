//! What serves a session from another process. There are no sessions on this system.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::streams::RelayEvent;

fn unsupported() -> io::Error {
    let why = "there are no sessions on this system";
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// Waits for a command that another process runs, of which there is none on this system.
#[derive(Debug)]
pub struct Relay {
    none: std::convert::Infallible,
}

impl Relay {
    /// None.
    ///
    /// # Errors
    /// Always, with `Unsupported`.
    pub fn new(_: &[i32]) -> io::Result<Self> {
        Err(unsupported())
    }

    /// Has output copied.
    ///
    /// # Errors
    /// Never, because there is no value of this type.
    pub fn output(&mut self, _: File, _: File, _: u64) -> io::Result<()> {
        match self.none {}
    }

    /// Waits.
    ///
    /// # Errors
    /// Never, as above.
    pub fn next(&mut self, _: &[BorrowedFd<'_>]) -> io::Result<RelayEvent> {
        match self.none {}
    }

    /// Copies the rest.
    ///
    /// # Errors
    /// Never, as above.
    pub fn finish(&mut self) -> io::Result<bool> {
        match self.none {}
    }
}

/// Sends bytes and descriptors.
///
/// # Errors
/// Always, with `Unsupported`.
pub fn send_with_fds(_: &UnixStream, _: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
    Err(unsupported())
}

/// Receives bytes and descriptors.
///
/// # Errors
/// Always, with `Unsupported`.
pub fn receive_with_fds(
    _: &UnixStream,
    _: &mut [u8],
    _: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    Err(unsupported())
}

/// The user at the other end.
///
/// # Errors
/// Always, with `Unsupported`.
pub fn peer_uid(_: &UnixStream) -> io::Result<u32> {
    Err(unsupported())
}
