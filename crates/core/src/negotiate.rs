use sandboxlib_config::{
    Config, Feature, FeatureSet, Ids, Isolation, Network, Root, RootAccess, SandboxPath, Seccomp,
    UserNamespace,
};

use crate::{Reason, Support};

/// A feature that a configuration asks for, and how much it insists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub feature: Feature,
    /// Whether less will do ([`Config::prefer`]).
    pub preferred: bool,
}

/// A configuration of which a backend can enforce everything, and what had to be left out to get
/// there. Only [`negotiate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveConfig {
    config: Config,
    enforced: FeatureSet,
    degradations: Vec<Degradation>,
}

/// A preferred feature that is not enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degradation {
    /// The feature.
    pub feature: Feature,
    /// Why it is not enforced.
    pub reason: Reason,
}

/// A required feature that cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The feature.
    pub feature: Feature,
    /// Why it cannot be enforced.
    pub reason: Reason,
}

/// Why a backend will not run a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// The backend does not work on this host at all.
    #[error("the backend cannot be used here: {0}")]
    Unusable(Reason),
    /// It works, but cannot enforce all that was asked for.
    #[error("{}", refusals(.0))]
    Refused(Vec<Refusal>),
}

fn refusals(list: &[Refusal]) -> String {
    let each: Vec<String> = list
        .iter()
        .map(|r| format!("{} cannot be enforced: {}", r.feature, r.reason))
        .collect();
    each.join("; ")
}

impl EffectiveConfig {
    /// What is to be enforced, in full.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The features asked for that are enforced.
    #[must_use]
    pub fn enforced(&self) -> FeatureSet {
        self.enforced
    }

    /// The features asked for that are not.
    #[must_use]
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }
}

/// The features that `config` asks for.
#[must_use]
pub fn requests(config: &Config) -> Vec<Request> {
    let isolated = |i: Isolation| i == Isolation::Isolated;
    let ns = &config.namespaces;
    Feature::ALL
        .iter()
        .copied()
        .filter(|feature| match feature {
            Feature::Root => config.root != Root::Host,
            Feature::ReadOnly => config.is_read_only(),
            Feature::Network => config.network == Network::Isolated,
            Feature::Pid => isolated(ns.pid),
            Feature::Ipc => isolated(ns.ipc),
            // A host name of one's own is what the namespace is for.
            Feature::Uts => isolated(ns.uts) || config.hostname.is_some(),
            Feature::Cgroup => isolated(ns.cgroup),
            Feature::Time => isolated(ns.time),
            Feature::User => ns.user == UserNamespace::Isolated,
            Feature::Ids => matches!(config.ids, Ids::Pair { .. }),
            Feature::Subordinate => config.ids.has_range(),
            Feature::HostSecrets => config.hides_secrets(),
            Feature::Seccomp => config.seccomp != Seccomp::None,
            Feature::Nested => !config.allow_nested,
            Feature::CpuTime => config.limits.cpu_time.is_some(),
            Feature::Memory => config.limits.memory.is_some(),
            Feature::Processes => config.limits.processes.is_some(),
            Feature::FileSize => config.limits.file_size.is_some(),
            Feature::OpenFiles => config.limits.open_files.is_some(),
            Feature::Stack => config.limits.stack.is_some(),
            Feature::Core => config.limits.core.is_some(),
            Feature::Overlay => config.overlay.is_some(),
            // A matter of whoever made the configuration of an image.
            Feature::Volumes => false,
            mount => config.mounts.iter().any(|m| m.kind.feature() == *mount),
        })
        .map(|feature| Request {
            feature,
            preferred: config.prefer.contains(feature),
        })
        .collect()
}

/// Holds what `config` asks for against what a backend can do.
///
/// # Errors
/// [`NegotiateError`] if the backend cannot be used here, or if a feature is required that it
/// cannot enforce; the error lists every such feature, not the first alone.
pub fn negotiate(config: &Config, support: &Support) -> Result<EffectiveConfig, NegotiateError> {
    if let Err(reason) = support.usable() {
        return Err(NegotiateError::Unusable(reason.clone()));
    }
    let mut effective = EffectiveConfig {
        config: config.clone(),
        enforced: FeatureSet::EMPTY,
        degradations: Vec::new(),
    };
    let mut refused = Vec::new();
    for Request { feature, preferred } in requests(config) {
        match support.feature(feature) {
            Ok(()) => effective.enforced.insert(feature),
            Err(reason) if preferred && can_do_without(config, feature) => {
                withdraw(&mut effective.config, feature);
                effective.degradations.push(Degradation {
                    feature,
                    reason: reason.clone(),
                });
            }
            Err(reason) => refused.push(Refusal {
                feature,
                reason: reason.clone(),
            }),
        }
    }
    if refused.is_empty() {
        Ok(effective)
    } else {
        Err(NegotiateError::Refused(refused))
    }
}

/// Whether leaving `feature` out still runs the command that was meant. Another root, a host name
/// that somebody set, or a filter that nobody has by default, is no matter of degree.
fn can_do_without(config: &Config, feature: Feature) -> bool {
    match feature {
        Feature::Root => false,
        Feature::Uts => config.hostname.is_none(),
        Feature::Seccomp => config.seccomp == Seccomp::default(),
        _ => true,
    }
}

/// Takes the wish for `feature` out of `config`.
fn withdraw(config: &mut Config, feature: Feature) {
    let ns = &mut config.namespaces;
    match feature {
        Feature::Root => {}
        Feature::ReadOnly => {
            config.root_access = Some(match config.root_access.take() {
                // What is named is shown, also where the rest is hidden.
                Some(RootAccess::ReadOnlyExcept(mut paths)) if config.hides_secrets() => {
                    paths.push(SandboxPath::root());
                    RootAccess::ReadOnlyExcept(paths)
                }
                _ => RootAccess::ReadWrite,
            });
        }
        Feature::Network => config.network = Network::Shared,
        Feature::Pid => ns.pid = Isolation::Shared,
        Feature::Ipc => ns.ipc = Isolation::Shared,
        Feature::Uts => ns.uts = Isolation::Shared,
        Feature::Cgroup => ns.cgroup = Isolation::Shared,
        Feature::Time => ns.time = Isolation::Shared,
        Feature::User => ns.user = UserNamespace::Auto,
        Feature::Ids | Feature::Subordinate => config.ids = Ids::Caller,
        Feature::HostSecrets => config.hidden = Some(Vec::new()),
        Feature::Seccomp => config.seccomp = Seccomp::None,
        Feature::Nested => config.allow_nested = true,
        Feature::CpuTime => config.limits.cpu_time = None,
        Feature::Memory => config.limits.memory = None,
        Feature::Processes => config.limits.processes = None,
        Feature::FileSize => config.limits.file_size = None,
        Feature::OpenFiles => config.limits.open_files = None,
        Feature::Stack => config.limits.stack = None,
        Feature::Core => config.limits.core = None,
        // The root is read-only then, unless that was said otherwise.
        Feature::Overlay => {
            config.root_access = Some(config.effective_root_access());
            config.overlay = None;
        }
        Feature::Volumes => {}
        mount => config.mounts.retain(|m| m.kind.feature() != mount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sandboxlib_config::{Mount, MountKind};

    fn full() -> Config {
        let mut c = Config::new(Root::Dir("/srv/root".into()));
        c.root_access = Some(RootAccess::ReadOnly);
        c.ids = Ids::ROOT;
        c.hostname = Some("box".into());
        (c.limits.memory, c.limits.core) = (Some(1 << 30), Some(0));
        let at = |p: &str| SandboxPath::new(p).unwrap();
        c.mounts = vec![
            Mount::bind("/src", at("/build")),
            Mount::tmpfs(at("/tmp")),
            Mount::new(at("/proc"), MountKind::Proc),
            Mount::new(at("/dev"), MountKind::Dev),
            Mount::new(at("/etc/x"), MountKind::Mask),
            Mount::new(
                at("/etc/y"),
                MountKind::File {
                    data: b"y"[..].into(),
                    mode: 0o644,
                },
            ),
            Mount::new(at("/d"), MountKind::Dir { mode: 0o755 }),
        ];
        c
    }

    fn subset() -> impl Strategy<Value = FeatureSet> {
        proptest::collection::vec(proptest::sample::select(Feature::ALL), 0..20)
            .prop_map(|v| v.into_iter().collect())
    }

    proptest! {
        /// Each feature asked for is enforced, or preferred and listed, or refused and listed;
        /// and what is left asks for nothing that the backend lacks.
        #[test]
        fn nothing_is_dropped_silently(can in subset(), prefer in subset()) {
            let mut config = full();
            config.prefer = prefer;
            let support = Support::nothing(Reason::new("not here")).with(can.iter());
            let asked = requests(&config);
            match negotiate(&config, &support) {
                Ok(effective) => {
                    for r in &asked {
                        let listed = effective.degradations.iter().any(|d| d.feature == r.feature);
                        prop_assert_eq!(effective.enforced.contains(r.feature), can.contains(r.feature));
                        prop_assert_eq!(listed, !can.contains(r.feature));
                        prop_assert!(!listed || r.preferred);
                    }
                    for r in requests(effective.config()) {
                        prop_assert!(can.contains(r.feature), "{} still asked for", r.feature);
                    }
                }
                Err(NegotiateError::Refused(list)) => {
                    for r in &asked {
                        let refused = list.iter().any(|x| x.feature == r.feature);
                        let given_up = r.preferred && !matches!(r.feature, Feature::Root | Feature::Uts);
                        prop_assert_eq!(refused, !can.contains(r.feature) && !given_up);
                    }
                }
                Err(e) => prop_assert!(false, "{e}"),
            }
        }
    }

    #[test]
    fn a_config_that_asks_for_nothing_needs_nothing() {
        let mut c = Config::new(Root::Host);
        c.root_access = Some(RootAccess::ReadWrite);
        c.network = Network::Shared;
        c.namespaces.pid = Isolation::Shared;
        c.namespaces.ipc = Isolation::Shared;
        c.namespaces.uts = Isolation::Shared;
        c.namespaces.cgroup = Isolation::Shared;
        c.seccomp = Seccomp::None;
        c.allow_nested = true;
        let secrets = Request {
            feature: Feature::HostSecrets,
            preferred: false,
        };
        assert_eq!(requests(&c), [secrets]);
        c.hidden = Some(Vec::new());
        assert_eq!(requests(&c), []);
        assert!(negotiate(&c, &Support::nothing(Reason::new("no"))).is_ok());
    }

    #[test]
    fn what_was_named_is_shown_although_the_rest_is_writable_too() {
        let mut c = Config::new(Root::Host);
        let named = SandboxPath::new("/home/me/src").unwrap();
        c.root_access = Some(RootAccess::ReadOnlyExcept(vec![named.clone()]));
        c.prefer = FeatureSet::all();
        let support = Support::nothing(Reason::new("no")).with([Feature::HostSecrets]);
        let effective = negotiate(&c, &support).unwrap();
        let access = RootAccess::ReadOnlyExcept(vec![named, SandboxPath::root()]);
        assert_eq!(effective.config().root_access, Some(access));
        assert!(!effective.config().is_read_only());
    }

    #[test]
    fn a_filter_that_somebody_chose_is_not_given_up() {
        let nothing = Support::nothing(Reason::new("no"));
        let mut c = Config::new(Root::Host);
        c.root_access = Some(RootAccess::ReadWrite);
        c.network = Network::Shared;
        c.hidden = Some(Vec::new());
        let effective = negotiate(&c, &nothing).unwrap();
        assert_eq!(effective.config().seccomp, Seccomp::None);
        assert!(effective.config().allow_nested);
        let given_up = |f| effective.degradations().iter().any(|d| d.feature == f);
        assert!(given_up(Feature::Seccomp) && given_up(Feature::Nested));
        c.seccomp = Seccomp::StrictIo;
        let Err(NegotiateError::Refused(list)) = negotiate(&c, &nothing) else {
            panic!("it is given up")
        };
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].feature, Feature::Seccomp);
    }

    #[test]
    fn an_unusable_backend_says_why() {
        let e = negotiate(&full(), &Support::unusable(Reason::new("needs root"))).unwrap_err();
        assert_eq!(e.to_string(), "the backend cannot be used here: needs root");
    }
}
