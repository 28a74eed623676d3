//! 64-bit ARM: syscall(2) by `svc`.

use core::arch::{asm, global_asm};

global_asm!(
    ".globl _start",
    "_start:",
    "mov x0, sp",
    "mov x29, xzr",
    "bl probe_main"
);

/// The numbers of the system calls.
pub(crate) mod nr {
    pub(crate) const BIND: usize = 200;
    pub(crate) const CAPGET: usize = 90;
    pub(crate) const CHDIR: usize = 49;
    pub(crate) const CHROOT: usize = 51;
    pub(crate) const CLOCK_GETTIME: usize = 113;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const CONNECT: usize = 203;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const FCHDIR: usize = 50;
    pub(crate) const FCHMODAT: usize = 53;
    pub(crate) const FCHOWNAT: usize = 54;
    pub(crate) const FCNTL: usize = 25;
    pub(crate) const GETCWD: usize = 17;
    pub(crate) const GETDENTS64: usize = 61;
    pub(crate) const GETGROUPS: usize = 158;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const GETPPID: usize = 173;
    pub(crate) const GETRESGID: usize = 150;
    pub(crate) const GETRESUID: usize = 148;
    pub(crate) const GETSID: usize = 156;
    pub(crate) const GETSOCKNAME: usize = 204;
    pub(crate) const IOCTL: usize = 29;
    pub(crate) const KILL: usize = 129;
    pub(crate) const LISTEN: usize = 201;
    pub(crate) const MKDIRAT: usize = 34;
    pub(crate) const MKNODAT: usize = 33;
    pub(crate) const MOUNT: usize = 40;
    pub(crate) const MQ_OPEN: usize = 180;
    pub(crate) const MQ_UNLINK: usize = 181;
    pub(crate) const NANOSLEEP: usize = 101;
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const PRLIMIT64: usize = 261;
    pub(crate) const READ: usize = 63;
    pub(crate) const READLINKAT: usize = 78;
    pub(crate) const RENAMEAT2: usize = 276;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const SETSID: usize = 157;
    pub(crate) const SHMCTL: usize = 195;
    pub(crate) const SHMGET: usize = 194;
    pub(crate) const SOCKET: usize = 198;
    pub(crate) const STATX: usize = 291;
    pub(crate) const UMASK: usize = 166;
    pub(crate) const UMOUNT2: usize = 39;
    pub(crate) const UNAME: usize = 160;
    pub(crate) const UNLINKAT: usize = 35;
    pub(crate) const UNSHARE: usize = 97;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const WRITE: usize = 64;
}

/// # Safety
/// The arguments must be what the call takes; pointers among them must be valid for what the
/// kernel does with them.
#[inline(always)]
pub(super) unsafe fn syscall(nr: usize, a: [usize; 6]) -> isize {
    let ret;
    // SAFETY: the registers are those of the kernel's calling convention; it preserves all others.
    unsafe {
        asm!(
            "svc 0",
            in("x8") nr,
            inlateout("x0") a[0] => ret,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    ret
}
