//! What the backend promises of hosts.

use sandboxlib_config::{Feature, Overlay};
use sandboxlib_core::{HostFacts, KernelVersion, Os};

use super::*;

fn unusable(facts: &HostFacts) -> Option<String> {
    Userns
        .support(facts)
        .usable()
        .err()
        .map(ToString::to_string)
}

fn lacking(facts: &HostFacts) -> Vec<Feature> {
    let support = Userns.support(facts);
    assert_eq!(support.usable(), Ok(()));
    Feature::ALL
        .iter()
        .copied()
        .filter(|f| support.feature(*f).is_err())
        .collect()
}

#[test]
fn hosts_on_which_it_is_of_no_use() {
    let kernel = |a, b| but(user(), |f| f.kernel = Some(KernelVersion(a, b)));
    let clone_off = |facts| {
        but(facts, |f: &mut HostFacts| {
            f.unprivileged_userns_clone = Some(false);
        })
    };
    let apparmor = |facts, unconfined| {
        but(facts, |f: &mut HostFacts| {
            f.apparmor_restricts_userns = Some(true);
            f.apparmor_unconfined = unconfined;
        })
    };
    for (facts, expected) in [
        (
            HostFacts::other(Os::MacOs, 0, 0),
            Some("namespaces exist on Linux alone"),
        ),
        (
            HostFacts::other(Os::FreeBsd, 501, 20),
            Some("namespaces exist on Linux alone"),
        ),
        (
            kernel(4, 19),
            Some("Linux 4.19 is older than 5.10 and lacks system calls that every run needs"),
        ),
        (
            kernel(5, 9),
            Some("Linux 5.9 is older than 5.10 and lacks system calls that every run needs"),
        ),
        (kernel(5, 10), None),
        (kernel(7, 2), None),
        (
            no_user_namespaces(user()),
            Some("user namespaces are switched off (user.max_user_namespaces is 0)"),
        ),
        (
            no_user_namespaces(root_without(&["sys_admin"])),
            Some("user namespaces are switched off (user.max_user_namespaces is 0)"),
        ),
        (no_user_namespaces(root()), None),
        (
            clone_off(user()),
            Some(
                "user namespaces are switched off for ordinary users \
                (kernel.unprivileged_userns_clone is 0)",
            ),
        ),
        (clone_off(root()), None),
        (
            apparmor(user(), Some(true)),
            Some(
                "AppArmor keeps user namespaces from programs without a profile \
                (kernel.apparmor_restrict_unprivileged_userns is 1)",
            ),
        ),
        (apparmor(user(), Some(false)), None),
        (apparmor(user(), None), None),
        (apparmor(root(), Some(true)), None),
        (root_without(&["sys_admin"]), None),
        // Inside a sandbox that keeps root's file capabilities and no others.
        (
            but(root(), |f| f.capabilities = CapSet::FILES),
            Some("root without CAP_SETFCAP cannot map itself into a user namespace"),
        ),
        (root_without(&["setfcap"]), None),
        (user(), None),
        (nested(), None),
    ] {
        assert_eq!(unusable(&facts).as_deref(), expected, "{facts:?}");
    }
}

#[test]
fn what_is_lacking_where() {
    let kernel = |a, b| but(user(), |f| f.kernel = Some(KernelVersion(a, b)));
    let missing = but(user(), |f| f.subordinate = Some(Subordinate::default()));
    for (facts, expected) in [
        (user(), vec![]),
        (user_with_range(), vec![]),
        (kernel(5, 10), vec![Feature::Overlay]),
        (kernel(5, 11), vec![]),
        (root(), vec![]),
        (missing.clone(), vec![Feature::Subordinate]),
        // Root needs no help.
        (
            but(root(), |f| f.subordinate = Some(Subordinate::default())),
            vec![],
        ),
        // Root of a user namespace that has nobody else, such as `unshare -r` makes.
        (
            but(root(), |f| {
                f.uid_map = vec![range(0, 1000, 1)];
                f.gid_map = vec![range(0, 1000, 1)];
            }),
            vec![Feature::Subordinate],
        ),
        (nested(), vec![]),
        (
            no_user_namespaces(root()),
            vec![Feature::User, Feature::Subordinate],
        ),
        (
            no_user_namespaces(root_without(&["setuid"])),
            vec![Feature::User, Feature::Ids, Feature::Subordinate],
        ),
        (
            root_without(&["setfcap"]),
            vec![Feature::User, Feature::Subordinate],
        ),
    ] {
        assert_eq!(lacking(&facts), expected, "{facts:?}");
    }
}

#[test]
fn refusals_have_cures() {
    let range = with(|c| c.ids = Ids::SUBORDINATE);
    let missing = but(user(), |f| f.subordinate = Some(Subordinate::default()));
    assert_eq!(
        refusal(&range, &missing),
        "subordinate cannot be enforced: the host grants the caller no subordinate user ids"
    );
    for facts in [
        HostFacts::other(Os::MacOs, 0, 0),
        but(user(), |f| f.kernel = Some(KernelVersion(4, 4))),
        no_user_namespaces(user()),
        but(root(), |f| f.capabilities = CapSet::FILES),
    ] {
        let support = Userns.support(&facts);
        assert!(!support.usable().unwrap_err().hints.is_empty(), "{facts:?}");
    }
    // Nobody looked for them.
    assert_eq!(refusal(&range, &user()), "subordinate ids are not known");
}

#[test]
fn an_overlay_in_memory_needs_more_of_the_kernel_than_one_that_is_kept() {
    let discard = with(|c| c.overlay = Some(Overlay::Discard));
    let keep = with(|c| c.overlay = Some(Overlay::Keep("/r".into())));
    let kernel = |a, b| but(user(), |f| f.kernel = Some(KernelVersion(a, b)));
    for (config, facts, expected) in [
        (&discard, kernel(6, 6), Ok(())),
        (&keep, kernel(5, 11), Ok(())),
        (&discard, user(), Ok(())),
        (
            &discard,
            kernel(6, 5),
            Err("Linux 6.5 keeps no attributes in memory that an overlay needs there"),
        ),
        (
            &keep,
            kernel(5, 10),
            Err("overlay cannot be enforced: Linux 5.10 mounts no overlay without privilege"),
        ),
    ] {
        let found = launch(config, &facts).map(drop).map_err(|e| e.text());
        assert_eq!(found, expected.map_err(str::to_owned));
    }
}

#[test]
fn a_user_namespace_that_must_not_be_needs_privilege() {
    let shared = with(|c| c.namespaces.user = UserNamespace::Shared);
    let text = "without a user namespace the other namespaces need CAP_SYS_ADMIN";
    assert_eq!(refusal(&shared, &user()), text);
    assert_eq!(refusal(&shared, &root_without(&["sys_admin"])), text);
    let must = with(|c| c.namespaces.user = UserNamespace::Isolated);
    assert_eq!(
        refusal(&must, &no_user_namespaces(root())),
        "user cannot be enforced: user namespaces are switched off (user.max_user_namespaces is 0)"
    );
    let ranges = |facts: &HostFacts| {
        let mut config = shared.clone();
        config.ids = Ids::SUBORDINATE;
        launch(&config, facts).map(drop).map_err(|e| e.text())
    };
    assert_eq!(ranges(&root()), Ok(()));
    let able = but(user_with_range(), |f| f.capabilities = root().capabilities);
    assert_eq!(
        ranges(&able),
        Err("subordinate ids can be had in a user namespace alone, unless root asks".to_owned())
    );
}
