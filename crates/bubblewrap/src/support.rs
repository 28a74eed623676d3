use std::borrow::Cow;
use std::path::Path;

use sandboxlib_config::Feature;
use sandboxlib_core::{CapSet, Hint, HostFacts, Knob, Os, Reason, Support};

/// The first version with all of the options used here: `--size` came with 0.7,
/// `--disable-userns` with 0.8, which is also what the oldest supported systems have.
const OLDEST: (u32, u32) = (0, 8);

pub(crate) fn support(program: &Path, facts: &HostFacts) -> Support {
    if facts.os != Os::Linux {
        let hint = Hint::new(Knob::Os, "use the backend of this system, such as chroot");
        return Support::unusable(Reason::new("bubblewrap exists on Linux alone").hint(hint));
    }
    if let Some(reason) = facts.kernel_reason() {
        return Support::unusable(reason);
    }
    let Some(helper) = facts.helper(program) else {
        return Support::unusable(missing(program));
    };
    if helper.numbers().is_none_or(|found| found < OLDEST) {
        let (path, found) = (&helper.path, &helper.version);
        let (major, minor) = OLDEST;
        let text = format!("{path:?} is {found:?}, and {major}.{minor} or newer is needed");
        let advice = format!("install bubblewrap {major}.{minor} or newer");
        return Support::unusable(Reason::new(text).hint(Hint::new(bwrap(), advice)));
    }
    if facts.uid != 0 && !facts.capabilities.is_empty() && !helper.setuid_root {
        let text = "bwrap refuses a caller who has capabilities and is not root";
        let hint = Hint::new(
            Knob::Request("backend"),
            "use the userns backend, or give the capabilities up",
        );
        return Support::unusable(Reason::new(text).hint(hint));
    }
    let all = Support::nothing(Reason::new("bwrap has no option for it"))
        .with(Feature::ALL.iter().copied())
        .lacks(
            Feature::Time,
            Reason::new("bwrap has no option for a time namespace"),
        )
        .lacks(Feature::Overlay, no_overlay());
    let all =
        Feature::TREE_LIMITS
            .iter()
            .fold(all, |all, limit| match facts.tree_limit_reason(*limit) {
                Some(reason) => all.lacks(*limit, reason),
                None => all,
            });
    let all = match facts.seccomp_reason() {
        Some(reason) => all
            .lacks(Feature::Seccomp, reason.clone())
            .lacks(Feature::Nested, reason),
        None => all,
    };
    let no_user = facts.user_namespace_reason();
    if privileged(facts) {
        // It needs no map where the caller has all ids, and can make none where it has one.
        let all = match facts.subordinate_reason() {
            Some(reason) => all.lacks(Feature::Subordinate, reason),
            None => all,
        };
        return match no_user {
            Some(reason) => all.lacks(Feature::User, reason),
            None => all,
        };
    }
    let all = all.lacks(
        Feature::Subordinate,
        Reason::new("bwrap maps a single id").hint(Hint::new(
            Knob::Request("backend"),
            "use the userns backend",
        )),
    );
    match no_user {
        Some(reason) if !helper.setuid_root => Support::unusable(reason),
        _ => all,
    }
}

/// The options for overlays came with bwrap 0.11, and this backend serves older ones too.
pub(crate) fn no_overlay() -> Reason {
    let hint = Hint::new(Knob::Request("backend"), "use the userns backend");
    Reason::new("the bubblewrap backend has no overlays").hint(hint)
}

/// Whether bwrap can do without a user namespace.
pub(crate) fn privileged(facts: &HostFacts) -> bool {
    facts.uid == 0 && facts.capabilities.contains(CapSet::SYS_ADMIN)
}

/// Why there is nothing to be had without the program.
pub(crate) fn missing(program: &Path) -> Reason {
    let text = format!("the program {program:?} is not installed");
    Reason::new(text).hint(Hint::new(bwrap(), "install bubblewrap"))
}

fn bwrap() -> Knob {
    Knob::Program {
        name: Cow::Borrowed("bwrap"),
        package: Some("bubblewrap"),
    }
}
