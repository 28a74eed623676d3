//! x86-64: the numbers of the system calls, and the 32-bit way to make them.

use std::arch::asm;

/// The numbers of the system calls.
pub(crate) mod nr {
    pub(crate) const ADD_KEY: usize = 248;
    pub(crate) const BIND: usize = 49;
    pub(crate) const BPF: usize = 321;
    pub(crate) const CHROOT: usize = 161;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const CLONE3: usize = 435;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const DUP3: usize = 292;
    pub(crate) const FANOTIFY_INIT: usize = 300;
    pub(crate) const FANOTIFY_MARK: usize = 301;
    pub(crate) const FCHDIR: usize = 81;
    pub(crate) const FCNTL: usize = 72;
    pub(crate) const FSCONFIG: usize = 431;
    pub(crate) const FSMOUNT: usize = 432;
    pub(crate) const FSOPEN: usize = 430;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const IOCTL: usize = 16;
    pub(crate) const IO_URING_SETUP: usize = 425;
    pub(crate) const KEYCTL: usize = 250;
    pub(crate) const KILL: usize = 62;
    pub(crate) const MKNODAT: usize = 259;
    pub(crate) const MOUNT: usize = 165;
    pub(crate) const MOUNT_SETATTR: usize = 442;
    pub(crate) const MOVE_MOUNT: usize = 429;
    pub(crate) const MQ_OPEN: usize = 240;
    pub(crate) const MQ_TIMEDRECEIVE: usize = 243;
    pub(crate) const MQ_TIMEDSEND: usize = 242;
    pub(crate) const MQ_UNLINK: usize = 241;
    pub(crate) const NAME_TO_HANDLE_AT: usize = 303;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const OPEN_BY_HANDLE_AT: usize = 304;
    pub(crate) const OPEN_TREE: usize = 428;
    pub(crate) const PERF_EVENT_OPEN: usize = 298;
    pub(crate) const PIDFD_GETFD: usize = 438;
    pub(crate) const PIDFD_OPEN: usize = 434;
    pub(crate) const PIDFD_SEND_SIGNAL: usize = 424;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const PRLIMIT64: usize = 302;
    pub(crate) const PROCESS_VM_READV: usize = 310;
    pub(crate) const PTRACE: usize = 101;
    pub(crate) const READ: usize = 0;
    pub(crate) const RECVMSG: usize = 47;
    pub(crate) const RENAMEAT2: usize = 316;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const SENDMSG: usize = 46;
    pub(crate) const SETNS: usize = 308;
    pub(crate) const SETPRIORITY: usize = 141;
    pub(crate) const SETSID: usize = 112;
    pub(crate) const SETXATTR: usize = 188;
    pub(crate) const SHMAT: usize = 30;
    pub(crate) const SHMCTL: usize = 31;
    pub(crate) const SHMDT: usize = 67;
    pub(crate) const SHMGET: usize = 29;
    pub(crate) const SOCKET: usize = 41;
    pub(crate) const SYSLOG: usize = 103;
    pub(crate) const TGKILL: usize = 234;
    pub(crate) const UMOUNT2: usize = 166;
    pub(crate) const UNSHARE: usize = 272;
    pub(crate) const USERFAULTFD: usize = 323;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const WRITE: usize = 1;
}

/// A system call by the numbers and the door of 32-bit programs, of one that takes numbers alone:
/// unshare(310) or userfaultfd(374). `None` where there is no such door.
///
/// # Panics
/// Of another number.
pub(crate) fn int80(number: usize, word: usize) -> Option<isize> {
    assert!([310, 374].contains(&number), "takes no pointer");
    let returned: i32;
    // SAFETY: the calls that are let through take numbers and change no memory. rbx cannot be named
    // as an operand, so it is exchanged and put back. The kernel clears r8 to r11.
    unsafe {
        asm!(
            "xchg {word}, rbx",
            "int 0x80",
            "xchg {word}, rbx",
            word = inout(reg) word => _,
            inlateout("eax") number as i32 => returned,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    Some(returned as isize)
}
