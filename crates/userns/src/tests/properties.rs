//! What holds for every configuration on every host.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use sandboxlib_config::{Access, Feature, FeatureSet, Limits, Network, Overlay};
use sandboxlib_core::{IdMapper, KernelVersion, MapWriter, Os, requests};
use sandboxlib_mount::{Node, PlanStep};

use super::*;

fn isolation() -> impl Strategy<Value = Isolation> {
    select(vec![Isolation::Isolated, Isolation::Shared])
}

fn any_id() -> impl Strategy<Value = u32> {
    select(vec![
        0,
        1,
        5,
        1000,
        65534,
        65536,
        70_000,
        u32::MAX - 1,
        u32::MAX,
    ])
}

fn any_ids() -> impl Strategy<Value = Ids> {
    prop_oneof![
        Just(Ids::Caller),
        Just(Ids::ROOT),
        Just(Ids::SUBORDINATE),
        Just(Ids::Subordinate { uid: 3, gid: 2 }),
        (any_id(), any_id()).prop_map(|(uid, gid)| Ids::Pair { uid, gid }),
    ]
}

fn any_mount() -> impl Strategy<Value = Mount> {
    let place = |path: &str, kind: MountKind| Just(Mount::new(at(path), kind).covering());
    prop_oneof![
        place("/proc", MountKind::Proc),
        place("/dev", MountKind::Dev),
        place(
            "/tmp",
            MountKind::Tmpfs {
                size: None,
                mode: 0o1777
            }
        ),
        place(
            "/build",
            MountKind::Bind {
                source: "/r/tmp".into(),
                access: Access::ReadWrite
            }
        ),
        place(
            "/build",
            MountKind::Bind {
                source: "/r/tmp".into(),
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
        place(
            "/link",
            MountKind::Symlink {
                to: "/secret".into()
            }
        ),
        place("/new", MountKind::Dir { mode: 0o755 }),
    ]
}

fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    const NAMES: &[&str] = &[
        "chown",
        "dac_override",
        "dac_read_search",
        "setuid",
        "sys_admin",
        "net_raw",
    ];
    prop_oneof![
        3 => Just(Capabilities::Auto),
        1 => proptest::collection::vec(select(NAMES), 0..3)
            .prop_map(|v| Capabilities::Only(v.into_iter().map(str::to_owned).collect())),
    ]
}

prop_compose! {
    fn any_limits()(
        bytes in proptest::collection::vec(proptest::option::weighted(0.2, 1u64..1 << 40), 6),
        seconds in proptest::option::weighted(0.2, 1u64..1000),
    ) -> Limits {
        let mut limits = Limits::default();
        limits.cpu_time = seconds.map(Duration::from_secs);
        for (slot, value) in [
            &mut limits.memory,
            &mut limits.processes,
            &mut limits.file_size,
            &mut limits.open_files,
            &mut limits.stack,
            &mut limits.core,
        ].into_iter().zip(bytes) {
            *slot = value;
        }
        limits
    }
}

prop_compose! {
    fn any_config()(
        host_root in prop::bool::weighted(0.1),
        access in select(vec![None, Some(RootAccess::ReadWrite), Some(RootAccess::ReadOnly),
            Some(RootAccess::ReadOnlyExcept(vec![at("/tmp")]))]),
        mounts in proptest::collection::vec(any_mount(), 0..5),
        network in select(vec![Network::Isolated, Network::Shared]),
        user in select(vec![UserNamespace::Auto, UserNamespace::Isolated, UserNamespace::Shared]),
        [pid, ipc, uts, cgroup, time] in [isolation(), isolation(), isolation(), isolation(),
            isolation()],
        ids in any_ids(),
        named in any::<bool>(),
        capabilities in any_capabilities(),
        prefer in proptest::collection::vec(select(Feature::ALL), 0..6),
        limits in any_limits(),
        overlay in prop::bool::weighted(0.3),
    ) -> Config {
        let mut config = if host_root { Config::new(Root::Host) } else { dir() };
        // The files of the host's root are those of the other one, seen from above.
        config.root_access = match access {
            Some(RootAccess::ReadOnlyExcept(_)) if host_root => Some(RootAccess::ReadOnly),
            other => other,
        };
        config.overlay = overlay.then_some(Overlay::Discard);
        if overlay && config.root_access == Some(RootAccess::ReadWrite) {
            config.root_access = None;
        }
        config.mounts = if host_root { Vec::new() } else { mounts };
        config.network = network;
        let ns = &mut config.namespaces;
        (ns.user, ns.pid, ns.ipc, ns.uts, ns.cgroup, ns.time) = (user, pid, ipc, uts, cgroup, time);
        config.ids = ids;
        config.hostname = named.then(|| "box".into());
        config.capabilities = capabilities;
        config.limits = limits;
        config.prefer = prefer.into_iter().collect::<FeatureSet>();
        config
    }
}

prop_compose! {
    fn any_facts()(
        uid in select(vec![0, 1000, 65534]),
        gid in select(vec![0, 1000]),
        capabilities in prop_oneof![
            Just(CapSet::EMPTY), Just(CapSet::FILES), Just(root().capabilities),
            Just(CapSet::SYS_ADMIN),
            any::<u64>().prop_map(|bits| CapSet::from_bits(bits & ((1 << 41) - 1))),
        ],
        kernel in select(vec![None, Some(KernelVersion(5, 10)), Some(KernelVersion(6, 1)), Some(KernelVersion(6, 6))]),
        landlock in select(vec![0, 1, 2, 7, 11]),
        os in prop_oneof![9 => Just(Os::Linux), 1 => Just(Os::FreeBsd)],
        off in prop::bool::weighted(0.2),
        clone in select(vec![None, Some(true), Some(false)]),
        setgroups in any::<bool>(),
        partial in any::<bool>(),
        subordinate in select(vec![None, Some(Subordinate::default()), Some(granted()),
            Some(Subordinate { newgidmap: None, ..granted() }),
            Some(Subordinate { uids: vec![(0, 3), (999, 5)], ..granted() })]),
    ) -> HostFacts {
        let mut facts = if partial { nested() } else { root() };
        (facts.os, facts.uid, facts.gid) = (os, uid, gid);
        facts.capabilities = capabilities;
        facts.kernel = kernel;
        facts.landlock = landlock;
        facts.max_user_namespaces = off.then_some(0);
        facts.unprivileged_userns_clone = clone;
        facts.setgroups = setgroups;
        facts.subordinate = subordinate;
        facts
    }
}

/// The place of the only step that `is`; `None` if there is none.
fn place(steps: &[Step], is: impl Fn(&Step) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..steps.len()).filter(|i| is(&steps[*i])).collect();
    assert!(places.len() <= 1, "twice in {steps:?}");
    places.first().copied()
}

/// What must be seen in the script if `feature` is said to be enforced.
fn delivers(steps: &[Step], feature: Feature, facts: &HostFacts) -> bool {
    let Step::Namespaces(set) = &steps[0] else {
        return false;
    };
    let planned = |is: &dyn Fn(&PlanStep) -> bool| {
        steps
            .iter()
            .any(|step| matches!(step, Step::Mount(planned) if is(planned)))
    };
    let tree = steps.iter().find_map(|step| match step {
        Step::TreeLimits(tree) => Some(tree),
        _ => None,
    });
    let each = steps.iter().find_map(|step| match step {
        Step::ProcessLimits(each) => Some(each),
        _ => None,
    });
    match feature {
        Feature::Root => {
            planned(&|p| matches!(p, PlanStep::Root { source, .. } if source.as_os_str() == "/r"))
        }
        Feature::ReadOnly => planned(&|p| {
            matches!(
                p,
                PlanStep::Root {
                    access: Access::ReadOnly,
                    ..
                }
            )
        }),
        Feature::Overlay => planned(&|p| matches!(p, PlanStep::Overlay { .. })),
        Feature::Network => set.net && steps.contains(&Step::Loopback),
        Feature::Pid => set.pid,
        Feature::Ipc => set.ipc,
        Feature::Uts => set.uts,
        Feature::Cgroup => set.cgroup,
        Feature::Time => steps.contains(&Step::TimeNamespace),
        Feature::User => set.user,
        Feature::Subordinate => match &steps[1] {
            Step::IdMap { uids, gids, .. } => {
                let count = |map: &[sandboxlib_core::IdRange]| map.iter().map(|r| r.count).max();
                count(uids) > Some(1) && count(gids) > Some(1)
            }
            _ => facts.uid == 0 && !set.user,
        },
        Feature::Ids => true, // see `becomes`
        Feature::Bind => planned(&|p| {
            matches!(
                p,
                PlanStep::Bind {
                    node: Node::Dir,
                    ..
                }
            )
        }),
        Feature::Tmpfs => planned(&|p| matches!(p, PlanStep::Tmpfs { .. })),
        Feature::Proc => planned(&|p| matches!(p, PlanStep::Proc { .. })),
        Feature::Dev => planned(&|p| matches!(p, PlanStep::Devpts { .. })),
        Feature::File => planned(&|p| matches!(p, PlanStep::File { .. })),
        Feature::Mask => planned(&|p| matches!(p, PlanStep::Mask { .. })),
        Feature::Seccomp => steps
            .iter()
            .any(|step| matches!(step, Step::SyscallFilter(f) if f.seccomp != Seccomp::None)),
        Feature::Nested => steps.iter().any(|step| match step {
            Step::LimitNamespaces => true,
            Step::SyscallFilter(filter) => !filter.allow_nested,
            _ => false,
        }),
        Feature::CpuTime => tree.is_some_and(|tree| tree.cpu_time.is_some()),
        Feature::Memory => tree.is_some_and(|tree| tree.memory.is_some()),
        Feature::Processes => tree.is_some_and(|tree| tree.processes.is_some()),
        Feature::FileSize => each.is_some_and(|each| each.file_size.is_some()),
        Feature::OpenFiles => each.is_some_and(|each| each.open_files.is_some()),
        Feature::Stack => each.is_some_and(|each| each.stack.is_some()),
        Feature::Core => each.is_some_and(|each| each.core.is_some()),
        // A directory may exist already.
        _ => true,
    }
}

/// The ids of the command inside, as the kernel will have them.
fn becomes(steps: &[Step], facts: &HostFacts) -> (Option<u32>, Option<u32>) {
    let switched = steps.iter().find_map(|step| match step {
        Step::Ids { uid, gid } => Some((Some(*uid), Some(*gid))),
        _ => None,
    });
    switched.unwrap_or_else(|| match steps.get(1) {
        Some(Step::IdMap { uids, gids, .. }) => {
            let inside = |map: &[sandboxlib_core::IdRange], id: u32| {
                map.iter()
                    .find(|r| r.outside <= id && id - r.outside < r.count)
                    .map(|r| r.inside + (id - r.outside))
            };
            (inside(uids, facts.uid), inside(gids, facts.gid))
        }
        _ => (Some(facts.uid), Some(facts.gid)),
    })
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
        let support = Userns.support(&facts);
        let effective = match negotiate(&config, &support) {
            Ok(effective) => effective,
            Err(e) => {
                prop_assert!(!e.to_string().is_empty());
                return Ok(());
            }
        };
        prop_assert_eq!(facts.os, Os::Linux);
        // The planner has tests of its own; what it refuses never gets here.
        let Ok(plan) = sandboxlib_mount::plan(effective.config(), &files()) else { return Ok(()) };
        let not_masked = !plan.not_masked.is_empty();
        let steps = match Userns.prepare(&effective, plan.clone(), &facts) {
            Ok(Launch::Direct(script)) => script.steps,
            Ok(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
            Err(e) => {
                prop_assert!(!e.reason.text.is_empty());
                return Ok(());
            }
        };
        let script = ChildScript { steps: steps.clone() };

        // The order.
        prop_assert_eq!(place(&steps, |s| matches!(s, Step::Namespaces(_))), Some(0));
        let Step::Namespaces(set) = &steps[0] else { unreachable!() };
        prop_assert!(set.mount);
        let map = place(&steps, |s| matches!(s, Step::IdMap { .. }));
        prop_assert_eq!(map, set.user.then_some(1));
        let private = place(&steps, |s| *s == Step::PrivateMounts).unwrap();
        let pivot = place(&steps, |s| *s == Step::PivotRoot).unwrap();
        let session = place(&steps, |s| *s == Step::Session).unwrap();
        let caps = place(&steps, |s| matches!(s, Step::Capabilities(_))).unwrap();
        for (i, step) in steps.iter().enumerate() {
            match step {
                Step::Mount(_) => prop_assert!(private < i && i < pivot, "{}", script),
                Step::ProtectProc(at) | Step::MaskKeys(at) => {
                    let mounted = Step::Mount(PlanStep::Proc { to: at.clone() });
                    let before = steps[..i].contains(&mounted);
                    prop_assert!(before && i < pivot, "{}", script);
                }
                Step::ClearGroups => {
                    let ids = place(&steps, |s| matches!(s, Step::Ids { .. }));
                    prop_assert!(session < i && i < ids.unwrap_or(caps), "{}", script);
                }
                Step::Ids { .. } => prop_assert!(pivot < i && i < caps, "{}", script),
                Step::TimeNamespace | Step::TreeLimits(_) => {
                    prop_assert!(i < private, "{}", script);
                }

                Step::Loopback | Step::Hostname(_) => prop_assert!(i < caps, "{}", script),
                Step::Chroot | Step::ChrootTo(_) => prop_assert!(false, "{}", script),
                _ => {}
            }
        }
        prop_assert!(pivot < session && session < caps, "{}", script);
        // Before the capabilities go, the second wall; behind that the filter; the limit comes as
        // soon as there is the right to it.
        let wall = place(&steps, |s| matches!(s, Step::Landlock(_)));
        let walled = facts.landlock >= Landlock::FILES;
        prop_assert_eq!(wall, walled.then_some(caps - 1), "{}", script);
        let gains_nothing = caps - 1 - usize::from(walled);
        prop_assert_eq!(steps.get(gains_nothing), Some(&Step::NoNewPrivs));
        let filter = place(&steps, |s| matches!(s, Step::SyscallFilter(_)));
        let each = place(&steps, |s| matches!(s, Step::ProcessLimits(_)));
        let last = caps + 1;
        prop_assert!(each.is_none_or(|each| each == last), "{}", script);
        let last = last + usize::from(each.is_some());
        prop_assert_eq!(filter.unwrap_or(steps.len()), last, "{}", script);
        prop_assert!(filter.is_none() || facts.seccomp != Some(false), "{}", script);
        let limit = place(&steps, |s| *s == Step::LimitNamespaces);
        let limited = set.user && !effective.config().allow_nested;
        prop_assert_eq!(limit, limited.then_some(2), "{}", script);

        // Nothing of the plan is lost or moved.
        let mounts: Vec<PlanStep> = steps
            .iter()
            .filter_map(|s| match s { Step::Mount(p) => Some(p.clone()), _ => None })
            .collect();
        let plan = sandboxlib_core::bound_tmpfs(plan, effective.config());
        prop_assert_eq!(&mounts, &plan.steps);

        // What is said to be enforced is in the script, and what is not is not.
        for feature in effective.enforced().iter() {
            // What is preferred may turn out to be impossible while planning.
            let excused = feature == Feature::Mask && not_masked;
            prop_assert!(
                delivers(&steps, feature, &facts) || excused,
                "{feature} in\n{}", script
            );
        }
        for lost in effective.degradations() {
            let asked = requests(effective.config()).iter().any(|r| r.feature == lost.feature);
            prop_assert!(!asked, "{}", lost.feature);
        }
        let wants = effective.config();
        prop_assert_eq!(set.net, wants.network == Network::Isolated);
        prop_assert_eq!(steps.contains(&Step::Loopback), set.net);
        prop_assert_eq!(set.pid, wants.namespaces.pid == Isolation::Isolated);
        prop_assert_eq!(set.ipc, wants.namespaces.ipc == Isolation::Isolated);
        prop_assert_eq!(set.cgroup, wants.namespaces.cgroup == Isolation::Isolated);
        prop_assert_eq!(set.uts,
            wants.namespaces.uts == Isolation::Isolated || wants.hostname.is_some());
        prop_assert_eq!(
            steps.iter().any(|s| matches!(s, Step::Hostname(_))), wants.hostname.is_some());
        prop_assert_eq!(
            steps.contains(&Step::TimeNamespace), wants.namespaces.time == Isolation::Isolated);
        prop_assert!(wants.namespaces.user != UserNamespace::Shared || !set.user);
        prop_assert!(set.user || facts.capabilities.contains(CapSet::SYS_ADMIN));

        // The command is who it was to be.
        let expected = match wants.ids {
            Ids::Pair { uid, gid } | Ids::Subordinate { uid, gid } => (uid, gid),
            _ => (facts.uid, facts.gid),
        };
        prop_assert_eq!(becomes(&steps, &facts), (Some(expected.0), Some(expected.1)), "{}", script);

        // The kernel would take the maps.
        if let Some(Step::IdMap { uids, gids, writer }) = map.map(|i| &steps[i]) {
            for map in [uids, gids] {
                prop_assert!(!map.is_empty() && map.len() <= 340);
                for (i, r) in map.iter().enumerate() {
                    prop_assert!(r.count > 0);
                    for (start, count) in [(r.inside, r.count), (r.outside, r.count)] {
                        prop_assert!(u64::from(start) + u64::from(count) <= u64::from(u32::MAX));
                    }
                    for other in &map[..i] {
                        let apart = |a: u32, b: u32| a.checked_sub(b)
                            .map_or_else(|| b - a >= r.count, |gap| gap >= other.count);
                        prop_assert!(apart(r.inside, other.inside), "{}", script);
                        prop_assert!(apart(r.outside, other.outside), "{}", script);
                    }
                }
            }
            match writer {
                MapWriter::Child => prop_assert!(
                    uids.len() == 1 && uids[0].count == 1 && uids[0].outside == facts.uid
                        && gids.len() == 1 && gids[0].count == 1 && gids[0].outside == facts.gid
                ),
                MapWriter::Parent => prop_assert_eq!(facts.id_mapper(), IdMapper::Any),
                MapWriter::Helpers { .. } => prop_assert!(wants.ids.has_range()),
            }
            let zero = uids.iter().any(|r| r.outside == 0);
            let setfcap = CapSet::from_names(["setfcap"]).unwrap();
            let helped = matches!(writer, MapWriter::Helpers { .. });
            prop_assert!(!zero || helped || facts.capabilities.contains(setfcap));
        }

        // Groups are changed by those who may.
        if steps.contains(&Step::ClearGroups) {
            prop_assert!(facts.setgroups);
            let helped = matches!(steps[1], Step::IdMap { writer: MapWriter::Helpers { .. }, .. });
            prop_assert!(facts.capabilities.contains(CapSet::SETGID) || helped);
        }

        // No lever for the host's root.
        let procs = mounts.iter().filter(|p| matches!(p, PlanStep::Proc { .. })).count();
        let guarded = steps.iter().filter(|s| matches!(s, Step::ProtectProc(_))).count();
        let reaches = match &steps[1] {
            Step::IdMap { uids, .. } => uids.iter().any(|r| r.outside == 0),
            _ => true,
        };
        let uid = match effective.config().ids {
            Ids::Pair { uid, .. } | Ids::Subordinate { uid, .. } => uid,
            _ => facts.uid,
        };
        let Step::Capabilities(kept) = steps[caps] else { unreachable!() };
        let nests = effective.config().allow_nested && uid != 0 && kept.is_empty();
        let keys = steps.iter().filter(|s| matches!(s, Step::MaskKeys(_))).count();
        let allowed = effective.config().allow_nested;
        prop_assert_eq!(keys, if reaches || allowed { 0 } else { procs }, "{}", script);
        prop_assert_eq!(guarded, if reaches && !nests { procs } else { 0 }, "{}", script);
        prop_assert!(facts.uid != 0 || nests || guarded == procs, "{}", script);

        // No capability opens a mask, and none comes from nowhere.
        let Step::Capabilities(keep) = steps[caps] else { unreachable!() };
        if mounts.iter().any(|p| matches!(p, PlanStep::Mask { .. })) {
            for name in ["dac_override", "dac_read_search", "sys_admin"] {
                prop_assert!(!keep.contains(CapSet::from_names([name]).unwrap()));
            }
        }
        prop_assert!(set.user || facts.capabilities.contains(keep));
        match &wants.capabilities {
            Capabilities::Only(names) => {
                prop_assert_eq!(keep, CapSet::from_names(names).unwrap());
            }
            _ => prop_assert!(CapSet::FILES.contains(keep) && (keep.is_empty() || expected.0 == 0)),
        }
    }
}
