use sandboxlib_config::{Config, Ids, UserNamespace};
use sandboxlib_core::{
    CapSet, Hint, HostFacts, IdMapper, IdRange, Knob, MapWriter, PrepareError, Reason, Step,
};

use crate::support;

/// Who the command will be, and how it gets there.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The step that writes the id maps; `None` without a user namespace.
    pub(crate) map: Option<Step>,
    /// Whether the supplementary groups can be given up.
    pub(crate) may_change_groups: bool,
    /// The ids to change to, where the map alone does not make them.
    pub(crate) switch: Option<(u32, u32)>,
}

impl Identity {
    /// Whether a process inside can be the root of the namespace that the caller lives in.
    pub(crate) fn may_become_host_root(&self) -> bool {
        match &self.map {
            Some(Step::IdMap { uids, .. }) => uids.iter().any(|range| range.outside == 0),
            _ => true,
        }
    }

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
        match support::mapper(facts) {
            // The ids of a caller who is not root are not to be had unchanged and as 0.
            IdMapper::Any if facts.uid == 0 || !config.ids.has_range() => {
                Self::whole_range(config, facts)
            }
            _ => Self::own_id(config, facts),
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
        if config.ids.has_range() && facts.uid != 0 {
            let text = "subordinate ids can be had in a user namespace alone, unless root asks";
            return Err(Reason::new(text).into());
        }
        let (uid, gid) = existing(config, facts)?;
        let changes = (uid, gid) != (facts.uid, facts.gid);
        let cannot_change = support::changing_ids(facts);
        if let Some(reason) = &cannot_change
            && (changes || config.ids.has_range())
        {
            return Err(reason.clone().into());
        }
        Ok(Self {
            map: None,
            may_change_groups: cannot_change.is_none() && facts.setgroups,
            switch: changes.then_some((uid, gid)),
        })
    }

    /// Every id of the caller's namespace is mapped to itself.
    fn whole_range(config: &Config, facts: &HostFacts) -> Result<Self, PrepareError> {
        let same = |ranges: &[IdRange]| -> Vec<IdRange> {
            ranges
                .iter()
                .map(|r| IdRange {
                    outside: r.inside,
                    ..*r
                })
                .collect()
        };
        let (uid, gid) = existing(config, facts)?;
        Ok(Self {
            map: Some(Step::IdMap {
                uids: same(&facts.uid_map),
                gids: same(&facts.gid_map),
                writer: MapWriter::Parent,
            }),
            may_change_groups: facts.setgroups,
            switch: ((uid, gid) != (facts.uid, facts.gid)).then_some((uid, gid)),
        })
    }

    /// Only the caller's own id is mapped, to the one wanted, or with the help of newuidmap a
    /// range besides.
    fn own_id(config: &Config, facts: &HostFacts) -> Result<Self, PrepareError> {
        if config.ids.has_range() {
            return Self::subordinate(config, facts);
        }
        let (uid, gid) = wanted(config, facts);
        // In a map of one's own every number is free but the one that stands for no id.
        if let Some((what, id)) = [("uid", uid), ("gid", gid)]
            .iter()
            .find(|(_, id)| *id == u32::MAX)
        {
            let text = format!("{what} {id} cannot be mapped: it stands for no id");
            return Err(Reason::new(text).into());
        }
        let one = |inside: u32, outside: u32| {
            vec![IdRange {
                inside,
                outside,
                count: 1,
            }]
        };
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
        })
    }

    /// The caller is 0 inside, and the ids granted to it are 1 and up.
    fn subordinate(config: &Config, facts: &HostFacts) -> Result<Self, PrepareError> {
        let unavailable = || {
            facts
                .subordinate_reason()
                .unwrap_or_else(|| Reason::new("subordinate ids are not known"))
        };
        let granted = facts.subordinate.as_ref().ok_or_else(unavailable)?;
        let (Some(newuidmap), Some(newgidmap)) = (&granted.newuidmap, &granted.newgidmap) else {
            return Err(unavailable().into());
        };
        if granted.uids.is_empty() || granted.gids.is_empty() {
            return Err(unavailable().into());
        }
        let (uids, gids) = granted.maps(facts.uid, facts.gid);
        let (uid, gid) = wanted(config, facts);
        for (what, id, map) in [("uid", uid, &uids), ("gid", gid, &gids)] {
            if !map.iter().any(|range| range.contains(id)) {
                let text = format!("{what} {id} is none of the subordinate ids");
                return Err(Reason::new(text).into());
            }
        }
        Ok(Self {
            map: Some(Step::IdMap {
                uids,
                gids,
                writer: MapWriter::Helpers {
                    newuidmap: newuidmap.clone(),
                    newgidmap: newgidmap.clone(),
                },
            }),
            may_change_groups: facts.setgroups,
            switch: Some((uid, gid)),
        })
    }
}

/// The ids wanted, if they exist where the caller lives.
fn existing(config: &Config, facts: &HostFacts) -> Result<(u32, u32), PrepareError> {
    let (uid, gid) = wanted(config, facts);
    match facts.ids_reason(uid, gid) {
        Some(reason) => Err(reason.into()),
        None => Ok((uid, gid)),
    }
}

fn wanted(config: &Config, facts: &HostFacts) -> (u32, u32) {
    match config.ids {
        Ids::Pair { uid, gid } | Ids::Subordinate { uid, gid } => (uid, gid),
        _ => (facts.uid, facts.gid),
    }
}
