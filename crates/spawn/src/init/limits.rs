//! The limits of the command (setrlimit(2)).

use core::ptr;

use super::raw::{self, Errno, nr};

const EINVAL: Errno = 22;

/// `struct rlimit64` (prlimit(2)).
#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

/// Bounds the calling process, and whatever it executes, by `RESOURCE=MOST` pairs separated by
/// commas. What is bounded more strictly already stays as it is.
///
/// # Safety
/// `text` must be NUL-terminated.
pub(crate) unsafe fn set(text: *const u8) -> Result<(), Errno> {
    let mut at = text;
    // SAFETY: here and below, `at` is in the text, or at its NUL, beyond which it never moves.
    while unsafe { *at } != 0 {
        // SAFETY: as above.
        let (resource, end) = unsafe { digits(at) }.ok_or(EINVAL)?;
        // SAFETY: as above.
        if unsafe { *end } != b'=' {
            return Err(EINVAL);
        }
        // SAFETY: `end` is at an equals sign, so there is at least the NUL behind it.
        let (most, end) = unsafe { digits(end.add(1)) }.ok_or(EINVAL)?;
        bound(resource, most as u64)?;
        // SAFETY: as above; a comma is not the NUL.
        at = unsafe { if *end == b',' { end.add(1) } else { end } };
    }
    Ok(())
}

fn bound(resource: usize, most: u64) -> Result<(), Errno> {
    let mut limit = Limit { soft: 0, hard: 0 };
    let old = &raw mut limit as usize;
    // SAFETY: the structure is live for the call, which writes it.
    unsafe { raw::call(nr::PRLIMIT64, [0, resource, 0, old, 0, 0]) }?;
    if limit.hard > most {
        limit.hard = most;
    }
    limit.soft = limit.hard;
    let new = ptr::from_ref(&limit) as usize;
    // SAFETY: the structure is live for the call, which reads it.
    unsafe { raw::call(nr::PRLIMIT64, [0, resource, new, 0, 0, 0]) }.map(drop)
}

/// The number at the beginning of a text, and where it ends.
///
/// # Safety
/// `text` must be NUL-terminated.
pub(crate) unsafe fn digits(text: *const u8) -> Option<(usize, *const u8)> {
    let mut value: usize = 0;
    let mut at = text;
    loop {
        // SAFETY: not past the NUL, by the contract and the return below.
        let byte = unsafe { *at };
        if !byte.is_ascii_digit() {
            return (at != text).then_some((value, at));
        }
        value = value
            .checked_mul(10)?
            .checked_add(usize::from(byte - b'0'))?;
        // SAFETY: this byte was not the NUL.
        at = unsafe { at.add(1) };
    }
}
