use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::SandboxPath;

/// Whether what is below a mount may be changed from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only, including everything mounted below on the host.
    ReadOnly,
    /// Reading and, as far as the file permissions go, writing.
    ReadWrite,
}

/// One thing to put at one place inside the sandbox. Mounts apply in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it appears. Symbolic links on the way are followed inside the sandbox and never
    /// lead out of it.
    pub target: SandboxPath,
    /// What appears there.
    pub kind: MountKind,
    /// Whether it may hide a mount that came earlier in the list. Without this, hiding one is an
    /// error, because it is nearly always a mistake.
    pub covers: bool,
}

/// What a [`Mount`] puts in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountKind {
    /// A file or directory of the host, with everything mounted below it (mount(2), `MS_BIND |
    /// MS_REC`).
    Bind {
        /// The path on the host, absolute or relative to the caller's working directory.
        source: PathBuf,
        /// Reading, or writing too.
        access: Access,
    },
    /// A new, empty file system in memory (tmpfs(5)).
    Tmpfs {
        /// The most that it can hold, in bytes; `None` for the kernel's default, half of the
        /// memory.
        size: Option<u64>,
        /// The permissions of its root directory, such as `0o1777`.
        mode: u32,
    },
    /// procfs of the sandbox's own process id namespace (proc(5)).
    Proc,
    /// A directory of devices that are harmless: null, zero, full, random, urandom, tty, a
    /// private pts with ptmx, shm, and the links fd, stdin, stdout, stderr.
    Dev,
    /// A file with the given content, read-only. It lives in memory, so nothing of it reaches
    /// the host.
    File {
        /// The content.
        data: Arc<[u8]>,
        /// The permissions, such as `0o644`.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// What the link says; not checked, and resolved inside the sandbox by whoever follows
        /// it.
        to: OsString,
    },
    /// A directory: made if it is missing.
    Dir {
        /// The permissions if it is made.
        mode: u32,
    },
    /// The path answers EACCES, whatever is there, and nothing below it can be seen.
    Mask,
}

impl Mount {
    /// `kind` at `target`.
    #[must_use]
    pub fn new(target: SandboxPath, kind: MountKind) -> Self {
        Self {
            target,
            kind,
            covers: false,
        }
    }

    /// Says that this mount is meant to hide what was mounted there before.
    #[must_use]
    pub fn covering(mut self) -> Self {
        self.covers = true;
        self
    }

    /// The host's `source` at `target`, writable.
    #[must_use]
    pub fn bind(source: impl Into<PathBuf>, target: SandboxPath) -> Self {
        Self::new(
            target,
            MountKind::Bind {
                source: source.into(),
                access: Access::ReadWrite,
            },
        )
    }

    /// The host's `source` at `target`, read-only.
    #[must_use]
    pub fn bind_read_only(source: impl Into<PathBuf>, target: SandboxPath) -> Self {
        Self::new(
            target,
            MountKind::Bind {
                source: source.into(),
                access: Access::ReadOnly,
            },
        )
    }

    /// An empty tmpfs that anybody inside may write to, as `/tmp` is.
    #[must_use]
    pub fn tmpfs(target: SandboxPath) -> Self {
        Self::new(
            target,
            MountKind::Tmpfs {
                size: None,
                mode: 0o1777,
            },
        )
    }
}

impl MountKind {
    /// The word for this kind in files and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Tmpfs { .. } => "tmpfs",
            Self::Proc => "proc",
            Self::Dev => "dev",
            Self::File { .. } => "file",
            Self::Symlink { .. } => "symlink",
            Self::Dir { .. } => "dir",
            Self::Mask => "mask",
        }
    }

    /// The feature that a backend needs for this kind.
    #[must_use]
    pub fn feature(&self) -> crate::Feature {
        match self {
            Self::Bind { .. } => crate::Feature::Bind,
            Self::Tmpfs { .. } => crate::Feature::Tmpfs,
            Self::Proc => crate::Feature::Proc,
            Self::Dev => crate::Feature::Dev,
            Self::File { .. } => crate::Feature::File,
            Self::Symlink { .. } | Self::Dir { .. } => crate::Feature::Entries,
            Self::Mask => crate::Feature::Mask,
        }
    }
}
