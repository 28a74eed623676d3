use sandboxlib_config::{Config, Ids, UserNamespace};
use sandboxlib_core::{
    CapSet, Hint, HostFacts, IdMapper, IdRange, Knob, MapWriter, PrepareError, Reason, Step,
};

/// Who the command will be, and how it gets there.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The step that writes the id maps; `None` without a user namespace.
    pub(crate) map: Option<Step>,
    /// Whether the supplementary groups can be given up.
    pub(crate) may_change_groups: bool,
    /// The ids to change to, where the map alone does not make them.
    pub(crate) switch: Option<(u32, u32)>,
    /// The user id of the command, inside.
    pub(crate) uid_inside: u32,
}

impl Identity {
    pub(crate) fn choose(config: &Config, facts: &HostFacts) -> Result<Self, PrepareError> {
        if !super::in_user_namespace(config, facts) {
            return Self::without_namespace(config, facts);
        }
        if super::wants_proc(config)
            && config.namespaces.pid == sandboxlib_config::Isolation::Shared
        {
            let text = "procfs can be mounted in a user namespace only for process ids of its own";
            let advice = "isolate pid too, or bind the host's /proc";
            return Err(Reason::new(text)
                .hint(Hint::new(Knob::Request("pid"), advice))
                .into());
        }
        match facts.id_mapper() {
            IdMapper::Any => Ok(Self::whole_range(config, facts)),
            IdMapper::OwnIdOnly => Self::own_id(config, facts),
        }
    }

    /// The caller stays in its own user namespace, and needs privilege for the others.
    fn without_namespace(config: &Config, facts: &HostFacts) -> Result<Self, PrepareError> {
        if !facts.capabilities.contains(CapSet::SYS_ADMIN) {
            let text = "without a user namespace the other namespaces need CAP_SYS_ADMIN";
            let advice = if config.namespaces.user == UserNamespace::Shared {
                "run as root, or let the sandbox have a user namespace"
            } else {
                "run as root"
            };
            let hint = Hint::new(Knob::Capability("CAP_SYS_ADMIN"), advice);
            return Err(Reason::new(text).hint(hint).into());
        }
        let (uid, gid) = wanted(config, facts);
        let changes = (uid, gid) != (facts.uid, facts.gid);
        let needed = CapSet::from_bits(CapSet::SETUID.bits() | CapSet::SETGID.bits());
        let may = facts.capabilities.contains(needed);
        if changes && !may {
            let text = "changing ids without a user namespace needs CAP_SETUID and CAP_SETGID";
            return Err(Reason::new(text).into());
        }
        Ok(Self {
            map: None,
            may_change_groups: may,
            switch: changes.then_some((uid, gid)),
            uid_inside: uid,
        })
    }

    /// Every id of the caller's namespace is mapped to itself.
    fn whole_range(config: &Config, facts: &HostFacts) -> Self {
        let same = |ranges: &[IdRange]| -> Vec<IdRange> {
            ranges.iter().map(|r| IdRange { outside: r.inside, ..*r }).collect()
        };
        let (uid, gid) = wanted(config, facts);
        Self {
            map: Some(Step::IdMap {
                uids: same(&facts.uid_map),
                gids: same(&facts.gid_map),
                writer: MapWriter::Parent,
            }),
            may_change_groups: true,
            switch: ((uid, gid) != (facts.uid, facts.gid)).then_some((uid, gid)),
            uid_inside: uid,
        }
    }

    /// Only the caller's own id is mapped, to the one wanted, or with the help of newuidmap a
    /// range besides.
    fn own_id(config: &Config, facts: &HostFacts) -> Result<Self, PrepareError> {
        if config.ids == Ids::Subordinate {
            return Self::subordinate(facts);
        }
        let (uid, gid) = wanted(config, facts);
        let one = |inside: u32, outside: u32| vec![IdRange { inside, outside, count: 1 }];
        Ok(Self {
            map: Some(Step::IdMap {
                uids: one(uid, facts.uid),
                gids: one(gid, facts.gid),
                writer: MapWriter::Child,
            }),
            // The kernel forbids it to whoever maps without privilege: a group can also take
            // rights away.
            may_change_groups: false,
            switch: None,
            uid_inside: uid,
        })
    }

    /// The caller is 0 inside, and the ids granted to it are 1 and up.
    fn subordinate(facts: &HostFacts) -> Result<Self, PrepareError> {
        let unavailable =
            || facts.subordinate_reason()
                .unwrap_or_else(|| Reason::new("subordinate ids are not known"));
        let granted = facts.subordinate.as_ref().ok_or_else(unavailable)?;
        let (Some(newuidmap), Some(newgidmap)) = (&granted.newuidmap, &granted.newgidmap) else {
            return Err(unavailable().into());
        };
        Ok(Self {
            map: Some(Step::IdMap {
                uids: behind_own(facts.uid, &granted.uids),
                gids: behind_own(facts.gid, &granted.gids),
                writer: MapWriter::Helpers {
                    newuidmap: newuidmap.clone(),
                    newgidmap: newgidmap.clone(),
                },
            }),
            may_change_groups: true,
            switch: Some((0, 0)),
            uid_inside: 0,
        })
    }
}

/// 0 is `own`, and the ranges follow it without gaps.
fn behind_own(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange { inside: 0, outside: own, count: 1 }];
    let mut inside = 1u32;
    for (outside, count) in ranges {
        let room = u32::MAX - inside;
        let count = (*count).min(room);
        if count > 0 {
            map.push(IdRange { inside, outside: *outside, count });
            inside += count;
        }
    }
    map
}

fn wanted(config: &Config, facts: &HostFacts) -> (u32, u32) {
    match config.ids {
        Ids::Pair { uid, gid } => (uid, gid),
        Ids::Subordinate => (0, 0),
        _ => (facts.uid, facts.gid),
    }
}
