//! Waiting for several things at once, in one thread.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use crate::signals::mask;
use crate::streams::Wish;

/// A descriptor that somebody waits to read from; nothing if it is negative.
pub(super) struct Interest(libc::pollfd);

impl Interest {
    pub(super) fn read(fd: RawFd) -> Self {
        Self(libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
    }

    pub(super) fn of(wish: Wish) -> Self {
        let (fd, events) = match wish {
            Wish::Nothing => (-1, 0),
            Wish::Read(fd) => (fd, libc::POLLIN),
            Wish::Write(fd) => (fd, libc::POLLOUT),
        };
        Self(libc::pollfd {
            fd,
            events,
            revents: 0,
        })
    }

    pub(super) fn ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until the process of `pidfd` has ended, one of `interests` is ready, `timeout` has
/// passed or a signal came. Tells whether one of `interests` is ready.
pub(super) fn wait(
    pidfd: RawFd,
    interests: &mut [Interest],
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut fds = Vec::with_capacity(interests.len() + 1);
    fds.push(libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    });
    fds.extend(interests.iter().map(|interest| interest.0));
    let timeout = timeout.map(|left| libc::timespec {
        // As good as for ever, whatever type the libc has for it.
        tv_sec: i32::try_from(left.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: libc::c_long::from(left.subsec_nanos()),
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(1);
    // SAFETY: the array has `count` elements, and it and the timeout are live for the call.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count, timeout, std::ptr::null()) };
    if ready < 0 {
        return match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(false),
            e => Err(e),
        };
    }
    for (interest, fd) in interests.iter_mut().zip(fds.iter().skip(1)) {
        interest.0 = *fd;
    }
    Ok(interests.iter().any(Interest::ready))
}

/// Whether there is something to read from `fd` at this moment.
pub(super) fn is_ready(fd: RawFd) -> io::Result<bool> {
    wait(-1, &mut [Interest::read(fd)], Some(Duration::ZERO))
}

/// Blocked signals as something that can be read (signalfd(2)).
pub(super) struct SignalFd(OwnedFd);

impl SignalFd {
    pub(super) fn new(signals: &[i32]) -> io::Result<Self> {
        let mask = mask(signals);
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the mask is initialised and live for the call.
        let fd = unsafe { libc::signalfd(-1, &raw const mask, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next signal that has come, if any has.
    pub(super) fn next(&self) -> Option<i32> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the structure is live for the call and has the size given.
        let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(got) != Ok(size) {
            return None;
        }
        // SAFETY: the kernel has written the whole structure.
        i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()
    }
}
