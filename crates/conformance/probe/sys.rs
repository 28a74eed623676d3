//! System calls without libc: the only unsafe code of the probe.
//!
//! The functions are safe to call because of what they take: a path is a `CStr`, memory is a
//! slice, and everything else is a number that the kernel checks. None of them maps, unmaps or
//! shares memory.

#![expect(unsafe_code, reason = "there is no libc to do it")]

use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;
#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;

use arch::nr;

/// An error number, positive.
pub(crate) type Errno = i32;
pub(crate) type Fd = i32;

/// Where a relative path begins: the working directory.
const CWD: usize = -100isize as usize;

/// What `main` would get from libc.
///
/// # Safety
/// `stack` must be the initial stack pointer that the kernel gives a new program.
#[unsafe(no_mangle)]
unsafe extern "C" fn probe_main(stack: *const usize) -> ! {
    // SAFETY: at the start of a program the stack holds argc, argv, null, envp, null (execve(2)).
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    let mut words = [c""; crate::MOST];
    let mut variables = [c""; crate::MOST];
    // SAFETY: both arrays end with a null pointer; envp begins behind that of argv. The strings
    // live as long as the program.
    let (words, variables) = unsafe {
        (
            gather(argv, &mut words),
            gather(argv.add(argc + 1), &mut variables),
        )
    };
    exit(crate::main(words, variables))
}

/// # Safety
/// `from` must point to an array of pointers to NUL-terminated strings of the program's lifetime,
/// which a null pointer ends.
unsafe fn gather<'a>(
    from: *const *const u8,
    into: &'a mut [&'static CStr; crate::MOST],
) -> &'a [&'static CStr] {
    let mut count = 0;
    while count < into.len() {
        // SAFETY: the null pointer has not been seen yet, see the return.
        let text = unsafe { *from.add(count) };
        if text.is_null() {
            break;
        }
        // SAFETY: by the contract the string is NUL-terminated; `len` is where.
        into[count] = unsafe {
            let mut len = 0;
            while *text.add(len) != 0 {
                len += 1;
            }
            CStr::from_bytes_with_nul_unchecked(core::slice::from_raw_parts(text, len + 1))
        };
        count += 1;
    }
    &into[..count]
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(70)
}

/// Splits what the kernel returns into result and error (syscall(2): -4095 to -1 are errors).
fn check(returned: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&returned) {
        Err(-returned as Errno)
    } else {
        Ok(returned as usize)
    }
}

fn signed(number: i32) -> usize {
    number as isize as usize
}

/// Each line is a function, the number of its system call, and the arguments of that. Where an
/// argument is a pointer, it comes from a `CStr`, or from a slice or array whose length the kernel
/// is told or knows.
macro_rules! system_calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) => $nr:ident($($word:expr),*);)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name($($arg: $kind),*) -> Result<usize, Errno> {
            let mut words = [0; 6];
            for (place, word) in words.iter_mut().zip([$($word),*] as [usize; system_calls!(@ $($word)*)]) {
                *place = word;
            }
            // SAFETY: the references behind the pointers live until the call is over, and they are
            // of the length that the kernel takes, see the table. The numbers it checks itself.
            check(unsafe { arch::syscall(nr::$nr, words) })
        }
    )*};
    (@) => { 0 };
    (@ $first:tt $($rest:tt)*) => { 1 + system_calls!(@ $($rest)*) };
}

system_calls! {
    read(fd: Fd, into: &mut [u8]) => READ(signed(fd), into.as_mut_ptr() as usize, into.len());
    write(fd: Fd, from: &[u8]) => WRITE(signed(fd), from.as_ptr() as usize, from.len());
    close(fd: Fd) => CLOSE(signed(fd));
    openat(path: &CStr, flags: usize, mode: u32)
        => OPENAT(CWD, path.as_ptr() as usize, flags, mode as usize);
    getdents(fd: Fd, into: &mut [u8]) => GETDENTS64(signed(fd), into.as_mut_ptr() as usize, into.len());
    /// `struct statx`, of the path itself and not of what it leads to.
    statx(path: &CStr, into: &mut [u8; 256])
        => STATX(CWD, path.as_ptr() as usize, 0x100, 0x7ff, into.as_mut_ptr() as usize);
    readlink(path: &CStr, into: &mut [u8])
        => READLINKAT(CWD, path.as_ptr() as usize, into.as_mut_ptr() as usize, into.len());
    mkdir(path: &CStr, mode: u32) => MKDIRAT(CWD, path.as_ptr() as usize, mode as usize);
    mknod(path: &CStr, mode: u32, device: u32)
        => MKNODAT(CWD, path.as_ptr() as usize, mode as usize, device as usize);
    unlink(path: &CStr, flags: usize) => UNLINKAT(CWD, path.as_ptr() as usize, flags);
    rename(from: &CStr, to: &CStr) => RENAMEAT2(CWD, from.as_ptr() as usize, CWD, to.as_ptr() as usize);
    chmod(path: &CStr, mode: u32) => FCHMODAT(CWD, path.as_ptr() as usize, mode as usize);
    chown(path: &CStr, uid: u32, gid: u32)
        => FCHOWNAT(CWD, path.as_ptr() as usize, uid as usize, gid as usize);
    /// mount(2) without a source, a type and data.
    remount(path: &CStr, flags: usize) => MOUNT(0, path.as_ptr() as usize, 0, flags);
    umount(path: &CStr, flags: usize) => UMOUNT2(path.as_ptr() as usize, flags);
    getcwd(into: &mut [u8]) => GETCWD(into.as_mut_ptr() as usize, into.len());
    chdir(path: &CStr) => CHDIR(path.as_ptr() as usize);
    fchdir(fd: Fd) => FCHDIR(signed(fd));
    chroot(path: &CStr) => CHROOT(path.as_ptr() as usize);
    unshare(flags: usize) => UNSHARE(flags);

    getresuid(real: &mut u32, effective: &mut u32, saved: &mut u32)
        => GETRESUID(real as *mut u32 as usize, effective as *mut u32 as usize, saved as *mut u32 as usize);
    getresgid(real: &mut u32, effective: &mut u32, saved: &mut u32)
        => GETRESGID(real as *mut u32 as usize, effective as *mut u32 as usize, saved as *mut u32 as usize);
    getgroups(into: &mut [u32]) => GETGROUPS(into.len(), into.as_mut_ptr() as usize);
    /// The header of version 3 and the two halves of three sets (capget(2)).
    capget(header: &mut [u32; 2], into: &mut [u32; 6])
        => CAPGET(header.as_mut_ptr() as usize, into.as_mut_ptr() as usize);
    /// prctl(2) of an option that takes numbers.
    prctl(option: usize, a: usize, b: usize) => PRCTL(option, a, b);
    fcntl(fd: Fd, command: usize) => FCNTL(signed(fd), command);
    /// The mask of blocked signals.
    blocked(into: &mut u64) => RT_SIGPROCMASK(0, 0, into as *mut u64 as usize, 8);
    /// `struct kernel_sigaction`.
    disposition(signal: usize, into: &mut [usize; 4])
        => RT_SIGACTION(signal, 0, into.as_mut_ptr() as usize, 8);
    limit(resource: usize, into: &mut [u64; 2])
        => PRLIMIT64(0, resource, 0, into.as_mut_ptr() as usize);
    set_limit(resource: usize, to: &[u64; 2]) => PRLIMIT64(0, resource, to.as_ptr() as usize, 0);
    /// wait4(2), for any child.
    wait_any(status: &mut i32) => WAIT4(usize::MAX, status as *mut i32 as usize, 0, 0);
    clock_gettime(clock: usize, into: &mut [u64; 2])
        => CLOCK_GETTIME(clock, into.as_mut_ptr() as usize);
    umask(mask: u32) => UMASK(mask as usize);
    getpid() => GETPID();
    getppid() => GETPPID();
    getsid(pid: usize) => GETSID(pid);
    setsid() => SETSID();
    kill(pid: u32, signal: u32) => KILL(pid as usize, signal as usize);
    /// `struct new_utsname`: six texts of 65 bytes.
    uname(into: &mut [u8; 390]) => UNAME(into.as_mut_ptr() as usize);
    shmget(key: u32, size: usize, flags: usize) => SHMGET(key as usize, size, flags);
    /// shmctl(2), `IPC_RMID`.
    shm_remove(id: usize) => SHMCTL(id, 0, 0);
    mq_open(name: &CStr, flags: usize, mode: u32)
        => MQ_OPEN(name.as_ptr() as usize, flags, mode as usize, 0);
    mq_unlink(name: &CStr) => MQ_UNLINK(name.as_ptr() as usize);
    nanosleep(time: &[u64; 2]) => NANOSLEEP(time.as_ptr() as usize, 0);
    exit_group(status: i32) => EXIT_GROUP(signed(status));

    socket(family: usize, kind: usize) => SOCKET(family, kind, 0);
    connect(fd: Fd, address: &[u8]) => CONNECT(signed(fd), address.as_ptr() as usize, address.len());
    bind(fd: Fd, address: &[u8]) => BIND(signed(fd), address.as_ptr() as usize, address.len());
    listen(fd: Fd) => LISTEN(signed(fd), 1);
    getsockname(fd: Fd, address: &mut [u8; 16], len: &mut u32)
        => GETSOCKNAME(signed(fd), address.as_mut_ptr() as usize, (*len = 16, len as *mut u32 as usize).1);
    /// ioctl(2) of a request that takes no more memory than this.
    ioctl(fd: Fd, request: usize, data: &mut [u8; 40])
        => IOCTL(signed(fd), request, data.as_mut_ptr() as usize);
}

/// fork(2): the id of the child, or 0 in it.
pub(crate) fn fork() -> Result<usize, Errno> {
    const SIGCHLD: usize = 17;
    // SAFETY: clone(2) without a stack and without shared memory: the child goes on with a copy of
    // everything, and there is one thread.
    check(unsafe { arch::syscall(nr::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) })
}

pub(crate) fn open(path: &CStr, flags: usize, mode: u32) -> Result<Fd, Errno> {
    const O_CLOEXEC: usize = 0o2_000_000;
    openat(path, flags | O_CLOEXEC, mode).map(|fd| fd as Fd)
}

pub(crate) fn exit(status: i32) -> ! {
    loop {
        let _ = exit_group(status);
    }
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, len: usize) -> *mut u8 {
    for i in 0..len {
        // Volatile, so that the compiler does not turn the loop into a call of this function.
        // SAFETY: i < len, by memset's contract.
        unsafe { to.add(i).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for i in 0..len {
        // SAFETY: i < len, by memcpy's contract.
        unsafe { to.add(i).write_volatile(*from.add(i)) };
    }
    to
}

/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if (to as usize) <= from as usize {
        // SAFETY: passed on; upwards no byte is overwritten before it is read.
        return unsafe { memcpy(to, from, len) };
    }
    for i in (0..len).rev() {
        // SAFETY: i < len, by memmove's contract.
        unsafe { to.add(i).write_volatile(*from.add(i)) };
    }
    to
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: i < len, by memcmp's contract.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: passed on to the caller.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
/// As strlen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: up to the NUL, by strlen's contract.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}

/// The precompiled core library names this function in its unwind tables. Nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
