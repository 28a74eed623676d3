//! x86-64: syscall(2) by the instruction of that name.

use core::arch::{asm, global_asm};

global_asm!(
    ".globl _start",
    "_start:",
    "mov rdi, rsp",
    "xor ebp, ebp",
    "and rsp, -16",
    "call probe_main",
);

/// The numbers of the system calls.
pub(crate) mod nr {
    pub(crate) const BIND: usize = 49;
    pub(crate) const CAPGET: usize = 125;
    pub(crate) const CHDIR: usize = 80;
    pub(crate) const CHROOT: usize = 161;
    pub(crate) const CLOCK_GETTIME: usize = 228;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const CONNECT: usize = 42;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const FCHDIR: usize = 81;
    pub(crate) const FCHMODAT: usize = 268;
    pub(crate) const FCHOWNAT: usize = 260;
    pub(crate) const FCNTL: usize = 72;
    pub(crate) const GETCWD: usize = 79;
    pub(crate) const GETDENTS64: usize = 217;
    pub(crate) const GETGROUPS: usize = 115;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const GETPPID: usize = 110;
    pub(crate) const GETRESGID: usize = 120;
    pub(crate) const GETRESUID: usize = 118;
    pub(crate) const GETSID: usize = 124;
    pub(crate) const GETSOCKNAME: usize = 51;
    pub(crate) const IOCTL: usize = 16;
    pub(crate) const KILL: usize = 62;
    pub(crate) const LISTEN: usize = 50;
    pub(crate) const MKDIRAT: usize = 258;
    pub(crate) const MKNODAT: usize = 259;
    pub(crate) const MOUNT: usize = 165;
    pub(crate) const MQ_OPEN: usize = 240;
    pub(crate) const MQ_UNLINK: usize = 241;
    pub(crate) const NANOSLEEP: usize = 35;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const PRLIMIT64: usize = 302;
    pub(crate) const READ: usize = 0;
    pub(crate) const READLINKAT: usize = 267;
    pub(crate) const RENAMEAT2: usize = 316;
    pub(crate) const RT_SIGACTION: usize = 13;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const SETSID: usize = 112;
    pub(crate) const SHMCTL: usize = 31;
    pub(crate) const SHMGET: usize = 29;
    pub(crate) const SOCKET: usize = 41;
    pub(crate) const STATX: usize = 332;
    pub(crate) const UMASK: usize = 95;
    pub(crate) const UMOUNT2: usize = 166;
    pub(crate) const UNAME: usize = 63;
    pub(crate) const UNLINKAT: usize = 263;
    pub(crate) const UNSHARE: usize = 272;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const WRITE: usize = 1;
}

/// # Safety
/// The arguments must be what the call takes; pointers among them must be valid for what the
/// kernel does with them.
#[inline(always)]
pub(super) unsafe fn syscall(nr: usize, a: [usize; 6]) -> isize {
    let ret;
    // SAFETY: the registers are those of the kernel's calling convention, and the two that it
    // overwrites are declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr as isize => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    ret
}
