//! Executing the command, and finding out why it cannot be executed.
//!
//! `core` alone: the library's tests compile it too, but the init program is what runs it.

use super::raw::{self, AT_FDCWD, Errno, Fd, arg, nr};
use super::wire::{Message, kind, problem};

const ENOENT: Errno = 2;
const E2BIG: Errno = 7;
const ENOEXEC: Errno = 8;
const EACCES: Errno = 13;
const ENOTDIR: Errno = 20;
const ELOOP: Errno = 40;

const O_PATH: usize = 0o10_000_000;
const O_CLOEXEC: usize = 0o2_000_000;
const O_NONBLOCK: usize = 0o4_000;

/// Why an attempt to execute something came to nothing.
pub(crate) enum Refusal {
    /// The kernel does not execute it.
    Exec(Errno),
    /// It did not come to that, and another path would not help: the kind of message that tells.
    Other { kind: u32, errno: Errno },
}

/// Has the first of the `count` paths at `candidates` executed that can be, as a shell searches
/// PATH: what is missing is passed over, and what may not be executed is remembered. `attempt`
/// executes a path; what is found out about one is found out here, by a process that no filter
/// binds. If none can be, `failure` is the message for the parent.
///
/// # Safety
/// `candidates` must point to `count` pointers to NUL-terminated strings.
pub(crate) unsafe fn exec_first<T>(
    candidates: *const *const u8,
    count: usize,
    failure: &mut Message,
    mut attempt: impl FnMut(*const u8) -> Result<T, Refusal>,
) -> Option<T> {
    *failure = failed(problem::NOT_FOUND, ENOENT);
    for i in 0..count {
        // SAFETY: i < count, see the function's contract.
        let path = unsafe { *candidates.add(i) };
        // An attempt costs a process, so of several paths those are passed over that are not
        // there. A single one is always tried.
        // SAFETY: `path` is NUL-terminated by the function's contract.
        if count > 1 && matches!(unsafe { find(path) }, Err(ENOENT | ENOTDIR)) {
            continue;
        }
        let errno = match attempt(path) {
            Ok(done) => return Some(done),
            Err(Refusal::Other { kind, errno }) => {
                *failure = Message::new(kind);
                failure.errno = errno;
                return None;
            }
            Err(Refusal::Exec(errno)) => errno,
        };
        let last = match errno {
            // The kernel says so of a missing file, and of a missing interpreter or loader.
            // SAFETY: `path` is NUL-terminated by the function's contract.
            ENOENT if unsafe { find(path) }.is_ok() => unsafe { missing_part(path) },
            ENOENT | ENOTDIR => continue,
            EACCES => {
                *failure = failed(problem::NOT_EXECUTABLE, errno);
                continue;
            }
            ENOEXEC => failed(problem::BAD_FORMAT, errno),
            E2BIG => failed(problem::TOO_LONG, errno),
            ELOOP if count > 1 => continue,
            _ => failed(problem::OTHER, errno),
        };
        *failure = last;
        return None;
    }
    None
}

fn failed(problem: u32, errno: Errno) -> Message {
    let mut message = Message::new(kind::EXEC_FAILED);
    message.a = problem;
    message.errno = errno;
    message
}

/// # Safety
/// `path` must be NUL-terminated.
unsafe fn open(path: *const u8, flags: usize) -> Result<Fd, Errno> {
    // SAFETY: by the contract `path` is as openat(2) takes it.
    let fd = unsafe { raw::call(nr::OPENAT, [arg(AT_FDCWD), path as usize, flags, 0, 0, 0]) }?;
    Ok(Fd::try_from(fd).unwrap_or(-1))
}

/// Whether there is something at `path`.
///
/// # Safety
/// `path` must be NUL-terminated.
unsafe fn find(path: *const u8) -> Result<(), Errno> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { open(path, O_PATH | O_CLOEXEC) }?;
    raw::close(fd);
    Ok(())
}

fn read_at(fd: Fd, buffer: &mut [u8], offset: u64) -> usize {
    let Ok(offset) = usize::try_from(offset) else {
        return 0;
    };
    let args = [
        arg(fd),
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        offset,
        0,
        0,
    ];
    // SAFETY: the pointer and length are those of a live slice, which the kernel writes.
    unsafe { raw::call(nr::PREAD64, args) }.unwrap_or(0)
}

/// The file is there, but what it needs to run is not: names it.
///
/// # Safety
/// `path` must be NUL-terminated.
pub(crate) unsafe fn missing_part(path: *const u8) -> Message {
    let mut message = failed(problem::OTHER, ENOENT);
    // SAFETY: passed on to the caller. Non-blocking, because it may be a fifo by now.
    let Ok(fd) = (unsafe { open(path, O_CLOEXEC | O_NONBLOCK) }) else {
        return message;
    };
    let mut head = [0; 64];
    let got = read_at(fd, &mut head, 0);
    if got > 2 && head[0] == b'#' && head[1] == b'!' {
        message.a = problem::INTERPRETER_MISSING;
        let got = read_at(fd, &mut message.text, 2);
        set_text(&mut message, got, |b| b == b'\n' || b == b'\0');
        trim(&mut message);
    } else if got == head.len() && head.starts_with(b"\x7fELF") {
        message.a = problem::LOADER_MISSING;
        if let Some(offset) = interpreter_offset(fd, &head) {
            let got = read_at(fd, &mut message.text, offset);
            set_text(&mut message, got, |b| b == b'\0');
        }
    }
    raw::close(fd);
    message
}

/// The length of `text` is up to the first byte that ends it.
fn set_text(message: &mut Message, got: usize, ends: impl Fn(u8) -> bool) {
    let mut len = 0;
    while len < got && len < Message::TEXT && !ends(message.text[len]) {
        len += 1;
    }
    message.text_len = u32::try_from(len).unwrap_or(0);
}

/// Of a `#!` line, the interpreter alone: without the blanks before it and what follows it.
fn trim(message: &mut Message) {
    let len = message.text_len as usize;
    let blank = |b: u8| b == b' ' || b == b'\t';
    let mut start = 0;
    while start < len && blank(message.text[start]) {
        start += 1;
    }
    let mut end = start;
    while end < len && !blank(message.text[end]) {
        message.text[end - start] = message.text[end];
        end += 1;
    }
    message.text_len = u32::try_from(end - start).unwrap_or(0);
}

/// Little- or big-endian numbers, as the ELF header says.
fn number(bytes: &[u8], big: bool) -> u64 {
    let mut value = 0;
    for i in 0..bytes.len() {
        let byte = if big {
            bytes[i]
        } else {
            bytes[bytes.len() - 1 - i]
        };
        value = value << 8 | u64::from(byte);
    }
    value
}

/// Where in the file the path of the loader stands (elf(5), `PT_INTERP`).
fn interpreter_offset(fd: Fd, head: &[u8; 64]) -> Option<u64> {
    const PT_INTERP: u64 = 3;
    let wide = head[4] == 2;
    let big = head[5] == 2;
    let n = |bytes: &[u8]| number(bytes, big);
    let (table, size, count) = if wide {
        (n(&head[32..40]), n(&head[54..56]), n(&head[56..58]))
    } else {
        (n(&head[28..32]), n(&head[42..44]), n(&head[44..46]))
    };
    for i in 0..count.min(64) {
        let mut entry = [0; 56];
        let used = if wide { 56 } else { 32 };
        let at = table.checked_add(i.checked_mul(size)?)?;
        if read_at(fd, &mut entry[..used], at) < used {
            return None;
        }
        if n(&entry[..4]) == PT_INTERP {
            return Some(if wide {
                n(&entry[8..16])
            } else {
                n(&entry[4..8])
            });
        }
    }
    None
}
