use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use sandboxlib_config::{Config, Isolation, Network, SandboxPath, Seccomp};
use sandboxlib_mount::{MountPlan, PlanStep};

use crate::{CapSet, IdRange, Landlock, ProcessLimits, SyscallFilter, TreeLimits};

/// What the child does between its birth and the command, step by step.
///
/// The script is at once what is carried out, what `--explain` shows, and the index of errors: a
/// child that fails tells the number of the step, and the parent names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildScript {
    /// The steps, in order. The working directory, the standard streams and the command itself
    /// come after them and belong to the single run.
    pub steps: Vec<Step>,
}

/// The namespaces that a child is born into (clone(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(clippy::struct_excessive_bools, reason = "one flag of clone(2) each")]
pub struct NamespaceSet {
    /// `CLONE_NEWUSER`
    pub user: bool,
    /// `CLONE_NEWNS`
    pub mount: bool,
    /// `CLONE_NEWPID`
    pub pid: bool,
    /// `CLONE_NEWIPC`
    pub ipc: bool,
    /// `CLONE_NEWUTS`
    pub uts: bool,
    /// `CLONE_NEWNET`
    pub net: bool,
    /// `CLONE_NEWCGROUP`
    pub cgroup: bool,
}

impl NamespaceSet {
    /// The names of the namespaces in the set, as in /proc/PID/ns.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.user, "user"),
            (self.mount, "mnt"),
            (self.pid, "pid"),
            (self.ipc, "ipc"),
            (self.uts, "uts"),
            (self.net, "net"),
            (self.cgroup, "cgroup"),
        ]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
    }

    /// The namespaces that `config` asks for besides user and mount.
    #[must_use]
    pub fn asked_for(config: &sandboxlib_config::Config) -> Self {
        let isolated = |i: Isolation| i == Isolation::Isolated;
        Self {
            user: false,
            mount: false,
            pid: isolated(config.namespaces.pid),
            ipc: isolated(config.namespaces.ipc),
            uts: isolated(config.namespaces.uts) || config.hostname.is_some(),
            net: config.network == Network::Isolated,
            cgroup: isolated(config.namespaces.cgroup),
        }
    }
}

/// Who writes the id maps of the child's user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapWriter {
    /// The child: enough for the caller's own ids.
    Child,
    /// The parent, which has the capabilities for it.
    Parent,
    /// The set-user-id programs of shadow-utils, started by the parent.
    Helpers {
        /// newuidmap(1).
        newuidmap: PathBuf,
        /// newgidmap(1).
        newgidmap: PathBuf,
    },
}

/// What of a new procfs is closed before a command sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcGuard {
    /// All that acts on the host or shows it ([`Step::ProtectProc`]): for whoever is root on the
    /// host, or may become it.
    Whole,
    /// The list of keys ([`Step::MaskKeys`]): to anybody else the kernel closes the rest.
    Keys,
    /// Nothing, because procfs has to be mounted again inside, which the kernel refuses where
    /// parts of the first one are covered (user_namespaces(7)).
    Nothing,
}

/// One step of a [`ChildScript`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The child is born into these namespaces. If there is such a step it is the first.
    Namespaces(NamespaceSet),
    /// What all processes of the sandbox use together is counted and bounded, by control groups
    /// that the child enters, or by whoever waits for it.
    TreeLimits(TreeLimits),
    /// The maps of its user namespace are written.
    IdMap {
        /// The user ids.
        uids: Vec<IdRange>,
        /// The group ids.
        gids: Vec<IdRange>,
        /// By whom.
        writer: MapWriter,
    },
    /// Nothing can make a further user namespace in the child's, which is its own: the limit of it
    /// is 0 (namespaces(7), /proc/sys/user/max_user_namespaces). Where the script has a
    /// [`SyscallFilter`](Self::SyscallFilter) that sees to it as well, a /proc that cannot be
    /// written to is no failure.
    LimitNamespaces,
    /// Processes started from here on are in a new time namespace.
    TimeNamespace,
    /// Mounts and unmounts no longer reach the child's mount namespace, nor leave it.
    PrivateMounts,
    /// A step of the mount plan.
    Mount(PlanStep),
    /// The parts of the procfs at this path through which root could change the host (sys,
    /// sysrq-trigger, irq, bus, fs) become read-only, and those that show the kernel's memory and
    /// log, or what other processes do, are masked.
    ProtectProc(SandboxPath),
    /// The list of keys in the procfs at this path is masked: it names those of the caller, which
    /// have the same owner as the command.
    MaskKeys(SandboxPath),
    /// The planned tree becomes the root, and the host's is gone from the mount namespace.
    PivotRoot,
    /// The planned tree becomes the root directory; the host's stays mounted, out of reach for a
    /// process without CAP_SYS_CHROOT.
    Chroot,
    /// This directory becomes the root directory, without any mount.
    ChrootTo(PathBuf),
    /// The loopback interface of the network namespace is brought up.
    Loopback,
    /// The host name is set.
    Hostname(OsString),
    /// The child starts a session of its own, without a controlling terminal.
    Session,
    /// The child gets a session keyring of its own, in place of the caller's (keyrings(7)).
    Keyring,
    /// The supplementary groups are given up.
    ClearGroups,
    /// The user and group ids (real, effective, saved) are changed.
    Ids {
        /// The user id.
        uid: u32,
        /// The group id.
        gid: u32,
    },
    /// All capabilities but these are given up, the bounding set included.
    Capabilities(CapSet),
    /// No program started from here on can have more privilege than its starter (prctl(2),
    /// `PR_SET_NO_NEW_PRIVS`).
    NoNewPrivs,
    /// What the command may reach is restricted once more, behind the mounts; needs
    /// [`NoNewPrivs`](Self::NoNewPrivs) before it. The descriptors that the command is given stay
    /// usable, also by their names in /dev/fd, as far as they were opened for reading and
    /// writing.
    Landlock(Landlock),
    /// What each process may use is bounded (setrlimit(2)). It is carried out immediately before
    /// the command is executed, and does not bind what comes before. A limit of the caller that
    /// is stricter stays.
    ProcessLimits(ProcessLimits),
    /// The system calls of the command are filtered (seccomp(2)). It is the last step, and
    /// carried out immediately before the command is executed: it does not bind what comes
    /// before.
    SyscallFilter(SyscallFilter),
}

impl Step {
    /// What keeps the caller's keys from the command: a keyring of its own, where the filter that
    /// `config` asks for leaves the calls open that use one.
    #[must_use]
    pub fn keyring(config: &Config) -> Option<Self> {
        let closed = matches!(config.seccomp, Seccomp::Build | Seccomp::StrictIo);
        (!closed).then_some(Self::Keyring)
    }

    /// The steps that carry `plan` out. Each procfs is guarded as soon as it is mounted, before
    /// anything else is put into it or over it on purpose.
    #[must_use]
    pub fn mounts(plan: MountPlan, guard: ProcGuard) -> Vec<Self> {
        let mut steps = Vec::with_capacity(plan.steps.len() + 1);
        for step in plan.steps {
            let guarded = match &step {
                PlanStep::Proc { to } => match guard {
                    ProcGuard::Whole => Some(Self::ProtectProc(to.clone())),
                    ProcGuard::Keys => Some(Self::MaskKeys(to.clone())),
                    ProcGuard::Nothing => None,
                },
                _ => None,
            };
            steps.push(Self::Mount(step));
            steps.extend(guarded);
        }
        steps
    }
}

struct Ranges<'a>(&'a [IdRange]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", r.inside)?;
            if r.count > 1 {
                write!(f, "-{}", u64::from(r.inside) + u64::from(r.count) - 1)?;
            }
            write!(f, " is {}", r.outside)?;
            if r.count > 1 {
                write!(f, "-{}", u64::from(r.outside) + u64::from(r.count) - 1)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces(set) => {
                write!(f, "clone into new namespaces:")?;
                set.names().try_for_each(|name| write!(f, " {name}"))
            }
            Self::IdMap { uids, gids, writer } => {
                let by = match writer {
                    MapWriter::Child => "the child",
                    MapWriter::Parent => "the parent",
                    MapWriter::Helpers { .. } => "newuidmap and newgidmap",
                };
                write!(
                    f,
                    "map uid {}; gid {} (written by {by})",
                    Ranges(uids),
                    Ranges(gids)
                )
            }
            Self::TreeLimits(limits) => limits.fmt(f),
            Self::LimitNamespaces => f.write_str("limit further user namespaces to 0"),
            Self::TimeNamespace => f.write_str("enter a new time namespace"),
            Self::PrivateMounts => f.write_str("make all mounts private"),
            Self::Mount(step) => step.fmt(f),
            Self::ProtectProc(at) => write!(f, "make the host's settings in {at:?} read-only"),
            Self::MaskKeys(at) => write!(f, "mask the list of keys in {at:?}"),
            Self::PivotRoot => f.write_str("pivot_root into the tree and detach the host's"),
            Self::Chroot => f.write_str("chroot into the tree"),
            Self::ChrootTo(path) => write!(f, "chroot to {path:?}"),
            Self::Loopback => f.write_str("bring the loopback interface up"),
            Self::Hostname(name) => write!(f, "set the host name to {name:?}"),
            Self::Session => f.write_str("start a new session"),
            Self::Keyring => f.write_str("join a new session keyring"),
            Self::ClearGroups => f.write_str("give up supplementary groups"),
            Self::Ids { uid, gid } => write!(f, "become uid {uid}, gid {gid}"),
            Self::Capabilities(keep) if keep.is_empty() => f.write_str("give up all capabilities"),
            Self::Capabilities(keep) => {
                f.write_str("give up all capabilities but")?;
                keep.names().try_for_each(|name| write!(f, " {name}"))
            }
            Self::NoNewPrivs => f.write_str("set no_new_privs"),
            Self::Landlock(landlock) => landlock.fmt(f),
            Self::ProcessLimits(limits) => limits.fmt(f),
            Self::SyscallFilter(filter) => write!(f, "load a system call filter: {filter}"),
        }
    }
}

impl fmt::Display for ChildScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "{number:3}  {step}")?;
        }
        Ok(())
    }
}
