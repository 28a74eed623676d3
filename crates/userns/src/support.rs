use sandboxlib_config::Feature;
use sandboxlib_core::{CapSet, Hint, HostFacts, KernelVersion, Knob, Os, Reason, Support};

/// The first kernel with everything that the spawner needs: mount_setattr(2) is the youngest.
const KERNEL: KernelVersion = KernelVersion(5, 12);

pub(crate) fn support(facts: &HostFacts) -> Support {
    if facts.os != Os::Linux {
        let hint = Hint::new(Knob::Os, "use the backend of this system, such as chroot");
        return Support::unusable(Reason::new("namespaces exist on Linux alone").hint(hint));
    }
    if let Some(found) = facts.kernel.filter(|found| *found < KERNEL) {
        let text = format!("Linux {found} is older than {KERNEL} and lacks mount_setattr(2)");
        let knob = Knob::Kernel { found: Some(found), wanted: KERNEL };
        let hint = Hint::new(knob, format!("run Linux {KERNEL} or newer"));
        return Support::unusable(Reason::new(text).hint(hint));
    }
    let all = Support::nothing(Reason::new("the userns backend does not know it"))
        .with(Feature::ALL.iter().copied());
    match no_user_namespaces(facts) {
        Some(reason) if !facts.capabilities.contains(CapSet::SYS_ADMIN) => {
            Support::unusable(reason)
        }
        Some(reason) => {
            all.lacks(Feature::User, reason.clone()).lacks(Feature::Subordinate, reason)
        }
        None => match subordinate(facts) {
            Some(reason) => all.lacks(Feature::Subordinate, reason),
            None => all,
        },
    }
}

/// Why there are no user namespaces to be had, as far as the host's settings tell.
pub(crate) fn no_user_namespaces(facts: &HostFacts) -> Option<Reason> {
    let sysctl = |name: &'static str, found: &str, wanted: &'static str| Hint {
        knob: Knob::Sysctl { name: name.into(), found: found.to_owned(), wanted: wanted.into() },
        advice: "let ordinary users make user namespaces".into(),
    };
    if facts.max_user_namespaces == Some(0) {
        return Some(
            Reason::new("the limit of user namespaces is 0")
                .hint(sysctl("user.max_user_namespaces", "0", "10000")),
        );
    }
    let privileged = facts.capabilities.contains(CapSet::SYS_ADMIN);
    if facts.unprivileged_userns_clone == Some(false) && !privileged {
        return Some(
            Reason::new("user namespaces are switched off for ordinary users")
                .hint(sysctl("kernel.unprivileged_userns_clone", "0", "1")),
        );
    }
    None
}

fn subordinate(facts: &HostFacts) -> Option<Reason> {
    // Whoever may map any id needs no help with it.
    if facts.id_mapper() == sandboxlib_core::IdMapper::Any {
        return None;
    }
    facts.subordinate_reason()
}
