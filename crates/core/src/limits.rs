use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandboxlib_config::{
    Access, Capabilities, Config, Feature, Limit, Limits, MountKind, Root, RootAccess,
};
use sandboxlib_mount::{MountPlan, PlanStep};

use crate::{Hint, HostFacts, KernelVersion, Knob, Launch, Os, Reason, Step};

/// By what something is held or measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Means {
    /// A control group of version 2: exact, for all processes.
    CgroupV2,
    /// A control group of version 1: exact, for all processes.
    CgroupV1,
    /// setrlimit(2): the kernel, for each process.
    Rlimit,
    /// Whoever waits adds up, every few milliseconds, what procfs says of all processes. It sees
    /// what lasted for long enough.
    Accounting,
    /// What the kernel says of the processes that were waited for (getrusage(2)); of memory, the
    /// largest process alone.
    WaitedFor,
    /// Whoever waits for the command holds it by itself.
    Supervisor,
}

impl Means {
    /// The name used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1 => "cgroup-v1",
            Self::Rlimit => "rlimit",
            Self::Accounting => "accounting",
            Self::WaitedFor => "waited-for",
            Self::Supervisor => "supervisor",
        }
    }
}

/// A limit, and what holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLimit {
    /// The limit.
    pub limit: Limit,
    /// By what.
    pub by: Means,
}

/// The version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CgroupVersion {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

/// A directory of a cgroup file system below which a group can be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupDir {
    /// The version.
    pub version: CgroupVersion,
    /// The directory.
    pub path: PathBuf,
}

/// The control groups that can be made here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CgroupFacts {
    /// Where time on processors is counted.
    pub cpu: Option<CgroupDir>,
    /// Where memory is limited.
    pub memory: Option<CgroupDir>,
    /// Where processes are limited.
    pub pids: Option<CgroupDir>,
    /// Why a directory that was named cannot be used.
    pub refused: Option<String>,
}

/// What counts for all processes of a sandbox together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counter {
    /// A group of its own, made below this directory.
    Cgroup(CgroupDir),
    /// Whoever waits ([`Means::Accounting`]).
    Accounting,
}

impl Counter {
    /// What it is, in reports.
    #[must_use]
    pub fn means(&self) -> Means {
        match self {
            Self::Cgroup(dir) if dir.version == CgroupVersion::V1 => Means::CgroupV1,
            Self::Cgroup(_) => Means::CgroupV2,
            Self::Accounting => Means::Accounting,
        }
    }
}

/// A limit with what counts for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound<T> {
    /// The limit.
    pub most: T,
    /// What counts.
    pub by: Counter,
}

/// The limits of what all processes of a sandbox use together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TreeLimits {
    /// [`Limits::cpu_time`]
    pub cpu_time: Option<Bound<Duration>>,
    /// [`Limits::memory`]
    pub memory: Option<Bound<u64>>,
    /// [`Limits::processes`], and those that a helper program adds. The init program is not
    /// counted.
    pub processes: Option<Bound<u64>>,
}

impl TreeLimits {
    /// What `config` asks for, if it asks for something. `extra` is how many processes of a
    /// helper program are counted too.
    #[must_use]
    pub fn wanted(config: &Config, facts: &HostFacts, extra: u64) -> Option<Self> {
        let Limits {
            cpu_time,
            memory,
            processes,
            ..
        } = config.limits;
        let by = |dir: &Option<CgroupDir>| match dir {
            Some(dir) if !reaches_its_group(config) => Counter::Cgroup(dir.clone()),
            _ => Counter::Accounting,
        };
        config.limits.counts_the_tree().then(|| Self {
            cpu_time: cpu_time.map(|most| Bound {
                most,
                by: by(&facts.cgroups.cpu),
            }),
            memory: memory.map(|most| Bound {
                most,
                by: by(&facts.cgroups.memory),
            }),
            processes: processes.map(|most| Bound {
                most: most.saturating_add(extra),
                by: by(&facts.cgroups.pids),
            }),
        })
    }

    /// The directories below which a group is made, each once.
    #[must_use]
    pub fn directories(&self) -> Vec<&CgroupDir> {
        let mut list: Vec<&CgroupDir> = Vec::new();
        for counter in self.counters() {
            if let Counter::Cgroup(dir) = counter
                && !list.contains(&dir)
            {
                list.push(dir);
            }
        }
        list
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let cpu = self.cpu_time.as_ref().map(|bound| &bound.by);
        let memory = self.memory.as_ref().map(|bound| &bound.by);
        let processes = self.processes.as_ref().map(|bound| &bound.by);
        [cpu, memory, processes].into_iter().flatten()
    }
}

/// Whether the command could change the limits of its own control group, or leave it: because the
/// host's cgroup file systems can be written to inside, or because it may mount one.
fn reaches_its_group(config: &Config) -> bool {
    const CGROUPS: &str = "/sys/fs/cgroup";
    let leads_there =
        |path: &Path| Path::new(CGROUPS).starts_with(path) || path.starts_with(CGROUPS);
    let root = config.root == Root::Host
        && match config.effective_root_access() {
            RootAccess::ReadWrite => true,
            RootAccess::ReadOnly => false,
            RootAccess::ReadOnlyExcept(paths) => {
                paths.iter().any(|path| leads_there(path.as_path()))
            }
            _ => true,
        };
    let bound = config.mounts.iter().any(|mount| match &mount.kind {
        MountKind::Bind { source, access } => *access == Access::ReadWrite && leads_there(source),
        _ => false,
    });
    let may_mount = match &config.capabilities {
        Capabilities::Only(names) => names
            .iter()
            .any(|name| name.to_uppercase().ends_with("SYS_ADMIN")),
        _ => false,
    };
    root || bound || may_mount || config.allow_nested
}

impl fmt::Display for TreeLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("limit all processes together to:")?;
        let mut separator = " ";
        let mut item = |what: &dyn fmt::Display, by: &Counter| {
            write!(f, "{separator}{what} ({}", by.means().name())?;
            if let Counter::Cgroup(dir) = by {
                write!(f, " below {:?}", dir.path)?;
            }
            separator = ", ";
            f.write_str(")")
        };
        if let Some(bound) = &self.cpu_time {
            item(
                &format_args!("{:?} of processor time", bound.most),
                &bound.by,
            )?;
        }
        if let Some(bound) = &self.memory {
            item(&format_args!("{} bytes of memory", bound.most), &bound.by)?;
        }
        if let Some(bound) = &self.processes {
            item(&format_args!("{} processes", bound.most), &bound.by)?;
        }
        Ok(())
    }
}

/// The limits that the kernel holds for each process (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct ProcessLimits {
    /// `RLIMIT_FSIZE`, bytes.
    pub file_size: Option<u64>,
    /// `RLIMIT_NOFILE`.
    pub open_files: Option<u64>,
    /// `RLIMIT_STACK`, bytes.
    pub stack: Option<u64>,
    /// `RLIMIT_CORE`, bytes.
    pub core: Option<u64>,
    /// `RLIMIT_CPU`, seconds: what stays of a limit of processor time when nobody waits.
    pub cpu_seconds: Option<u64>,
    /// `RLIMIT_NPROC`: how far processes get before whoever counts them sees it. It counts by
    /// user and user namespace, and does not bind root of the host.
    pub processes: Option<u64>,
}

impl ProcessLimits {
    /// What `config` asks for, if it asks for something. `alone` says that no other process is in
    /// the user namespace of the command.
    #[must_use]
    pub fn wanted(config: &Config, facts: &HostFacts, alone: bool) -> Option<Self> {
        // Before, processes of the same user were counted wherever they were.
        const COUNTS_BY_NAMESPACE: KernelVersion = KernelVersion(5, 14);
        let limits = config.limits;
        let counts = alone
            && facts
                .kernel
                .is_some_and(|kernel| kernel >= COUNTS_BY_NAMESPACE);
        let wanted = Self {
            file_size: limits.file_size,
            open_files: limits.open_files,
            stack: limits.stack,
            core: limits.core,
            cpu_seconds: limits.cpu_time.map(|time| time.as_secs().saturating_add(2)),
            processes: limits
                .processes
                .filter(|_| counts)
                .map(|n| n.saturating_add((n / 4).max(16))),
        };
        (wanted != Self::default()).then_some(wanted)
    }

    /// Both these and `others`: of two the lower.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        let lower = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            file_size: lower(self.file_size, others.file_size),
            open_files: lower(self.open_files, others.open_files),
            stack: lower(self.stack, others.stack),
            core: lower(self.core, others.core),
            cpu_seconds: lower(self.cpu_seconds, others.cpu_seconds),
            processes: lower(self.processes, others.processes),
        }
    }

    /// Those of `limits` that are of each process, as they are.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self {
            file_size: limits.file_size,
            open_files: limits.open_files,
            stack: limits.stack,
            core: limits.core,
            cpu_seconds: None,
            processes: None,
        }
    }
}

impl fmt::Display for ProcessLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("limit each process:")?;
        for (name, most) in [
            ("file size", self.file_size),
            ("open files", self.open_files),
            ("stack", self.stack),
            ("core", self.core),
            ("processor seconds", self.cpu_seconds),
            ("processes", self.processes),
        ] {
            if let Some(most) = most {
                write!(f, " {name} {most}")?;
            }
        }
        Ok(())
    }
}

/// The steps of both kinds of limits, for a child that is in a user namespace of its own or not
/// and keeps `keep`.
///
/// # Errors
/// The reason why the command could take its limits off.
pub fn limit_steps(
    config: &Config,
    facts: &HostFacts,
    own_user_namespace: bool,
    keep: crate::CapSet,
) -> Result<(Option<Step>, Option<Step>), Reason> {
    let each = ProcessLimits::wanted(config, facts, own_user_namespace);
    const SYS_RESOURCE: crate::CapSet = crate::CapSet::from_bits(1 << 24);
    if each.is_some() && !own_user_namespace && keep.contains(SYS_RESOURCE) {
        let text = "a command with CAP_SYS_RESOURCE could raise its limits";
        return Err(Reason::new(text));
    }
    let tree = TreeLimits::wanted(config, facts, 0);
    Ok((tree.map(Step::TreeLimits), each.map(Step::ProcessLimits)))
}

/// What is written into a tmpfs is memory, and where no control group bounds it, its own size does:
/// a tmpfs without a size can hold a little more than the limit of memory, so that whoever fills it
/// is seen to be beyond the limit.
#[must_use]
pub fn bound_tmpfs(mut plan: MountPlan, config: &Config) -> MountPlan {
    // No page is larger.
    const LITTLE: u64 = 1 << 16;
    if let Some(most) = config.limits.memory {
        for step in &mut plan.steps {
            if let PlanStep::Tmpfs { size, .. }
            | PlanStep::Overlay {
                size, keep: None, ..
            } = step
            {
                size.get_or_insert(most.saturating_add(LITTLE));
            }
        }
    }
    plan
}

impl HostFacts {
    /// Why a limit of what all processes use together cannot be held here.
    #[must_use]
    pub fn tree_limit_reason(&self, feature: Feature) -> Option<Reason> {
        if self.os != Os::Linux {
            return Some(Reason::new(
                "what all processes use together is counted on Linux alone",
            ));
        }
        let named = Knob::Request("cgroup");
        if let Some(why) = &self.cgroups.refused {
            let hint = Hint::new(named, "name a directory of cgroup v2 that you may write to");
            return Some(Reason::new(Cow::Owned(why.clone())).hint(hint));
        }
        let dir = match feature {
            Feature::CpuTime => &self.cgroups.cpu,
            Feature::Memory => &self.cgroups.memory,
            Feature::Processes => &self.cgroups.pids,
            _ => return None,
        };
        (dir.is_none() && self.proc_tells == Some(false)).then(|| {
            let text = "there is no control group for it, and /proc does not show the processes";
            Reason::new(text).hint(Hint::new(named, "name a control group that you may use"))
        })
    }
}

impl Launch {
    /// What holds each of the limits that were asked for.
    #[must_use]
    pub fn limits(&self, asked: &Limits) -> Vec<HeldLimit> {
        let steps = match self {
            Self::Direct(script) => &*script.steps,
            Self::Helper(call) => &*call.before,
        };
        let mut held: Vec<HeldLimit> = asked
            .set()
            .filter(|limit| limit.feature().is_none())
            .map(|limit| HeldLimit {
                limit,
                by: Means::Supervisor,
            })
            .collect();
        let mut add = |limit, by: Option<Means>| {
            held.extend(by.map(|by| HeldLimit { limit, by }));
        };
        for step in steps {
            match step {
                Step::TreeLimits(tree) => {
                    add(Limit::CpuTime, tree.cpu_time.as_ref().map(|b| b.by.means()));
                    add(Limit::Memory, tree.memory.as_ref().map(|b| b.by.means()));
                    add(
                        Limit::Processes,
                        tree.processes.as_ref().map(|b| b.by.means()),
                    );
                }
                Step::ProcessLimits(each) => {
                    add(Limit::FileSize, each.file_size.map(|_| Means::Rlimit));
                    add(Limit::OpenFiles, each.open_files.map(|_| Means::Rlimit));
                    add(Limit::Stack, each.stack.map(|_| Means::Rlimit));
                    add(Limit::Core, each.core.map(|_| Means::Rlimit));
                }
                _ => {}
            }
        }
        held.sort_by_key(|held| held.limit);
        held
    }
}

#[cfg(test)]
mod tests {
    use sandboxlib_config::{Mount, SandboxPath};

    use super::*;

    fn config() -> Config {
        let mut config = Config::new(Root::Dir("/srv/root".into()));
        config.limits.memory = Some(1 << 20);
        config.limits.processes = Some(8);
        config
    }

    fn facts() -> HostFacts {
        let mut facts = HostFacts::linux(0, 0);
        facts.cgroups.memory = Some(CgroupDir {
            version: CgroupVersion::V1,
            path: "/sys/fs/cgroup/memory".into(),
        });
        facts
    }

    fn by(config: &Config) -> Vec<Means> {
        let tree = TreeLimits::wanted(config, &facts(), 0).unwrap();
        tree.counters().map(Counter::means).collect()
    }

    #[test]
    fn each_limit_is_held_by_the_best_that_there_is() {
        assert_eq!(by(&config()), [Means::CgroupV1, Means::Accounting]);
        let mut none = config();
        none.limits = Limits::default();
        assert_eq!(TreeLimits::wanted(&none, &facts(), 0), None);
        assert_eq!(ProcessLimits::wanted(&none, &facts(), true), None);
    }

    #[test]
    fn a_command_that_reaches_its_group_is_held_without_one() {
        let nobody = [Means::Accounting, Means::Accounting];
        let mut nested = config();
        nested.allow_nested = true;
        assert_eq!(by(&nested), nobody);
        for (source, reaches) in [
            ("/sys", true),
            ("/", true),
            ("/sys/fs/cgroup/memory/x", true),
            ("/sys/class", false),
            ("/srv", false),
        ] {
            let mut bound = config();
            let at = SandboxPath::new("/mnt").unwrap();
            bound.mounts.push(Mount::bind(source, at.clone()));
            assert_eq!(by(&bound) == nobody, reaches, "{source}");
            bound.mounts[0].kind = MountKind::Bind {
                source: source.into(),
                access: Access::ReadOnly,
            };
            assert_ne!(by(&bound), nobody, "{source}");
        }
        let mut host = config();
        host.root = Root::Host;
        assert_ne!(by(&host), nobody);
        host.root_access = Some(RootAccess::ReadWrite);
        assert_eq!(by(&host), nobody);
        let mut mounts = config();
        mounts.capabilities = Capabilities::Only(vec!["cap_sys_admin".into()]);
        assert_eq!(by(&mounts), nobody);
    }

    #[test]
    fn processes_are_bounded_by_the_kernel_where_it_counts_those_of_the_sandbox() {
        let mut facts = facts();
        let of = |facts: &HostFacts, alone| {
            ProcessLimits::wanted(&config(), facts, alone).and_then(|each| each.processes)
        };
        assert_eq!(of(&facts, true), None);
        facts.kernel = Some(KernelVersion(5, 13));
        assert_eq!(of(&facts, true), None);
        facts.kernel = Some(KernelVersion(5, 14));
        assert_eq!(of(&facts, true), Some(24));
        assert_eq!(of(&facts, false), None);
    }

    #[test]
    fn who_could_take_the_limits_off_is_refused() {
        let mut config = config();
        config.limits.core = Some(0);
        let keep = crate::CapSet::from_bits(1 << 24);
        assert!(limit_steps(&config, &facts(), false, keep).is_err());
        assert!(limit_steps(&config, &facts(), true, keep).is_ok());
        assert!(limit_steps(&config, &facts(), false, crate::CapSet::EMPTY).is_ok());
    }

    #[test]
    fn what_cannot_be_counted_has_a_reason() {
        let mut facts = facts();
        facts.proc_tells = Some(false);
        assert_eq!(facts.tree_limit_reason(Feature::Memory), None);
        assert!(facts.tree_limit_reason(Feature::Processes).is_some());
        facts.proc_tells = Some(true);
        assert_eq!(facts.tree_limit_reason(Feature::Processes), None);
        facts.cgroups.refused = Some("it is a file".into());
        let reason = facts.tree_limit_reason(Feature::Memory).unwrap();
        assert_eq!(reason.to_string(), "it is a file");
        let other = HostFacts::other(Os::FreeBsd, 0, 0);
        assert!(other.tree_limit_reason(Feature::CpuTime).is_some());
    }
}
