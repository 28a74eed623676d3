//! The caller's ends of the pipes to a command.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};

/// The ends that the caller has, where a stream is a pipe.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
}

/// A stream that is read to its end while other things are waited for.
pub(crate) struct Gather {
    file: Option<File>,
    data: Vec<u8>,
}

impl Gather {
    /// From here on, reading takes what is there and does not wait.
    pub(crate) fn new(file: Option<File>) -> io::Result<Self> {
        if let Some(file) = &file {
            // SAFETY: fcntl with numbers alone, on a descriptor that is open.
            let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
            let flags = flags | libc::O_NONBLOCK;
            // SAFETY: as above.
            if flags < 0 || unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self {
            file,
            data: Vec::new(),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_ref().map_or(-1, |file| file.as_raw_fd())
    }

    /// Takes what is there.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        match file.read_to_end(&mut self.data) {
            Ok(_) => self.file = None,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    pub(crate) fn into_data(self) -> Vec<u8> {
        self.data
    }
}
