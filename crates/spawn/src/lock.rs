//! Locks that die with their owner.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Takes the lock of an open file or directory (flock(2)) for as long as `file` is open, and tells
/// whether that was to be had: `false` if somebody else has it at this moment.
///
/// # Errors
/// What the operating system says.
pub fn try_lock(file: &File) -> io::Result<bool> {
    loop {
        // SAFETY: flock with numbers alone.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            e if e.kind() == io::ErrorKind::Interrupted => {}
            e => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::open(dir.path()).unwrap();
        let first = open();
        assert!(try_lock(&first).unwrap());
        let second = open();
        assert!(!try_lock(&second).unwrap());
        drop(first);
        assert!(try_lock(&second).unwrap());
    }
}
