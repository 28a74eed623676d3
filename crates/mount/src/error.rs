use std::io;
use std::path::PathBuf;

use sandboxlib_config::SandboxPath;

/// Why a configuration cannot be made into a plan on this host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The root directory is missing.
    #[error("the root {path:?} does not exist")]
    RootMissing {
        /// The root as configured.
        path: PathBuf,
    },
    /// The root is something else than a directory.
    #[error("the root {path:?} is not a directory")]
    RootNotADirectory {
        /// The root as configured.
        path: PathBuf,
    },
    /// The source of a bind is missing.
    #[error("the source {path:?} of the bind at {target:?} does not exist")]
    SourceMissing {
        /// The source as configured.
        path: PathBuf,
        /// Where it was to appear.
        target: SandboxPath,
    },
    /// A writable path is missing in the root.
    #[error("the writable path {path:?} does not exist in the root")]
    WritableMissing {
        /// The path as configured.
        path: SandboxPath,
    },
    /// A path that is to be shown is missing in the root.
    #[error("the {kind} {path:?} does not exist in the root")]
    ReadableMissing {
        /// What it is: `readable path` or `socket`.
        kind: &'static str,
        /// The path as configured.
        path: SandboxPath,
    },
    /// A mount would hide one that comes before it.
    #[error("the {later_kind} at {later:?} hides the {earlier_kind} at {earlier:?}")]
    Hides {
        /// The mount that hides.
        later: SandboxPath,
        /// Its kind.
        later_kind: &'static str,
        /// The mount that would be hidden.
        earlier: SandboxPath,
        /// Its kind.
        earlier_kind: &'static str,
    },
    /// A component on the way to a mount point is neither directory nor link to one.
    #[error("{at:?}, on the way to {target:?}, is not a directory")]
    NotADirectory {
        /// The component.
        at: SandboxPath,
        /// The mount point.
        target: SandboxPath,
    },
    /// Following symbolic links on the way to a mount point does not end.
    #[error("too many symbolic links on the way to {target:?}")]
    TooManyLinks {
        /// The mount point.
        target: SandboxPath,
    },
    /// A directory is to be mounted on a file, or a file on a directory.
    #[error("the {kind} at {target:?} needs a {wanted} there, but a {found} exists")]
    Mismatch {
        /// The kind of mount.
        kind: &'static str,
        /// The mount point.
        target: SandboxPath,
        /// `directory` or `file`.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A symbolic link is wanted where something else exists.
    #[error("cannot make the symlink {target:?}: something else exists there")]
    Exists {
        /// The path of the link.
        target: SandboxPath,
    },
    /// Something is to be made inside a mount that cannot hold it, such as procfs or a mask.
    #[error("nothing can be made at {target:?}: {at:?} is a {kind} mount")]
    Unmountable {
        /// What was to be made.
        target: SandboxPath,
        /// The mount that is in the way.
        at: SandboxPath,
        /// Its kind.
        kind: &'static str,
    },
    /// A path that does not exist yet is to be masked below a parent that is writable: it could
    /// be had only by making it on the host.
    #[error(
        "{target:?} does not exist and its parent is writable, so it cannot be masked without making it on the host"
    )]
    MaskAbsent {
        /// The path that was to be masked.
        target: SandboxPath,
    },
    /// A kind of root, of root access or of mount that this version of the planner does not know.
    #[error("this planner does not know the {what} that is asked for")]
    Unknown {
        /// What it does not know.
        what: &'static str,
    },
    /// The root is to be changed, and an overlay is to keep it from being changed.
    #[error("the root cannot be writable and have an overlay that takes what is changed")]
    OverlaidWritable,
    /// The directory for the changes of an overlay is missing, or none.
    #[error("{path:?}, which is to take the changes of the overlay, is not a directory")]
    OverlayDir {
        /// The directory as configured.
        path: PathBuf,
    },
    /// The host's mount points could not be listed.
    #[error("cannot list the mount points of the host")]
    Mounts {
        /// What the operating system said.
        source: io::Error,
    },
    /// The host's unix sockets could not be listed.
    #[error("cannot list the unix sockets of the host")]
    Sockets {
        /// What the operating system said.
        source: io::Error,
    },
    /// The host's files could not be looked at.
    #[error("cannot look at {path:?}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
