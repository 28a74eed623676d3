//! A child script made ready for the child: every string with its NUL, every flag a number.
//!
//! The child reads these and nothing else. Each operation knows which step of the script it
//! belongs to, so a failure names the step.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use super::raw::Errno;

/// One operation, and the step of the script that it came from.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) step: u32,
    pub(super) action: Action,
}

/// What an operation does. Paths inside are relative to the new root, `.` for the root itself.
#[derive(Debug, Clone)]
pub(super) enum Action {
    WriteMap {
        path: &'static CStr,
        text: Vec<u8>,
    },
    AwaitMaps,
    /// Bounds the process ids, and so the processes, of the child's own namespace of them.
    BoundPids {
        most: Vec<u8>,
    },
    /// Enters the control groups that were made for this run.
    EnterGroups,
    CgroupNamespace,
    /// A failure counts unless something else sees to the same.
    LimitNamespaces {
        required: bool,
    },
    TimeNamespace,
    PrivateMounts,
    /// Clones the source of a bind, to be held until the bind's turn comes.
    CloneSource {
        source: CString,
        slot: usize,
    },
    Root {
        source: CString,
        attributes: u64,
        scratch: bool,
        /// Whether attributes are set by remounting, for want of mount_setattr(2). It takes the
        /// scratch tmpfs.
        remounts: bool,
    },
    Bind {
        from: From,
        to: CString,
        attributes: u64,
    },
    FileSystem {
        kind: &'static CStr,
        options: Vec<FsOption>,
        to: CString,
        attributes: u64,
    },
    /// A tmpfs that is a directory of the one that all of these share (see [`super::shared`]).
    SharedTmpfs {
        /// The name of the directory.
        name: CString,
        mode: u32,
        to: CString,
    },
    Shadow {
        at: CString,
        mode: CString,
        entries: Vec<Entry>,
    },
    Overlay {
        at: CString,
        layer: Layer,
        /// The directories on the way to the one that takes the changes, from the topmost, and it
        /// itself.
        upper: Vec<CString>,
        work: CString,
        /// A directory in the scratch tmpfs, and in it `lower` and `layer`.
        names: [CString; 3],
        /// The way from the last of `upper` to `lower`, and to `work`.
        to_lower: CString,
        to_work: CString,
    },
    File {
        to: CString,
        /// One of its own in the scratch tmpfs.
        name: CString,
        data: Arc<[u8]>,
        mode: u32,
    },
    Mask {
        to: CString,
        directory: bool,
    },
    CloseSocket {
        to: CString,
    },
    MakeDir {
        parent: CString,
        name: CString,
        mode: u32,
    },
    MakeFile {
        parent: CString,
        name: CString,
    },
    MakeSymlink {
        parent: CString,
        name: CString,
        target: CString,
    },
    Seal {
        at: CString,
    },
    /// Protects parts of the procfs at this place, which has just been mounted.
    Protect {
        at: CString,
        parts: &'static [(&'static CStr, Protection)],
    },
    /// The tree stands already: the root is what the working directory's root is.
    Stand,
    /// Mounts an overlay of empty directories out of sight, to see whether it can be done.
    TryOverlay,
    PivotRoot,
    Chroot,
    ChrootTo(CString),
    Loopback,
    Hostname(Vec<u8>),
    Session,
    Keyring,
    ClearGroups,
    Ids {
        uid: u32,
        gid: u32,
    },
    Capabilities(u64),
    NoNewPrivs,
    Landlock(Wall),
}

/// Where a bind comes from.
#[derive(Debug, Clone)]
pub(super) enum From {
    /// The tree in this slot.
    Held(usize),
    /// A path below the root's source.
    Root(CString),
}

/// What takes the changes of an overlay.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    /// The tree in this slot.
    Held(usize),
    /// A new tmpfs of at most so many bytes.
    Memory(Option<CString>),
}

/// A parameter of a new file system (fsconfig(2), `FSCONFIG_SET_STRING`).
#[derive(Debug, Clone)]
pub(super) struct FsOption {
    pub(super) key: &'static CStr,
    pub(super) value: CString,
}

/// A [`sandboxlib_core::Landlock`] in the kernel's numbers (linux/landlock.h).
#[derive(Debug, Clone)]
pub(super) struct Wall {
    /// What is forbidden unless a rule allows it: files, network, scopes.
    pub(super) handled: [u64; 3],
    /// What is allowed below a path.
    pub(super) rules: Vec<(CString, u64)>,
    /// POSIX message queues are allowed.
    pub(super) queues: bool,
}

/// What a shadow directory holds.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Keep { name: CString, directory: bool },
    Link { path: CString, target: CString },
    Dir { path: CString, mode: u32 },
    File { path: CString },
}

/// How a part of procfs is protected, if it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    ReadOnly,
    Mask,
}

/// What failed inside an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) call: Call,
    pub(super) errno: Errno,
}

macro_rules! calls {
    ($($name:ident = $text:literal,)*) => {
        /// The part of an operation that failed; travels as a number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub(super) enum Call { $($name,)* }

        impl Call {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text),)*];

            /// The name of the part with this number.
            pub(super) fn name(number: u32) -> &'static str {
                Self::ALL
                    .iter()
                    .find(|(call, _)| *call as u32 == number)
                    .map_or("unknown call", |(_, text)| text)
            }
        }
    };
}

calls! {
    Open = "open",
    Write = "write",
    Receive = "recv",
    FileLimit = "prlimit",
    Unshare = "unshare",
    Mount = "mount",
    OpenTree = "open_tree",
    OpenTarget = "openat2",
    SetAttr = "mount_setattr",
    MoveMount = "move_mount",
    FsOpen = "fsopen",
    FsConfig = "fsconfig",
    FsMount = "fsmount",
    MkDir = "mkdir",
    MkNod = "mknod",
    SymLink = "symlink",
    ChMod = "chmod",
    ChDir = "chdir",
    PivotRoot = "pivot_root",
    Unmount = "umount",
    MountInfo = "read /proc/self/mountinfo",
    StatX = "statx",
    Chroot = "chroot",
    Socket = "socket",
    Ioctl = "ioctl",
    SetHostName = "sethostname",
    SetSid = "setsid",
    KeyCtl = "keyctl(KEYCTL_JOIN_SESSION_KEYRING)",
    SetGroups = "setgroups",
    SetGid = "setresgid",
    SetUid = "setresuid",
    Prctl = "prctl",
    CapSet = "capset",
    BoundingSet = "prctl(PR_CAPBSET_DROP)",
    SecureBits = "prctl(PR_SET_SECUREBITS)",
    LandlockCreate = "landlock_create_ruleset",
    LandlockRule = "landlock_add_rule",
    LandlockRestrict = "landlock_restrict_self",
    Duplicate = "dup3",
    CloseRange = "close_range",
    WorkingDirectory = "chdir (working directory)",
    Init = "execveat",
    Seccomp = "seccomp",
    Enter = "setns",
    Clone = "clone",
}
