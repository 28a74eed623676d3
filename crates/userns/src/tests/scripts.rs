//! The exact scripts of common cases, and the parts of them that one wish decides.

use sandboxlib_config::{Feature, Network};

use super::*;

/// What a build is run in: everything isolated, the root read-only, one directory writable.
fn build() -> Config {
    let mut config = dir();
    config.root_access = Some(RootAccess::ReadOnly);
    config.mounts = vec![
        Mount::new(at("/proc"), MountKind::Proc),
        Mount::bind("/r/tmp", at("/build")),
        Mount::tmpfs(at("/tmp")),
    ];
    config
}

#[test]
fn a_build_of_an_ordinary_user() {
    assert_eq!(
        script(&build(), &user()),
        "  \
  1  clone into new namespaces: user mnt pid ipc uts net cgroup
  2  map uid 1000 is 1000; gid 1000 is 1000 (written by the child)
  3  limit further user namespaces to 0
  4  make all mounts private
  5  root \"/r\" read-only
  6  proc on \"/proc\"
  7  mask the list of keys in \"/proc\"
  8  bind dir \"/r/tmp\" on \"/build\" read-write
  9  tmpfs on \"/tmp\" mode 1777
 10  bring the loopback interface up
 11  pivot_root into the tree and detach the host's
 12  start a new session
 13  set no_new_privs
 14  give up all capabilities
 15  load a system call filter: build, no further namespaces
"
    );
}

#[test]
fn landlock_stands_behind_the_mounts() {
    // The step before capabilities are given up.
    let wall = |config: &Config, abi: u32| {
        let facts = but(user(), |f| f.landlock = abi);
        let mut config = config.clone();
        (config.seccomp, config.allow_nested) = (Seccomp::None, false);
        let script = script(&config, &facts);
        let mut lines = script.lines();
        lines.rfind(|line| line.contains("capabilities")).unwrap();
        lines.next_back().unwrap().to_owned()
    };
    let none = " 14  set no_new_privs";
    assert_eq!(wall(&build(), 0), none);
    // What it would forbid could not be told apart from what is wanted.
    assert_eq!(wall(&build(), 1), none);
    let read_only = r#"changes below "/proc" "/build" "/tmp""#;
    for (abi, says) in [
        (2, "restrict by Landlock ABI 2: files"),
        (
            6,
            "restrict by Landlock ABI 6: files abstract-sockets signals",
        ),
        (
            10,
            "restrict by Landlock ABI 10: files sockets abstract-sockets signals",
        ),
        // One that is newer than this test is used as the newest known.
        (
            11,
            "restrict by Landlock ABI 10: files sockets abstract-sockets signals",
        ),
    ] {
        assert_eq!(wall(&build(), abi), format!(" 15  {says}; {read_only}"));
    }
    let mut config = build();
    config.root_access = Some(RootAccess::ReadWrite);
    assert!(wall(&config, 7).ends_with(r#"; changes below "/""#));
    config.capabilities = Capabilities::Only(vec!["CAP_SYS_ADMIN".into()]);
    assert!(wall(&config, 7).ends_with("ABI 7: abstract-sockets signals"));
    config.landlock = false;
    assert_eq!(wall(&config, 7), none);
}

#[test]
fn sockets_are_closed_and_landlock_knows_which_are_not() {
    let mut config = build();
    config.ids = Ids::ROOT;
    config.mounts = vec![Mount::bind_read_only("/daemon", at("/build"))];
    let closed = r#"close socket "/build/socket""#;
    let wall = |config: &Config| {
        let facts = but(user(), |f| f.landlock = Landlock::SOCKETS);
        let steps = steps(config, &facts);
        let keeps = steps.contains(&Step::Capabilities(CapSet::FILES));
        assert!(keeps, "a closed socket is no mask: {steps:?}");
        let wall = |step: &Step| match step {
            Step::Landlock(wall) => Some(wall.clone()),
            _ => None,
        };
        steps.iter().find_map(wall).unwrap()
    };
    let claims = |wall: &Landlock| wall.covers().any(|what| what == "sockets");
    assert!(script(&config, &user()).contains(closed));
    assert!(wall(&config).files.unwrap().sockets.is_empty() && claims(&wall(&config)));

    for (named, claimed) in [("/build/socket", true), ("/build", true), ("/", false)] {
        config.sockets = vec![at(named)];
        assert!(!script(&config, &user()).contains("close socket"));
        let wall = wall(&config);
        assert_eq!(claims(&wall), claimed, "{named}");
        assert_eq!(wall.files.unwrap().sockets, [at(named)]);
    }
    // By its own name.
    config.sockets.clear();
    config.mounts = vec![Mount::bind_read_only("/daemon/socket", at("/secret"))];
    assert_eq!(wall(&config).files.unwrap().sockets, [at("/secret")]);
    // Below what is writable all can be reached, and Landlock takes nothing back there.
    config.root_access = Some(RootAccess::ReadWrite);
    config.mounts = vec![Mount::bind_read_only("/daemon", at("/build"))];
    assert!(script(&config, &user()).contains(closed));
    assert!(!claims(&wall(&config)));
}

#[test]
fn a_build_of_root() {
    assert_eq!(
        script(&build(), &root()),
        "  \
  1  clone into new namespaces: user mnt pid ipc uts net cgroup
  2  map uid 0-4294967294 is 0-4294967294; gid 0-4294967294 is 0-4294967294 (written by the parent)
  3  limit further user namespaces to 0
  4  make all mounts private
  5  root \"/r\" read-only
  6  proc on \"/proc\"
  7  make the host's settings in \"/proc\" read-only
  8  bind dir \"/r/tmp\" on \"/build\" read-write
  9  tmpfs on \"/tmp\" mode 1777
 10  bring the loopback interface up
 11  pivot_root into the tree and detach the host's
 12  start a new session
 13  give up supplementary groups
 14  set no_new_privs
 15  give up all capabilities
 16  load a system call filter: build, no further namespaces
"
    );
}

#[test]
fn a_build_of_root_who_becomes_somebody_without_a_user_namespace() {
    let mut config = build();
    config.namespaces.user = UserNamespace::Shared;
    config.ids = Ids::Pair {
        uid: 1000,
        gid: 100,
    };
    config.hostname = Some("builder".into());
    assert_eq!(
        script(&config, &root()),
        "  \
  1  clone into new namespaces: mnt pid ipc uts net cgroup
  2  make all mounts private
  3  root \"/r\" read-only
  4  proc on \"/proc\"
  5  make the host's settings in \"/proc\" read-only
  6  bind dir \"/r/tmp\" on \"/build\" read-write
  7  tmpfs on \"/tmp\" mode 1777
  8  bring the loopback interface up
  9  set the host name to \"builder\"
 10  pivot_root into the tree and detach the host's
 11  start a new session
 12  give up supplementary groups
 13  become uid 1000, gid 100
 14  set no_new_privs
 15  give up all capabilities
 16  load a system call filter: build, no further namespaces
"
    );
}

#[test]
fn the_least_that_can_be_asked() {
    assert_eq!(
        script(&plain(), &user()),
        "  \
  1  clone into new namespaces: user mnt
  2  map uid 1000 is 1000; gid 1000 is 1000 (written by the child)
  3  make all mounts private
  4  root \"/r\" read-write
  5  pivot_root into the tree and detach the host's
  6  start a new session
  7  join a new session keyring
  8  set no_new_privs
  9  give up all capabilities
"
    );
}

#[test]
fn each_namespace_is_had_singly() {
    let isolated = Isolation::Isolated;
    let cases: [(&str, Config); 6] = [
        ("net", with(|c| c.network = Network::Isolated)),
        ("pid", with(|c| c.namespaces.pid = isolated)),
        ("ipc", with(|c| c.namespaces.ipc = isolated)),
        ("uts", with(|c| c.namespaces.uts = isolated)),
        ("uts", with(|c| c.hostname = Some("h".into()))),
        ("cgroup", with(|c| c.namespaces.cgroup = isolated)),
    ];
    for (name, config) in cases {
        assert_eq!(namespaces(&steps(&config, &user())), ["user", "mnt", name]);
        let mut config = config;
        config.namespaces.user = UserNamespace::Shared;
        assert_eq!(namespaces(&steps(&config, &root())), ["mnt", name]);
    }
    let time = with(|c| c.namespaces.time = isolated);
    for facts in [user(), root(), no_user_namespaces(root())] {
        let steps = steps(&time, &facts);
        assert!(steps.contains(&Step::TimeNamespace));
        assert!(!line(&steps, "clone").unwrap().contains("time"));
    }
}

#[test]
fn where_the_user_namespace_is_left_to_the_backend() {
    let has_one = |facts: &HostFacts| namespaces(&steps(&plain(), facts)).contains(&"user");
    assert!(has_one(&user()));
    assert!(has_one(&root()));
    assert!(has_one(&nested()));
    assert!(has_one(&root_without(&["sys_admin"])));
    assert!(!has_one(&no_user_namespaces(root())));
    // The kernel lets nobody map root without it.
    assert!(!has_one(&root_without(&["setfcap"])));
}

/// The map and the change of ids that `ids` leads to.
fn identity(ids: Ids, facts: &HostFacts) -> (Option<String>, Option<String>) {
    let steps = steps(&with(|c| c.ids = ids), facts);
    (line(&steps, "map"), line(&steps, "become"))
}

#[test]
fn ids() {
    const WHOLE: &str = "map uid 0-4294967294 is 0-4294967294; \
        gid 0-4294967294 is 0-4294967294 (written by the parent)";
    const NESTED: &str = "map uid 0 is 0, 1-65536 is 1-65536; \
        gid 0 is 0, 1-1000 is 1-1000 (written by the parent)";
    let pair = |uid, gid| Ids::Pair { uid, gid };
    let able = but(user(), |f| f.capabilities = root().capabilities);
    let cases: &[(Ids, HostFacts, Option<&str>, Option<&str>)] = &[
        (
            Ids::Caller,
            user(),
            Some("map uid 1000 is 1000; gid 1000 is 1000 (written by the child)"),
            None,
        ),
        (
            Ids::ROOT,
            user(),
            Some("map uid 0 is 1000; gid 0 is 1000 (written by the child)"),
            None,
        ),
        // A group of one's own choice is the caller's by another number.
        (
            pair(5, 7),
            user(),
            Some("map uid 5 is 1000; gid 7 is 1000 (written by the child)"),
            None,
        ),
        (
            pair(1000, 7),
            user(),
            Some("map uid 1000 is 1000; gid 7 is 1000 (written by the child)"),
            None,
        ),
        (
            Ids::SUBORDINATE,
            user_with_range(),
            Some(
                "map uid 0 is 1000, 1-65536 is 100000-165535; \
                gid 0 is 1000, 1-65536 is 200000-265535 (written by newuidmap and newgidmap)",
            ),
            Some("become uid 0, gid 0"),
        ),
        (Ids::Caller, root(), Some(WHOLE), None),
        (Ids::ROOT, root(), Some(WHOLE), None),
        (pair(5, 7), root(), Some(WHOLE), Some("become uid 5, gid 7")),
        (pair(0, 7), root(), Some(WHOLE), Some("become uid 0, gid 7")),
        (Ids::SUBORDINATE, root(), Some(WHOLE), None),
        (Ids::Caller, nested(), Some(NESTED), None),
        (
            pair(65536, 1000),
            nested(),
            Some(NESTED),
            Some("become uid 65536, gid 1000"),
        ),
        // Not root, but with root's privileges.
        (Ids::Caller, able.clone(), Some(WHOLE), None),
        (
            Ids::ROOT,
            able.clone(),
            Some(WHOLE),
            Some("become uid 0, gid 0"),
        ),
        (
            Ids::SUBORDINATE,
            but(able, |f| f.subordinate = Some(granted())),
            Some(
                "map uid 0 is 1000, 1-65536 is 100000-165535; \
                gid 0 is 1000, 1-65536 is 200000-265535 (written by newuidmap and newgidmap)",
            ),
            Some("become uid 0, gid 0"),
        ),
        // Root without what it takes to map more than itself.
        (
            Ids::Caller,
            root_without(&["setuid"]),
            Some("map uid 0 is 0; gid 0 is 0 (written by the child)"),
            None,
        ),
        (
            pair(5, 7),
            root_without(&["setgid"]),
            Some("map uid 5 is 0; gid 7 is 0 (written by the child)"),
            None,
        ),
        (Ids::Caller, no_user_namespaces(root()), None, None),
        (
            pair(5, 7),
            no_user_namespaces(root()),
            None,
            Some("become uid 5, gid 7"),
        ),
        (Ids::Caller, root_without(&["setfcap"]), None, None),
    ];
    for (ids, facts, map, switch) in cases {
        let found = identity(*ids, facts);
        assert_eq!(
            (found.0.as_deref(), found.1.as_deref()),
            (*map, *switch),
            "{ids:?} {facts:?}"
        );
    }
}

#[test]
fn ids_that_cannot_be_had_are_named() {
    let pair = |uid, gid| with(|c| c.ids = Ids::Pair { uid, gid });
    let none = u32::MAX;
    let here = "the caller lives in a user namespace that has no such id";
    for (uid, gid, facts, expected) in [
        (
            65537,
            0,
            nested(),
            format!("uid 65537 cannot be mapped: {here}"),
        ),
        (
            65536,
            1001,
            nested(),
            format!("gid 1001 cannot be mapped: {here}"),
        ),
        (
            none,
            0,
            user(),
            "uid 4294967295 cannot be mapped: it stands for no id".into(),
        ),
        (
            0,
            none,
            user(),
            "gid 4294967295 cannot be mapped: it stands for no id".into(),
        ),
        (
            none,
            0,
            root(),
            "uid 4294967295 cannot be mapped: it stands for no id".into(),
        ),
        (
            0,
            none,
            no_user_namespaces(root()),
            "gid 4294967295 cannot be mapped: it stands for no id".into(),
        ),
        (
            70_000,
            0,
            no_user_namespaces(nested()),
            format!("uid 70000 cannot be mapped: {here}"),
        ),
    ] {
        assert_eq!(refusal(&pair(uid, gid), &facts), expected);
    }
    // A container engine's mistake: the caller itself is not mapped.
    let lost = but(nested(), |f| f.uid = 65534);
    let lost = but(lost, |f| f.uid_map = vec![range(0, 1000, 1)]);
    assert_eq!(
        refusal(&plain(), &lost),
        format!("uid 65534 cannot be mapped: {here}")
    );
    for config in [pair(5, 0), with(|c| c.ids = Ids::Pair { uid: 0, gid: 9 })] {
        let facts = no_user_namespaces(root_without(&["setgid"]));
        assert_eq!(
            refusal(&config, &facts),
            "ids cannot be enforced: \
             changing ids without a user namespace needs CAP_SETUID and CAP_SETGID"
        );
    }
}

#[test]
fn subordinate_ranges_follow_one_another_and_overlap_nowhere() {
    let map = |uids: &[(u32, u32)]| {
        let facts = but(user_with_range(), |f| {
            f.subordinate = Some(Subordinate {
                uids: uids.to_vec(),
                ..granted()
            });
        });
        let steps = steps(&with(|c| c.ids = Ids::SUBORDINATE), &facts);
        match &steps[1] {
            Step::IdMap { uids, .. } => uids.clone(),
            other => panic!("{other:?}"),
        }
    };
    let own = range(0, 1000, 1);
    for (granted, expected) in [
        (
            &[(2000, 10), (5000, 5)][..],
            vec![range(1, 2000, 10), range(11, 5000, 5)],
        ),
        // Granted twice.
        (&[(2000, 10), (2000, 10)], vec![range(1, 2000, 10)]),
        (
            &[(2000, 10), (1995, 20)],
            vec![range(1, 2000, 10), range(11, 1995, 5), range(16, 2010, 5)],
        ),
        // The caller's own id is among them.
        (&[(999, 4)], vec![range(1, 999, 1), range(2, 1001, 2)]),
        (&[(u32::MAX - 5, 5)], vec![range(1, u32::MAX - 5, 5)]),
        (
            &[(0, u32::MAX)],
            vec![range(1, 0, 1000), range(1001, 1001, u32::MAX - 1001)],
        ),
    ] {
        let expected: Vec<_> = [own].into_iter().chain(expected).collect();
        assert_eq!(map(granted), expected, "{granted:?}");
    }
    let many: Vec<(u32, u32)> = (0..1000).map(|i| (10_000 + 10 * i, 5)).collect();
    assert_eq!(map(&many).len(), 340);
}

#[test]
fn groups_are_given_up_where_the_kernel_allows_it() {
    let gives_up = |facts: &HostFacts| steps(&plain(), facts).contains(&Step::ClearGroups);
    assert!(gives_up(&root()));
    assert!(gives_up(&nested()));
    assert!(gives_up(&no_user_namespaces(root())));
    assert!(!gives_up(&user()));
    assert!(!gives_up(&root_without(&["setgid"])));
    assert!(!gives_up(&no_user_namespaces(root_without(&["setgid"]))));
    // Below a namespace whose maps an ordinary user wrote.
    assert!(!gives_up(&but(nested(), |f| f.setgroups = false)));
    let range = with(|c| c.ids = Ids::SUBORDINATE);
    assert!(steps(&range, &user_with_range()).contains(&Step::ClearGroups));
}

#[test]
fn capabilities() {
    const FILES: &[&str] = &[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
    ];
    let without = |name| {
        FILES
            .iter()
            .copied()
            .filter(|n| *n != name)
            .collect::<Vec<_>>()
    };
    let auto = |ids| with(|c| c.ids = ids);
    let only = |names: &[&str]| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        with(|c| c.capabilities = Capabilities::Only(names))
    };
    let masked = |mut config: Config| {
        config
            .mounts
            .push(Mount::new(at("/secret"), MountKind::Mask));
        config
    };
    let files = FILES.to_vec();
    for (config, facts, expected) in [
        (auto(Ids::Caller), user(), vec![]),
        (auto(Ids::Pair { uid: 5, gid: 0 }), user(), vec![]),
        (auto(Ids::ROOT), user(), files.clone()),
        (auto(Ids::SUBORDINATE), user_with_range(), files.clone()),
        // A caller who is root has to ask for it too.
        (auto(Ids::Caller), root(), vec![]),
        (auto(Ids::ROOT), root(), files.clone()),
        (auto(Ids::Pair { uid: 5, gid: 0 }), root(), vec![]),
        // What the caller lacks it has inside a user namespace, and nowhere else.
        (
            auto(Ids::ROOT),
            root_without(&["chown", "setuid"]),
            files.clone(),
        ),
        (
            auto(Ids::ROOT),
            no_user_namespaces(root_without(&["chown"])),
            without("CAP_CHOWN"),
        ),
        (masked(auto(Ids::ROOT)), user(), without("CAP_DAC_OVERRIDE")),
        (
            masked(auto(Ids::ROOT)),
            no_user_namespaces(root()),
            without("CAP_DAC_OVERRIDE"),
        ),
        (only(&[]), root(), vec![]),
        (
            only(&["cap_sys_admin", "net_raw"]),
            user(),
            vec!["CAP_NET_RAW", "CAP_SYS_ADMIN"],
        ),
        (masked(only(&["chown"])), root(), vec!["CAP_CHOWN"]),
        (
            only(&["net_raw"]),
            no_user_namespaces(root()),
            vec!["CAP_NET_RAW"],
        ),
    ] {
        assert_eq!(
            kept(&steps(&config, &facts)),
            expected,
            "{config:?} {facts:?}"
        );
    }
    for name in ["dac_override", "dac_read_search", "sys_admin"] {
        for facts in [user(), root(), no_user_namespaces(root())] {
            let text = refusal(&masked(only(&["chown", name])), &facts);
            assert!(
                text.starts_with("a masked path is open to a command with"),
                "{text}"
            );
        }
    }
    assert_eq!(
        refusal(
            &only(&["chown", "net_raw", "kill"]),
            &no_user_namespaces(root_without(&["net_raw", "kill"]))
        ),
        "the caller has no CAP_KILL, CAP_NET_RAW to pass on"
    );
    assert_eq!(
        refusal(&only(&["cap_foo"]), &user()),
        "unknown capability \"cap_foo\""
    );
}

#[test]
fn a_mask_that_could_not_be_had_takes_nothing_away() {
    let config = with(|c| {
        c.ids = Ids::ROOT;
        c.prefer.insert(Feature::Mask);
        c.mounts.push(Mount::new(at("/absent"), MountKind::Mask));
    });
    assert!(kept(&steps(&config, &user())).contains(&"CAP_DAC_OVERRIDE".to_owned()));
}

#[test]
fn procfs_is_protected_from_whoever_may_become_root_of_the_host() {
    let config = with(|c| {
        c.allow_nested = false;
        c.namespaces.pid = Isolation::Isolated;
        c.mounts = vec![
            Mount::new(at("/proc"), MountKind::Proc),
            Mount::new(at("/tmp/proc2"), MountKind::Proc),
        ];
    });
    let protected = |config: &Config, facts: &HostFacts| {
        let steps = steps(config, facts);
        steps
            .iter()
            .filter(|s| matches!(s, Step::ProtectProc(_)))
            .count()
    };
    let able = but(user(), |f| f.capabilities = root().capabilities);
    for facts in [
        root(),
        nested(),
        no_user_namespaces(root()),
        root_without(&["setuid"]),
        root_without(&["setfcap"]),
        // The whole range is mapped, so uid 0 is a setuid(2) away.
        able.clone(),
    ] {
        assert_eq!(protected(&config, &facts), 2, "{facts:?}");
    }
    let mut as_root = config.clone();
    as_root.ids = Ids::ROOT;
    assert_eq!(protected(&as_root, &able), 2);
    // A sandbox in this one could not mount procfs; without a capability nobody becomes root.
    let mut nesting = config.clone();
    nesting.allow_nested = true;
    assert_eq!(protected(&nesting, &able), 0);
    for change in [
        |c: &mut Config| c.ids = Ids::ROOT,
        |c: &mut Config| c.capabilities = Capabilities::Only(vec!["setuid".into()]),
    ] {
        let mut config = nesting.clone();
        change(&mut config);
        assert_eq!(protected(&config, &able), 2);
    }
    for facts in [user(), user_with_range()] {
        assert_eq!(protected(&config, &facts), 0);
        assert_eq!(protected(&as_root, &facts), 0);
    }
    let mut range = config.clone();
    range.ids = Ids::SUBORDINATE;
    assert_eq!(protected(&range, &user_with_range()), 0);
    // A strange grant.
    let zero = Subordinate {
        uids: vec![(0, 10)],
        ..granted()
    };
    assert_eq!(
        protected(&range, &but(user(), |f| f.subordinate = Some(zero))),
        2
    );
}

#[test]
fn procfs_needs_process_ids_of_its_own_in_a_user_namespace() {
    let config = with(|c| c.mounts = vec![Mount::new(at("/proc"), MountKind::Proc)]);
    for facts in [user(), root()] {
        let text = refusal(&config, &facts);
        assert_eq!(
            text,
            "procfs can be mounted in a user namespace only for process ids of its own"
        );
    }
    assert!(line(&steps(&config, &no_user_namespaces(root())), "proc on").is_some());
}

#[test]
fn a_host_name_brings_its_namespace_along() {
    let config = with(|c| c.hostname = Some("box".into()));
    let steps = steps(&config, &user());
    assert_eq!(namespaces(&steps), ["user", "mnt", "uts"]);
    assert!(steps.contains(&Step::Hostname("box".into())));
}

#[test]
fn further_namespaces_are_limited_or_filtered() {
    let steps_for = |change: &dyn Fn(&mut Config), facts: &HostFacts| -> Vec<String> {
        let config = with(|c| {
            c.allow_nested = false;
            change(c);
        });
        let steps = steps(&config, facts);
        let telling = steps
            .iter()
            .filter(|s| matches!(s, Step::LimitNamespaces | Step::SyscallFilter(_)));
        telling.map(ToString::to_string).collect()
    };
    let limit = "limit further user namespaces to 0";
    let only_those = "load a system call filter: no further namespaces";
    let shared = |c: &mut Config| c.namespaces.user = UserNamespace::Shared;
    assert_eq!(steps_for(&|_| (), &user()), [limit]);
    assert_eq!(steps_for(&shared, &root()), [only_those]);
    // With this capability the limit could be raised again.
    let raises = |c: &mut Config| {
        c.capabilities = Capabilities::Only(vec!["CAP_SYS_RESOURCE".into()]);
    };
    assert_eq!(steps_for(&raises, &user()), [limit, only_those]);
    let build = |c: &mut Config| c.seccomp = Seccomp::Build;
    let both = "load a system call filter: build, no further namespaces";
    assert_eq!(steps_for(&build, &user()), [limit, both]);
    let nested = |c: &mut Config| {
        c.seccomp = Seccomp::Build;
        c.allow_nested = true;
    };
    let open = "load a system call filter: build, further namespaces allowed";
    assert_eq!(steps_for(&nested, &user()), [open]);
}

#[test]
fn a_kernel_without_filters() {
    let without = |facts: HostFacts| but(facts, |f| f.seccomp = Some(false));
    let defaults = with(|c| {
        c.seccomp = Seccomp::Build;
        c.allow_nested = false;
    });
    let (effective, steps) = launch(&defaults, &without(user())).unwrap();
    let lost: Vec<_> = effective.degradations().iter().map(|d| d.feature).collect();
    assert_eq!(lost, [Feature::Seccomp]);
    assert!(steps.contains(&Step::LimitNamespaces));
    // Without a user namespace there is nothing to limit either.
    let host = without(no_user_namespaces(root()));
    let (effective, _) = launch(&defaults, &host).unwrap();
    let lost: Vec<_> = effective.degradations().iter().map(|d| d.feature).collect();
    assert_eq!(lost, [Feature::Seccomp, Feature::Nested]);
    let said = refusal(&with(|c| c.seccomp = Seccomp::StrictIo), &without(user()));
    assert!(
        said.contains("the kernel has no system call filters"),
        "{said}"
    );
    // It is had by the limit, and could be undone.
    let raises = with(|c| {
        c.allow_nested = false;
        c.capabilities = Capabilities::Only(vec!["CAP_SYS_RESOURCE".into()]);
    });
    assert!(refusal(&raises, &without(user())).contains("no system call filters"));
}
