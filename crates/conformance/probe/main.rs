//! The probe: a program that looks at a sandbox from inside and tells what it sees.
//!
//! It is static, without libc, and needs nothing of the root that it runs in, not even /proc or
//! /dev. Arguments: questions, separated by `:`. A question is a word, see `QUESTIONS`, and what
//! it asks about. For each, in order, one line on the standard output: `ok VALUE` or `no ERRNO`.
//! Bytes of a value that are not printable ASCII, and backslashes, are written as `\xNN`. The exit
//! status is 0 when all were answered, 64 for a question that it does not know.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod files;
mod process;
mod sockets;
mod sys;
mod usage;
mod value;

use core::ffi::CStr;

use sys::Errno;
use value::Value;

/// What a question is given.
struct Args<'a> {
    words: &'a [&'static CStr],
    environment: &'a [&'static CStr],
}

type Answer = Result<(), Errno>;
type Question = fn(&Args<'_>, &mut Value) -> Answer;

/// The words, alphabetically in each group.
const QUESTIONS: &[(&[u8], Question)] = &[
    // Files.
    (b"chmod", files::chmod),
    (b"chown", files::chown),
    (b"cwd", files::cwd),
    (b"escape", files::escape),
    (b"fill", files::fill),
    (b"list", files::list),
    (b"mkdir", files::mkdir),
    (b"mknod", files::mknod),
    (b"open", files::open),
    (b"pty", files::pty),
    (b"read", files::read),
    (b"readlink", files::readlink),
    (b"reopen", files::reopen),
    (b"rename", files::rename),
    (b"rmdir", files::rmdir),
    (b"stat", files::stat),
    (b"umount", files::umount),
    (b"unlink", files::unlink),
    (b"write", files::write),
    // The process itself.
    (b"args", process::args),
    (b"capabilities", process::capabilities),
    (b"die", process::die),
    (b"environment", process::environment),
    (b"exit", process::exit),
    (b"fds", process::fds),
    (b"hostname", process::hostname),
    (b"ids", process::ids),
    (b"kill", process::kill),
    (b"limits", process::limits),
    (b"linger", process::linger),
    (b"mq", process::mq),
    (b"no-new-privs", process::no_new_privs),
    (b"parent", process::parent),
    (b"pid", process::pid),
    (b"put", process::put),
    (b"session", process::session),
    (b"shm", process::shm),
    (b"signals", process::signals),
    (b"sleep", process::sleep),
    (b"umask", process::umask),
    (b"unshare", process::unshare),
    // Much of something.
    (b"burn", usage::burn),
    (b"crowd", usage::crowd),
    (b"deep", usage::deep),
    (b"duplicate", usage::duplicate),
    (b"hoard", usage::hoard),
    (b"raise", usage::raise),
    // The network.
    (b"connect", sockets::connect),
    (b"connect-abstract", sockets::connect_abstract),
    (b"connect-path", sockets::connect_path),
    (b"interfaces", sockets::interfaces),
    (b"listen-abstract", sockets::listen_abstract),
    (b"listen-path", sockets::listen_path),
    (b"loopback", sockets::loopback),
];

/// The most words and variables that are looked at.
const MOST: usize = 256;

/// Called by the entry point with what the kernel put on the stack.
pub(crate) fn main(words: &[&'static CStr], environment: &[&'static CStr]) -> i32 {
    let questions = words.get(1..).unwrap_or_default();
    for words in questions.split(|word| word.to_bytes() == b":") {
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        let known = QUESTIONS.iter().find(|(name, _)| *name == first.to_bytes());
        let Some((_, answer)) = known else { return 64 };
        let args = Args {
            words: rest,
            environment,
        };
        let mut value = Value::new();
        match answer(&args, &mut value) {
            Ok(()) => value.tell(),
            Err(errno) => value::tell_errno(errno),
        }
    }
    0
}

/// Invalid argument: the question lacks something.
const EINVAL: Errno = 22;

impl Args<'_> {
    fn word(&self, n: usize) -> Result<&'static CStr, Errno> {
        self.words.get(n).copied().ok_or(EINVAL)
    }

    fn number(&self, n: usize) -> Result<u32, Errno> {
        parse(self.word(n)?.to_bytes()).ok_or(EINVAL)
    }
}

/// A number in decimal, or in octal behind a 0.
fn parse(text: &[u8]) -> Option<u32> {
    let base = if text.first() == Some(&b'0') { 8 } else { 10 };
    let mut number = 0u32;
    for byte in text {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit >= base {
            return None;
        }
        number = number.checked_mul(base)?.checked_add(digit)?;
    }
    (!text.is_empty()).then_some(number)
}
