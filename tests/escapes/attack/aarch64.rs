//! 64-bit ARM: the numbers of the system calls.

/// The numbers of the system calls.
pub(crate) mod nr {
    pub(crate) const ADD_KEY: usize = 217;
    pub(crate) const BIND: usize = 200;
    pub(crate) const BPF: usize = 280;
    pub(crate) const CHROOT: usize = 51;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const CLONE3: usize = 435;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const DUP3: usize = 24;
    pub(crate) const FANOTIFY_INIT: usize = 262;
    pub(crate) const FANOTIFY_MARK: usize = 263;
    pub(crate) const FCHDIR: usize = 50;
    pub(crate) const FCNTL: usize = 25;
    pub(crate) const FSCONFIG: usize = 431;
    pub(crate) const FSMOUNT: usize = 432;
    pub(crate) const FSOPEN: usize = 430;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const IOCTL: usize = 29;
    pub(crate) const IO_URING_SETUP: usize = 425;
    pub(crate) const KEYCTL: usize = 219;
    pub(crate) const KILL: usize = 129;
    pub(crate) const MKNODAT: usize = 33;
    pub(crate) const MOUNT: usize = 40;
    pub(crate) const MOUNT_SETATTR: usize = 442;
    pub(crate) const MOVE_MOUNT: usize = 429;
    pub(crate) const MQ_OPEN: usize = 180;
    pub(crate) const MQ_TIMEDRECEIVE: usize = 183;
    pub(crate) const MQ_TIMEDSEND: usize = 182;
    pub(crate) const MQ_UNLINK: usize = 181;
    pub(crate) const NAME_TO_HANDLE_AT: usize = 264;
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const OPEN_BY_HANDLE_AT: usize = 265;
    pub(crate) const OPEN_TREE: usize = 428;
    pub(crate) const PERF_EVENT_OPEN: usize = 241;
    pub(crate) const PIDFD_GETFD: usize = 438;
    pub(crate) const PIDFD_OPEN: usize = 434;
    pub(crate) const PIDFD_SEND_SIGNAL: usize = 424;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const PRLIMIT64: usize = 261;
    pub(crate) const PROCESS_VM_READV: usize = 270;
    pub(crate) const PTRACE: usize = 117;
    pub(crate) const READ: usize = 63;
    pub(crate) const RECVMSG: usize = 212;
    pub(crate) const RENAMEAT2: usize = 276;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const SENDMSG: usize = 211;
    pub(crate) const SETNS: usize = 268;
    pub(crate) const SETPRIORITY: usize = 140;
    pub(crate) const SETSID: usize = 157;
    pub(crate) const SETXATTR: usize = 5;
    pub(crate) const SHMAT: usize = 196;
    pub(crate) const SHMCTL: usize = 195;
    pub(crate) const SHMDT: usize = 197;
    pub(crate) const SHMGET: usize = 194;
    pub(crate) const SOCKET: usize = 198;
    pub(crate) const SYSLOG: usize = 116;
    pub(crate) const TGKILL: usize = 131;
    pub(crate) const UMOUNT2: usize = 39;
    pub(crate) const UNSHARE: usize = 97;
    pub(crate) const USERFAULTFD: usize = 282;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const WRITE: usize = 64;
}

/// There is no such door here.
pub(crate) fn int80(_number: usize, _word: usize) -> Option<isize> {
    None
}
