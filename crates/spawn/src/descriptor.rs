//! Descriptors that come as numbers.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// A duplicate of the descriptor `number` of this process, closed on exec, for callers that know
/// their open files by number alone, as other languages do.
///
/// # Errors
/// What the operating system says, `EBADF` if nothing is open under that number (fcntl(2),
/// `F_DUPFD_CLOEXEC`).
pub fn duplicate(number: i32) -> io::Result<OwnedFd> {
    duplicate_from(number, 0)
}

/// The same with a number that is `least` or higher.
pub(crate) fn duplicate_from(number: i32, least: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with numbers alone; the kernel refuses one that is no open descriptor.
    let new = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, least) };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_duplicate_leads_to_the_same_and_is_its_own() {
        let (mut read, write) = io::pipe().unwrap();
        let copy = duplicate(write.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), write.as_raw_fd());
        drop(write);
        std::fs::File::from(copy).write_all(b"x").unwrap();
        let mut got = String::new();
        read.read_to_string(&mut got).unwrap();
        assert_eq!(got, "x");
    }

    #[test]
    fn what_is_not_open_is_refused() {
        for number in [-1, i32::MAX] {
            let error = duplicate(number).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
    }
}
