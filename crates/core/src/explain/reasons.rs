//! What can be told from the facts before anything is tried.

use std::borrow::Cow;

use sandboxlib_config::{Config, Overlay};

use crate::{CapSet, Hint, HostFacts, IdMapper, IdRange, KernelVersion, Knob, Os, Reason};

/// Whether a map is that of the first user namespace, as far as a map can tell.
pub(super) fn is_whole(map: &[IdRange]) -> bool {
    matches!(
        map,
        [IdRange {
            inside: 0,
            outside: 0,
            count: u32::MAX
        }]
    )
}

/// Whether all `count` ids from `first` are inside `map`.
pub(super) fn covers(map: &[IdRange], first: u32, count: u32) -> bool {
    let mut next = u64::from(first);
    let end = next + u64::from(count);
    while next < end {
        let holds = |r: &&IdRange| {
            let inside = u64::from(r.inside);
            inside <= next && next < inside + u64::from(r.count)
        };
        match map.iter().find(holds) {
            Some(r) => next = u64::from(r.inside) + u64::from(r.count),
            None => return false,
        }
    }
    true
}

impl HostFacts {
    /// The oldest Linux on which anything is run: the first that is maintained for long and has
    /// close_range(2), openat2(2), pidfds and the mount API. What later ones add is done without
    /// (docs/kernel-policy.md).
    pub const OLDEST_LINUX: KernelVersion = KernelVersion(5, 10);

    /// Why no backend can run anything on this kernel. `None` where its version is not known.
    #[must_use]
    pub fn kernel_reason(&self) -> Option<Reason> {
        let wanted = Self::OLDEST_LINUX;
        let found = self.kernel.filter(|_| self.os == Os::Linux);
        let found = found.filter(|found| *found < wanted)?;
        let text = format!(
            "Linux {found} is older than {wanted} and lacks system calls that every run needs"
        );
        let knob = Knob::Kernel {
            found: Some(found),
            wanted,
        };
        let advice = format!(
            "run Linux {wanted} or newer (Debian 11, Enterprise Linux 9), on the machine or in a \
             virtual one"
        );
        Some(Reason::new(text).hint(Hint::new(knob, advice)))
    }

    /// The first kernel that mounts overlayfs with everything that it knows about files in
    /// attributes that need no privilege (`userxattr`), and in a user namespace.
    pub const FIRST_OVERLAY: KernelVersion = KernelVersion(5, 11);
    /// The first kernel whose tmpfs has such attributes.
    pub const FIRST_OVERLAY_IN_MEMORY: KernelVersion = KernelVersion(6, 6);

    /// Why no overlay can be had here, wherever its changes go.
    #[must_use]
    pub fn overlay_reason(&self) -> Option<Reason> {
        if self.os != Os::Linux {
            return Some(Reason::new("overlayfs exists on Linux alone"));
        }
        let text = "mounts no overlay without privilege";
        self.older_than(Self::FIRST_OVERLAY, text)
    }

    /// Why the overlay of `config` cannot be had here, though others can: in memory, what a
    /// directory hides of the one below it cannot be noted.
    #[must_use]
    pub fn overlay_kind_reason(&self, config: &Config) -> Option<Reason> {
        if config.overlay != Some(Overlay::Discard) {
            return None;
        }
        let text = "keeps no attributes in memory that an overlay needs there";
        let reason = self.older_than(Self::FIRST_OVERLAY_IN_MEMORY, text)?;
        let advice = "have the changes kept in a directory";
        Some(reason.hint(Hint::new(Knob::Request("overlay"), advice)))
    }

    fn older_than(&self, wanted: KernelVersion, text: &str) -> Option<Reason> {
        let found = self.kernel.filter(|found| *found < wanted)?;
        let knob = Knob::Kernel {
            found: Some(found),
            wanted,
        };
        let hint = Hint::new(knob, format!("run Linux {wanted} or newer"));
        Some(Reason::new(format!("Linux {found} {text}")).hint(hint))
    }

    /// Why a user namespace made by this process is of no use: Ubuntu takes every capability in it
    /// from a program that has no AppArmor profile. One that has a profile is not judged before,
    /// since the profile may allow it: the attempt will tell. Other programs may have profiles of
    /// their own, so this says nothing about a helper.
    #[must_use]
    pub fn apparmor_reason(&self) -> Option<Reason> {
        let restricted = self.apparmor_restricts_userns == Some(true)
            && self.apparmor_unconfined == Some(true)
            && !self.capabilities.contains(CapSet::SYS_ADMIN);
        restricted.then(|| {
            let text = "AppArmor keeps user namespaces from programs without a profile \
                        (kernel.apparmor_restrict_unprivileged_userns is 1)";
            super::apparmor_cures("1")
                .into_iter()
                .fold(Reason::new(text), Reason::hint)
        })
    }

    /// Why no system call can be filtered here, where that is certain.
    #[must_use]
    pub fn seccomp_reason(&self) -> Option<Reason> {
        (self.seccomp == Some(false)).then(|| {
            let knob = Knob::KernelConfig("CONFIG_SECCOMP_FILTER");
            let hint = Hint::new(knob, "use a kernel with system call filters");
            Reason::new("the kernel has no system call filters (seccomp)").hint(hint)
        })
    }

    /// Why no user namespace can be made here, where that is certain. `None` where it may work:
    /// the attempt will tell.
    #[must_use]
    pub fn user_namespace_reason(&self) -> Option<Reason> {
        if self.max_user_namespaces == Some(0) {
            let knob = Knob::Sysctl {
                name: Cow::Borrowed("user.max_user_namespaces"),
                found: "0".to_owned(),
                wanted: Cow::Borrowed("15000"),
            };
            return Some(
                Reason::new("user namespaces are switched off (user.max_user_namespaces is 0)")
                    .hint(Hint::new(
                        knob,
                        "allow user namespaces, which are switched off here",
                    )),
            );
        }
        let privileged = self.capabilities.contains(CapSet::SYS_ADMIN) && is_whole(&self.uid_map);
        if self.unprivileged_userns_clone == Some(false) && !privileged {
            let knob = Knob::Sysctl {
                name: Cow::Borrowed("kernel.unprivileged_userns_clone"),
                found: "0".to_owned(),
                wanted: Cow::Borrowed("1"),
            };
            return Some(
                Reason::new(
                    "user namespaces are switched off for ordinary users \
                     (kernel.unprivileged_userns_clone is 0)",
                )
                .hint(Hint::new(knob, "let ordinary users make user namespaces")),
            );
        }
        None
    }

    /// Why the caller cannot make other namespaces without a user namespace.
    #[must_use]
    pub fn privilege_reason(&self) -> Option<Reason> {
        if self.capabilities.contains(CapSet::SYS_ADMIN) {
            return None;
        }
        Some(
            Reason::new(if self.uid == 0 {
                "the caller lacks CAP_SYS_ADMIN"
            } else {
                "the caller is not root and lacks CAP_SYS_ADMIN"
            })
            .hint(Hint::new(
                Knob::Capability("CAP_SYS_ADMIN"),
                "run it as root with CAP_SYS_ADMIN, or let the sandbox have a user namespace",
            )),
        )
    }

    /// Why no command can have these ids: they stand for no id, or do not exist in the user
    /// namespace that the caller lives in.
    #[must_use]
    pub fn ids_reason(&self, uid: u32, gid: u32) -> Option<Reason> {
        [("uid", uid, &self.uid_map), ("gid", gid, &self.gid_map)]
            .into_iter()
            .find_map(|(what, id, map)| {
                let why = if id == u32::MAX {
                    "it stands for no id"
                } else if covers(map, id, 1) {
                    return None;
                } else {
                    "the caller lives in a user namespace that has no such id"
                };
                Some(Reason::new(format!("{what} {id} cannot be mapped: {why}")))
            })
    }

    /// Why a range of subordinate ids cannot be mapped, and all that is missing for it. `None`
    /// where it can, and where it was not looked into.
    #[must_use]
    pub fn subordinate_reason(&self) -> Option<Reason> {
        if self.id_mapper() == IdMapper::Any {
            // Root of a user namespace with nobody else in it has no range to pass on.
            let alone = |map: &[IdRange]| map.iter().map(|r| u64::from(r.count)).sum::<u64>() <= 1;
            return (alone(&self.uid_map) || alone(&self.gid_map)).then(|| {
                let text = "the caller lives in a user namespace that has no ids but the caller's";
                let advice = "map more ids where that namespace is made (`unshare --map-auto`)";
                let knob = Knob::Path("/proc/self/uid_map".into());
                Reason::new(text).hint(Hint::new(knob, advice))
            });
        }
        let found = self.subordinate.as_ref()?;
        let mut text: Option<&'static str> = None;
        let mut hints = Vec::new();
        for (ranges, path, option, why) in [
            (
                &found.uids,
                "/etc/subuid",
                "--add-subuids",
                "the host grants the caller no subordinate user ids",
            ),
            (
                &found.gids,
                "/etc/subgid",
                "--add-subgids",
                "the host grants the caller no subordinate group ids",
            ),
        ] {
            if ranges.is_empty() {
                text = text.or(Some(why));
                hints.push(Hint::new(
                    Knob::File {
                        path,
                        line: format!("{}:100000:65536", self.uid),
                    },
                    format!(
                        "grant the user a range of ids that nobody else has (`usermod {option} \
                         100000-165535 USER`)"
                    ),
                ));
            }
        }
        for (program, name, why) in [
            (
                &found.newuidmap,
                "newuidmap",
                "the program newuidmap is not installed",
            ),
            (
                &found.newgidmap,
                "newgidmap",
                "the program newgidmap is not installed",
            ),
        ] {
            if program.is_none() {
                text = text.or(Some(why));
                hints.push(Hint::new(
                    Knob::Program {
                        name: Cow::Borrowed(name),
                        package: Some("uidmap"),
                    },
                    format!("install {name}, with its set-user-id bit"),
                ));
            }
        }
        text.map(|text| Reason {
            text: Cow::Borrowed(text),
            hints,
        })
    }
}
