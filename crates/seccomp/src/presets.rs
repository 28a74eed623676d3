//! The presets, as plain data: what is closed, in which cases, how it answers, and why.

use sandboxlib_config::{Errno, SeccompAction, SeccompOperator};

use crate::policy::{Condition, Guard};

/// Calls that are closed, always or in some cases.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    /// The names of the calls. What is said of a call is said of its aliases in 32-bit ABIs.
    pub calls: &'static [&'static str],
    /// In which case, in words; empty if always.
    pub case: &'static str,
    /// What decides, the first that fits.
    pub rules: &'static [Rule],
    /// Why they are closed.
    pub why: &'static str,
}

/// What happens in some case.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The case.
    pub when: When,
    /// What happens then.
    pub action: SeccompAction,
}

/// A case.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum When {
    /// Any.
    Always,
    /// All of these are so.
    All(&'static [Bits]),
    /// Of the bits of this mask, some are set in the lower half of this argument.
    Any {
        /// The number of the argument, from 0 to 5.
        argument: u8,
        /// The bits.
        mask: u32,
    },
}

/// The bits of an argument that are set in a mask are those of a value.
#[derive(Debug, Clone, Copy)]
pub struct Bits {
    /// The number of the argument, from 0 to 5.
    pub argument: u8,
    /// The bits that count.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
}

impl From<When> for Guard {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::All(Vec::new()),
            When::All(list) => Self::All(
                list.iter()
                    .map(|bits| Condition {
                        argument: bits.argument,
                        operator: SeccompOperator::MaskedEq(bits.mask),
                        value: bits.value,
                    })
                    .collect(),
            ),
            When::Any { argument, mask } => Self::AnyBit { argument, mask },
        }
    }
}

/// Numbers that the kernel takes as 32 bits: what is above is not looked at, there and here.
const INT: u64 = 0xffff_ffff;

const fn int(argument: u8, value: u64) -> Bits {
    Bits {
        argument,
        mask: INT,
        value,
    }
}

const fn error(number: u16) -> SeccompAction {
    match Errno::new(number) {
        Some(errno) => SeccompAction::Errno(errno),
        None => SeccompAction::Kill,
    }
}

const EPERM: SeccompAction = error(1);
const ENOSYS: SeccompAction = error(38);
const EPROTONOSUPPORT: SeccompAction = error(93);
const EAFNOSUPPORT: SeccompAction = error(97);

const fn always(action: SeccompAction) -> Rule {
    Rule {
        when: When::Always,
        action,
    }
}

const fn allow(bits: &'static [Bits]) -> Rule {
    Rule {
        when: When::All(bits),
        action: SeccompAction::Allow,
    }
}

/// `CLONE_NEWNS`, `CLONE_NEWCGROUP`, `CLONE_NEWUTS`, `CLONE_NEWIPC`, `CLONE_NEWUSER`,
/// `CLONE_NEWPID`, `CLONE_NEWNET` (linux/sched.h).
const NEW: u32 = 0x7e02_0000;
/// `CLONE_NEWTIME`, which only unshare(2) and clone3(2) take.
const NEWTIME: u32 = 0x80;

/// What makes namespaces: closed under every policy unless nested ones are allowed.
pub const NAMESPACES: &[Closed] = &[
    Closed {
        calls: &["clone"],
        case: "with a new namespace among the flags",
        rules: &[Rule {
            when: When::Any {
                argument: 0,
                mask: NEW,
            },
            action: EPERM,
        }],
        why: "in a user namespace of its own the command would have every capability, and with \
              them parts of the kernel that are written for root",
    },
    Closed {
        calls: &["unshare"],
        case: "with a new namespace among the flags",
        rules: &[Rule {
            when: When::Any {
                argument: 0,
                mask: NEW | NEWTIME,
            },
            action: EPERM,
        }],
        why: "as clone",
    },
    Closed {
        calls: &["clone3"],
        case: "",
        rules: &[always(ENOSYS)],
        why: "its flags are in memory, where a filter cannot look; C libraries fall back to clone",
    },
    Closed {
        calls: &["setns"],
        case: "",
        rules: &[always(EPERM)],
        why: "enters the namespaces of others",
    },
];

/// What changes mounts: closed in `build` unless nested namespaces are allowed, since without a
/// namespace of its own the command may not mount anyway.
pub const MOUNTS: &[Closed] = &[
    Closed {
        calls: &["mount", "umount2", "pivot_root"],
        case: "",
        rules: &[always(EPERM)],
        why: "changes what the sandbox shows; a large part of the kernel behind it",
    },
    Closed {
        calls: &[
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "open_tree",
            "open_tree_attr",
            "move_mount",
            "mount_setattr",
        ],
        case: "",
        rules: &[always(EPERM)],
        why: "the same by the newer calls",
    },
];

/// The rest of what `build` closes. All else is allowed.
pub const BUILD: &[Closed] = &[
    Closed {
        calls: &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        case: "",
        rules: &[always(ENOSYS)],
        why: "makes calls that no filter sees, and has been a rich source of holes; programs fall \
              back to plain calls",
    },
    Closed {
        calls: &["userfaultfd"],
        case: "",
        rules: &[always(EPERM)],
        why: "lets a program hold the kernel in the middle of a copy, which turns races into \
              certainties",
    },
    Closed {
        calls: &["bpf"],
        case: "",
        rules: &[always(EPERM)],
        why: "runs programs inside the kernel",
    },
    Closed {
        calls: &["perf_event_open"],
        case: "",
        rules: &[always(EPERM)],
        why: "measures other programs and the kernel; a large part of the kernel behind it",
    },
    Closed {
        calls: &["add_key", "request_key", "keyctl"],
        case: "",
        rules: &[always(ENOSYS)],
        why: "keyrings belong to the user and not to the sandbox: two runs would share them; \
              programs take it for a kernel without keys",
    },
    Closed {
        calls: &["init_module", "finit_module", "delete_module"],
        case: "",
        rules: &[always(EPERM)],
        why: "changes the running kernel",
    },
    Closed {
        calls: &["kexec_load", "kexec_file_load", "reboot"],
        case: "",
        rules: &[always(EPERM)],
        why: "replaces or ends the running kernel",
    },
    Closed {
        calls: &["open_by_handle_at"],
        case: "",
        rules: &[always(EPERM)],
        why: "opens files by number, wherever they are, past the root and the mounts",
    },
    Closed {
        calls: &["ioctl"],
        case: "TIOCSTI and TIOCLINUX, whatever the upper half of the request",
        rules: &[
            Rule {
                when: When::All(&[int(1, 0x5412)]),
                action: EPERM,
            },
            Rule {
                when: When::All(&[int(1, 0x541c)]),
                action: EPERM,
            },
        ],
        why: "types into the terminal of the caller, or pastes there (CVE-2017-5226, \
              CVE-2019-10063)",
    },
    Closed {
        calls: &["socket"],
        case: "families other than unix, inet, inet6 and netlink",
        rules: &[
            allow(&[int(0, 1)]),
            allow(&[int(0, 2)]),
            allow(&[int(0, 10)]),
            // NETLINK_ROUTE.
            allow(&[int(0, 16), int(2, 0)]),
            Rule {
                when: When::All(&[int(0, 16)]),
                action: EPROTONOSUPPORT,
            },
            always(EAFNOSUPPORT),
        ],
        why: "vsock talks to the machine's host past every network namespace, and the others are \
              seldom used code that a socket call loads into the kernel. Of netlink, route (the \
              C library asks it for addresses) is open; any other protocol answers \
              EPROTONOSUPPORT, kobject_uevent among them, which tells of the host's devices",
    },
    Closed {
        calls: &["socketpair"],
        case: "families other than unix, inet and inet6",
        rules: &[
            allow(&[int(0, 1)]),
            allow(&[int(0, 2)]),
            allow(&[int(0, 10)]),
            always(EAFNOSUPPORT),
        ],
        why: "as socket",
    },
    Closed {
        calls: &["syslog"],
        case: "",
        rules: &[always(EPERM)],
        why: "shows the host's kernel log",
    },
    Closed {
        calls: &["swapon", "swapoff", "acct", "quotactl", "quotactl_fd"],
        case: "",
        rules: &[always(EPERM)],
        why: "administers the host",
    },
    Closed {
        calls: &["iopl", "ioperm", "vm86"],
        case: "",
        rules: &[always(EPERM)],
        why: "reaches the hardware, or is an old corner of the processor",
    },
];

/// All that `strict-io` lets through. execve is how the command itself is started; what it might
/// execute afterwards is under the same filter.
pub const STRICT_IO: &[&str] = &[
    "read",
    "write",
    "exit",
    "exit_group",
    "rt_sigreturn",
    "execve",
];
