use std::collections::BTreeMap;

use sandboxlib_config::{Access, Config, Isolation, MountKind, Network, Root, RootAccess};
use sandboxlib_core::{Hint, Knob, Reason};
use sandboxlib_mount::{BindSource, MountPlan, PlanStep};

use crate::path::{MacPath, MacPathError};

/// What may be done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// Nothing: it can be neither read nor looked at, nor executed, nor changed.
    Denied,
    /// Reading and executing.
    Read,
    /// Reading, executing and changing.
    Write,
}

/// A path, and what may be done with it and with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The path.
    pub path: MacPath,
    /// What may be done.
    pub reach: Reach,
}

/// What a profile is to enforce. Plain data; [`Profile`](crate::Profile) makes text of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What may be done with everything that no region names. With [`Reach::Denied`] a process
    /// can still read what it takes to start.
    pub base: Reach,
    /// Exceptions. A later one counts where it overlaps with an earlier one.
    pub regions: Vec<Region>,
    /// Whether the network may be used. Without it there is no loopback either.
    pub network: Network,
    /// Whether System V and POSIX IPC objects may be used, which all processes of a host share.
    pub ipc: Isolation,
}

/// What a process reads before its `main`.
const START_UP: &[&str] = &[
    "/Library/Apple",
    "/System/Library",
    "/dev/dtracehelper",
    "/dev/fd",
    "/dev/null",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
    "/private/var/db/timezone",
    "/private/var/select/sh",
    "/usr/lib",
    "/usr/share",
];

impl Policy {
    /// Everything as `base` says, with neither network nor IPC.
    #[must_use]
    pub fn new(base: Reach) -> Self {
        Self {
            base,
            regions: Vec::new(),
            network: Network::Isolated,
            ipc: Isolation::Isolated,
        }
    }

    /// What `config` and the plan made of it come to.
    ///
    /// The plan's targets are free of symbolic links, and the host's `/` is the root, so they
    /// are the paths that the kernel compares.
    pub(crate) fn from_plan(config: &Config, plan: &MountPlan) -> Result<Self, Reason> {
        if config.root != Root::Host {
            return Err(crate::support::no_root());
        }
        let base = match config.effective_root_access() {
            RootAccess::ReadWrite => Reach::Write,
            RootAccess::ReadOnly | RootAccess::ReadOnlyExcept(_) => Reach::Read,
            _ => return Err(Reason::new("the backend does not know such a root access")),
        };
        let mut policy = Self::new(base);
        policy.network = config.network;
        policy.ipc = config.namespaces.ipc;
        // Each bind of the configuration leads to one of the plan, in the same order.
        let mut binds = config.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { source, .. } => Some((source, &mount.target)),
            _ => None,
        });
        for step in &plan.steps {
            match step {
                PlanStep::Root { access, .. } => {
                    // The planner finds out that a writable path is `/` by another name.
                    policy.base = match access {
                        Access::ReadOnly => Reach::Read,
                        Access::ReadWrite => Reach::Write,
                    };
                }
                // How a mount point that is missing comes about elsewhere. Here a rule about a
                // path needs nothing to be there.
                PlanStep::Shadow { .. } => {}
                PlanStep::Bind {
                    from,
                    to,
                    attributes,
                    ..
                } => {
                    if let BindSource::Host(source) = from {
                        match binds.next() {
                            Some((asked, target)) if asked == source => {
                                same_place(source, target, to)?;
                            }
                            _ => return Err(Reason::new("the plan is not of this configuration")),
                        }
                    }
                    let reach = match attributes.access {
                        Access::ReadOnly => Reach::Read,
                        Access::ReadWrite => Reach::Write,
                    };
                    policy.push(to.as_path(), reach)?;
                }
                // A profile has no other word for it. No view of a Mac lists sockets so far.
                PlanStep::Mask { to, .. } | PlanStep::CloseSocket { to } => {
                    policy.push(to.as_path(), Reach::Denied)?;
                }
                other => {
                    let text = format!("macOS gives a process no mounts of its own: {other}");
                    return Err(Reason::new(text));
                }
            }
        }
        Ok(policy)
    }

    fn push(&mut self, path: &std::path::Path, reach: Reach) -> Result<(), MacPathError> {
        let path = MacPath::new(path)?;
        self.regions.push(Region { path, reach });
        Ok(())
    }

    /// Whether a region decides about `path`, rather than the base.
    pub(crate) fn says_something_about(&self, path: &MacPath) -> bool {
        self.regions
            .iter()
            .any(|region| path.starts_with(&region.path))
    }

    /// The regions without those that make no difference.
    pub(crate) fn layout(&self) -> Layout {
        let of_root = |region: &Region| region.path == MacPath::root();
        let (base, regions) = match self.regions.iter().rposition(of_root) {
            Some(n) => (self.regions[n].reach, &self.regions[n + 1..]),
            None => (self.base, &self.regions[..]),
        };
        let mut all = BTreeMap::new();
        if base == Reach::Denied {
            all.extend(START_UP.iter().map(|p| (MacPath::known(p), Reach::Read)));
        }
        for region in regions {
            // What comes later hides all that is below it.
            let hidden: Vec<MacPath> = below(&all, &region.path).cloned().collect();
            for path in hidden {
                all.remove(&path);
            }
            all.insert(region.path.clone(), region.reach);
        }
        // Sorted by names, what encloses a path comes before it.
        let mut regions: BTreeMap<MacPath, Reach> = BTreeMap::new();
        for (path, reach) in all {
            if reach_in(base, &regions, &path) != reach {
                regions.insert(path, reach);
            }
        }
        Layout { base, regions }
    }
}

/// The regions that make a difference, each seen against the one that encloses it.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) base: Reach,
    pub(crate) regions: BTreeMap<MacPath, Reach>,
}

fn reach_in(base: Reach, regions: &BTreeMap<MacPath, Reach>, path: &MacPath) -> Reach {
    std::iter::once(path.clone())
        .chain(path.ancestors())
        .find_map(|place| regions.get(&place).copied())
        .unwrap_or(base)
}

/// The paths of `regions` that are `path` or below it. Sorted by names, they are neighbours.
fn below<'a>(
    regions: &'a BTreeMap<MacPath, Reach>,
    path: &'a MacPath,
) -> impl Iterator<Item = &'a MacPath> {
    regions
        .range(path.clone()..)
        .map(|(place, _)| place)
        .take_while(move |place| place.starts_with(path))
}

impl Layout {
    /// What may be done with `path`.
    pub(crate) fn reach(&self, path: &MacPath) -> Reach {
        reach_in(self.base, &self.regions, path)
    }

    /// What may be done with the directory that holds `path`.
    pub(crate) fn reach_around(&self, path: &MacPath) -> Reach {
        path.parent()
            .map_or(self.base, |parent| self.reach(&parent))
    }

    /// Whether a region encloses `path`, other than one that it is itself.
    pub(crate) fn within_region(&self, path: &MacPath) -> bool {
        path.ancestors()
            .any(|place| self.regions.contains_key(&place))
    }

    /// Whether no region is below `path`.
    pub(crate) fn is_uniform_below(&self, path: &MacPath) -> bool {
        below(&self.regions, path).all(|place| place == path)
    }

    /// Whether everything at and below `path` may be changed.
    pub(crate) fn all_writable(&self, path: &MacPath) -> bool {
        self.reach(path) == Reach::Write
            && below(&self.regions, path).all(|place| self.regions[place] == Reach::Write)
    }
}

/// Checks that a bind leaves its source where it is, since nothing else can be had.
fn same_place(
    source: &std::path::Path,
    target: &sandboxlib_config::SandboxPath,
    to: &sandboxlib_config::SandboxPath,
) -> Result<(), Reason> {
    let source_path = MacPath::new(source)?;
    // The target was resolved in a picture in which each path is what it is on the host, so a
    // source of the same spelling leads to the same place, whatever links are on the way.
    for same in [target, to] {
        if MacPath::new(same)? == source_path {
            return Ok(());
        }
    }
    let text = format!(
        "macOS has no bind mounts: {source:?} can be had where it is, and not at {target:?}"
    );
    let hint = Hint::new(
        Knob::Request("mount"),
        "name the same path as source and target",
    );
    Err(Reason::new(text).hint(hint))
}
