//! The system calls that the standard library does not offer: the only unsafe code here.
//!
//! The functions are safe to call because of what they take: a path is a `CStr`, memory is a slice
//! or an array whose length the kernel is told or knows, and everything else is a number that it
//! checks. None of them maps, unmaps or shares memory that the caller can see.

#![expect(unsafe_code, reason = "the standard library has no names for these")]

use std::ffi::{CStr, c_long};
use std::io;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;

pub(crate) use arch::int80;
use arch::nr;

pub(crate) type Fd = i32;
pub(crate) type Result<T = usize> = io::Result<T>;

/// Where a relative path begins: the working directory.
pub(crate) const CWD: Fd = -100;

// SAFETY: syscall(2) is a function of libc, which the standard library links; this is its
// declaration in <unistd.h>.
unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// # Safety
/// The words must be what the call takes; pointers among them must be valid for what the kernel
/// does with them.
unsafe fn call(number: usize, w: [usize; 6]) -> Result {
    // SAFETY: passed on to the caller. Words that a call does not take are ignored.
    let returned = unsafe { syscall(number as c_long, w[0], w[1], w[2], w[3], w[4], w[5]) };
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

fn signed(number: i32) -> usize {
    number as isize as usize
}

/// The address of a slice, for a structure that holds one. Only `call` gives it a meaning.
fn at<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

/// Each line is a function, the number of its system call, and the words of that. Where a word is
/// a pointer it comes from a `CStr`, or from a slice or array whose length the kernel is told or
/// knows.
macro_rules! system_calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) => $nr:ident($($word:expr),*);)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name($($arg: $kind),*) -> Result {
            let mut words = [0; 6];
            for (place, word) in words.iter_mut().zip([$($word),*] as [usize; system_calls!(@ $($word)*)]) {
                *place = word;
            }
            // SAFETY: the references behind the pointers live until the call is over, and they are
            // of the length that the kernel takes, see the table. The numbers it checks itself.
            unsafe { call(nr::$nr, words) }
        }
    )*};
    (@) => { 0 };
    (@ $first:tt $($rest:tt)*) => { 1 + system_calls!(@ $($rest)*) };
}

system_calls! {
    openat(dir: Fd, path: &CStr, flags: usize, mode: u32)
        => OPENAT(signed(dir), path.as_ptr() as usize, flags, mode as usize);
    close(fd: Fd) => CLOSE(signed(fd));
    read(fd: Fd, into: &mut [u8]) => READ(signed(fd), into.as_mut_ptr() as usize, into.len());
    write(fd: Fd, from: &[u8]) => WRITE(signed(fd), from.as_ptr() as usize, from.len());
    fcntl(fd: Fd, command: usize, word: usize) => FCNTL(signed(fd), command, word);
    dup2(from: Fd, to: Fd) => DUP3(signed(from), signed(to), 0);
    fchdir(fd: Fd) => FCHDIR(signed(fd));
    /// renameat2(2), `RENAME_EXCHANGE`.
    exchange(a: &CStr, b: &CStr)
        => RENAMEAT2(signed(CWD), a.as_ptr() as usize, signed(CWD), b.as_ptr() as usize, 2);
    chroot(path: &CStr) => CHROOT(path.as_ptr() as usize);
    mknod(path: &CStr, mode: u32, device: usize)
        => MKNODAT(signed(CWD), path.as_ptr() as usize, mode as usize, device);
    set_xattr(path: &CStr, name: &CStr, value: &[u8])
        => SETXATTR(path.as_ptr() as usize, name.as_ptr() as usize, value.as_ptr() as usize, value.len(), 0);
    /// ioctl(2) of a request whose word is a number.
    ioctl(fd: Fd, request: usize, word: usize) => IOCTL(signed(fd), request, word);
    /// ioctl(2) of a request that takes no more memory than this.
    ioctl_memory(fd: Fd, request: usize, data: &mut [u8; 64])
        => IOCTL(signed(fd), request, data.as_mut_ptr() as usize);

    kill(pid: i32, signal: usize) => KILL(signed(pid), signal);
    tgkill(group: i32, thread: i32, signal: usize) => TGKILL(signed(group), signed(thread), signal);
    /// prctl(2) of an option that takes numbers.
    prctl(option: usize, a: usize) => PRCTL(option, a);
    block_signals(mask: &u64) => RT_SIGPROCMASK(0, &raw const *mask as usize, 0, 8);
    setsid() => SETSID();
    getpid() => GETPID();
    /// waitpid(2), for any kind of child, without a status.
    wait(pid: i32) => WAIT4(signed(pid), 0, 0x4000_0000, 0);
    ptrace_attach(pid: i32) => PTRACE(16, signed(pid), 0, 0);
    ptrace_detach(pid: i32) => PTRACE(17, signed(pid), 0, 0);
    ptrace_seize(pid: i32) => PTRACE(0x4206, signed(pid), 0, 0);
    /// One word of the memory of a process that is traced.
    ptrace_peek(pid: i32, address: usize, into: &mut u64)
        => PTRACE(2, signed(pid), address, &raw mut *into as usize);
    pidfd_open(pid: i32) => PIDFD_OPEN(signed(pid), 0);
    pidfd_getfd(pidfd: Fd, fd: Fd) => PIDFD_GETFD(signed(pidfd), signed(fd), 0);
    pidfd_send_signal(pidfd: Fd, signal: usize) => PIDFD_SEND_SIGNAL(signed(pidfd), signal, 0, 0);
    set_limit(pid: i32, resource: usize, limit: &[u64; 2])
        => PRLIMIT64(signed(pid), resource, limit.as_ptr() as usize, 0);
    set_priority(pid: i32, nice: usize) => SETPRIORITY(0, signed(pid), nice);

    shm_get(key: usize, size: usize, flags: usize) => SHMGET(key, size, flags);
    /// shmctl(2), `IPC_RMID`.
    shm_remove(id: usize) => SHMCTL(id, 0, 0);
    mq_open(name: &CStr, flags: usize) => MQ_OPEN(name.as_ptr() as usize, flags, 0o666, 0);
    mq_unlink(name: &CStr) => MQ_UNLINK(name.as_ptr() as usize);
    mq_send(queue: Fd, message: &[u8])
        => MQ_TIMEDSEND(signed(queue), message.as_ptr() as usize, message.len(), 0, 0);
    mq_receive(queue: Fd, into: &mut [u8; 8192])
        => MQ_TIMEDRECEIVE(signed(queue), into.as_mut_ptr() as usize, into.len(), 0, 0);
    add_key(kind: &CStr, name: &CStr, content: &[u8], ring: usize)
        => ADD_KEY(kind.as_ptr() as usize, name.as_ptr() as usize, content.as_ptr() as usize, content.len(), ring);
    /// keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`, of a new one.
    new_session_keyring() => KEYCTL(1, 0);
    /// keyctl(2), `KEYCTL_UNLINK`.
    key_unlink(key: usize, ring: usize) => KEYCTL(9, key, ring);
    /// keyctl(2), `KEYCTL_SEARCH`.
    key_search(ring: usize, kind: &CStr, name: &CStr)
        => KEYCTL(10, ring, kind.as_ptr() as usize, name.as_ptr() as usize, 0);
    /// keyctl(2), `KEYCTL_READ`.
    key_read(key: usize, into: &mut [u8]) => KEYCTL(11, key, into.as_mut_ptr() as usize, into.len());

    unshare(flags: usize) => UNSHARE(flags);
    setns(fd: Fd, kind: usize) => SETNS(signed(fd), kind);
    mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize)
        => MOUNT(source.as_ptr() as usize, target.as_ptr() as usize, kind.as_ptr() as usize, flags, 0);
    mount_with(source: &CStr, target: &CStr, kind: &CStr, flags: usize, data: &CStr)
        => MOUNT(source.as_ptr() as usize, target.as_ptr() as usize, kind.as_ptr() as usize, flags, data.as_ptr() as usize);
    umount(path: &CStr, flags: usize) => UMOUNT2(path.as_ptr() as usize, flags);
    move_mount(from: Fd, from_path: &CStr, to: &CStr, flags: usize)
        => MOVE_MOUNT(signed(from), from_path.as_ptr() as usize, signed(CWD), to.as_ptr() as usize, flags);
    open_tree(path: &CStr, flags: usize) => OPEN_TREE(signed(CWD), path.as_ptr() as usize, flags);
    /// `struct mount_attr`: set, clear, propagation, user namespace.
    mount_setattr(path: &CStr, flags: usize, attributes: &[u64; 4])
        => MOUNT_SETATTR(signed(CWD), path.as_ptr() as usize, flags, attributes.as_ptr() as usize, 32);
    fsopen(kind: &CStr) => FSOPEN(kind.as_ptr() as usize, 0);
    /// fsconfig(2), `FSCONFIG_CMD_CREATE`.
    fs_create(fs: Fd) => FSCONFIG(signed(fs), 6, 0, 0, 0);
    fsmount(fs: Fd) => FSMOUNT(signed(fs), 0, 0);
    /// `struct file_handle`, header included.
    name_to_handle(dir: Fd, path: &CStr, handle: &mut [u8; 136], mount: &mut u64, flags: usize)
        => NAME_TO_HANDLE_AT(signed(dir), path.as_ptr() as usize, handle.as_mut_ptr() as usize, &raw mut *mount as usize, flags);
    open_by_handle(mount: Fd, handle: &[u8; 136], flags: usize)
        => OPEN_BY_HANDLE_AT(signed(mount), handle.as_ptr() as usize, flags);

    socket(family: usize, kind: usize, protocol: usize) => SOCKET(family, kind, protocol);
    bind(fd: Fd, address: &[u8]) => BIND(signed(fd), address.as_ptr() as usize, address.len());
    /// `struct io_uring_params`.
    io_uring_setup(entries: usize, parameters: &mut [u8; 120])
        => IO_URING_SETUP(entries, parameters.as_mut_ptr() as usize);
    userfaultfd(flags: usize) => USERFAULTFD(flags);
    /// bpf(2) of a command whose attributes hold no pointer.
    bpf(command: usize, attributes: &[u8; 72])
        => BPF(command, attributes.as_ptr() as usize, attributes.len());
    /// `struct perf_event_attr`, of this process.
    perf_event_open(attributes: &[u8; 64])
        => PERF_EVENT_OPEN(attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0);
    fanotify_init(flags: usize, event_flags: usize) => FANOTIFY_INIT(flags, event_flags);
    fanotify_mark(fd: Fd, flags: usize, mask: usize, path: &CStr)
        => FANOTIFY_MARK(signed(fd), flags, mask, signed(CWD), path.as_ptr() as usize);
    syslog(kind: usize, into: &mut [u8]) => SYSLOG(kind, into.as_mut_ptr() as usize, into.len());
}

/// clone(2) as fork(2): 0 in the child. `flags` are namespaces alone.
///
/// # Panics
/// If they would share memory.
pub(crate) fn clone(flags: usize) -> Result {
    const SIGCHLD: usize = 17;
    const NAMESPACES: usize = 0x7e02_0080;
    assert_eq!(flags & !NAMESPACES, 0, "only namespaces");
    // SAFETY: without CLONE_VM the child has a copy of everything and returns on a copy of this
    // stack; this program has one thread, so no lock is held by another.
    unsafe { call(nr::CLONE, [flags | SIGCHLD, 0, 0, 0, 0, 0]) }
}

/// fork(2).
pub(crate) fn fork() -> Result {
    clone(0)
}

/// clone3(2) as fork(2), by `struct clone_args`.
///
/// # Panics
/// If `flags` would share memory.
pub(crate) fn clone3(flags: u64) -> Result {
    const NAMESPACES: u64 = 0x7e02_0080;
    assert_eq!(flags & !NAMESPACES, 0, "only namespaces");
    let mut args = [0u64; 11];
    args[0] = flags;
    args[4] = 17;
    // SAFETY: as in `clone`; the structure lives until the call is over, and its size is told.
    unsafe {
        call(
            nr::CLONE3,
            [args.as_ptr() as usize, size_of_val(&args), 0, 0, 0, 0],
        )
    }
}

/// process_vm_readv(2) from an address of another process.
pub(crate) fn read_process(pid: i32, address: u64, into: &mut [u8]) -> Result {
    let local = [at(into), into.len() as u64];
    let remote = [address, into.len() as u64];
    let words = [
        signed(pid),
        local.as_ptr() as usize,
        1,
        remote.as_ptr() as usize,
        1,
        0,
    ];
    // SAFETY: the one local piece is a live slice that nobody else looks at; the remote one is
    // checked by the kernel, in the other process.
    unsafe { call(nr::PROCESS_VM_READV, words) }
}

/// The beginning of a System V shared memory segment.
pub(crate) fn shm_read(id: usize, into: &mut [u8; 64]) -> Result<()> {
    const SHM_RDONLY: usize = 0o10000;
    // SAFETY: the kernel chooses where the segment is attached.
    let address = unsafe { call(nr::SHMAT, [id, 0, SHM_RDONLY, 0, 0, 0]) }?;
    // SAFETY: a segment has at least one page, and it was just attached there; it is detached
    // after the last use of the address.
    unsafe {
        std::ptr::copy_nonoverlapping(address as *const u8, into.as_mut_ptr(), into.len());
        call(nr::SHMDT, [address, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Fills the beginning of a System V shared memory segment.
pub(crate) fn shm_write(id: usize, from: &[u8; 64]) -> Result<()> {
    // SAFETY: the kernel chooses where the segment is attached.
    let address = unsafe { call(nr::SHMAT, [id, 0, 0, 0, 0, 0]) }?;
    // SAFETY: as in `shm_read`.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), address as *mut u8, from.len());
        call(nr::SHMDT, [address, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;

/// `struct msghdr` without an address.
fn message(vector: &[u64; 2], control: &[u64; 3]) -> [u64; 7] {
    [
        0,
        0,
        at(vector),
        1,
        at(control),
        size_of_val(control) as u64,
        0,
    ]
}

/// Sends a descriptor over a unix socket, with one byte.
pub(crate) fn send_fd(socket: Fd, fd: Fd) -> Result {
    let byte = [0u8; 1];
    let vector = [at(&byte), 1];
    // struct cmsghdr: length of 20, level and type, then the descriptor.
    let control = [
        20u64,
        u64::from(SOL_SOCKET) | u64::from(SCM_RIGHTS) << 32,
        fd as u32 as u64,
    ];
    let header = message(&vector, &control);
    let words = [signed(socket), header.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the header's pointers are to live arrays of the lengths that stand beside them.
    unsafe { call(nr::SENDMSG, words) }
}

/// Receives a descriptor over a unix socket.
pub(crate) fn receive_fd(socket: Fd) -> Result<Fd> {
    let byte = [0u8; 1];
    let vector = [at(&byte), 1];
    let mut control = [0u64; 3];
    let mut header = message(&vector, &control);
    let words = [signed(socket), header.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the header's pointers are to live arrays of the lengths that stand beside them,
    // which are not looked at until the call is over.
    unsafe { call(nr::RECVMSG, words) }?;
    // SAFETY: `control` is a live array; the kernel wrote it behind the compiler's back.
    control = unsafe { std::ptr::read_volatile(&raw const control) };
    match control[1] >> 32 {
        1 => Ok(control[2] as u32 as Fd),
        _ => Err(io::Error::other("no descriptor came")),
    }
}
