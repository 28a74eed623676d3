#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod identity;
mod support;

use sandboxlib_config::{Capabilities, Config, Ids, Isolation, MountKind, UserNamespace};
use sandboxlib_core::{
    Backend, CapSet, ChildScript, EffectiveConfig, HostFacts, Landlock, Launch, NamespaceSet, Os,
    PrepareError, ProcGuard, Reason, Step, Support, SyscallFilter, bound_tmpfs, limit_steps,
};
use sandboxlib_mount::MountPlan;

use identity::Identity;

/// The backend that uses Linux namespaces (namespaces(7), user_namespaces(7)).
#[derive(Debug, Clone, Copy, Default)]
pub struct Userns;

impl Userns {
    /// The name of the backend.
    pub const NAME: &'static str = "userns";
}

impl Backend for Userns {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn os(&self) -> Option<Os> {
        Some(Os::Linux)
    }

    fn support(&self, facts: &HostFacts) -> Support {
        support::support(facts)
    }

    fn prepare(
        &self,
        effective: &EffectiveConfig,
        plan: MountPlan,
        facts: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let config = effective.config();
        if let Some(reason) = facts.overlay_kind_reason(config) {
            return Err(reason.into());
        }
        let identity = Identity::choose(config, facts)?;
        let keep = capabilities(config, &identity, &plan, facts)?;
        let plan = bound_tmpfs(plan, config);
        let (tree, each) = limit_steps(config, facts, identity.map.is_some(), keep)?;
        let landlock = Landlock::behind(&plan, effective, facts, keep);
        let mut steps = Vec::with_capacity(plan.steps.len() + 16);

        let mut namespaces = NamespaceSet::asked_for(config);
        namespaces.mount = true;
        namespaces.user = identity.map.is_some();
        steps.push(Step::Namespaces(namespaces));
        let uid = match config.ids {
            Ids::Pair { uid, .. } | Ids::Subordinate { uid, .. } => uid,
            _ => facts.uid,
        };
        let powerless = uid != 0 && keep.is_empty();
        let guard = match (identity.may_become_host_root(), config.allow_nested) {
            // One that is not root and has no capability does not become it.
            (true, true) if powerless => ProcGuard::Nothing,
            (true, _) => ProcGuard::Whole,
            (false, true) => ProcGuard::Nothing,
            (false, false) => ProcGuard::Keys,
        };
        // Whoever has this capability in the user namespace can raise its limits again.
        const SYS_RESOURCE: CapSet = CapSet::from_bits(1 << 24);
        let limit = namespaces.user && !config.allow_nested;
        let limited = limit && !keep.contains(SYS_RESOURCE);
        steps.extend(identity.map);
        if limit {
            steps.push(Step::LimitNamespaces);
        }
        steps.extend(tree);
        if config.namespaces.time == Isolation::Isolated {
            steps.push(Step::TimeNamespace);
        }
        // The root is looked up before anything changes what its path means.
        steps.push(Step::PrivateMounts);
        // Files of procfs that belong to root are open to whoever is root on the host, with or
        // without capabilities, in whatever user namespace.
        steps.extend(Step::mounts(plan, guard));
        if namespaces.net {
            steps.push(Step::Loopback);
        }
        steps.extend(config.hostname.clone().map(Step::Hostname));
        steps.push(Step::PivotRoot);
        steps.push(Step::Session);
        steps.extend(Step::keyring(config));
        if identity.may_change_groups {
            steps.push(Step::ClearGroups);
        }
        steps.extend(identity.switch.map(|(uid, gid)| Step::Ids { uid, gid }));
        steps.push(Step::NoNewPrivs);
        // Some of its rules take capabilities to make.
        steps.extend(landlock.map(Step::Landlock));
        steps.push(Step::Capabilities(keep));
        steps.extend(each);
        if let Some(filter) = SyscallFilter::wanted(config, limited) {
            if let Some(reason) = facts.seccomp_reason() {
                return Err(reason.into());
            }
            steps.push(Step::SyscallFilter(filter));
        }
        Ok(Launch::Direct(ChildScript { steps }))
    }
}

/// The capabilities that the command keeps.
fn capabilities(
    config: &Config,
    identity: &Identity,
    plan: &MountPlan,
    facts: &HostFacts,
) -> Result<CapSet, PrepareError> {
    let masks = plan.has_masks();
    let keep = CapSet::kept(config, masks).map_err(|e| Reason::new(e.to_string()))?;
    let opens_masks = CapSet::from_bits(1 << 1 | 1 << 2 | 1 << 21);
    if masks && keep.bits() & opens_masks.bits() != 0 {
        let text = "a masked path is open to a command with CAP_DAC_OVERRIDE, \
                    CAP_DAC_READ_SEARCH or CAP_SYS_ADMIN";
        return Err(Reason::new(text).into());
    }
    if identity.map.is_none() {
        let missing = keep.without(facts.capabilities);
        if matches!(config.capabilities, Capabilities::Only(_)) && !missing.is_empty() {
            let names: Vec<String> = missing.names().collect();
            let text = format!("the caller has no {} to pass on", names.join(", "));
            return Err(Reason::new(text).into());
        }
        return Ok(keep.without(missing));
    }
    Ok(keep)
}

/// Whether `config` mounts procfs.
fn wants_proc(config: &Config) -> bool {
    config.mounts.iter().any(|m| m.kind == MountKind::Proc)
}

/// Whether the sandbox will be in a user namespace of its own.
fn in_user_namespace(config: &Config, facts: &HostFacts) -> bool {
    match config.namespaces.user {
        UserNamespace::Isolated => true,
        UserNamespace::Shared => false,
        // Root is stronger in one too: what it might get back counts inside alone.
        UserNamespace::Auto => {
            support::no_user_namespace(facts).is_none()
                || !facts.capabilities.contains(CapSet::SYS_ADMIN)
        }
    }
}

#[cfg(test)]
mod tests;
