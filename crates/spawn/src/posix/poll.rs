//! Waiting for several things at once, and signals.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::thread::JoinHandleExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Waits until one of `fds` can be read or is closed at the other end, `timeout` has passed or a
/// signal came. Tells which are ready. A negative descriptor is none.
pub(super) fn wait<const N: usize>(
    fds: [RawFd; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
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

/// A stream that is read to its end while other things are waited for.
pub(super) struct Gather {
    file: Option<File>,
    data: Vec<u8>,
}

impl Gather {
    /// From here on, reading takes what is there and does not wait.
    pub(super) fn new(file: Option<File>) -> io::Result<Self> {
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

    pub(super) fn fd(&self) -> RawFd {
        self.file.as_ref().map_or(-1, |file| file.as_raw_fd())
    }

    /// Takes what is there.
    pub(super) fn read(&mut self) -> io::Result<()> {
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

    pub(super) fn into_data(self) -> Vec<u8> {
        self.data
    }
}

fn mask(signals: &[i32]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before anything else uses it; a number that is no
    // signal is refused by sigaddset and leaves the set as it was.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Blocks `signals` in the calling thread and those it starts from now on, so that
/// [`Child::wait_forwarding`](crate::Child::wait_forwarding) can pass them on. What is sent in
/// between is not lost. A command that is started has none blocked.
///
/// # Errors
/// What the operating system says.
pub fn block_signals(signals: &[i32]) -> io::Result<()> {
    let mask = mask(signals);
    // SAFETY: the mask is initialised, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
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
