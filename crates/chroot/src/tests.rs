//! What the backend makes of configurations, on hosts that are data.

use proptest::prelude::*;
use proptest::sample::select;
use sandboxlib_config::{
    Access, FeatureSet, Mount, MountKind, Network, RootAccess, SandboxPath, Seccomp, UserNamespace,
};
use sandboxlib_core::{IdRange, KernelVersion, negotiate, requests};
use sandboxlib_mount::{MemoryFs, PlanStep};

use super::*;

fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn files() -> MemoryFs {
    MemoryFs::new()
        .dir("/r/proc")
        .dir("/r/build")
        .dir("/src")
        .file("/r/secret")
}

/// No wish but another root.
fn plain() -> Config {
    let mut config = Config::new(Root::Dir("/r".into()));
    config.network = Network::Shared;
    config.namespaces.pid = Isolation::Shared;
    config.namespaces.ipc = Isolation::Shared;
    config.namespaces.uts = Isolation::Shared;
    config.namespaces.cgroup = Isolation::Shared;
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    config
}

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = plain();
    change(&mut config);
    config
}

fn only(names: &[&str]) -> Config {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    with(|c| c.capabilities = Capabilities::Only(names))
}

fn root() -> HostFacts {
    HostFacts::linux(0, 0)
}

fn root_without(names: &[&str]) -> HostFacts {
    let mut facts = root();
    facts.capabilities = facts
        .capabilities
        .without(CapSet::from_names(names).unwrap());
    facts
}

fn elsewhere() -> HostFacts {
    HostFacts::other(Os::FreeBsd, 0, 0)
}

fn launch(config: &Config, facts: &HostFacts) -> Result<(EffectiveConfig, Vec<Step>), String> {
    let effective = negotiate(config, &Chroot.support(facts)).map_err(|e| e.to_string())?;
    let plan = sandboxlib_mount::plan(effective.config(), &files()).unwrap();
    match Chroot
        .prepare(&effective, plan, facts)
        .map_err(|e| e.to_string())?
    {
        Launch::Direct(script) => Ok((effective, script.steps)),
        other => panic!("{other:?}"),
    }
}

fn steps(config: &Config, facts: &HostFacts) -> Vec<Step> {
    launch(config, facts).unwrap_or_else(|e| panic!("{e}")).1
}

fn script(config: &Config, facts: &HostFacts) -> String {
    ChildScript {
        steps: steps(config, facts),
    }
    .to_string()
}

fn refusal(config: &Config, facts: &HostFacts) -> String {
    launch(config, facts)
        .map(|(_, steps)| panic!("not refused: {steps:?}"))
        .unwrap_err()
}

fn kept(config: &Config, facts: &HostFacts) -> Vec<String> {
    let sets = steps(config, facts)
        .into_iter()
        .filter_map(|step| match step {
            Step::Capabilities(keep) => Some(keep.names().collect::<Vec<_>>()),
            _ => None,
        });
    sets.flatten().collect()
}

#[test]
fn another_root_and_nothing_else() {
    assert_eq!(
        script(&plain(), &root()),
        "  1  chroot to \"/r\"
  2  start a new session
  3  join a new session keyring
  4  give up supplementary groups
  5  set no_new_privs
  6  give up all capabilities
"
    );
    assert_eq!(
        script(&with(|c| c.ids = Ids::ROOT), &root()),
        "  1  chroot to \"/r\"
  2  start a new session
  3  join a new session keyring
  4  give up supplementary groups
  5  set no_new_privs
  6  give up all capabilities but CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID
"
    );
    assert_eq!(
        script(
            &with(|c| c.ids = Ids::Pair {
                uid: 1000,
                gid: 100
            }),
            &root()
        ),
        "  1  chroot to \"/r\"
  2  start a new session
  3  join a new session keyring
  4  give up supplementary groups
  5  become uid 1000, gid 100
  6  set no_new_privs
  7  give up all capabilities
"
    );
}

#[test]
fn mounts_and_process_ids_live_in_namespaces_on_linux() {
    let config = with(|c| {
        c.namespaces.pid = Isolation::Isolated;
        c.mounts = vec![
            Mount::new(at("/proc"), MountKind::Proc),
            Mount::bind("/src", at("/build")),
        ];
    });
    assert_eq!(
        script(&config, &root()),
        "  1  clone into new namespaces: mnt pid
  2  make all mounts private
  3  root \"/r\" read-write
  4  proc on \"/proc\"
  5  make the host's settings in \"/proc\" read-only
  6  bind dir \"/src\" on \"/build\" read-write
  7  chroot into the tree
  8  start a new session
  9  join a new session keyring
 10  give up supplementary groups
 11  set no_new_privs
 12  give up all capabilities
"
    );
    let refused = refusal(&config, &root_without(&["sys_admin"]));
    assert_eq!(
        refused,
        "bind cannot be enforced: mounts and process ids of its own need CAP_SYS_ADMIN; \
         proc cannot be enforced: mounts and process ids of its own need CAP_SYS_ADMIN"
    );
}

#[test]
fn elsewhere_there_is_a_chroot_and_ids() {
    assert_eq!(
        script(
            &with(|c| c.ids = Ids::Pair {
                uid: 1000,
                gid: 100
            }),
            &elsewhere()
        ),
        "  1  chroot to \"/r\"
  2  start a new session
  3  give up supplementary groups
  4  become uid 1000, gid 100
"
    );
    let bind = with(|c| c.mounts = vec![Mount::bind("/src", at("/build"))]);
    assert_eq!(
        refusal(&bind, &elsewhere()),
        "bind cannot be enforced: mounts and process ids of its own exist on Linux alone"
    );
    let text = "capabilities exist on Linux alone";
    assert_eq!(refusal(&only(&["chown"]), &elsewhere()), text);
    assert_eq!(refusal(&only(&[]), &elsewhere()), text);
    let mut none = only(&[]);
    none.ids = Ids::Pair {
        uid: 1000,
        gid: 100,
    };
    assert!(launch(&none, &elsewhere()).is_ok());
}

#[test]
fn it_takes_root() {
    let usable = |facts: &HostFacts| Chroot.support(facts).usable().is_ok();
    assert!(usable(&root()));
    assert!(usable(&elsewhere()));
    assert!(usable(&root_without(&["sys_admin"])));
    for facts in [
        HostFacts::linux(1000, 1000),
        root_without(&["sys_chroot"]),
        HostFacts::other(Os::MacOs, 501, 20),
    ] {
        let support = Chroot.support(&facts);
        let reason = support.usable().unwrap_err();
        assert_eq!(reason.to_string(), "chroot(2) needs root");
        assert!(!reason.hints.is_empty());
    }
}

#[test]
fn it_takes_a_kernel_on_which_something_can_be_started() {
    let on = |major, minor| {
        let mut facts = root();
        facts.kernel = Some(KernelVersion(major, minor));
        Chroot.support(&facts)
    };
    assert!(on(5, 10).usable().is_ok());
    let support = on(4, 18);
    let reason = support.usable().unwrap_err();
    let text = reason.to_string();
    assert!(text.starts_with("Linux 4.18 is older than 5.10"), "{text}");
    assert!(!reason.hints.is_empty());
    // That is a number of Linux alone.
    let mut bsd = elsewhere();
    bsd.kernel = Some(KernelVersion(4, 11));
    assert!(Chroot.support(&bsd).usable().is_ok());
}

#[test]
fn what_a_chroot_cannot_do_is_refused_unless_less_will_do() {
    let isolated = Isolation::Isolated;
    let cases = [
        (Feature::Network, with(|c| c.network = Network::Isolated)),
        (
            Feature::ReadOnly,
            with(|c| c.root_access = Some(RootAccess::ReadOnly)),
        ),
        (
            Feature::ReadOnly,
            with(|c| c.root_access = Some(RootAccess::ReadOnlyExcept(vec![at("/build")]))),
        ),
        (Feature::Ipc, with(|c| c.namespaces.ipc = isolated)),
        (Feature::Uts, with(|c| c.namespaces.uts = isolated)),
        (Feature::Cgroup, with(|c| c.namespaces.cgroup = isolated)),
        (Feature::Time, with(|c| c.namespaces.time = isolated)),
        (
            Feature::User,
            with(|c| c.namespaces.user = UserNamespace::Isolated),
        ),
        (Feature::Subordinate, with(|c| c.ids = Ids::SUBORDINATE)),
    ];
    for (feature, mut config) in cases {
        for facts in [root(), elsewhere()] {
            config.prefer = FeatureSet::EMPTY;
            assert_eq!(
                refusal(&config, &facts),
                format!(
                    "{feature} cannot be enforced: \
                     chroot(2) changes the root directory and nothing else"
                )
            );
            config.prefer.insert(feature);
            let (effective, steps) = launch(&config, &facts).unwrap();
            let lost: Vec<_> = effective.degradations().iter().map(|d| d.feature).collect();
            assert_eq!(lost, [feature]);
            assert_eq!(ChildScript { steps }.to_string(), script(&plain(), &facts));
        }
    }
}

#[test]
fn the_hosts_root_is_read_only_by_default_and_so_refused() {
    let mut config = with(|c| {
        c.root = Root::Host;
        c.hidden = Some(Vec::new());
    });
    assert!(refusal(&config, &root()).starts_with("read-only cannot be enforced"));
    config.root_access = Some(RootAccess::ReadWrite);
    assert_eq!(steps(&config, &root())[0], Step::ChrootTo("/".into()));
}

#[test]
fn nothing_is_kept_that_undoes_the_chroot() {
    for name in [
        "sys_chroot",
        "mknod",
        "sys_admin",
        "dac_read_search",
        "sys_ptrace",
        "sys_module",
        "sys_rawio",
    ] {
        let text = refusal(&only(&["chown", name]), &root());
        let upper = name.to_ascii_uppercase();
        assert_eq!(
            text,
            format!("a command with CAP_{upper} could undo the chroot")
        );
    }
    assert_eq!(
        kept(&only(&["net_raw", "chown"]), &root()),
        ["CAP_CHOWN", "CAP_NET_RAW"]
    );
    assert!(kept(&only(&[]), &root()).is_empty());
    assert_eq!(
        refusal(&only(&["chown", "net_raw"]), &root_without(&["net_raw"])),
        "the caller has no CAP_NET_RAW to pass on"
    );
    assert_eq!(
        refusal(&only(&["cap_foo"]), &root()),
        "unknown capability \"cap_foo\""
    );
}

#[test]
fn no_capability_opens_a_mask() {
    let mask = |mut config: Config| {
        config.mounts = vec![Mount::new(at("/secret"), MountKind::Mask)];
        config
    };
    let auto = kept(&mask(with(|c| c.ids = Ids::ROOT)), &root());
    assert!(auto.contains(&"CAP_CHOWN".to_owned()));
    assert!(!auto.contains(&"CAP_DAC_OVERRIDE".to_owned()));
    assert_eq!(
        refusal(&mask(only(&["dac_override"])), &root()),
        "a masked path is open to a command with CAP_DAC_OVERRIDE"
    );
    assert_eq!(kept(&mask(only(&["chown"])), &root()), ["CAP_CHOWN"]);
}

#[test]
fn ids_that_cannot_be_had_are_named() {
    let pair = |uid, gid| with(|c| c.ids = Ids::Pair { uid, gid });
    let mut nested = root();
    nested.uid_map = vec![IdRange {
        inside: 0,
        outside: 1000,
        count: 10,
    }];
    for (config, facts, expected) in [
        (
            pair(u32::MAX, 0),
            root(),
            "uid 4294967295 cannot be mapped: it stands for no id",
        ),
        (
            pair(0, u32::MAX),
            elsewhere(),
            "gid 4294967295 cannot be mapped: it stands for no id",
        ),
        (
            pair(10, 0),
            nested,
            "uid 10 cannot be mapped: the caller lives in a user namespace that has no such id",
        ),
        (
            pair(5, 5),
            root_without(&["setuid"]),
            "ids cannot be enforced: changing ids needs CAP_SETUID and CAP_SETGID",
        ),
    ] {
        assert_eq!(refusal(&config, &facts), expected);
    }
}

#[test]
fn groups_are_given_up_where_the_kernel_allows_it() {
    let gives_up = |facts: &HostFacts| steps(&plain(), facts).contains(&Step::ClearGroups);
    assert!(gives_up(&root()));
    assert!(gives_up(&elsewhere()));
    assert!(!gives_up(&root_without(&["setgid"])));
    let mut nested = root();
    nested.setgroups = false;
    assert!(!gives_up(&nested));
}

fn any_mount() -> impl Strategy<Value = Mount> {
    let place = |path: &str, kind: MountKind| Just(Mount::new(at(path), kind).covering());
    prop_oneof![
        place("/proc", MountKind::Proc),
        place("/dev", MountKind::Dev),
        place(
            "/build",
            MountKind::Bind {
                source: "/src".into(),
                access: Access::ReadOnly
            }
        ),
        place("/secret", MountKind::Mask),
        place(
            "/secret",
            MountKind::File {
                data: b"x"[..].into(),
                mode: 0o644
            }
        ),
        place("/new", MountKind::Dir { mode: 0o755 }),
        place("/build", MountKind::Dir { mode: 0o755 }),
    ]
}

prop_compose! {
    fn any_config()(
        read_only in any::<bool>(),
        mounts in proptest::collection::vec(any_mount(), 0..4),
        shared in any::<[bool; 6]>(),
        ids in select(vec![Ids::Caller, Ids::ROOT, Ids::SUBORDINATE,
            Ids::Pair { uid: 1000, gid: 5 }, Ids::Pair { uid: 0, gid: u32::MAX }]),
        named in any::<bool>(),
        capabilities in select(vec![None, None, Some("chown"), Some("dac_override"),
            Some("sys_chroot"), Some("net_raw")]),
        prefer in proptest::collection::vec(select(Feature::ALL), 0..18),
    ) -> Config {
        let mut config = plain();
        config.root_access = read_only.then_some(RootAccess::ReadOnly);
        config.mounts = mounts;
        let choose = |s: bool| if s { Isolation::Shared } else { Isolation::Isolated };
        let ns = &mut config.namespaces;
        [ns.pid, ns.ipc, ns.uts, ns.cgroup, ns.time] =
            [shared[0], shared[1], shared[2], shared[3], shared[4]].map(choose);
        config.network = if shared[5] { Network::Shared } else { Network::Isolated };
        config.ids = ids;
        config.hostname = named.then(|| "box".into());
        config.capabilities = capabilities
            .map_or(Capabilities::Auto, |name| Capabilities::Only(vec![name.to_owned()]));
        config.prefer = prefer.into_iter().collect();
        config
    }
}

prop_compose! {
    fn any_facts()(
        os in select(vec![Os::Linux, Os::Linux, Os::MacOs, Os::Posix]),
        uid in select(vec![0, 0, 1000]),
        lost in select(vec![0, 0, 1 << 21, 1 << 6, 1 << 7, 1 << 13, 1, u64::MAX]),
        setgroups in any::<bool>(),
    ) -> HostFacts {
        let mut facts =
            if os == Os::Linux { HostFacts::linux(uid, 5) } else { HostFacts::other(os, uid, 5) };
        facts.capabilities = facts.capabilities.without(CapSet::from_bits(lost));
        facts.setgroups = setgroups;
        facts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn scripts_are_in_order_and_deliver(
        mut config in any_config(),
        mut facts in any_facts(),
        seccomp in select(vec![Seccomp::None, Seccomp::Build, Seccomp::StrictIo]),
        nested in any::<bool>(),
        filters in select(vec![None, Some(true), Some(false)]),
    ) {
        config.seccomp = seccomp;
        config.allow_nested = nested;
        facts.seccomp = filters;
        let effective = match negotiate(&config, &Chroot.support(&facts)) {
            Ok(effective) => effective,
            Err(e) => {
                prop_assert!(!e.to_string().is_empty());
                return Ok(());
            }
        };
        let Ok(plan) = sandboxlib_mount::plan(effective.config(), &files()) else { return Ok(()) };
        let steps = match Chroot.prepare(&effective, plan.clone(), &facts) {
            Ok(Launch::Direct(script)) => script.steps,
            Ok(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            Err(e) => {
                prop_assert!(!e.reason.text.is_empty());
                return Ok(());
            }
        };
        let script = ChildScript { steps: steps.clone() };
        let wants = effective.config();
        let linux = facts.os == Os::Linux;

        // One change of root, and what it takes before and after it, in order.
        let rank = |step: &Step| match step {
            Step::Namespaces(_) => 0,
            Step::PrivateMounts => 1,
            Step::Mount(_) | Step::ProtectProc(_) => 2,
            Step::Chroot | Step::ChrootTo(_) => 4,
            Step::Session => 5,
            Step::Keyring | Step::ClearGroups => 6,
            Step::Ids { .. } => 7,
            Step::NoNewPrivs => 8,
            Step::Capabilities(_) => 9,
            Step::SyscallFilter(_) => 10,
            _ => 99,
        };
        let ranks: Vec<i32> = steps.iter().map(rank).collect();
        // A procfs is protected at once, and nothing else is.
        for pair in steps.windows(2) {
            let fresh = match &pair[0] {
                Step::Mount(PlanStep::Proc { to }) => Some(Step::ProtectProc(to.clone())),
                _ => None,
            };
            let protects = matches!(pair[1], Step::ProtectProc(_));
            prop_assert_eq!(fresh.as_ref() == Some(&pair[1]), protects, "{}", script);
            prop_assert!(fresh.is_none() || protects, "{}", script);
        }
        prop_assert!(ranks.is_sorted() && ranks.iter().all(|r| *r <= 10), "{}", script);
        let filtered = wants.seccomp != Seccomp::None || !wants.allow_nested;
        prop_assert!(!filtered || (linux && facts.seccomp != Some(false)));
        for (wanted, there) in [
            (4, true), (5, true), (8, linux), (9, linux), (10, filtered), (0, ranks.contains(&1)),
        ] {
            let count = ranks.iter().filter(|r| **r == wanted).count();
            prop_assert_eq!(count, usize::from(there), "{}", script);
        }
        let keyring = steps.iter().filter(|s| **s == Step::Keyring).count();
        let wanted = linux && Step::keyring(wants).is_some();
        prop_assert_eq!(keyring, usize::from(wanted), "{}", script);
        prop_assert!(linux || ranks.iter().all(|r| (4..8).contains(r)), "{}", script);
        prop_assert!(linux || !steps.contains(&Step::Chroot), "{}", script);

        // Mounts and process ids, in namespaces of their own or not at all.
        let mounts: Vec<_> = steps
            .iter()
            .filter_map(|s| match s { Step::Mount(p) => Some(p.clone()), _ => None })
            .collect();
        match &steps[0] {
            Step::Namespaces(set) => {
                prop_assert!(set.mount && facts.capabilities.contains(CapSet::SYS_ADMIN));
                prop_assert_eq!(set.names().count(), 1 + usize::from(set.pid));
                prop_assert_eq!(set.pid, wants.namespaces.pid == Isolation::Isolated);
                prop_assert_eq!(&mounts, &plan.steps);
            }
            Step::ChrootTo(path) => {
                prop_assert_eq!(path, std::path::Path::new("/r"));
                prop_assert_eq!(plan.steps.len(), 1);
                prop_assert_eq!(wants.namespaces.pid, Isolation::Shared);
            }
            other => prop_assert!(false, "{other}"),
        }
        let procs = mounts.iter().filter(|p| matches!(p, PlanStep::Proc { .. })).count();
        let guarded = steps.iter().filter(|s| matches!(s, Step::ProtectProc(_))).count();
        prop_assert_eq!(guarded, procs);

        // Nothing is said to be enforced that a chroot has not got, and nothing else is asked for.
        for feature in effective.enforced().iter() {
            let has = matches!(feature, Feature::Root | Feature::Ids | Feature::Pid)
                || MOUNTS.contains(&feature)
                || FILTERED.contains(&feature);
            prop_assert!(has, "{feature}");
        }
        for request in requests(wants) {
            prop_assert!(effective.enforced().contains(request.feature));
        }

        // The command is who it was to be, with no more than it may have.
        let (uid, gid) = match wants.ids {
            Ids::Pair { uid, gid } => (uid, gid),
            _ => (facts.uid, facts.gid),
        };
        let switched = steps.iter().find_map(|s| match s {
            Step::Ids { uid, gid } => Some((*uid, *gid)),
            _ => None,
        });
        prop_assert_eq!(switched.unwrap_or((facts.uid, facts.gid)), (uid, gid));
        let may = |c| !linux || facts.capabilities.contains(c);
        prop_assert!(switched.is_none() || (may(CapSet::SETUID) && may(CapSet::SETGID)));
        prop_assert_eq!(steps.contains(&Step::ClearGroups), facts.setgroups && may(CapSet::SETGID));
        for step in &steps {
            let Step::Capabilities(keep) = step else { continue };
            prop_assert!(facts.capabilities.contains(*keep));
            prop_assert!(undoing().all(|name| !has(*keep, name)));
            let masks = mounts.iter().any(|p| matches!(p, PlanStep::Mask { .. }));
            prop_assert!(!masks || !keep.contains(CapSet::DAC_OVERRIDE));
            match &wants.capabilities {
                Capabilities::Only(names) => {
                    prop_assert_eq!(*keep, CapSet::from_names(names).unwrap());
                }
                _ => prop_assert!(CapSet::FILES.contains(*keep) && (keep.is_empty() || uid == 0)),
            }
        }
    }
}
