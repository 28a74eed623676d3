//! System calls without libc.
//!
//! The child of a start shares the caller's memory, thread-local storage included, while the
//! caller's thread goes on. libc's wrappers write `errno` there; these return it. The file is
//! also compiled into the init program, which has no libc at all, so it uses `core` alone.

/// An error number, positive.
pub(crate) type Errno = i32;

#[cfg(target_arch = "x86_64")]
#[path = "raw_x86_64.rs"]
mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "raw_aarch64.rs"]
mod arch;

pub(crate) use arch::nr;

/// Makes a system call.
///
/// # Safety
/// The arguments must be what the call takes; pointers among them must be valid for what the
/// kernel does with them.
#[inline(always)]
pub(crate) unsafe fn call(nr: usize, args: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on to the caller.
    let ret = unsafe { arch::syscall(nr, args) };
    check(ret)
}

/// Splits what the kernel returns into result and error (syscall(2): -4095 to -1 are errors).
#[inline(always)]
#[allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "range-checked"
)]
fn check(ret: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&ret) {
        Err(-ret as Errno)
    } else {
        Ok(ret as usize)
    }
}

/// Clones a child that runs `entry(arg)` on its own stack.
///
/// # Safety
/// `stack_top` must be the end, aligned to 16 bytes, of memory that nothing else uses until the
/// child has executed a program or ended; `pidfd` must be null or valid for a write; `entry` must
/// not return. With `CLONE_VM` everything that `arg` reaches must stay valid just as long.
#[inline(always)]
pub(crate) unsafe fn clone(
    flags: usize,
    stack_top: *mut u8,
    pidfd: *mut i32,
    entry: extern "C" fn(*mut u8) -> !,
    arg: *mut u8,
) -> Result<usize, Errno> {
    // SAFETY: passed on to the caller.
    check(unsafe { arch::clone(flags, stack_top, pidfd, entry, arg) })
}

/// A file descriptor, or `AT_FDCWD`.
pub(crate) type Fd = i32;

pub(crate) const AT_FDCWD: Fd = -100;

/// A file descriptor or other signed number, widened as the kernel expects it.
#[inline(always)]
#[allow(
    clippy::cast_sign_loss,
    reason = "the register holds the sign-extended value"
)]
pub(crate) fn arg(value: i32) -> usize {
    value as isize as usize
}

/// Ends the process, all its threads.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: exit_group(2) takes a number and does not come back.
        let _ = unsafe { call(nr::EXIT_GROUP, [arg(status), 0, 0, 0, 0, 0]) };
    }
}

/// close(2). An error is of no use to anybody here: the descriptor is gone all the same.
pub(crate) fn close(fd: Fd) {
    // SAFETY: takes a number; the callers close what they opened.
    let _ = unsafe { call(nr::CLOSE, [arg(fd), 0, 0, 0, 0, 0]) };
}

/// Sends `data` as one packet, without a signal if nobody listens.
pub(crate) fn send(fd: Fd, data: &[u8]) -> Result<usize, Errno> {
    const MSG_NOSIGNAL: usize = 0x4000;
    // SAFETY: the pointer and length are those of a live slice, which the kernel reads.
    unsafe {
        call(
            nr::SENDTO,
            [
                arg(fd),
                data.as_ptr() as usize,
                data.len(),
                MSG_NOSIGNAL,
                0,
                0,
            ],
        )
    }
}

/// Receives one packet; 0 bytes mean that the other end is closed.
pub(crate) fn recv(fd: Fd, data: &mut [u8]) -> Result<usize, Errno> {
    const EINTR: Errno = 4;
    loop {
        // SAFETY: the pointer and length are those of a live slice, which the kernel writes.
        let got = unsafe {
            call(
                nr::RECVFROM,
                [arg(fd), data.as_mut_ptr() as usize, data.len(), 0, 0, 0],
            )
        };
        if got != Err(EINTR) {
            return got;
        }
    }
}
