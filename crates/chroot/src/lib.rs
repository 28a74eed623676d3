#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use sandboxlib_config::{Capabilities, Config, Feature, Ids, Isolation, Root};
use sandboxlib_core::{
    Backend, CapSet, ChildScript, EffectiveConfig, Hint, HostFacts, Knob, Landlock, Launch,
    NamespaceSet, Os, PrepareError, ProcGuard, Reason, Step, Support, SyscallFilter, bound_tmpfs,
    limit_steps,
};
use sandboxlib_mount::MountPlan;

/// The backend that uses chroot(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct Chroot;

impl Chroot {
    /// The name of the backend.
    pub const NAME: &'static str = "chroot";
}

/// What a mount namespace of its own gives on Linux.
const MOUNTS: &[Feature] = &[
    Feature::Bind,
    Feature::Tmpfs,
    Feature::Proc,
    Feature::Dev,
    Feature::File,
    Feature::Entries,
    Feature::Mask,
    Feature::HostSecrets,
    Feature::Overlay,
];

/// What a system call filter gives on Linux.
const FILTERED: [Feature; 2] = [Feature::Seccomp, Feature::Nested];

impl Backend for Chroot {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn support(&self, facts: &HostFacts) -> Support {
        if let Some(reason) = facts.kernel_reason() {
            return Support::unusable(reason);
        }
        let allowed = match facts.os {
            Os::Linux => facts.capabilities.contains(CapSet::SYS_CHROOT),
            _ => facts.uid == 0,
        };
        if !allowed {
            let hint = Hint::new(Knob::Capability("CAP_SYS_CHROOT"), "run as root");
            return Support::unusable(Reason::new("chroot(2) needs root").hint(hint));
        }
        let advice = "use the userns backend, or say that less will do";
        let hint = Hint::new(Knob::Request("backend"), advice);
        let beyond =
            Reason::new("chroot(2) changes the root directory and nothing else").hint(hint);
        let mut base = Support::nothing(beyond).with([Feature::Root, Feature::Ids]);
        base = base.with(Feature::PROCESS_LIMITS.iter().copied());
        for limit in Feature::TREE_LIMITS {
            base = match facts.tree_limit_reason(*limit) {
                Some(reason) => base.lacks(*limit, reason),
                None => base.with([*limit]),
            };
        }
        if facts.os == Os::Linux {
            base = base.with(FILTERED);
            if let Some(reason) = facts.seccomp_reason() {
                base = FILTERED
                    .iter()
                    .fold(base, |base, feature| base.lacks(*feature, reason.clone()));
            }
        }
        if !may_change(facts, CapSet::SETUID) || !may_change(facts, CapSet::SETGID) {
            let hint = Hint::new(Knob::Capability("CAP_SETUID"), "run as root");
            let reason = Reason::new("changing ids needs CAP_SETUID and CAP_SETGID").hint(hint);
            base = base.lacks(Feature::Ids, reason);
        }
        if facts.os == Os::Linux && facts.capabilities.contains(CapSet::SYS_ADMIN) {
            let base = base.with(MOUNTS.iter().copied()).with([Feature::Pid]);
            return match facts.overlay_reason() {
                Some(reason) => base.lacks(Feature::Overlay, reason),
                None => base,
            };
        }
        let reason = if facts.os == Os::Linux {
            let hint = Hint::new(Knob::Capability("CAP_SYS_ADMIN"), "run as root");
            Reason::new("mounts and process ids of its own need CAP_SYS_ADMIN").hint(hint)
        } else {
            Reason::new("mounts and process ids of its own exist on Linux alone")
        };
        MOUNTS
            .iter()
            .chain(&[Feature::Pid])
            .fold(base, |support, feature| {
                support.lacks(*feature, reason.clone())
            })
    }

    fn prepare(
        &self,
        effective: &EffectiveConfig,
        plan: MountPlan,
        facts: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let enforced = effective.enforced();
        let config = effective.config();
        if let Some(reason) = facts.overlay_kind_reason(config) {
            return Err(reason.into());
        }
        let pid = config.namespaces.pid == Isolation::Isolated && enforced.contains(Feature::Pid);
        let own_mounts = plan.steps.len() > 1 || pid;
        let (uid, gid) = match config.ids {
            Ids::Pair { uid, gid } | Ids::Subordinate { uid, gid } => (uid, gid),
            _ => (facts.uid, facts.gid),
        };
        if let Some(reason) = facts.ids_reason(uid, gid) {
            return Err(reason.into());
        }
        let masks = plan.has_masks();
        let keep = match facts.os {
            Os::Linux => Some(capabilities(config, facts, masks)?),
            _ => no_capabilities(config, uid).map(|()| None)?,
        };
        let plan = bound_tmpfs(plan, config);
        let (tree, each) = limit_steps(config, facts, false, keep.unwrap_or(CapSet::EMPTY))?;
        let landlock = keep.and_then(|keep| Landlock::behind(&plan, effective, facts, keep));
        let mut steps = Vec::with_capacity(plan.steps.len() + 8);
        if own_mounts {
            let namespaces = NamespaceSet {
                mount: true,
                pid,
                ..NamespaceSet::default()
            };
            steps.push(Step::Namespaces(namespaces));
            steps.extend(tree);
            steps.push(Step::PrivateMounts);
            // Root inside is root on the host here: its procfs must not become a lever.
            steps.extend(Step::mounts(plan, ProcGuard::Whole));
            steps.push(Step::Chroot);
        } else {
            steps.extend(tree);
            let root = match &config.root {
                Root::Dir(path) => path.clone(),
                _ => "/".into(),
            };
            steps.push(Step::ChrootTo(root));
        }
        // What follows gives up everything that could undo the change of root.
        steps.push(Step::Session);
        if facts.os == Os::Linux {
            steps.extend(Step::keyring(config));
        }
        if facts.setgroups && may_change(facts, CapSet::SETGID) {
            steps.push(Step::ClearGroups);
        }
        if (uid, gid) != (facts.uid, facts.gid) {
            steps.push(Step::Ids { uid, gid });
        }
        if let Some(keep) = keep {
            steps.push(Step::NoNewPrivs);
            // Some of its rules take capabilities to make.
            steps.extend(landlock.map(Step::Landlock));
            steps.push(Step::Capabilities(keep));
        }
        steps.extend(each);
        if keep.is_some() {
            steps.extend(SyscallFilter::wanted(config, false).map(Step::SyscallFilter));
        }
        Ok(Launch::Direct(ChildScript { steps }))
    }
}

/// Whether the caller may do what takes `capability` on Linux and root elsewhere.
fn may_change(facts: &HostFacts, capability: CapSet) -> bool {
    facts.os != Os::Linux || facts.capabilities.contains(capability)
}

/// Whether what was asked of capabilities can be had on a system that has none: root has every
/// privilege there, and anybody else none.
fn no_capabilities(config: &Config, uid: u32) -> Result<(), PrepareError> {
    match &config.capabilities {
        Capabilities::Only(names) if uid == 0 || !names.is_empty() => {
            Err(Reason::new("capabilities exist on Linux alone").into())
        }
        _ => Ok(()),
    }
}

/// The capabilities that the command keeps.
fn capabilities(config: &Config, facts: &HostFacts, masks: bool) -> Result<CapSet, PrepareError> {
    let keep = CapSet::kept(config, masks).map_err(|e| Reason::new(e.to_string()))?;
    if let Some(name) = undoing().find(|name| has(keep, name)) {
        let text = format!("a command with {name} could undo the chroot");
        return Err(Reason::new(text).into());
    }
    if masks && keep.contains(CapSet::DAC_OVERRIDE) {
        let text = "a masked path is open to a command with CAP_DAC_OVERRIDE";
        return Err(Reason::new(text).into());
    }
    let missing = keep.without(facts.capabilities);
    if matches!(config.capabilities, Capabilities::Only(_)) && !missing.is_empty() {
        let names: Vec<String> = missing.names().collect();
        let text = format!("the caller has no {} to pass on", names.join(", "));
        return Err(Reason::new(text).into());
    }
    Ok(keep.without(missing))
}

/// The capabilities with which a process gets out of a chroot: by another chroot, by a device, by
/// mounting, by opening a file by its handle, or through other processes.
fn undoing() -> impl Iterator<Item = &'static str> {
    [
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
        "CAP_SYS_ADMIN",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_PTRACE",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
    ]
    .into_iter()
}

fn has(set: CapSet, name: &str) -> bool {
    CapSet::from_names([name]).is_ok_and(|one| set.contains(one))
}

#[cfg(test)]
mod tests;
