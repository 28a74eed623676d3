//! Landlock's rules for what is opened by its name again: /dev/stdout and the like
//! (landlock_add_rule(2)).
//!
//! `core` alone: the child that sets a sandbox up has them made, and in one that was set up before
//! its command was known, the process that becomes the command.

use super::raw::{self, Errno, Fd, arg, nr};

// The rights are those of linux/landlock.h.
pub(crate) const EXECUTE: u64 = 1;
pub(crate) const WRITE_FILE: u64 = 1 << 1;
pub(crate) const READ_FILE: u64 = 1 << 2;
pub(crate) const TRUNCATE: u64 = 1 << 14;

const EBADF: Errno = 9;
const EINVAL: Errno = 22;
const EBADFD: Errno = 77;

/// Allows what `fd` leads to, and whatever is below it, these rights.
pub(crate) fn add(ruleset: Fd, fd: Fd, rights: u64) -> Result<(), Errno> {
    const PATH_BENEATH: usize = 1;
    // struct landlock_path_beneath_attr is packed: 8 bytes of rights, 4 of descriptor.
    let mut rule = [0u8; 12];
    let (allowed, parent) = rule.split_at_mut(8);
    allowed.copy_from_slice(&rights.to_ne_bytes());
    parent.copy_from_slice(&fd.to_ne_bytes());
    let args = [arg(ruleset), PATH_BENEATH, rule.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the structure is live for the call.
    unsafe { raw::call(nr::LANDLOCK_ADD_RULE, args) }.map(drop)
}

/// What a descriptor leads to may be opened again, for what it was opened for and no more. A
/// directory was passed for what is in it. `handled` is what the ruleset is about.
pub(crate) fn allow(ruleset: Fd, fd: Fd, handled: u64) -> Result<(), Errno> {
    const F_GETFL: usize = 3;
    const O_ACCMODE: usize = 3;
    const O_PATH: usize = 0o10_000_000;
    match add(ruleset, fd, handled) {
        // The rights of directories make no sense for a file.
        Err(EINVAL) => {}
        done => return done.or_else(unless_no_file),
    }
    // SAFETY: numbers alone.
    let flags = unsafe { raw::call(nr::FCNTL, [arg(fd), F_GETFL, 0, 0, 0, 0]) }?;
    let rights = match flags & (O_ACCMODE | O_PATH) {
        0 => EXECUTE | READ_FILE,
        1 => WRITE_FILE | TRUNCATE,
        2 => EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE,
        _ => return Ok(()),
    };
    add(ruleset, fd, rights & handled)
}

/// Pipes, sockets and closed descriptors: Landlock has nothing to say about them.
pub(crate) fn unless_no_file(errno: Errno) -> Result<(), Errno> {
    match errno {
        EBADFD | EBADF => Ok(()),
        errno => Err(errno),
    }
}

/// Restricts the calling process and all that it starts (landlock_restrict_self(2)).
pub(crate) fn restrict(ruleset: Fd) -> Result<(), Errno> {
    // SAFETY: numbers alone.
    unsafe { raw::call(nr::LANDLOCK_RESTRICT_SELF, [arg(ruleset), 0, 0, 0, 0, 0]) }.map(drop)
}
