use std::path::Path;

use sandboxlib_config::Feature;
use sandboxlib_core::{Hint, HostFacts, Knob, Os, Reason, Support};

use crate::{PROGRAM, failure};

/// What a profile says no to.
const ENFORCED: &[Feature] = &[
    Feature::ReadOnly,
    Feature::Bind,
    Feature::Mask,
    Feature::Network,
    Feature::Ipc,
];

/// What takes a mount of the sandbox's own.
const MOUNTS: &[Feature] = &[
    Feature::Tmpfs,
    Feature::Proc,
    Feature::Dev,
    Feature::File,
    Feature::Entries,
];

pub(crate) fn support(facts: &HostFacts) -> Support {
    if facts.os != Os::MacOs {
        let hint = Hint::new(Knob::Os, "use a backend of this system");
        return Support::unusable(Reason::new("Seatbelt exists on macOS alone").hint(hint));
    }
    if facts.helper(Path::new(PROGRAM)).is_none() {
        let advice = "it is a part of macOS: use a system that still has it";
        let hint = Hint::new(Knob::Path(PROGRAM.into()), advice);
        return Support::unusable(Reason::new(format!("there is no {PROGRAM}")).hint(hint));
    }
    // Where that is not known, the attempt fails and tells.
    if facts.seatbelt == Some(true) {
        return Support::unusable(failure::nested());
    }
    let otherwise = "Seatbelt denies operations and gives a process nothing of its own";
    let base = Support::nothing(Reason::new(otherwise))
        .with(ENFORCED.iter().copied())
        .lacks(Feature::Root, no_root())
        .lacks(
            Feature::Pid,
            Reason::new(
                "macOS has no process id namespaces: the host's processes can be listed, though \
                 neither signalled nor inspected",
            ),
        )
        .lacks(
            Feature::Uts,
            Reason::new("macOS gives a process no host name of its own"),
        )
        .lacks(
            Feature::HostSecrets,
            Reason::new(
                "the backend knows no private places of macOS yet, and mounts nothing over them",
            )
            .hint(Hint::new(
                Knob::Request("hidden"),
                "say that nothing is to be hidden, and mask what is",
            )),
        );
    let no_mounts = Reason::new(
        "macOS gives a process no mounts of its own: what is denied is denied and not hidden, \
         and nothing can be put in its place",
    );
    MOUNTS.iter().fold(base, |support, feature| {
        support.lacks(*feature, no_mounts.clone())
    })
}

pub(crate) fn no_root() -> Reason {
    let text = "macOS has no root of a process's own but by chroot(2), which takes root: Seatbelt \
                denies what is outside of a root and does not hide it, and paths stay the host's";
    Reason::new(text)
        .hint(Hint::new(
            Knob::Request("root"),
            "take the host's root and say what is writable, and what is masked",
        ))
        .hint(Hint::new(
            Knob::Request("backend"),
            "or run as root, with the chroot backend",
        ))
}
