//! Landlock (landlock(7)), by bare system calls: the rules name mounts that exist in the child
//! alone, so the child has to make them, and a library would allocate there.

use std::ffi::CStr;
use std::mem::size_of;

use sandboxlib_core::{FileRules, Landlock, SpawnError};

use super::lower::relative;
use super::ops::{Call, Failed, Wall};
use super::raw::{self, AT_FDCWD, Errno, Fd, arg, nr};
use super::reopen::{self, EXECUTE, READ_FILE, TRUNCATE, WRITE_FILE, add, unless_no_file};
use super::sys::{self, Held, Named as _, NewFs, Result};

// The rights are those of linux/landlock.h.
const READ_DIR: u64 = 1 << 3;
/// Removing and making of every kind, from `REMOVE_DIR` to `MAKE_SYM`.
const CHANGE_DIR: u64 = 0x1ff << 4;
/// Moving and linking from one directory to another.
const REFER: u64 = 1 << 13;
const RESOLVE_UNIX: u64 = 1 << 16;

const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
const WRITE: u64 = WRITE_FILE | CHANGE_DIR | REFER | TRUNCATE | RESOLVE_UNIX;

const TCP: u64 = 0b11;
const UDP: u64 = 0b1100;
const ABSTRACT_SOCKETS: u64 = 1;
const SIGNALS: u64 = 1 << 1;

const TRUNCATE_ABI: u32 = 3;

/// The ABI of the kernel.
pub(super) fn abi() -> core::result::Result<u32, Errno> {
    const VERSION: usize = 1;
    // SAFETY: with this flag there is no structure, and the address has to be null.
    let abi = unsafe { raw::call(nr::LANDLOCK_CREATE_RULESET, [0, 0, VERSION, 0, 0, 0]) }?;
    Ok(u32::try_from(abi).unwrap_or(0))
}

/// In the kernel's numbers.
pub(super) fn wall(wanted: &Landlock) -> core::result::Result<Wall, SpawnError> {
    let abi = wanted.abi;
    let mut ports = 0;
    if wanted.no_ports {
        ports |= if abi >= Landlock::TCP { TCP } else { 0 };
        ports |= if abi >= Landlock::UDP { UDP } else { 0 };
    }
    let mut scopes = 0;
    if abi >= Landlock::SCOPES {
        scopes |= ABSTRACT_SOCKETS;
        scopes |= if wanted.no_signals { SIGNALS } else { 0 };
    }
    let mut wall = Wall {
        handled: [0, ports, scopes],
        rules: Vec::new(),
        queues: false,
    };
    if let Some(files) = &wanted.files {
        let mut handled = READ | WRITE;
        if abi < TRUNCATE_ABI {
            handled &= !TRUNCATE;
        }
        if abi < Landlock::SOCKETS {
            handled &= !RESOLVE_UNIX;
        }
        wall.handled[0] = handled;
        wall.rules = rules(files, handled)?;
        wall.queues = files.queues;
    }
    Ok(wall)
}

fn rules(
    files: &FileRules,
    handled: u64,
) -> core::result::Result<Vec<(std::ffi::CString, u64)>, SpawnError> {
    let mut rules = vec![(c".".to_owned(), READ)];
    let unix = handled & RESOLVE_UNIX;
    for path in &files.writable {
        rules.push((relative(path)?, handled & (READ | WRITE)));
    }
    if unix != 0 {
        for path in &files.sockets {
            rules.push((relative(path)?, unix));
        }
    }
    Ok(rules)
}

/// Restricts this process and all that it starts. It is in the root directory of the sandbox, and
/// still has its capabilities. `later` is a descriptor that is replaced by what is better closed
/// later.
pub(super) fn restrict(wall: &Wall, init: Fd, streams: &[(Fd, Fd)], later: Fd) -> Result<()> {
    if wall.handled == [0; 3] {
        return Ok(());
    }
    let ruleset = build(wall, init, later)?;
    if wall.handled[0] != 0 {
        for fd in given(streams) {
            reopen::allow(ruleset.fd(), fd, wall.handled[0]).named(Call::LandlockRule)?;
        }
    }
    reopen::restrict(ruleset.fd()).named(Call::LandlockRestrict)
}

/// Leaves the rules in the place of `kept`, for a command whose streams are not known yet: who
/// becomes it restricts itself. `later` is as above.
pub(super) fn leave(wall: &Wall, init: Fd, later: Fd, kept: Fd) -> Result<()> {
    let ruleset = build(wall, init, later)?;
    sys::numbers(nr::DUP3, [arg(ruleset.fd()), arg(kept), 0]).named(Call::LandlockRule)
}

fn build(wall: &Wall, init: Fd, later: Fd) -> Result<Held> {
    let ruleset = create(wall.handled)?;
    for (path, rights) in &wall.rules {
        allow_below(ruleset.fd(), path, *rights)?;
    }
    let handled = wall.handled[0];
    if handled != 0 {
        // Where the init program is no memfd it is a file without a name.
        add(ruleset.fd(), init, EXECUTE | READ_FILE)
            .or_else(unless_no_file)
            .named(Call::LandlockRule)?;
        if wall.queues {
            allow_queues(ruleset.fd(), later)?;
        }
    }
    Ok(ruleset)
}

/// POSIX message queues are files, in a file system that each IPC namespace has out of sight, and
/// there they would be refused like any file that no rule is about. A mount of it leads to its root.
///
/// It takes the right to mount in the owner of the IPC namespace. Where that is missing (the
/// namespace is shared and belongs to somebody else), or there are no such queues, none can be
/// opened.
///
/// When the last descriptor of the mount is closed it is taken apart, and the kernel waits until
/// no processor can still look at it (synchronize_rcu_expedited in `namespace_unlock`), some
/// 90 µs. So it is left open as `later`, for the init program to close while the command runs.
fn allow_queues(ruleset: Fd, later: Fd) -> Result<()> {
    let Ok(queues) = NewFs::open(c"mqueue").and_then(|fs| fs.mount(0)) else {
        return Ok(());
    };
    add(ruleset, queues.fd(), READ_FILE | WRITE_FILE).named(Call::LandlockRule)?;
    sys::numbers(nr::DUP3, [arg(queues.fd()), arg(later), 0]).named(Call::LandlockRule)
}

/// The descriptors that the command will have: what is moved into place, and the standard streams
/// that are in place already.
fn given(streams: &[(Fd, Fd)]) -> impl Iterator<Item = Fd> {
    let in_place = (0..3).filter(|fd| streams.iter().all(|(_, to)| to != fd));
    in_place.chain(streams.iter().map(|(from, _)| *from))
}

fn create(handled: [u64; 3]) -> Result<Held> {
    // struct landlock_ruleset_attr, of which older kernels know the beginning: what they do not
    // know is zero, and then they accept it.
    let args = [handled.as_ptr() as usize, size_of::<[u64; 3]>(), 0, 0, 0, 0];
    // SAFETY: the structure is live for the call and the size is the structure's.
    let fd = unsafe { raw::call(nr::LANDLOCK_CREATE_RULESET, args) }.named(Call::LandlockCreate)?;
    Ok(Held::new(fd))
}

fn allow_below(ruleset: Fd, path: &CStr, rights: u64) -> Result<()> {
    let opened = match sys::open_path(AT_FDCWD, path) {
        Ok(opened) => opened,
        // What the command cannot get at needs no rule.
        Err(libc::EACCES) => return Ok(()),
        Err(errno) => {
            return Err(Failed {
                call: Call::OpenTarget,
                errno,
            });
        }
    };
    match add(ruleset, opened.fd(), rights) {
        // The rights of directories make no sense for a file.
        Err(libc::EINVAL) => add(ruleset, opened.fd(), rights & FILE),
        done => done,
    }
    .named(Call::LandlockRule)
}

const FILE: u64 = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE | RESOLVE_UNIX;
