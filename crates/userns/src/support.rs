use sandboxlib_config::Feature;
use sandboxlib_core::{CapSet, Hint, HostFacts, IdMapper, Knob, Os, Reason, Support};

pub(crate) fn support(facts: &HostFacts) -> Support {
    if facts.os != Os::Linux {
        let hint = Hint::new(Knob::Os, "use the backend of this system, such as chroot");
        return Support::unusable(Reason::new("namespaces exist on Linux alone").hint(hint));
    }
    if let Some(reason) = facts.kernel_reason() {
        return Support::unusable(reason);
    }
    let mut all = Support::nothing(Reason::new("the userns backend does not know it"))
        .with(Feature::ALL.iter().copied());
    if let Some(reason) = facts.seccomp_reason() {
        all = all.lacks(Feature::Seccomp, reason);
    }
    for limit in Feature::TREE_LIMITS {
        if let Some(reason) = facts.tree_limit_reason(*limit) {
            all = all.lacks(*limit, reason);
        }
    }
    if let Some(reason) = facts.overlay_reason() {
        all = all.lacks(Feature::Overlay, reason);
    }
    match no_user_namespace(facts) {
        Some(reason) if !facts.capabilities.contains(CapSet::SYS_ADMIN) => {
            Support::unusable(reason)
        }
        Some(reason) => {
            // Without a user namespace there is no limit of its own to set.
            let all = match facts.seccomp_reason() {
                Some(reason) => all.lacks(Feature::Nested, reason),
                None => all,
            };
            let all = all
                .lacks(Feature::User, reason.clone())
                .lacks(Feature::Subordinate, reason);
            match changing_ids(facts) {
                Some(reason) => all.lacks(Feature::Ids, reason),
                None => all,
            }
        }
        None => match facts.subordinate_reason() {
            Some(reason) => all.lacks(Feature::Subordinate, reason),
            None => all,
        },
    }
}

/// Why there is no user namespace to be had, as far as the facts tell.
pub(crate) fn no_user_namespace(facts: &HostFacts) -> Option<Reason> {
    let refused = facts.user_namespace_reason();
    refused.or_else(|| facts.apparmor_reason()).or_else(|| {
        (facts.uid == 0 && !may_map_zero(facts)).then(|| {
            let knob = Knob::Capability("CAP_SETFCAP");
            let hint = Hint::new(knob, "run with CAP_SETFCAP, or as another user");
            Reason::new("root without CAP_SETFCAP cannot map itself into a user namespace")
                .hint(hint)
        })
    })
}

/// Who writes the id maps.
pub(crate) fn mapper(facts: &HostFacts) -> IdMapper {
    let has_zero = facts.uid_map.iter().any(|range| range.inside == 0);
    if has_zero && !may_map_zero(facts) {
        IdMapper::OwnIdOnly
    } else {
        facts.id_mapper()
    }
}

/// Since Linux 5.12 uid 0 of the namespace above takes CAP_SETFCAP to map, because file
/// capabilities set inside count above (user_namespaces(7)).
fn may_map_zero(facts: &HostFacts) -> bool {
    const SETFCAP: CapSet = CapSet::from_bits(1 << 31);
    facts.capabilities.contains(SETFCAP)
}

/// Why the command cannot have other ids than the caller without a user namespace.
pub(crate) fn changing_ids(facts: &HostFacts) -> Option<Reason> {
    let needed = CapSet::from_bits(CapSet::SETUID.bits() | CapSet::SETGID.bits());
    (!facts.capabilities.contains(needed)).then(|| {
        let hint = Hint::new(Knob::Capability("CAP_SETUID"), "run as root");
        Reason::new("changing ids without a user namespace needs CAP_SETUID and CAP_SETGID")
            .hint(hint)
    })
}
