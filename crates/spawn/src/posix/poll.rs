//! Waiting for several things at once, and signals.

use std::io;
use std::os::unix::thread::JoinHandleExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::signals::mask;
use crate::streams::Wish;

/// Waits until one of `wishes` can be done, or is closed at the other end, `timeout` has passed or
/// a signal came. Tells which are ready.
pub(super) fn wait<const N: usize>(
    wishes: [Wish; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled = wishes.map(|wish| {
        let (fd, events) = match wish {
            Wish::Nothing => (-1, 0),
            Wish::Read(fd) => (fd, libc::POLLIN),
            Wish::Write(fd) => (fd, libc::POLLOUT),
        };
        libc::pollfd {
            fd,
            events,
            revents: 0,
        }
    });
    // Rounded up, so that the time is up when this returns; longer than an int holds is done in
    // parts, since the caller asks again.
    let timeout = timeout.map_or(-1, |left| {
        libc::c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX)
    });
    let count = libc::nfds_t::try_from(N).unwrap_or(0);
    // SAFETY: the array has `count` elements and is live for the call.
    if unsafe { libc::poll(polled.as_mut_ptr(), count, timeout) } < 0 {
        return match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
            e => Err(e),
        };
    }
    Ok(polled.map(|fd| fd.revents != 0))
}

/// A thread that takes blocked signals as they come. Dropping this ends it.
pub(super) struct Catcher {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    /// A signal that it waits for, with which it can be woken.
    wake: i32,
}

impl Catcher {
    /// Calls `take` for each of `signals` that this process gets.
    pub(super) fn new(
        signals: &[i32],
        take: impl Fn(i32) + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let Some(wake) = signals.first().copied() else {
            return Ok(None);
        };
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let signals = signals.to_vec();
        let catch = move || {
            let mask = mask(&signals);
            while !seen.load(Ordering::Acquire) {
                let mut signal = 0;
                // SAFETY: the mask is initialised, and the number is live for the call.
                let failed = unsafe { libc::sigwait(&raw const mask, &raw mut signal) };
                if failed == 0 && !seen.load(Ordering::Acquire) {
                    take(signal);
                } else if failed != 0 && failed != libc::EINTR {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("sandbox signals".to_owned())
            .spawn(catch)?;
        Ok(Some(Self {
            over,
            thread: Some(thread),
            wake,
        }))
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else {
            return;
        };
        // SAFETY: the thread has not been joined, so its handle is valid; the signal is one that
        // the caller has blocked in it.
        unsafe { libc::pthread_kill(thread.as_pthread_t(), self.wake) };
        // It does not panic, and if it did there is nothing to add to it.
        let _ = thread.join();
    }
}
