//! The system calls of the child, each with its types. Nothing here allocates.

use core::cell::Cell;
use core::ffi::CStr;
use core::mem::size_of;

use super::ops::{Call, Failed};
use super::raw::{self, AT_FDCWD, Errno, Fd, arg, call, nr};

pub(super) const EACCES: Errno = libc::EACCES;
pub(super) const EEXIST: Errno = libc::EEXIST;
pub(super) const EINVAL: Errno = libc::EINVAL;
pub(super) const ENOENT: Errno = libc::ENOENT;
pub(super) const ENOTDIR: Errno = libc::ENOTDIR;
pub(super) const ENOSYS: Errno = libc::ENOSYS;
pub(super) const ESTALE: Errno = libc::ESTALE;

pub(super) type Result<T> = core::result::Result<T, Failed>;

/// Attaches the name of the call to an errno.
pub(super) trait Named<T> {
    fn named(self, call: Call) -> Result<T>;
}

impl<T> Named<T> for core::result::Result<T, Errno> {
    fn named(self, call: Call) -> Result<T> {
        self.map_err(|errno| Failed { call, errno })
    }
}

/// A descriptor that is closed when it goes out of scope.
pub(super) struct Held(Fd);

impl Held {
    pub(super) fn new(number: usize) -> Self {
        // The kernel numbers descriptors from 0 to RLIMIT_NOFILE, far below i32::MAX.
        Self(Fd::try_from(number).unwrap_or(-1))
    }

    pub(super) fn fd(&self) -> Fd {
        self.0
    }

    /// Gives the descriptor up without closing it: exec does, because it is close-on-exec.
    pub(super) fn leak(self) -> Fd {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }
}

impl core::convert::From<Option<&Cell<Fd>>> for Held {
    /// Takes over the descriptor that was put there.
    fn from(place: Option<&Cell<Fd>>) -> Self {
        Self(place.map_or(-1, |place| place.replace(-1)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        raw::close(self.0);
    }
}

fn ptr(text: &CStr) -> usize {
    text.as_ptr() as usize
}

const O_PATH_CLOEXEC: usize = (libc::O_PATH | libc::O_CLOEXEC) as usize;
const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
const RECURSIVE: usize = libc::AT_RECURSIVE as usize;

// In every function below the pointers are to CStr values or to local structures, which live
// until the call returns; that is what each SAFETY comment refers to as "live for the call".

/// Opens `path` as the host sees it.
pub(super) fn open(path: &CStr, flags: i32) -> core::result::Result<Held, Errno> {
    open_at(AT_FDCWD, path, flags)
}

pub(super) fn open_at(dir: Fd, path: &CStr, flags: i32) -> core::result::Result<Held, Errno> {
    // SAFETY: the path is NUL-terminated and live for the call.
    let fd = unsafe {
        call(
            nr::OPENAT,
            [arg(dir), ptr(path), arg(flags | libc::O_CLOEXEC), 0, 0, 0],
        )
    }?;
    Ok(Held::new(fd))
}

/// Opens `path` below `root` as a place to mount on. No component may be a symbolic link: the
/// plan has resolved them all, so one that is there now was put there meanwhile.
pub(super) fn open_beneath(root: Fd, path: &CStr) -> Result<Held> {
    open_path(root, path).named(Call::OpenTarget)
}

/// Opens `path` below `dir` as a name and no more (`O_PATH`), following no link.
pub(super) fn open_path(dir: Fd, path: &CStr) -> core::result::Result<Held, Errno> {
    // openat2(2), struct open_how.
    let how: [u64; 3] = [
        O_PATH_CLOEXEC as u64,
        0,
        libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS,
    ];
    let args = [
        arg(dir),
        ptr(path),
        how.as_ptr() as usize,
        size_of::<[u64; 3]>(),
        0,
        0,
    ];
    // SAFETY: the path and the structure are live for the call, the size is the structure's.
    let fd = unsafe { call(nr::OPENAT2, args) }?;
    Ok(Held::new(fd))
}

/// A detached copy of the mount tree at `path`.
pub(super) fn clone_tree(dir: Fd, path: &CStr, follow: bool) -> Result<Held> {
    const OPEN_TREE_CLONE: usize = 1;
    let empty = if path.is_empty() { EMPTY_PATH } else { 0 };
    let nofollow = if follow {
        0
    } else {
        libc::AT_SYMLINK_NOFOLLOW as usize
    };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as usize | RECURSIVE | empty | nofollow;
    // SAFETY: the path is NUL-terminated and live for the call.
    let fd = unsafe { call(nr::OPEN_TREE, [arg(dir), ptr(path), flags, 0, 0, 0]) }
        .named(Call::OpenTree)?;
    Ok(Held::new(fd))
}

/// Sets attributes of the mount `tree`; with `recursive` of all below it too, which become
/// private as well, so that nothing propagates into or out of them.
pub(super) fn set_attributes(tree: Fd, set: u64, recursive: bool) -> Result<()> {
    // mount_setattr(2), struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attr: [u64; 4] = [set, 0, if recursive { libc::MS_PRIVATE } else { 0 }, 0];
    let flags = EMPTY_PATH | if recursive { RECURSIVE } else { 0 };
    // SAFETY: the structure is live for the call and the size is the structure's.
    unsafe {
        call(
            nr::MOUNT_SETATTR,
            [
                arg(tree),
                ptr(c""),
                flags,
                attr.as_ptr() as usize,
                size_of::<[u64; 4]>(),
                0,
            ],
        )
    }
    .named(Call::SetAttr)?;
    Ok(())
}

/// A system call whose presence can be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    OpenTree,
    MoveMount,
    FsOpen,
    FsConfig,
    FsMount,
    OpenAt2,
    MountSetAttr,
    CloseRange,
}

/// Whether there is such a call: not if the kernel is older, nor if a system call filter says so
/// in its name (ENOSYS). Every argument is -1: no descriptor, no address and no set of flags that
/// one of them accepts, so nothing is done.
pub(super) fn has(asked: Asked) -> bool {
    let number = match asked {
        Asked::OpenTree => nr::OPEN_TREE,
        Asked::MoveMount => nr::MOVE_MOUNT,
        Asked::FsOpen => nr::FSOPEN,
        Asked::FsConfig => nr::FSCONFIG,
        Asked::FsMount => nr::FSMOUNT,
        Asked::OpenAt2 => nr::OPENAT2,
        Asked::MountSetAttr => nr::MOUNT_SETATTR,
        Asked::CloseRange => nr::CLOSE_RANGE,
    };
    // SAFETY: all of these calls refuse the flags or the descriptor; where one looks at a pointer
    // before, it finds -1 to be outside of the address space (EFAULT). So nothing of this process
    // is read, written or closed.
    let answer = unsafe { call(number, [usize::MAX; 6]) };
    answer != Err(ENOSYS)
}

/// Gives the attached mount whose root is at `path` exactly these flags of mount(2), and leaves
/// alone how it keeps access times.
pub(super) fn remount_bind(path: &CStr, flags: u64) -> core::result::Result<(), Errno> {
    let flags = usize::try_from(libc::MS_REMOUNT | libc::MS_BIND | flags).unwrap_or(0);
    // SAFETY: the paths are NUL-terminated and live for the call; type and data may be null for
    // a remount.
    unsafe { call(nr::MOUNT, [ptr(c"none"), ptr(path), 0, flags, 0, 0]) }.map(drop)
}

/// Attaches the `tree`, detached or not, on the directory or file `target`.
pub(super) fn attach(tree: Fd, target: Fd) -> Result<()> {
    const F_EMPTY_PATH: usize = 0x04;
    const T_EMPTY_PATH: usize = 0x40;
    let flags = F_EMPTY_PATH | T_EMPTY_PATH;
    // SAFETY: both paths are the empty string constant.
    unsafe {
        call(
            nr::MOVE_MOUNT,
            [arg(tree), ptr(c""), arg(target), ptr(c""), flags, 0],
        )
    }
    .named(Call::MoveMount)?;
    Ok(())
}

/// Attaches the detached `tree` at `path` below `dir`; the last component is not followed.
pub(super) fn attach_at(tree: Fd, dir: Fd, path: &CStr) -> Result<()> {
    const F_EMPTY_PATH: usize = 0x04;
    // SAFETY: the path is NUL-terminated and live for the call.
    unsafe {
        call(
            nr::MOVE_MOUNT,
            [arg(tree), ptr(c""), arg(dir), ptr(path), F_EMPTY_PATH, 0],
        )
    }
    .named(Call::MoveMount)?;
    Ok(())
}

/// A new file system, not attached yet.
pub(super) struct NewFs(Held);

impl NewFs {
    pub(super) fn open(kind: &CStr) -> Result<Self> {
        const FSOPEN_CLOEXEC: usize = 1;
        // SAFETY: the name is NUL-terminated and live for the call.
        let fd = unsafe { call(nr::FSOPEN, [ptr(kind), FSOPEN_CLOEXEC, 0, 0, 0, 0]) }
            .named(Call::FsOpen)?;
        let fs = Self(Held::new(fd));
        fs.option(c"source", kind)?;
        Ok(fs)
    }

    pub(super) fn option(&self, key: &CStr, value: &CStr) -> Result<()> {
        const SET_STRING: usize = 1;
        // SAFETY: key and value are NUL-terminated and live for the call.
        unsafe {
            call(
                nr::FSCONFIG,
                [arg(self.0.fd()), SET_STRING, ptr(key), ptr(value), 0, 0],
            )
        }
        .named(Call::FsConfig)?;
        Ok(())
    }

    /// A parameter without a value.
    pub(super) fn flag(&self, key: &CStr) -> Result<()> {
        const SET_FLAG: usize = 0;
        // SAFETY: the key is NUL-terminated and live for the call; a flag has no value.
        unsafe {
            call(
                nr::FSCONFIG,
                [arg(self.0.fd()), SET_FLAG, ptr(key), 0, 0, 0],
            )
        }
        .named(Call::FsConfig)?;
        Ok(())
    }

    pub(super) fn mount(self, attributes: u64) -> Result<Held> {
        const CMD_CREATE: usize = 6;
        const FSMOUNT_CLOEXEC: usize = 1;
        let fs = arg(self.0.fd());
        // The attributes of fsmount(2) have 32 bits, and so have all that are in use.
        let attributes = usize::try_from(attributes).unwrap_or(0);
        // SAFETY: numbers alone.
        unsafe { call(nr::FSCONFIG, [fs, CMD_CREATE, 0, 0, 0, 0]) }.named(Call::FsConfig)?;
        // SAFETY: numbers alone.
        let fd = unsafe { call(nr::FSMOUNT, [fs, FSMOUNT_CLOEXEC, attributes, 0, 0, 0]) }
            .named(Call::FsMount)?;
        Ok(Held::new(fd))
    }
}

pub(super) fn mkdir(dir: Fd, path: &CStr, mode: u32) -> core::result::Result<(), Errno> {
    // SAFETY: the path is NUL-terminated and live for the call.
    unsafe { call(nr::MKDIRAT, [arg(dir), ptr(path), mode as usize, 0, 0, 0]) }.map(drop)
}

/// `kind` is `S_IFREG` or `S_IFIFO`.
pub(super) fn mknod(dir: Fd, path: &CStr, kind: u32, mode: u32) -> core::result::Result<(), Errno> {
    // SAFETY: the path is NUL-terminated and live for the call.
    unsafe {
        call(
            nr::MKNODAT,
            [arg(dir), ptr(path), (kind | mode) as usize, 0, 0, 0],
        )
    }
    .map(drop)
}

pub(super) fn symlink(target: &CStr, dir: Fd, path: &CStr) -> core::result::Result<(), Errno> {
    // SAFETY: both are NUL-terminated and live for the call.
    unsafe { call(nr::SYMLINKAT, [ptr(target), arg(dir), ptr(path), 0, 0, 0]) }.map(drop)
}

/// What there is to read next; nothing at the end.
pub(super) fn read(fd: Fd, buffer: &mut [u8]) -> core::result::Result<&[u8], Errno> {
    // SAFETY: the pointer and length are those of a live slice, which the kernel writes.
    let read = unsafe {
        call(
            nr::READ,
            [arg(fd), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0],
        )
    }?;
    Ok(buffer.get(..read).unwrap_or_default())
}

pub(super) fn write(fd: Fd, mut data: &[u8]) -> core::result::Result<(), Errno> {
    while !data.is_empty() {
        // SAFETY: the pointer and length are those of a live slice.
        let n = unsafe {
            call(
                nr::WRITE,
                [arg(fd), data.as_ptr() as usize, data.len(), 0, 0, 0],
            )
        }?;
        data = data.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// Creates a file that must not exist.
pub(super) fn create(dir: Fd, path: &CStr, mode: u32) -> core::result::Result<Held, Errno> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the path is NUL-terminated and live for the call.
    let fd = unsafe {
        call(
            nr::OPENAT,
            [arg(dir), ptr(path), arg(flags), mode as usize, 0, 0],
        )
    }?;
    Ok(Held::new(fd))
}

/// The owner of what `fd` refers to (statx(2)).
pub(super) fn owner(fd: Fd) -> Option<(u32, u32)> {
    const STATX_UID_GID: usize = 0x8 | 0x10;
    // struct statx has 256 bytes; uid and gid are at 20 and 24.
    let mut buffer = [0u32; 64];
    // SAFETY: the buffer is live for the call and has the size of the structure.
    unsafe {
        call(
            nr::STATX,
            [
                arg(fd),
                ptr(c""),
                EMPTY_PATH,
                STATX_UID_GID,
                buffer.as_mut_ptr() as usize,
                0,
            ],
        )
    }
    .ok()?;
    Some((buffer[5], buffer[6]))
}

/// The permissions of what `fd` refers to (statx(2)).
pub(super) fn mode(fd: Fd) -> Option<u32> {
    Some(u32::from(mode_and_type(fd)?) & 0o7777)
}

/// Whether `fd` refers to a socket in a file system (statx(2)); not, if the file system does not
/// tell.
pub(super) fn is_socket(fd: Fd) -> bool {
    mode_and_type(fd).is_some_and(|mode| u32::from(mode) & libc::S_IFMT == libc::S_IFSOCK)
}

fn mode_and_type(fd: Fd) -> Option<u16> {
    const STATX_TYPE_MODE: usize = 0x1 | 0x2;
    // struct statx has 256 bytes; stx_mode is the 16-bit number at 28.
    let mut buffer = [0u16; 128];
    // SAFETY: the buffer is live for the call and has the size of the structure.
    let told = unsafe {
        call(
            nr::STATX,
            [
                arg(fd),
                ptr(c""),
                EMPTY_PATH,
                STATX_TYPE_MODE,
                buffer.as_mut_ptr() as usize,
                0,
            ],
        )
    };
    told.is_ok().then_some(buffer[14])
}

/// The id of the mount that is seen at `path` from `dir` (statx(2), `STATX_MNT_ID`, Linux 5.8).
///
/// Nothing else is asked for, so no file system is troubled: one that does not answer does not
/// hold this up, and one that answers nobody but its owner (FUSE) does not refuse. The kernel
/// tells the id in any case.
pub(super) fn mount_id(dir: Fd, path: &CStr) -> core::result::Result<u64, Errno> {
    const STATX_MNT_ID: u64 = 0x1000;
    const AT_STATX_DONT_SYNC: usize = 0x4000;
    // struct statx has 256 bytes; stx_mask is the 32-bit number at its beginning, stx_mnt_id the
    // 64-bit number at 0x90.
    let mut buffer = [0u64; 32];
    let empty = if path.is_empty() { EMPTY_PATH } else { 0 };
    let args = [
        arg(dir),
        ptr(path),
        empty | AT_STATX_DONT_SYNC,
        0,
        buffer.as_mut_ptr() as usize,
        0,
    ];
    // SAFETY: path and buffer are live for the call, and the buffer has the structure's size.
    unsafe { call(nr::STATX, args) }?;
    // Both processors that this is compiled for have the low half first.
    if buffer[0] & STATX_MNT_ID == 0 {
        return Err(ENOSYS);
    }
    Ok(buffer[0x90 / 8])
}

pub(super) fn chown(fd: Fd, uid: u32, gid: u32) {
    // SAFETY: numbers alone. An owner that is not mapped here stays as it is.
    let _ = unsafe { call(nr::FCHOWN, [arg(fd), uid as usize, gid as usize, 0, 0, 0]) };
}

/// As [`chown`], of what was opened as a name alone (`O_PATH`).
pub(super) fn chown_path(fd: Fd, uid: u32, gid: u32) {
    let args = [arg(fd), ptr(c""), uid as usize, gid as usize, EMPTY_PATH, 0];
    // SAFETY: the path is a constant. An owner that is not mapped here stays as it is.
    let _ = unsafe { call(nr::FCHOWNAT, args) };
}

pub(super) fn chdir(path: &CStr) -> core::result::Result<(), Errno> {
    // SAFETY: the path is NUL-terminated and live for the call.
    unsafe { call(nr::CHDIR, [ptr(path), 0, 0, 0, 0, 0]) }.map(drop)
}

pub(super) fn fchdir(fd: Fd) -> core::result::Result<(), Errno> {
    // SAFETY: numbers alone.
    unsafe { call(nr::FCHDIR, [arg(fd), 0, 0, 0, 0, 0]) }.map(drop)
}

pub(super) fn chroot(path: &CStr) -> core::result::Result<(), Errno> {
    // SAFETY: the path is NUL-terminated and live for the call.
    unsafe { call(nr::CHROOT, [ptr(path), 0, 0, 0, 0, 0]) }.map(drop)
}

/// pivot_root(2) with the working directory as both, which stacks the old root on the new one.
pub(super) fn pivot_here() -> core::result::Result<(), Errno> {
    // SAFETY: the paths are constants.
    unsafe { call(nr::PIVOT_ROOT, [ptr(c"."), ptr(c"."), 0, 0, 0, 0]) }.map(drop)
}

pub(super) fn detach_here() -> core::result::Result<(), Errno> {
    // SAFETY: the path is a constant.
    unsafe {
        call(
            nr::UMOUNT2,
            [ptr(c"."), libc::MNT_DETACH as usize, 0, 0, 0, 0],
        )
    }
    .map(drop)
}

pub(super) fn make_all_private() -> core::result::Result<(), Errno> {
    let flags = usize::try_from(libc::MS_REC | libc::MS_PRIVATE).unwrap_or(0);
    // SAFETY: the paths are constants; type and data may be null for a change of propagation.
    unsafe { call(nr::MOUNT, [ptr(c"none"), ptr(c"/"), 0, flags, 0, 0]) }.map(drop)
}

pub(super) fn prctl(option: i32, a: usize, b: usize) -> core::result::Result<(), Errno> {
    // SAFETY: the options used here take numbers.
    unsafe { call(nr::PRCTL, [arg(option), a, b, 0, 0, 0]) }.map(drop)
}

/// A call of which all arguments are numbers.
pub(super) fn numbers(nr: usize, a: [usize; 3]) -> core::result::Result<(), Errno> {
    // SAFETY: the callers pass numbers of calls that take numbers alone.
    unsafe { call(nr, [a[0], a[1], a[2], 0, 0, 0]) }.map(drop)
}

/// Sleeps for ten milliseconds, or until a signal comes.
pub(super) fn pause_for_a_moment() {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    // SAFETY: nothing is waited for; the time is live for the call, which writes what is left.
    let _ = unsafe { call(nr::PPOLL, [0, 0, (&raw mut time) as usize, 0, 0, 0]) };
}

/// Brings `lo` up (netdevice(7)).
pub(super) fn loopback_up() -> Result<()> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: numbers alone.
    let fd = unsafe { call(nr::SOCKET, [arg(libc::AF_INET), arg(kind), 0, 0, 0, 0]) }
        .named(Call::Socket)?;
    let socket = Held::new(fd);
    // struct ifreq: 16 bytes of name, then the flags as a short.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    const SIOCSIFFLAGS: usize = 0x8914;
    let args = [
        arg(socket.fd()),
        SIOCSIFFLAGS,
        request.as_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the structure is live for the call.
    unsafe { call(nr::IOCTL, args) }.named(Call::Ioctl)?;
    Ok(())
}

pub(super) fn set_host_name(name: &[u8]) -> core::result::Result<(), Errno> {
    // SAFETY: the pointer and length are those of a live slice.
    unsafe {
        call(
            nr::SETHOSTNAME,
            [name.as_ptr() as usize, name.len(), 0, 0, 0, 0],
        )
    }
    .map(drop)
}

/// Sets the inheritable capabilities to `keep`, and the effective and permitted ones to `keep`
/// and `more` (capset(2), version 3).
pub(super) fn set_capabilities(keep: u64, more: u64) -> core::result::Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let low = |set: u64| u32::try_from(set & 0xffff_ffff).unwrap_or(0);
    let high = |set: u64| low(set >> 32);
    let now = keep | more;
    // Effective, permitted, inheritable: the low words, then the high ones.
    let data: [u32; 6] = [
        low(now),
        low(now),
        low(keep),
        high(now),
        high(now),
        high(keep),
    ];
    // SAFETY: header and data are live for the call and of version 3's size.
    unsafe {
        call(
            nr::CAPSET,
            [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0],
        )
    }
    .map(drop)
}

/// Makes the permitted capabilities effective, which a change of user id leaves permitted alone.
pub(super) fn raise_permitted() -> core::result::Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    // Twice effective, permitted, inheritable: the low and the high words.
    let mut data = [0u32; 6];
    let args = [
        header.as_ptr() as usize,
        data.as_mut_ptr() as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: header and data are live for the call and of version 3's size.
    unsafe { call(nr::CAPGET, args) }?;
    data[0] = data[1];
    data[3] = data[4];
    let args = [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: as above.
    unsafe { call(nr::CAPSET, args) }.map(drop)
}

/// The soft and the hard limit of open files (getrlimit(2)).
pub(super) type FileLimit = [u64; 2];

/// Lets this process have as many open files as it may, and returns what it could have before.
pub(super) fn raise_file_limit() -> core::result::Result<FileLimit, Errno> {
    let mut old: FileLimit = [0; 2];
    let args = [
        0,
        libc::RLIMIT_NOFILE as usize,
        0,
        old.as_mut_ptr() as usize,
        0,
        0,
    ];
    // SAFETY: the structure is live for the call; a null pointer leaves the limit as it is.
    unsafe { call(nr::PRLIMIT64, args) }?;
    set_file_limit([old[1]; 2])?;
    Ok(old)
}

pub(super) fn set_file_limit(limit: FileLimit) -> core::result::Result<(), Errno> {
    let args = [
        0,
        libc::RLIMIT_NOFILE as usize,
        limit.as_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the structure is live for the call.
    unsafe { call(nr::PRLIMIT64, args) }.map(drop)
}
