//! The init program as a file that can be executed by descriptor.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::OnceLock;

use sandboxlib_core::{FailedStep, SpawnError};
use sandboxlib_seccomp::{Arch, Program};

use super::raw::nr;

/// What the init program calls once it has begun, for itself and between the birth of a command
/// and its execution.
const CALLS: [usize; 26] = [
    nr::READ,
    nr::CLOSE,
    nr::MMAP,
    nr::MUNMAP,
    nr::RT_SIGPROCMASK,
    nr::PREAD64,
    nr::SENDTO,
    nr::SENDMSG,
    nr::RECVMSG,
    nr::RECVFROM,
    nr::EXECVE,
    nr::WAIT4,
    nr::KILL,
    nr::FCNTL,
    nr::CHDIR,
    nr::SETPGID,
    nr::SETSID,
    nr::EXIT_GROUP,
    nr::OPENAT,
    nr::PPOLL,
    nr::DUP3,
    nr::PRLIMIT64,
    nr::SETPRIORITY,
    nr::CLOSE_RANGE,
    nr::LANDLOCK_ADD_RULE,
    nr::LANDLOCK_RESTRICT_SELF,
];

/// Whether the init program can do its work under the filter `program`, so that it can load it once
/// for all commands, and before there is one.
pub(super) fn can_live_under(program: &Program, arch: Arch) -> bool {
    // Without and with CLONE_VM, both with CLONE_VFORK and SIGCHLD.
    const CLONES: [u64; 2] = [0x4011, 0x4111];
    // TIOCSCTTY, TIOCSPTLCK, TIOCGPTPEER.
    const IOCTLS: [u64; 3] = [0x540e, 0x4004_5431, 0x5441];
    let allows = |number: usize, arguments: [Option<u64>; 6]| {
        u32::try_from(number).is_ok_and(|number| program.allows(arch, number, arguments))
    };
    CALLS.iter().all(|number| allows(*number, [None; 6]))
        && CLONES
            .iter()
            .all(|flags| allows(nr::CLONE, [Some(*flags), None, None, None, None, None]))
        && IOCTLS
            .iter()
            .all(|request| allows(nr::IOCTL, [None, Some(*request), None, None, None, None]))
}

/// Compiled by the build script from src/init.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// The program, written once for the whole process and read-only from then on.
pub(super) fn program() -> Result<BorrowedFd<'static>, SpawnError> {
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file.as_fd());
    }
    let file = make().map_err(|e| SpawnError::new(FailedStep::Resources("the init program"), e))?;
    Ok(FILE.get_or_init(|| file).as_fd())
}

fn make() -> io::Result<OwnedFd> {
    if PROGRAM.is_empty() {
        let why = "this build of the library has none for this target";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    match in_memory() {
        Ok(file) => Ok(file),
        // vm.memfd_noexec forbids it, or there is no memfd: an unlinked file does as well.
        Err(first) => unlinked().map_err(|_| first),
    }
}

/// A sealed memfd: nothing inside can change what the next sandbox executes, not even through
/// /proc/1/exe.
pub(super) fn in_memory() -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let mut fd = memfd(flags | libc::MFD_EXEC);
    if fd
        .as_ref()
        .is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
    {
        // Before Linux 6.3 the flag is unknown and every memfd executable.
        fd = memfd(flags);
    }
    let mut file = File::from(fd?);
    file.write_all(PROGRAM)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: fcntl with numbers alone, on a descriptor that is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

/// A file without a name that holds `data`, to be read from its beginning.
pub(crate) fn content(data: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd(libc::MFD_CLOEXEC)?);
    file.write_all(data)?;
    file.rewind()?;
    Ok(file.into())
}

fn memfd(flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated constant.
    let fd = unsafe { libc::memfd_create(c"sandbox-init".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file without a name, in the first directory that can hold and execute one.
fn unlinked() -> io::Result<OwnedFd> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let fixed = ["/dev/shm", "/tmp", "/var/tmp"].map(Into::into);
    for dir in runtime.into_iter().chain(fixed) {
        match unlinked_in(std::path::Path::new(&dir)) {
            Ok(file) => return Ok(file),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unlinked_in(dir: &std::path::Path) -> io::Result<OwnedFd> {
    let mut writer = OpenOptions::new()
        .write(true)
        .mode(0o500)
        .custom_flags(libc::O_TMPFILE)
        .open(dir)?;
    writer.write_all(PROGRAM)?;
    // A file that is open for writing cannot be executed, so it is opened anew and the writer
    // closed.
    let reader = File::open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?;
    drop(writer);
    if on_noexec_mount(&reader)? {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(reader.into())
}

/// Whether the file lies on a mount from which nothing can be executed.
fn on_noexec_mount(file: &File) -> io::Result<bool> {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the descriptor is open, and the structure is live for the call.
    if unsafe { libc::fstatvfs(file.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstatvfs succeeded, so it has filled the structure in.
    Ok(unsafe { stat.assume_init() }.f_flag & libc::ST_NOEXEC != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program without arguments gives up with a status of its own.
    fn runs(file: &OwnedFd) -> bool {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::process::Command::new(path)
            .status()
            .is_ok_and(|s| s.code() == Some(125))
    }

    #[test]
    fn a_sealed_memfd_can_be_executed_and_not_changed() {
        let file = in_memory().unwrap();
        assert!(runs(&file));
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut writer = OpenOptions::new().write(true).open(path).unwrap();
        assert!(writer.write_all(b"x").is_err());
    }

    #[test]
    fn an_unlinked_file_does_as_well_and_has_no_name() {
        let file = unlinked().unwrap();
        assert!(runs(&file));
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        assert!(path.to_string_lossy().ends_with("(deleted)"), "{path:?}");
    }
}
