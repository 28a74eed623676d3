use std::sync::Arc;

use sandboxlib_config::Config;
use sandboxlib_core::{Backend, EffectiveConfig, HostFacts, NegotiateError, negotiate};

use crate::Error;

/// A backend that was considered and cannot do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its name.
    pub backend: &'static str,
    /// Why not.
    pub error: NegotiateError,
}

/// The backends of this build, the best first. The order is that of `auto`.
pub(crate) fn builtin() -> Vec<Arc<dyn Backend>> {
    vec![
        #[cfg(feature = "userns")]
        Arc::new(sandboxlib_userns::Userns),
        #[cfg(feature = "bubblewrap")]
        Arc::new(sandboxlib_bubblewrap::Bubblewrap::default()),
        #[cfg(feature = "chroot")]
        Arc::new(sandboxlib_chroot::Chroot),
    ]
}

/// The backends of this build that are used where somebody names them, and not otherwise.
fn by_name_alone() -> Vec<Arc<dyn Backend>> {
    vec![
        #[cfg(feature = "linux-user-chroot")]
        Arc::new(sandboxlib_linux_user_chroot::LinuxUserChroot::default()),
    ]
}

/// The environment variable that names backends, separated by commas, where the program does
/// not.
pub(crate) const VARIABLE: &str = "SANDBOXLIB_BACKEND";

/// The backends to try, in order. `auto` stands for all that this build has, but
/// for those that have to be named.
pub(crate) fn ordered(
    names: Option<&[String]>,
    extra: &[Arc<dyn Backend>],
) -> Result<Vec<Arc<dyn Backend>>, Error> {
    let from_variable: Vec<String>;
    let names = match names {
        Some(names) => names,
        None => {
            let value = std::env::var_os(VARIABLE).unwrap_or_default();
            let value = value.to_string_lossy();
            from_variable = value
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect();
            &from_variable
        }
    };
    let auto: Vec<Arc<dyn Backend>> = extra.iter().cloned().chain(builtin()).collect();
    let known: Vec<Arc<dyn Backend>> = auto.iter().cloned().chain(by_name_alone()).collect();
    let mut chosen: Vec<Arc<dyn Backend>> = Vec::new();
    for name in names {
        if name == "auto" {
            chosen.extend(auto.iter().cloned());
        } else {
            // The classic library spelt names with underscores.
            let name = name.replace('_', "-");
            match known.iter().find(|backend| backend.name() == name) {
                Some(backend) => chosen.push(backend.clone()),
                None => {
                    let known = known.iter().map(|backend| backend.name()).collect();
                    return Err(Error::UnknownBackend { name, known });
                }
            }
        }
    }
    Ok(if names.is_empty() { auto } else { chosen })
}

/// A backend, what it will enforce, and those before it that cannot.
pub(crate) type Choice = (Arc<dyn Backend>, EffectiveConfig, Vec<Candidate>);

/// The first of `backends` that can do what `config` asks, and those before it that cannot.
pub(crate) fn choose(
    config: &Config,
    backends: &[Arc<dyn Backend>],
    facts: &mut HostFacts,
) -> Result<Choice, Error> {
    let mut candidates = Vec::new();
    for backend in backends {
        if let Some(wanted) = backend.helper() {
            sandboxlib_spawn::find_helper(facts, wanted);
        }
        match negotiate(config, &backend.support(facts)) {
            Ok(effective) => return Ok((backend.clone(), effective, candidates)),
            Err(error) => candidates.push(Candidate {
                backend: backend.name(),
                error,
            }),
        }
    }
    Err(Error::Negotiate { candidates })
}

#[cfg(test)]
#[cfg(all(feature = "userns", feature = "bubblewrap"))]
mod tests {
    use sandboxlib_config::Root;
    use sandboxlib_core::HelperFact;

    use super::*;

    /// Ubuntu as it comes, with bubblewrap installed, and a caller with this AppArmor label.
    fn ubuntu(unconfined: Option<bool>) -> HostFacts {
        let mut facts = HostFacts::linux(1000, 1000);
        facts.apparmor_restricts_userns = Some(true);
        facts.apparmor_unconfined = unconfined;
        facts.helpers = vec![HelperFact {
            wanted: "bwrap".into(),
            path: "/usr/bin/bwrap".into(),
            version: "bubblewrap 0.9.0".into(),
            setuid_root: false,
        }];
        facts
    }

    fn chosen(mut facts: HostFacts) -> (&'static str, Vec<Candidate>) {
        let config = Config::new(Root::Host);
        match choose(&config, &builtin(), &mut facts) {
            Ok((backend, _, before)) => (backend.name(), before),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn auto_goes_on_where_apparmor_keeps_user_namespaces_from_us() {
        let (name, before) = chosen(ubuntu(Some(true)));
        assert_eq!(name, "bubblewrap");
        assert_eq!(before.len(), 1);
        let why = before[0].error.to_string();
        let switch = "kernel.apparmor_restrict_unprivileged_userns is 1";
        assert!(why.contains(switch), "{why}");
        let NegotiateError::Unusable(reason) = &before[0].error else {
            panic!("{why}");
        };
        assert!(!reason.hints.is_empty());
        // A profile may allow it, which is tried.
        assert_eq!(chosen(ubuntu(Some(false))).0, "userns");
        assert_eq!(chosen(ubuntu(None)).0, "userns");
    }
}
