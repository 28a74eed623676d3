//! What a process is before it executes a command: its signals as they are by default, and bound by
//! the system call filter.
//!
//! `core` alone: it is the init program that does this, or the child that becomes the command
//! itself.

use core::ptr;

use super::raw::{self, Errno, nr};

/// Every signal has its default again, whatever the caller ignored.
pub(crate) fn reset_signals() {
    // struct kernel_sigaction: handler SIG_DFL, no flags, no restorer, empty mask.
    let default = [0usize; 4];
    for signal in 1..=64 {
        let args = [signal, default.as_ptr() as usize, 0, 8, 0, 0];
        // SAFETY: the pointer is to a live array of the structure's size, and the dispositions are
        // this process's own. The call fails for SIGKILL and SIGSTOP, which have no other anyway.
        let _ = unsafe { raw::call(nr::RT_SIGACTION, args) };
    }
}

/// Blocks no signal.
pub(crate) fn unblock_signals() {
    const SIG_SETMASK: usize = 2;
    let none: u64 = 0;
    let args = [SIG_SETMASK, &raw const none as usize, 0, 8, 0, 0];
    // SAFETY: a pointer to a live mask of 8 bytes.
    let _ = unsafe { raw::call(nr::RT_SIGPROCMASK, args) };
}

/// `struct sock_fprog` (seccomp(2)); without instructions there is no filter.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Filter {
    len: u16,
    instructions: *const u8,
}

impl Filter {
    pub(crate) const NONE: Self = Self {
        len: 0,
        instructions: ptr::null(),
    };

    /// # Safety
    /// There must be `len` instructions, of 8 bytes each, for as long as it is loaded from.
    pub(crate) unsafe fn new(len: u16, instructions: *const u8) -> Self {
        Self { len, instructions }
    }

    /// Binds the calling process, and whatever it executes, to the filter.
    pub(crate) fn load(&self) -> Result<(), Errno> {
        const SET_MODE_FILTER: usize = 1;
        if self.len == 0 {
            return Ok(());
        }
        let args = [SET_MODE_FILTER, 0, ptr::from_ref(self) as usize, 0, 0, 0];
        // SAFETY: the structure is live for the call, and its instructions are there, see `new`.
        // The kernel copies and checks them.
        unsafe { raw::call(nr::SECCOMP, args) }.map(drop)
    }
}
