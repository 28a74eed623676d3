//! Calls that do the same under another name, in one ABI or the other.
//!
//! A rule about `fcntl` that did not hold for `fcntl64` would be no rule for 32-bit programs, so
//! what is said of a call is said of its aliases.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The name under which `name` is known where there is nothing to be compatible with.
pub(crate) fn usual(name: &str) -> &str {
    static INDEX: OnceLock<HashMap<&str, &str>> = OnceLock::new();
    let index = INDEX.get_or_init(|| ALIASES.iter().copied().collect());
    index.get(name).copied().unwrap_or(name)
}

/// A call of which the first argument says what is meant, and the others are in memory, where no
/// filter sees them.
pub(crate) struct Multiplexer {
    pub(crate) name: &'static str,
    /// The bits of that argument that count.
    pub(crate) mask: u64,
    /// What each value of it means.
    pub(crate) parts: &'static [(u64, &'static str)],
}

pub(crate) const MULTIPLEXERS: &[Multiplexer] = &[
    Multiplexer {
        name: "socketcall",
        mask: 0xffff_ffff,
        parts: &[
            (1, "socket"),
            (2, "bind"),
            (3, "connect"),
            (4, "listen"),
            (5, "accept"),
            (6, "getsockname"),
            (7, "getpeername"),
            (8, "socketpair"),
            (9, "sendto"),
            (10, "recvfrom"),
            (11, "sendto"),
            (12, "recvfrom"),
            (13, "shutdown"),
            (14, "setsockopt"),
            (15, "getsockopt"),
            (16, "sendmsg"),
            (17, "recvmsg"),
            (18, "accept4"),
            (19, "recvmmsg"),
            (20, "sendmmsg"),
        ],
    },
    Multiplexer {
        name: "ipc",
        // What is above it is the version of the call's arguments.
        mask: 0xffff,
        parts: &[
            (1, "semop"),
            (2, "semget"),
            (3, "semctl"),
            (4, "semtimedop"),
            (11, "msgsnd"),
            (12, "msgrcv"),
            (13, "msgget"),
            (14, "msgctl"),
            (21, "shmat"),
            (22, "shmdt"),
            (23, "shmget"),
            (24, "shmctl"),
        ],
    },
];

const ALIASES: &[(&str, &str)] = &[
    ("_llseek", "lseek"),
    ("_newselect", "select"),
    ("arm_fadvise64_64", "fadvise64"),
    ("arm_sync_file_range", "sync_file_range"),
    ("chown32", "chown"),
    ("clock_adjtime64", "clock_adjtime"),
    ("clock_getres_time64", "clock_getres"),
    ("clock_gettime64", "clock_gettime"),
    ("clock_nanosleep_time64", "clock_nanosleep"),
    ("clock_settime64", "clock_settime"),
    ("fadvise64_64", "fadvise64"),
    ("fchown32", "fchown"),
    ("fcntl64", "fcntl"),
    ("fstat64", "fstat"),
    ("fstatat", "newfstatat"),
    ("fstatat64", "newfstatat"),
    ("fstatfs64", "fstatfs"),
    ("ftruncate64", "ftruncate"),
    ("futex_time64", "futex"),
    ("getegid32", "getegid"),
    ("geteuid32", "geteuid"),
    ("getgid32", "getgid"),
    ("getgroups32", "getgroups"),
    ("getresgid32", "getresgid"),
    ("getresuid32", "getresuid"),
    ("getuid32", "getuid"),
    ("io_pgetevents_time64", "io_pgetevents"),
    ("lchown32", "lchown"),
    ("lstat64", "lstat"),
    ("mmap2", "mmap"),
    ("mq_timedreceive_time64", "mq_timedreceive"),
    ("mq_timedsend_time64", "mq_timedsend"),
    ("nice", "setpriority"),
    ("oldfstat", "fstat"),
    ("oldlstat", "lstat"),
    ("oldolduname", "uname"),
    ("oldstat", "stat"),
    ("olduname", "uname"),
    ("ppoll_time64", "ppoll"),
    ("pselect6_time64", "pselect6"),
    ("readdir", "getdents"),
    ("recv", "recvfrom"),
    ("recvmmsg_time64", "recvmmsg"),
    ("rt_sigtimedwait_time64", "rt_sigtimedwait"),
    ("sched_rr_get_interval_time64", "sched_rr_get_interval"),
    ("semtimedop_time64", "semtimedop"),
    ("send", "sendto"),
    ("sendfile64", "sendfile"),
    ("setfsgid32", "setfsgid"),
    ("setfsuid32", "setfsuid"),
    ("setgid32", "setgid"),
    ("setgroups32", "setgroups"),
    ("setregid32", "setregid"),
    ("setresgid32", "setresgid"),
    ("setresuid32", "setresuid"),
    ("setreuid32", "setreuid"),
    ("setuid32", "setuid"),
    ("sgetmask", "rt_sigprocmask"),
    ("sigaction", "rt_sigaction"),
    ("signal", "rt_sigaction"),
    ("sigpending", "rt_sigpending"),
    ("sigprocmask", "rt_sigprocmask"),
    ("sigreturn", "rt_sigreturn"),
    ("sigsuspend", "rt_sigsuspend"),
    ("ssetmask", "rt_sigprocmask"),
    ("stat64", "stat"),
    ("statfs64", "statfs"),
    ("stime", "settimeofday"),
    ("timer_gettime64", "timer_gettime"),
    ("timer_settime64", "timer_settime"),
    ("timerfd_gettime64", "timerfd_gettime"),
    ("timerfd_settime64", "timerfd_settime"),
    ("truncate64", "truncate"),
    ("ugetrlimit", "getrlimit"),
    ("umount", "umount2"),
    ("utimensat_time64", "utimensat"),
    ("vm86old", "vm86"),
    ("waitpid", "wait4"),
];

/// Calls of 32-bit ABIs that have no counterpart in a 64-bit one. Nearly all of them are only a
/// number that answers ENOSYS.
#[cfg(test)]
pub(crate) const WITHOUT_COUNTERPART: &[&str] = &[
    "bdflush",
    "break",
    "breakpoint",
    "cacheflush",
    "ftime",
    "gtty",
    "idle",
    "ipc",
    "lock",
    "mpx",
    "pciconfig_iobase",
    "pciconfig_read",
    "pciconfig_write",
    "prof",
    "profil",
    "set_tls",
    "socketcall",
    "stty",
    "ulimit",
    "vm86",
];
