use std::ffi::OsString;
use std::path::PathBuf;

use crate::{ControlGroups, Feature, FeatureSet, HiddenPlace, Limits, Mount, SandboxPath, Seccomp};

/// What the sandbox shows as `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Root {
    /// A directory of the host.
    Dir(PathBuf),
    /// The host's own root, without its secrets: see [`Config::hidden`].
    Host,
}

/// What may be changed below the root. Mounts carry their own [`Access`](crate::Access).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootAccess {
    /// Everything, as far as file permissions go.
    ReadWrite,
    /// Nothing.
    ReadOnly,
    /// Nothing but these paths and what is below them.
    ReadOnlyExcept(Vec<SandboxPath>),
}

/// Where what the command changes of the root goes, instead of into it (overlayfs, Documentation/
/// filesystems/overlayfs.rst of the kernel).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overlay {
    /// Into memory, and away when the run is over. Each run of a prepared sandbox has its own.
    Discard,
    /// Into this directory of the host, which exists. All runs share it, one after another; two
    /// at a time are more than the kernel promises anything about.
    Keep(PathBuf),
}

/// The network that the command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Network {
    /// A network namespace with nothing but a loopback interface, which is up.
    #[default]
    Isolated,
    /// The caller's network.
    Shared,
}

/// Whether the sandbox has a namespace of its own of some kind (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Of its own.
    Isolated,
    /// The caller's.
    Shared,
}

/// Whether the sandbox lives in a user namespace (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UserNamespace {
    /// In one where the other wishes need it or it makes the sandbox stronger; the backend
    /// decides and the outcome tells.
    #[default]
    Auto,
    /// In one, or not at all.
    Isolated,
    /// In the caller's. Then the other namespaces need privilege.
    Shared,
}

/// The namespaces of the sandbox besides mount, which every sandbox with a root has, and
/// network, which is a question of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Namespaces {
    /// User and group ids.
    pub user: UserNamespace,
    /// Process ids.
    pub pid: Isolation,
    /// System V IPC and POSIX message queues.
    pub ipc: Isolation,
    /// Host and domain name.
    pub uts: Isolation,
    /// The view of the cgroup tree.
    pub cgroup: Isolation,
    /// Boot and monotonic clocks. Shared by default: isolating it hides nothing that a program
    /// could misuse.
    pub time: Isolation,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            user: UserNamespace::Auto,
            pid: Isolation::Isolated,
            ipc: Isolation::Isolated,
            uts: Isolation::Isolated,
            cgroup: Isolation::Isolated,
            time: Isolation::Shared,
        }
    }
}

/// Who the command is, inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Ids {
    /// The ids of the caller.
    #[default]
    Caller,
    /// A pair of ids of one's own choice; 0 and 0 is root inside.
    Pair {
        /// The user id inside.
        uid: u32,
        /// The group id inside.
        gid: u32,
    },
    /// A pair of ids, among a range of further ones: the caller's ids are seen as 0, and the
    /// subordinate ids that the host grants the caller as 1 and up (subuid(5), subgid(5)). A
    /// caller who is root has every id of the host, unchanged.
    Subordinate {
        /// The user id inside, which is 0 or one of the range.
        uid: u32,
        /// The group id inside.
        gid: u32,
    },
}

impl Ids {
    /// Root inside.
    pub const ROOT: Self = Self::Pair { uid: 0, gid: 0 };

    /// Root inside, with a range of further ids.
    pub const SUBORDINATE: Self = Self::Subordinate { uid: 0, gid: 0 };

    /// Whether there is a range of further ids.
    #[must_use]
    pub fn has_range(self) -> bool {
        matches!(self, Self::Subordinate { .. })
    }
}

/// The capabilities that the command keeps (capabilities(7)), as names such as `CAP_CHOWN`. In
/// a user namespace they count inside it alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Capabilities {
    /// Where [`Config::ids`] asks for root inside, what makes root's file operations work (chown,
    /// dac_override, fowner, fsetid, kill, setgid, setuid); otherwise none, also for a caller who
    /// is root. A masked path takes dac_override away, because it would open the mask.
    #[default]
    Auto,
    /// Exactly these; none if the list is empty.
    Only(Vec<String>),
}

/// What a sandbox should be.
///
/// The only thing without a default is the root. Everything else is as isolated as it can be and
/// still run a build: see each field.
///
/// ```
/// use sandboxlib_config::{Config, Mount, Root, RootAccess, SandboxPath};
/// let mut config = Config::new(Root::Dir("/srv/debian12".into()));
/// config.root_access = Some(RootAccess::ReadOnly);
/// config.mounts.push(Mount::bind("hello-2.10", SandboxPath::new("/build")?));
/// # Ok::<(), sandboxlib_config::PathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What the sandbox shows as `/`.
    pub root: Root,
    /// What may be changed below it. `None`: everything for [`Root::Dir`] without an overlay,
    /// nothing otherwise.
    pub root_access: Option<RootAccess>,
    /// Where changes of the root go that `root_access` does not let into it. With this the
    /// default of `root_access` is nothing for every kind of root, and what is mounted below the
    /// root on the host is seen and cannot be changed.
    pub overlay: Option<Overlay>,
    /// What of [`Root::Host`] is hidden. `None`: what [`HiddenPlace::usual`] lists for the caller.
    /// Nothing of another root is. A place at which a writable path or one of `readable` points
    /// exactly is shown, and one that is merely below such a path stays hidden.
    pub hidden: Option<Vec<HiddenPlace>>,
    /// What of [`Root::Host`] can be read although it is in a hidden place, and not changed,
    /// although it is in a writable one. These are paths inside, and exist.
    pub readable: Vec<SandboxPath>,
    /// Unix sockets that can be connected to although they are below something read-only, which
    /// closes those that are there when the sandbox is made; and, of [`Root::Host`], although they
    /// are in a hidden place, such as /run/postgresql/.s.PGSQL.5432. A directory stands for all
    /// sockets in it and below, those included that are made later; `/` leaves open all that are
    /// seen. These are paths inside, and exist. What is bound by its own name, and what is below
    /// something writable, need not be named.
    pub sockets: Vec<SandboxPath>,
    /// What else is to be seen, in this order.
    pub mounts: Vec<Mount>,
    /// The network.
    pub network: Network,
    /// The other namespaces.
    pub namespaces: Namespaces,
    /// Who the command is.
    pub ids: Ids,
    /// The host name inside; needs `namespaces.uts` isolated. `None` leaves the host's.
    pub hostname: Option<OsString>,
    /// The capabilities that the command keeps.
    pub capabilities: Capabilities,
    /// Whether Landlock (landlock(7)) stands behind the mounts as a second wall, where the kernel
    /// has it. It allows whatever the mounts show, so there is seldom a reason to do without.
    pub landlock: bool,
    /// The system calls that the command can make.
    pub seccomp: Seccomp,
    /// Whether the command can make further namespaces, user namespaces above all, in which it
    /// would have every capability.
    pub allow_nested: bool,
    /// What a run may use at most.
    pub limits: Limits,
    /// Where control groups for the limits may be made.
    pub control_groups: ControlGroups,
    /// The features of which less will do. What a backend cannot enforce is refused unless it is
    /// listed here, and then the outcome tells that it was not enforced.
    pub prefer: FeatureSet,
}

impl Config {
    /// The defaults with this root.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            root,
            root_access: None,
            overlay: None,
            hidden: None,
            readable: Vec::new(),
            sockets: Vec::new(),
            mounts: Vec::new(),
            network: Network::default(),
            namespaces: Namespaces::default(),
            ids: Ids::default(),
            hostname: None,
            capabilities: Capabilities::default(),
            landlock: true,
            seccomp: Seccomp::default(),
            allow_nested: false,
            limits: Limits::default(),
            control_groups: ControlGroups::default(),
            prefer: Self::DEFAULT_PREFER.iter().copied().collect(),
        }
    }

    /// The features that are isolated where the backend can and left alone where it cannot,
    /// without being asked: the outcome says which.
    pub const DEFAULT_PREFER: &'static [Feature] = &[
        Feature::Pid,
        Feature::Ipc,
        Feature::Uts,
        Feature::Cgroup,
        Feature::Seccomp,
        Feature::Nested,
    ];

    /// Whether something of the root is read-only. A list of writable paths that names the root
    /// itself leaves nothing, and still says what of a hidden place is shown. With an overlay
    /// nothing is: that keeps the root as it is.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        match self.effective_root_access() {
            _ if self.overlay.is_some() => false,
            RootAccess::ReadWrite => false,
            RootAccess::ReadOnly => true,
            RootAccess::ReadOnlyExcept(paths) => !paths.iter().any(SandboxPath::is_root),
        }
    }

    /// Whether some of the host is to be hidden.
    #[must_use]
    pub fn hides_secrets(&self) -> bool {
        self.root == Root::Host && self.hidden.as_ref().is_none_or(|places| !places.is_empty())
    }

    /// The root access that holds: what was said, or the default for the kind of root.
    #[must_use]
    pub fn effective_root_access(&self) -> RootAccess {
        match (&self.root_access, &self.root) {
            (Some(access), _) => access.clone(),
            (None, _) if self.overlay.is_some() => RootAccess::ReadOnly,
            (None, Root::Dir(_)) => RootAccess::ReadWrite,
            (None, Root::Host) => RootAccess::ReadOnly,
        }
    }
}
