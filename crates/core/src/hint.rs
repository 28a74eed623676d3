use std::borrow::Cow;
use std::path::PathBuf;

use crate::KernelVersion;

/// Something that somebody can turn to make a refusal go away.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Knob {
    /// A kernel setting below /proc/sys.
    Sysctl {
        /// Its name, such as `user.max_user_namespaces`.
        name: Cow<'static, str>,
        /// The value found.
        found: String,
        /// A value that would do.
        wanted: Cow<'static, str>,
    },
    /// A capability that the caller lacks.
    Capability(&'static str),
    /// A program that is missing.
    Program {
        /// Its name.
        name: Cow<'static, str>,
        /// The Debian package that has it.
        package: Option<&'static str>,
    },
    /// A line that a system file lacks.
    File {
        /// The file, such as /etc/subuid.
        path: &'static str,
        /// The line that would do.
        line: String,
    },
    /// An option that the kernel was built without, such as `CONFIG_USER_NS`.
    KernelConfig(&'static str),
    /// A kernel that is too old.
    Kernel {
        /// The version found, if it is known.
        found: Option<KernelVersion>,
        /// The first version that would do.
        wanted: KernelVersion,
    },
    /// The operating system has no such thing.
    Os,
    /// A Linux security module, such as AppArmor.
    Lsm(&'static str),
    /// A system call filter around the caller, such as a container engine's.
    Seccomp,
    /// A mount option or the arrangement of mounts.
    Mount(Cow<'static, str>),
    /// A resource limit of the caller (setrlimit(2)) or of its control group, such as
    /// `RLIMIT_NPROC` or `pids.max`.
    Limit(&'static str),
    /// A file or directory that is missing, changes, or is not as it has to be.
    Path(PathBuf),
    /// A limit or property of the run itself.
    Request(&'static str),
}

/// Advice on a refusal or a failure: what says no, and what to do. Data; whoever shows it words
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What can be turned.
    pub knob: Knob,
    /// What to do, as a lower-case fragment that can stand behind `hint: `.
    pub advice: Cow<'static, str>,
}

impl Hint {
    /// A hint.
    pub fn new(knob: Knob, advice: impl Into<Cow<'static, str>>) -> Self {
        Self {
            knob,
            advice: advice.into(),
        }
    }
}
