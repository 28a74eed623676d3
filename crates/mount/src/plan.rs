use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use sandboxlib_config::{Access, SandboxPath};

/// An ordered list of steps that build the sandbox's view of the file system.
///
/// Every path in it is canonical at the time of planning: no component of it is a symbolic link
/// in the view that the steps before it have built. Whoever carries the plan out opens each path
/// without following links, from the root that the plan has made, and fails if one has appeared
/// meanwhile; so a plan cannot be made to act elsewhere by swapping a directory for a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// The steps, in the order in which they are carried out. The first is always
    /// [`PlanStep::Root`].
    pub steps: Vec<PlanStep>,
    /// The configured mounts that led to no mount because they were found in place already, such
    /// as a directory that exists.
    pub satisfied: Vec<SandboxPath>,
    /// The directories of the host's root that are hidden
    /// ([`Config::hidden`](sandboxlib_config::Config::hidden)), without symbolic links. What is
    /// shown in one of them has a step of its own.
    pub hidden: Vec<SandboxPath>,
    /// The paths that are not masked although it was asked for, because they do not exist and
    /// their parent is writable; only where [`Feature::Mask`](sandboxlib_config::Feature::Mask)
    /// is preferred rather than required.
    pub not_masked: Vec<SandboxPath>,
    /// What may be connected to wherever it is
    /// ([`Config::sockets`](sandboxlib_config::Config::sockets)), without symbolic links: sockets,
    /// and directories for all sockets below them.
    pub sockets: Vec<SandboxPath>,
}

/// One step of a [`MountPlan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStep {
    /// The root: the host's directory `source`, with everything mounted below it, becomes the
    /// tree on which the later steps work.
    Root {
        /// The directory on the host.
        source: PathBuf,
        /// With `ReadOnly`, every mount in the tree becomes read-only.
        access: Access,
    },
    /// Makes `at` a private directory in memory that looks like the directory it covers: the
    /// same entries, bound in from it (directories and files) or made anew (symbolic links), and
    /// besides them the ones that the host lacks. This is how a mount point comes to be below a
    /// parent that must not be changed. The result is read-only.
    Shadow {
        /// The directory that is covered.
        at: SandboxPath,
        /// Its permissions, as on the host.
        mode: u32,
        /// What it holds. Parents come before what is in them.
        entries: Vec<ShadowEntry>,
    },
    /// Lays a layer over the directory `at` that takes what is changed there (overlayfs). What is
    /// on the host stays as it is. Nothing is mounted below `at` yet.
    Overlay {
        /// The directory that is covered and shows through.
        at: SandboxPath,
        /// The directory of the host that takes the changes, of all layers with their paths: in
        /// `upper` what is new, in `work` what the kernel needs. `None`: memory, for this run.
        keep: Option<PathBuf>,
        /// The most that the memory can hold, in bytes.
        size: Option<u64>,
    },
    /// Binds `from`, with everything mounted below it, to the existing `to`.
    Bind {
        /// What is bound.
        from: BindSource,
        /// Where: a directory for a directory, a file for anything else.
        to: SandboxPath,
        /// Whether it is a directory.
        node: Node,
        /// How.
        attributes: Attributes,
    },
    /// Mounts a new tmpfs on the existing directory `to`.
    Tmpfs {
        /// The mount point.
        to: SandboxPath,
        /// The most that it can hold, in bytes.
        size: Option<u64>,
        /// The permissions of its root.
        mode: u32,
    },
    /// Mounts procfs on the existing directory `to`.
    Proc {
        /// The mount point.
        to: SandboxPath,
    },
    /// Mounts a new instance of devpts on the existing directory `to`.
    Devpts {
        /// The mount point.
        to: SandboxPath,
    },
    /// Puts a read-only file with this content over the existing file `to`.
    File {
        /// The file that is covered.
        to: SandboxPath,
        /// The content.
        data: Arc<[u8]>,
        /// Its permissions.
        mode: u32,
    },
    /// Covers the existing `to` with something that nobody may open, read or look into.
    Mask {
        /// The path that is masked.
        to: SandboxPath,
        /// Whether it is a directory.
        node: Node,
    },
    /// Covers the existing socket `to` with one that nobody listens on, or with anything that is
    /// no socket. To look at it or to open it does no harm, so it is no [`Mask`](Self::Mask), and
    /// takes no capability from the command. If there is no socket any more, nothing is done.
    CloseSocket {
        /// The socket that is covered.
        to: SandboxPath,
    },
    /// Makes a directory.
    MakeDir {
        /// Its path; the parent exists.
        at: SandboxPath,
        /// Its permissions, whatever the umask.
        mode: u32,
        /// Whether this changes the host.
        on_host: bool,
    },
    /// Makes an empty file to mount something on.
    MakeFile {
        /// Its path; the parent exists.
        at: SandboxPath,
        /// Whether this changes the host.
        on_host: bool,
    },
    /// Makes a symbolic link.
    MakeSymlink {
        /// Its path; the parent exists.
        at: SandboxPath,
        /// What it says.
        to: OsString,
        /// Whether this changes the host.
        on_host: bool,
    },
    /// Makes the file system mounted at `at`, and it alone, read-only from here on.
    Seal {
        /// The mount point.
        at: SandboxPath,
    },
}

/// What a [`PlanStep::Bind`] binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindSource {
    /// A path on the host, looked up as the caller would.
    Host(PathBuf),
    /// A path of the root's own tree, as it was before it was made read-only: what makes a part
    /// of a read-only root writable.
    Root(SandboxPath),
}

/// A directory, or anything that is mounted upon as a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory.
    Dir,
    /// A file, socket, fifo or device.
    File,
}

/// The properties of a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Whether it may be written to.
    pub access: Access,
    /// Whether device nodes in it work.
    pub devices: bool,
}

/// What a [`PlanStep::Shadow`] holds. Each path is relative to the shadow, with `/` between
/// names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowEntry {
    /// The entry of this name in the covered directory, bound in.
    Keep {
        /// Its name.
        name: OsString,
        /// Whether it is a directory.
        node: Node,
    },
    /// A symbolic link of the covered directory, made anew.
    Link {
        /// Its path.
        path: PathBuf,
        /// What it says.
        to: OsString,
    },
    /// A directory that the host lacks.
    Dir {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// An empty file that the host lacks, to mount something on.
    File {
        /// Its path.
        path: PathBuf,
    },
}

impl PlanStep {
    /// The mount point, if what was to be seen there and below is covered by this step. A
    /// [`Shadow`](Self::Shadow) and an [`Overlay`](Self::Overlay) show again what they cover.
    #[must_use]
    pub fn covers(&self) -> Option<&SandboxPath> {
        match self {
            Self::Bind { to, .. }
            | Self::Tmpfs { to, .. }
            | Self::Proc { to }
            | Self::Devpts { to }
            | Self::File { to, .. }
            | Self::Mask { to, .. }
            | Self::CloseSocket { to } => Some(to),
            _ => None,
        }
    }
}

impl MountPlan {
    /// Whether a path is masked: what opens a mask must not be left to the command then.
    #[must_use]
    pub fn has_masks(&self) -> bool {
        let mask = |step: &PlanStep| matches!(step, PlanStep::Mask { .. });
        self.steps.iter().any(mask)
    }

    /// The paths that are made on the host, below what the caller made writable, because
    /// something has to be mounted there.
    pub fn created_on_host(&self) -> impl Iterator<Item = &SandboxPath> {
        self.steps.iter().filter_map(|step| match step {
            PlanStep::MakeDir {
                at, on_host: true, ..
            }
            | PlanStep::MakeFile { at, on_host: true }
            | PlanStep::MakeSymlink {
                at, on_host: true, ..
            } => Some(at),
            _ => None,
        })
    }
}
