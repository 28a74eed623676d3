use std::borrow::Cow;
use std::path::Path;

use sandboxlib_config::Feature;
use sandboxlib_core::{HelperFact, Hint, HostFacts, Knob, Os, Reason, Support};

/// What a word in the version tells of a program of ours.
const OURS: &str = "sandboxlib";

pub(crate) fn support(program: &Path, facts: &HostFacts) -> Support {
    if facts.os != Os::Linux {
        let hint = Hint::new(Knob::Os, "use the backend of this system, such as chroot");
        return Support::unusable(
            Reason::new("linux-user-chroot exists on Linux alone").hint(hint),
        );
    }
    if let Some(reason) = facts.kernel_reason() {
        return Support::unusable(reason);
    }
    let Some(helper) = facts.helper(program) else {
        return Support::unusable(missing(program));
    };
    if is_ours(helper) {
        if facts.uid != 0
            && let Some(reason) = facts.user_namespace_reason()
        {
            return Support::unusable(reason);
        }
    } else if facts.uid != 0 && !helper.setuid_root {
        let text = format!("{:?} is not set-user-id root", helper.path);
        let advice = "make it belong to root, with mode 4755, or use that of sandboxlib";
        return Support::unusable(Reason::new(text).hint(Hint::new(knob(), advice)));
    }
    let advice = "use the userns backend, or say that less will do";
    let hint = Hint::new(Knob::Request("backend"), advice);
    let otherwise = Reason::new("linux-user-chroot has no option for it").hint(hint.clone());
    let all = Support::nothing(otherwise).with([
        Feature::Root,
        Feature::ReadOnly,
        Feature::Bind,
        Feature::Tmpfs,
        Feature::Proc,
        Feature::Dev,
        Feature::File,
        Feature::Entries,
        Feature::Network,
        Feature::Pid,
        Feature::Ipc,
        Feature::Uts,
        Feature::HostSecrets,
    ]);
    let all = all.with(Feature::PROCESS_LIMITS.iter().copied());
    if facts.uid == 0 && !is_ours(helper) {
        let text = "linux-user-chroot leaves root every capability, and with them the command \
                    could make it writable again";
        let unmounted = "linux-user-chroot leaves root every capability, and with them the command \
                         could unmount what hides the host's secrets";
        let raised = "linux-user-chroot leaves root every capability, and with them the command could \
                      raise its limits";
        let all = Feature::PROCESS_LIMITS.iter().fold(all, |all, limit| {
            all.lacks(*limit, Reason::new(raised).hint(hint.clone()))
        });
        return all
            .lacks(Feature::ReadOnly, Reason::new(text).hint(hint.clone()))
            .lacks(Feature::HostSecrets, Reason::new(unmounted).hint(hint));
    }
    all
}

/// Whether it is the program of this project, which needs no set-user-id bit, leaves the command
/// no capability to speak of, and takes as many options as there are.
pub(crate) fn is_ours(helper: &HelperFact) -> bool {
    helper.version.contains(OURS)
}

/// Why there is nothing to be had without the program.
pub(crate) fn missing(program: &Path) -> Reason {
    let text = format!("the program {program:?} is not installed");
    let advice = "install the linux-user-chroot of sandboxlib, or use the userns backend";
    Reason::new(text).hint(Hint::new(knob(), advice))
}

fn knob() -> Knob {
    Knob::Program {
        name: Cow::Borrowed("linux-user-chroot"),
        package: None,
    }
}
