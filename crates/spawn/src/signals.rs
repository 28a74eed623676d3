//! Sets of signals.

use std::io;

pub(crate) fn mask(signals: &[i32]) -> libc::sigset_t {
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
