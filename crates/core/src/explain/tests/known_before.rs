//! What the facts alone tell.

use super::*;

fn reason_words(reason: Option<Reason>) -> Vec<String> {
    let Some(reason) = reason else {
        return Vec::new();
    };
    well_formed(&reason.hints, &reason.text);
    assert!(!reason.text.ends_with('.'));
    words(&reason.hints)
}

#[test]
fn user_namespaces_that_are_off_are_known_before() {
    let reason = |change: fn(&mut HostFacts), uid| {
        let mut facts = HostFacts::linux(uid, uid);
        change(&mut facts);
        reason_words(facts.user_namespace_reason())
    };
    let off = ["user.max_user_namespaces 0->15000"];
    assert_eq!(reason(|f| f.max_user_namespaces = Some(0), 1000), off);
    assert_eq!(reason(|f| f.max_user_namespaces = Some(0), 0), off);
    assert!(reason(|f| f.max_user_namespaces = Some(1), 1000).is_empty());
    let switch = ["kernel.unprivileged_userns_clone 0->1"];
    assert_eq!(
        reason(|f| f.unprivileged_userns_clone = Some(false), 1000),
        switch
    );
    assert!(reason(|f| f.unprivileged_userns_clone = Some(false), 0).is_empty());
    assert!(reason(|f| f.unprivileged_userns_clone = Some(true), 1000).is_empty());
    // That is another matter: a helper may have a profile that allows it.
    let restricted = |f: &mut HostFacts| {
        f.apparmor_restricts_userns = Some(true);
        f.apparmor_unconfined = Some(true);
    };
    assert!(reason(restricted, 1000).is_empty());
}

#[test]
fn apparmor_refuses_who_has_no_profile() {
    let reason = |switch, unconfined, uid| {
        let mut facts = HostFacts::linux(uid, uid);
        facts.apparmor_restricts_userns = switch;
        facts.apparmor_unconfined = unconfined;
        reason_words(facts.apparmor_reason())
    };
    assert_eq!(reason(Some(true), Some(true), 1000), ["AppArmor", AA_OFF]);
    // Root of this or another user namespace without the capability is as good as anybody.
    let mut facts = HostFacts::linux(0, 0);
    facts.capabilities = CapSet::FILES;
    facts.apparmor_restricts_userns = Some(true);
    facts.apparmor_unconfined = Some(true);
    assert_eq!(reason_words(facts.apparmor_reason()), ["AppArmor", AA_OFF]);
    for (switch, unconfined, uid) in [
        (Some(true), Some(true), 0),
        // A profile may allow it, so the attempt decides; and so it does where nothing is known.
        (Some(true), Some(false), 1000),
        (Some(true), None, 1000),
        (Some(false), Some(true), 1000),
        (None, Some(true), 1000),
        (None, None, 1000),
    ] {
        let found = reason(switch, unconfined, uid);
        assert!(
            found.is_empty(),
            "{switch:?} {unconfined:?} {uid}: {found:?}"
        );
    }
}

#[test]
fn old_kernels_are_known_before() {
    let reason = |os, kernel: Option<(u32, u32)>| {
        let mut facts = HostFacts::other(os, 1000, 1000);
        facts.kernel = kernel.map(|(major, minor)| KernelVersion(major, minor));
        reason_words(facts.kernel_reason())
    };
    for old in [(2, 6), (4, 18), (5, 4), (5, 9)] {
        assert_eq!(reason(Os::Linux, Some(old)), ["linux 5.10"], "{old:?}");
    }
    for new in [(5, 10), (5, 11), (5, 14), (6, 1), (7, 2)] {
        assert!(reason(Os::Linux, Some(new)).is_empty(), "{new:?}");
    }
    assert!(reason(Os::Linux, None).is_empty());
    assert!(reason(Os::FreeBsd, Some((4, 11))).is_empty());
}

#[test]
fn privilege_is_known_before() {
    assert_eq!(
        reason_words(HostFacts::linux(7, 7).privilege_reason()),
        ["CAP_SYS_ADMIN"]
    );
    assert!(HostFacts::linux(0, 0).privilege_reason().is_none());
}

#[test]
fn what_subordinate_ids_lack_is_told_at_once() {
    let reason = |found: Option<Subordinate>, uid| {
        let mut facts = HostFacts::linux(uid, uid);
        facts.subordinate = found;
        reason_words(facts.subordinate_reason())
    };
    let full = Subordinate {
        uids: vec![(100_000, 65536)],
        gids: vec![(100_000, 65536)],
        newuidmap: Some("/usr/bin/newuidmap".into()),
        newgidmap: Some("/usr/bin/newgidmap".into()),
    };
    assert!(reason(Some(full.clone()), 1000).is_empty());
    assert!(reason(None, 1000).is_empty());
    assert!(reason(Some(Subordinate::default()), 0).is_empty());
    assert_eq!(
        reason(
            Some(Subordinate {
                newgidmap: None,
                ..full.clone()
            }),
            1000
        ),
        ["newgidmap (uidmap)"]
    );
    assert_eq!(
        reason(
            Some(Subordinate {
                gids: Vec::new(),
                ..full
            }),
            1000
        ),
        ["/etc/subgid: 1000:100000:65536"]
    );
    assert_eq!(
        reason(Some(Subordinate::default()), 7),
        [
            "/etc/subuid: 7:100000:65536",
            "/etc/subgid: 7:100000:65536",
            "newuidmap (uidmap)",
            "newgidmap (uidmap)"
        ]
    );
}
