//! The control socket of a sandbox, and signals to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sandboxlib_core::{FailedStep, SpawnError};

use super::raw;
use super::rights;
use super::wire::{Message, kind};

/// The parent's end of the control socket. Closing it ends the sandbox.
#[derive(Debug)]
pub(super) struct Control(pub(super) OwnedFd);

impl Control {
    /// The parent's end, and the child's.
    pub(super) fn pair() -> Result<(Self, OwnedFd), SpawnError> {
        let mut fds = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: the array is live for the call and holds two numbers.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
            let error = io::Error::last_os_error();
            return Err(SpawnError::new(
                FailedStep::Resources("a control socket"),
                error,
            ));
        }
        // SAFETY: the kernel has just made these descriptors, and nobody else knows them.
        let [ours, theirs] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((Self(ours), theirs))
    }

    pub(super) fn say(&self, message: &Message) -> io::Result<()> {
        raw::send(self.0.as_raw_fd(), message.bytes())
            .map(drop)
            .map_err(io::Error::from_raw_os_error)
    }

    /// Sends a packet and descriptors, of which there are at most
    /// [`MOST_FDS`](super::wire::MOST_FDS).
    pub(super) fn say_with(&self, packet: &[u8], fds: &[RawFd]) -> io::Result<()> {
        rights::send(self.0.as_raw_fd(), packet, fds).map(drop)
    }

    /// Whether everything was heard, and nobody is left to say more.
    pub(super) fn is_over(&self) -> bool {
        let mut byte = 0u8;
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        // SAFETY: the pointer is to a live byte.
        let got = unsafe { libc::recv(self.0.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
        got == 0 || (got < 0 && io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock)
    }

    /// The next message, without waiting for one.
    pub(super) fn hear(&self) -> Option<Message> {
        self.hear_file().map(|(message, _)| message)
    }

    /// The same, with the descriptor that came with it.
    pub(super) fn hear_file(&self) -> Option<Word> {
        let mut message = Message::new(0);
        // With MSG_TRUNC the length is that of the whole packet, so one that is larger is none.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        let socket = self.0.as_raw_fd();
        let (got, mut files) = rights::receive(socket, message.bytes_mut(), 1, flags).ok()?;
        (got == Message::SIZE).then(|| (message, files.pop()))
    }
}

/// A message, and the descriptor that came with it.
pub(super) type Word = (Message, Option<OwnedFd>);

/// A way to send signals to a running sandbox from elsewhere, such as another thread.
#[derive(Debug, Clone)]
pub struct Signaller {
    pub(super) control: Arc<Control>,
    /// The sandbox's first process; none for one of many commands, whose control socket is all
    /// that is its own.
    pub(super) pidfd: Option<Arc<OwnedFd>>,
    /// Whether nothing but SIGKILL is left to end the init program with. While it is false, the
    /// command is in no process id namespace, and its group dies by the init program's hand.
    pub(super) by_force: Arc<AtomicBool>,
    /// Whether the first process is the command itself, and nobody hears what is said.
    pub(super) direct: bool,
}

impl Signaller {
    /// Sends `signal` to the command, as kill(2) does.
    ///
    /// # Errors
    /// What the operating system says; `BrokenPipe` if the sandbox has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let mut message = Message::new(kind::SIGNAL);
        message.a = u32::try_from(signal)
            .ok()
            .filter(|n| (1..=64).contains(n))
            .ok_or(io::ErrorKind::InvalidInput)?;
        if let (true, Some(pidfd)) = (self.direct, &self.pidfd) {
            return send_signal(pidfd, signal);
        }
        self.control.say(&message)
    }

    /// Kills everything in the sandbox; without a process id namespace, the command's process
    /// group. That it has ended already is no error.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&self) -> io::Result<()> {
        let end = Message::new(kind::END);
        let Some(pidfd) = &self.pidfd else {
            return match self.control.say(&end) {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                done => done,
            };
        };
        if !self.by_force.swap(true, Ordering::AcqRel) && self.control.say(&end).is_ok() {
            // Somebody may have stopped it, and it has to hear.
            return send_signal(pidfd, libc::SIGCONT);
        }
        send_signal(pidfd, libc::SIGKILL)
    }

    /// What can be read from when there is something to hear of the end.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Signaller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.pidfd {
            Some(pidfd) => pidfd.as_fd(),
            None => self.control.0.as_fd(),
        }
    }
}

/// pidfd_send_signal(2): no other process can be hit, whatever became of this one.
pub(super) fn send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open; a null siginfo means that of kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        e => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_a_whole_message_is_heard(
            bytes in prop::collection::vec(any::<u8>(), 0..2 * Message::SIZE),
            whole in any::<bool>(),
        ) {
            let (ours, theirs) = Control::pair().unwrap();
            let mut bytes = bytes;
            if whole {
                bytes.resize(Message::SIZE, 0x5a);
            }
            let sent = raw::send(theirs.as_fd().as_raw_fd(), &bytes);
            prop_assert_eq!(sent, Ok(bytes.len()));
            match ours.hear() {
                Some(message) => prop_assert_eq!(message.bytes(), &bytes[..]),
                None => prop_assert_ne!(bytes.len(), Message::SIZE),
            }
            // It is taken out in any case: what comes behind it is heard.
            let _ = raw::send(theirs.as_raw_fd(), Message::new(kind::STARTED).bytes());
            prop_assert_eq!(ours.hear().map(|m| m.kind), Some(kind::STARTED));
            prop_assert!(ours.hear().is_none());
            drop(theirs);
            prop_assert!(ours.hear().is_none());
        }
    }
}
