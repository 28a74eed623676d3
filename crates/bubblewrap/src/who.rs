use sandboxlib_config::{Config, Ids, UserNamespace};
use sandboxlib_core::{CapSet, Hint, HostFacts, Knob, PrepareError, Reason, Step};

use crate::support::privileged;

/// Who the command will be, and how it gets there.
#[derive(Debug)]
pub(crate) struct Who {
    /// What is done before bwrap is executed.
    pub(crate) before: Vec<Step>,
    /// Whether bwrap makes a user namespace.
    pub(crate) unshare: bool,
    /// The ids to which the namespace maps the single one that it has, if not to itself.
    pub(crate) mapped: Option<(u32, u32)>,
    /// Whether bwrap lets the caller choose the capabilities of the command.
    pub(crate) may_choose_capabilities: bool,
    /// Whether bwrap lets the caller set the size of a tmpfs.
    pub(crate) may_set_size: bool,
    /// Whether a process inside can be the root of the namespace that the caller lives in.
    pub(crate) host_root: bool,
}

impl Who {
    pub(crate) fn choose(
        config: &Config,
        facts: &HostFacts,
        setuid_root: bool,
    ) -> Result<Self, PrepareError> {
        let (uid, gid) = match config.ids {
            Ids::Pair { uid, gid } | Ids::Subordinate { uid, gid } => (uid, gid),
            _ => (facts.uid, facts.gid),
        };
        if privileged(facts) {
            Self::root(config, facts, (uid, gid))
        } else {
            Self::ordinary(config, facts, (uid, gid), setuid_root)
        }
    }

    /// Root can do without a user namespace, and does: bwrap would map a single id, and a build
    /// as root needs them all. Other ids are had by starting bwrap as that user; a mere map would
    /// leave the command root's files.
    fn root(
        config: &Config,
        facts: &HostFacts,
        (uid, gid): (u32, u32),
    ) -> Result<Self, PrepareError> {
        if let Some(reason) = facts.ids_reason(uid, gid) {
            return Err(reason.into());
        }
        let mut before = Vec::new();
        let may_change = CapSet::from_bits(CapSet::SETUID.bits() | CapSet::SETGID.bits());
        let may_change = facts.capabilities.contains(may_change);
        if may_change && facts.setgroups {
            before.push(Step::ClearGroups);
        }
        if (uid, gid) != (facts.uid, facts.gid) {
            if !may_change {
                let hint = Hint::new(Knob::Capability("CAP_SETUID"), "run as root");
                let text = "changing ids needs CAP_SETUID and CAP_SETGID";
                return Err(Reason::new(text).hint(hint).into());
            }
            before.push(Step::Ids { uid, gid });
        }
        let isolated = config.namespaces.user == UserNamespace::Isolated;
        if config.ids.has_range() && isolated {
            let text = "bwrap maps a single id, so not all ids can be had in a user namespace";
            return Err(Reason::new(text).into());
        }
        if uid != 0 {
            if config.namespaces.user == UserNamespace::Shared {
                let text = format!("bwrap needs a user namespace to run as uid {uid}");
                return Err(Reason::new(text).into());
            }
            let mut user = facts.clone();
            user.capabilities = CapSet::EMPTY;
            if let Some(reason) = user.user_namespace_reason() {
                return Err(reason.into());
            }
        }
        Ok(Self {
            before,
            unshare: uid != 0 || isolated,
            mapped: None,
            may_choose_capabilities: true,
            may_set_size: true,
            host_root: uid == 0,
        })
    }

    fn ordinary(
        config: &Config,
        facts: &HostFacts,
        ids: (u32, u32),
        setuid_root: bool,
    ) -> Result<Self, PrepareError> {
        let other = ids != (facts.uid, facts.gid);
        let shared = config.namespaces.user == UserNamespace::Shared;
        if shared && (other || !setuid_root) {
            let text = "bwrap needs a user namespace for an ordinary user";
            let hint = Hint::new(
                Knob::Request("user"),
                "let the sandbox have a user namespace",
            );
            return Err(Reason::new(text).hint(hint).into());
        }
        if ids.0 == u32::MAX || ids.1 == u32::MAX {
            return Err(Reason::new("4294967295 stands for no id").into());
        }
        let isolated = config.namespaces.user == UserNamespace::Isolated;
        Ok(Self {
            before: Vec::new(),
            unshare: !setuid_root || other || isolated,
            mapped: other.then_some(ids),
            may_choose_capabilities: !setuid_root,
            may_set_size: !setuid_root,
            host_root: facts.uid == 0,
        })
    }
}
