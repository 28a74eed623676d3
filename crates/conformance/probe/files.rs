//! Questions about files and mounts.

use core::ffi::CStr;
use core::fmt::Write as _;

use crate::sys::{self, Errno, Fd};
use crate::value::Value;
use crate::{Answer, Args};

const O_WRONLY: usize = 0o1;
const O_CREAT: usize = 0o100;
const O_NOCTTY: usize = 0o400;
const O_NONBLOCK: usize = 0o4000;
const O_DIRECTORY: usize = if cfg!(target_arch = "aarch64") {
    0o40_000
} else {
    0o200_000
};
const O_RDWR: usize = 0o2;

/// `chmod PATH MODE`
pub(crate) fn chmod(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::chmod(args.word(0)?, args.number(1)?).map(drop)
}

/// `chown PATH UID GID`
pub(crate) fn chown(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::chown(args.word(0)?, args.number(1)?, args.number(2)?).map(drop)
}

/// `cwd`: the working directory.
pub(crate) fn cwd(_: &Args<'_>, value: &mut Value) -> Answer {
    let mut path = [0; 4096];
    let len = sys::getcwd(&mut path)?;
    value.push(path.get(..len.saturating_sub(1)).unwrap_or_default());
    Ok(())
}

/// `fill PATH BYTES`: writes that many zeros into a new file.
pub(crate) fn fill(args: &Args<'_>, _: &mut Value) -> Answer {
    let mut left = args.number(1)? as usize;
    let fd = sys::open(args.word(0)?, O_WRONLY | O_CREAT, 0o644)?;
    let zeros = [0; 4096];
    let mut written = Ok(0);
    while left > 0 && written.is_ok() {
        written = sys::write(fd, zeros.get(..left.min(zeros.len())).unwrap_or_default());
        left = left.saturating_sub(written.unwrap_or(0));
    }
    let _ = sys::close(fd);
    written.map(drop)
}

/// `list DIR`: the names, in the order of the directory, separated by slashes.
pub(crate) fn list(args: &Args<'_>, value: &mut Value) -> Answer {
    let fd = sys::open(args.word(0)?, O_DIRECTORY, 0)?;
    let mut entries = [0; 4096];
    loop {
        let got = sys::getdents(fd, &mut entries)?;
        if got == 0 {
            break;
        }
        let mut rest = entries.get(..got).unwrap_or_default();
        // struct linux_dirent64: inode, offset, length of 16 bits, type, name.
        while let Some(&[low, high]) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let name = rest.get(19..length).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            if name != b"." && name != b".." {
                value.separate(b'/');
                value.push(name);
            }
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
    let _ = sys::close(fd);
    Ok(())
}

/// `mkdir PATH`
pub(crate) fn mkdir(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::mkdir(args.word(0)?, 0o755).map(drop)
}

/// `mknod PATH`: a node of the device that /dev/null is.
pub(crate) fn mknod(args: &Args<'_>, _: &mut Value) -> Answer {
    const S_IFCHR: u32 = 0o20_000;
    sys::mknod(args.word(0)?, S_IFCHR | 0o666, 1 << 8 | 3).map(drop)
}

/// `open PATH`: for writing, changing nothing and waiting for nobody.
pub(crate) fn open(args: &Args<'_>, _: &mut Value) -> Answer {
    let fd = sys::open(args.word(0)?, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0)?;
    sys::close(fd).map(drop)
}

/// `pty DEV`: opens a new terminal by DEV/ptmx, and names it as in DEV/pts.
pub(crate) fn pty(args: &Args<'_>, value: &mut Value) -> Answer {
    const TIOCGPTN: usize = 0x8004_5430;
    let mut path = [0; 256];
    let path = joined(&[args.word(0)?.to_bytes(), b"/ptmx"], &mut path)?;
    let fd = sys::open(path, O_RDWR | O_NOCTTY, 0)?;
    let mut number = [0; 40];
    sys::ioctl(fd, TIOCGPTN, &mut number)?;
    let [a, b, c, d, ..] = number;
    let _ = write!(value, "{}", u32::from_ne_bytes([a, b, c, d]));
    Ok(())
}

/// `read PATH [BYTES]`: the content, or that many bytes of it.
pub(crate) fn read(args: &Args<'_>, value: &mut Value) -> Answer {
    let most = args.number(1).unwrap_or(u32::MAX) as usize;
    let fd = if args.word(0)?.to_bytes() == b"-" {
        0
    } else {
        sys::open(args.word(0)?, O_NONBLOCK | O_NOCTTY, 0)?
    };
    let mut part = [0; 4096];
    let mut total = 0;
    while total < most {
        let room = (most - total).min(part.len());
        let got = sys::read(fd, part.get_mut(..room).unwrap_or_default())?;
        if got == 0 {
            break;
        }
        value.push(part.get(..got).unwrap_or_default());
        total += got;
    }
    Ok(())
}

/// `readlink PATH`
pub(crate) fn readlink(args: &Args<'_>, value: &mut Value) -> Answer {
    let mut text = [0; 4096];
    let len = sys::readlink(args.word(0)?, &mut text)?;
    value.push(text.get(..len).unwrap_or_default());
    Ok(())
}

/// `reopen PATH`: tries to make a read-only mount writable again, as it is and from within a user
/// namespace where it has every capability, and then writes PATH/reopened.
pub(crate) fn reopen(args: &Args<'_>, _: &mut Value) -> Answer {
    const MS_REMOUNT: usize = 32;
    const MS_BIND: usize = 4096;
    const NEW_USER_AND_MOUNT: usize = 0x1000_0000 | 0x0002_0000;
    let path = args.word(0)?;
    let tries = || {
        let _ = sys::remount(path, MS_REMOUNT | MS_BIND);
        let _ = sys::remount(path, MS_REMOUNT);
    };
    tries();
    if sys::unshare(NEW_USER_AND_MOUNT).is_ok() {
        tries();
    }
    let mut new = [0; 4096];
    let new = joined(&[path.to_bytes(), b"/reopened"], &mut new)?;
    let fd = sys::open(new, O_WRONLY | O_CREAT, 0o644)?;
    sys::close(fd).map(drop)
}

/// `rename FROM TO`
pub(crate) fn rename(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::rename(args.word(0)?, args.word(1)?).map(drop)
}

/// `rmdir PATH`
pub(crate) fn rmdir(args: &Args<'_>, _: &mut Value) -> Answer {
    const AT_REMOVEDIR: usize = 0x200;
    sys::unlink(args.word(0)?, AT_REMOVEDIR).map(drop)
}

/// `stat PATH`: kind, permissions, uid, gid.
pub(crate) fn stat(args: &Args<'_>, value: &mut Value) -> Answer {
    let mut found = [0; 256];
    sys::statx(args.word(0)?, &mut found)?;
    // struct statx: uid at 20, gid at 24, mode at 28.
    let word = |at: usize| match found.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    };
    let mode = word(28) & 0xffff;
    let kind = match mode >> 12 {
        0o01 => "fifo",
        0o02 => "char",
        0o04 => "dir",
        0o06 => "block",
        0o10 => "file",
        0o12 => "link",
        0o14 => "socket",
        _ => "other",
    };
    let (uid, gid) = (word(20), word(24));
    let _ = write!(value, "{kind} {:o} {uid} {gid}", mode & 0o7777);
    Ok(())
}

/// `umount PATH`
pub(crate) fn umount(args: &Args<'_>, _: &mut Value) -> Answer {
    const MNT_DETACH: usize = 2;
    sys::umount(args.word(0)?, MNT_DETACH).map(drop)
}

/// `unlink PATH`
pub(crate) fn unlink(args: &Args<'_>, _: &mut Value) -> Answer {
    sys::unlink(args.word(0)?, 0).map(drop)
}

/// `write PATH TEXT`: into a file that is made if it is missing.
pub(crate) fn write(args: &Args<'_>, _: &mut Value) -> Answer {
    let fd = sys::open(args.word(0)?, O_WRONLY | O_CREAT | O_NONBLOCK, 0o644)?;
    let text = args.word(1).unwrap_or_default().to_bytes();
    let written = sys::write(fd, text);
    let _ = sys::close(fd);
    written.map(drop)
}

/// `escape PATH`: tries to reach PATH, an absolute path of the host, from a root that does not
/// have it. Names the ways on which it came there.
pub(crate) fn escape(args: &Args<'_>, value: &mut Value) -> Answer {
    const NEW_USER: usize = 0x1000_0000;
    let path = args.word(0)?.to_bytes();
    let mut found = |way: &[u8], reached: bool| {
        if reached {
            value.separate(b' ');
            value.push(way);
        }
    };
    let mut buffer = [0; 4096];
    for pid in [&b"1"[..], b"2", b"3", b"4"] {
        let through = joined(&[b"/proc/", pid, b"/root", path], &mut buffer)?;
        found(b"/proc/PID/root", exists(through));
        let through = joined(&[b"/proc/", pid, b"/cwd", path], &mut buffer)?;
        found(b"/proc/PID/cwd", exists(through));
    }
    let _ = sys::chdir(c"/");
    found(b"dotdot", climb(path)?);
    for fd in 0..64 {
        if sys::fchdir(fd).is_ok() {
            found(b"fd", climb(path)?);
        }
    }
    let _ = sys::chdir(c"/");
    found(b"chroot", by_chroot(path)?);
    let _ = sys::chdir(c"/");
    if sys::unshare(NEW_USER).is_ok() {
        found(b"userns-chroot", by_chroot(path)?);
    }
    Ok(())
}

/// Another chroot, while the working directory stays above it.
fn by_chroot(path: &[u8]) -> Result<bool, Errno> {
    let made = sys::mkdir(c"below", 0o755).is_ok();
    // Any directory but the root will do, where none can be made.
    let below = if made { c"below" } else { c"dir" };
    let above = sys::open(c".", O_DIRECTORY, 0)?;
    let changed = sys::chroot(below).is_ok();
    let reached = changed && sys::fchdir(above).is_ok() && climb(path)?;
    let _ = sys::close(above);
    Ok(reached)
}

/// Goes up as far as it goes, and looks for `path` there.
fn climb(path: &[u8]) -> Result<bool, Errno> {
    for _ in 0..128 {
        let _ = sys::chdir(c"..");
    }
    let mut buffer = [0; 4096];
    let relative = joined(&[b".", path], &mut buffer)?;
    Ok(exists(relative))
}

fn exists(path: &CStr) -> bool {
    sys::statx(path, &mut [0; 256]).is_ok()
}

/// The parts, one behind the other, as a path.
fn joined<'b>(parts: &[&[u8]], buffer: &'b mut [u8]) -> Result<&'b CStr, Errno> {
    const ENAMETOOLONG: Errno = 36;
    let mut len = 0;
    for byte in parts.iter().copied().flatten().chain(&[0]) {
        *buffer.get_mut(len).ok_or(ENAMETOOLONG)? = *byte;
        len += 1;
    }
    let text = buffer.get(..len).unwrap_or_default();
    CStr::from_bytes_with_nul(text).map_err(|_| ENAMETOOLONG)
}

/// The descriptor is of use to somebody.
pub(crate) fn is_open(fd: Fd) -> bool {
    const F_GETFD: usize = 1;
    sys::fcntl(fd, F_GETFD).is_ok()
}
