use std::fmt;

use sandboxlib_config::{Access, Feature, Isolation, SandboxPath};
use sandboxlib_mount::{MountPlan, Node, PlanStep};

use crate::{CapSet, EffectiveConfig, HostFacts};

/// A second wall behind the mounts (landlock(7)): the kernel's own list of what the command may
/// open, change and reach, derived from the same plan. It allows all that the plan shows, so it
/// is never in the way of what was asked for; it holds where a mount, a descriptor or a bug would
/// lead to a file outside. One thing it cannot tell apart: POSIX message queues of an IPC namespace
/// that is shared, and belongs to another user namespace, cannot be opened.
///
/// Nobody asks for it and nothing depends on it: a kernel that lacks it, or parts of it, runs the
/// same command, and [`Enforcement::landlock`](crate::Enforcement::landlock) tells what there was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Landlock {
    /// The ABI of the kernel, or [`Landlock::NEWEST`] if the kernel's is newer.
    pub abi: u32,
    /// What may be opened and changed; `None` where the command may mount, which a process that
    /// is restricted in this way cannot.
    pub files: Option<FileRules>,
    /// No signals to processes outside: they were to be out of reach, whether or not they can be
    /// hidden as well.
    pub no_signals: bool,
    /// Neither TCP nor UDP: the network was to be isolated, less would do, and this is the less.
    pub no_ports: bool,
}

/// What a [`Landlock`] allows below the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileRules {
    /// Where files can be changed. Everything below the root may be read.
    pub writable: Vec<SandboxPath>,
    /// The sockets, and directories of sockets, that may be connected to besides those below
    /// `writable` and those that the sandbox has made itself. Without effect before
    /// [`Landlock::SOCKETS`]; what is there when it is planned has been closed by the plan anyway.
    pub sockets: Vec<SandboxPath>,
    /// POSIX message queues can be opened (mq_overview(7)). They are files that are nowhere below
    /// the root. Not where IPC was to be isolated, less would do, and this is the less.
    pub queues: bool,
}

impl Landlock {
    /// The newest ABI that is known here (Linux 7.2).
    pub const NEWEST: u32 = 10;
    /// The first ABI that can tell which files may be moved where (Linux 5.19). With an older one
    /// nothing could be moved from one directory to another, so it is not used.
    pub const FILES: u32 = 2;
    /// The first ABI for TCP ports (Linux 6.7).
    pub const TCP: u32 = 4;
    /// The first ABI for abstract sockets and signals (Linux 6.12).
    pub const SCOPES: u32 = 6;
    /// The first ABI for sockets that have a path (Linux 7.1).
    pub const SOCKETS: u32 = 9;
    /// The first ABI for UDP ports (Linux 7.2).
    pub const UDP: u32 = 10;

    /// The wall behind `plan`, for a command that keeps the capabilities `keep`, if the kernel can
    /// build one.
    #[must_use]
    pub fn behind(
        plan: &MountPlan,
        config: &EffectiveConfig,
        facts: &HostFacts,
        keep: CapSet,
    ) -> Option<Self> {
        let abi = facts.landlock.min(Self::NEWEST);
        if abi < Self::FILES || !config.config().landlock {
            return None;
        }
        let left_open = |feature| config.degradations().iter().any(|d| d.feature == feature);
        let pid = config.config().namespaces.pid;
        let may_mount = keep.contains(CapSet::SYS_ADMIN) || config.config().allow_nested;
        Some(Self {
            abi,
            files: (!may_mount).then(|| FileRules {
                queues: !left_open(Feature::Ipc),
                ..FileRules::of(plan)
            }),
            no_signals: pid == Isolation::Isolated || left_open(Feature::Pid),
            no_ports: left_open(Feature::Network) && abi >= Self::TCP,
        })
    }

    /// Not where those everywhere may be connected to.
    fn covers_sockets(&self) -> bool {
        let everywhere = |files: &FileRules| {
            let mut open = files.writable.iter().chain(&files.sockets);
            open.any(SandboxPath::is_root)
        };
        self.abi >= Self::SOCKETS && self.files.as_ref().is_some_and(|files| !everywhere(files))
    }

    /// What it covers on this kernel, in the words of reports.
    pub fn covers(&self) -> impl Iterator<Item = &'static str> + use<> {
        let files = self.files.is_some();
        [
            (files, "files"),
            (self.covers_sockets(), "sockets"),
            (self.abi >= Self::SCOPES, "abstract-sockets"),
            (self.no_signals && self.abi >= Self::SCOPES, "signals"),
            (self.no_ports, "tcp"),
            (self.no_ports && self.abi >= Self::UDP, "udp"),
        ]
        .into_iter()
        .filter_map(|(covered, name)| covered.then_some(name))
    }
}

impl FileRules {
    fn of(plan: &MountPlan) -> Self {
        let mut rules = Self::default();
        for step in &plan.steps {
            if let Some(at) = step.covers() {
                rules.forget_below(at);
            }
            match step {
                PlanStep::Root {
                    access: Access::ReadWrite,
                    ..
                } => rules.writable.push(SandboxPath::root()),
                PlanStep::Bind {
                    to,
                    node,
                    attributes,
                    ..
                } => {
                    if attributes.access == Access::ReadWrite {
                        rules.write_below(to);
                    }
                    // A socket that was bound in by its own name is meant to be used.
                    if *node != Node::Dir && !rules.is_writable(to) {
                        rules.sockets.push(to.clone());
                    }
                }
                // Where these are read-only, their mounts see to it.
                PlanStep::Overlay { at: to, .. }
                | PlanStep::Tmpfs { to, .. }
                | PlanStep::Proc { to }
                | PlanStep::Devpts { to } => {
                    rules.write_below(to);
                }
                _ => {}
            }
        }
        for path in &plan.sockets {
            if !rules.is_writable(path) && !rules.sockets.contains(path) {
                rules.sockets.push(path.clone());
            }
        }
        rules
    }

    fn is_writable(&self, path: &SandboxPath) -> bool {
        self.writable
            .iter()
            .any(|above| path.as_path().starts_with(above.as_path()))
    }

    /// What was mounted below `path` is covered by what is mounted there now.
    fn forget_below(&mut self, path: &SandboxPath) {
        for list in [&mut self.writable, &mut self.sockets] {
            list.retain(|p| p == path || !p.as_path().starts_with(path.as_path()));
        }
    }

    fn write_below(&mut self, path: &SandboxPath) {
        if !self.is_writable(path) {
            self.writable.push(path.clone());
        }
    }
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restrict by Landlock ABI {}:", self.abi)?;
        self.covers().try_for_each(|name| write!(f, " {name}"))?;
        if let Some(files) = &self.files {
            f.write_str("; changes below")?;
            if files.writable.is_empty() {
                f.write_str(" nothing")?;
            }
            files
                .writable
                .iter()
                .try_for_each(|path| write!(f, " {:?}", path.as_path()))?;
        }
        Ok(())
    }
}
