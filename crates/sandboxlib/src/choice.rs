use std::sync::Arc;

use sandboxlib_config::Config;
use sandboxlib_core::{Backend, EffectiveConfig, HostFacts, NegotiateError, Os, negotiate};

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

/// The backends of this build for a host of the system `os`, the best first. The order is that
/// of `auto`.
pub(crate) fn builtin(os: Os) -> Vec<Arc<dyn Backend>> {
    let mut backends = all();
    backends.retain(|backend| is_for(backend, os));
    backends
}

fn is_for(backend: &Arc<dyn Backend>, os: Os) -> bool {
    backend.os().is_none_or(|its| its == os)
}

fn all() -> Vec<Arc<dyn Backend>> {
    vec![
        #[cfg(feature = "userns")]
        Arc::new(sandboxlib_userns::Userns),
        #[cfg(feature = "bubblewrap")]
        Arc::new(sandboxlib_bubblewrap::Bubblewrap::default()),
        #[cfg(feature = "sandbox-exec")]
        Arc::new(sandboxlib_sandbox_exec::SandboxExec),
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

/// The backends to try, in order, on a host of the system `os`. `auto` stands for all that this
/// build has, but for those that have to be named, and those of other systems.
pub(crate) fn ordered(
    names: Option<&[String]>,
    extra: &[Arc<dyn Backend>],
    os: Os,
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
    let known = extra.iter().cloned().chain(all());
    let known: Vec<Arc<dyn Backend>> = known.chain(by_name_alone()).collect();
    let own = extra.iter().filter(|backend| is_for(backend, os)).cloned();
    let auto: Vec<Arc<dyn Backend>> = own.chain(builtin(os)).collect();
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
#[cfg(all(
    feature = "bubblewrap",
    feature = "chroot",
    feature = "linux-user-chroot",
    feature = "sandbox-exec",
    feature = "userns"
))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::PathBuf;

    use super::*;
    use sandboxlib_config::{Feature, Root};
    use sandboxlib_core::HelperFact;

    fn names(backends: &[Arc<dyn Backend>]) -> Vec<&'static str> {
        backends.iter().map(|backend| backend.name()).collect()
    }

    fn chosen(names: &[&str], os: Os) -> Vec<Arc<dyn Backend>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        ordered(Some(&names), &[], os).unwrap()
    }

    /// A Mac with sandbox-exec, which is not looked for any more then.
    fn mac() -> HostFacts {
        let mut facts = HostFacts::other(Os::MacOs, 501, 20);
        let path = PathBuf::from("/usr/bin/sandbox-exec");
        facts.helpers.push(HelperFact {
            wanted: path.clone(),
            path,
            version: String::new(),
            setuid_root: false,
        });
        facts
    }

    #[test]
    fn auto_is_what_there_is_for_the_system() {
        for (os, wanted) in [
            (Os::Linux, &["userns", "bubblewrap", "chroot"][..]),
            (Os::MacOs, &["sandbox-exec", "chroot"]),
            (Os::FreeBsd, &["chroot"]),
        ] {
            assert_eq!(names(&chosen(&["auto"], os)), wanted);
            assert_eq!(names(&chosen(&[], os)), wanted);
        }
        // By its name each is taken, and says itself why it does not work.
        let named = chosen(&["sandbox_exec", "auto"], Os::Linux);
        assert_eq!(names(&named)[..2], ["sandbox-exec", "userns"]);
        assert_eq!(names(&chosen(&["userns"], Os::MacOs)), ["userns"]);
    }

    #[test]
    fn a_backend_of_the_caller_is_offered_on_its_system() {
        let extra: [Arc<dyn Backend>; 1] = [Arc::new(sandboxlib_sandbox_exec::SandboxExec)];
        let on = |os| names(&ordered(Some(&[]), &extra, os).unwrap());
        assert_eq!(on(Os::MacOs)[0], "sandbox-exec");
        assert!(!on(Os::Linux).contains(&"sandbox-exec"));
    }

    #[test]
    fn a_mac_takes_sandbox_exec_and_where_it_cannot_says_why() {
        let mut config = Config::new(Root::Host);
        let auto = chosen(&["auto"], Os::MacOs);
        // What is private on a Mac nobody has said yet, so nothing is promised.
        let Err(Error::Negotiate { candidates }) = choose(&config, &auto, &mut mac()) else {
            panic!("the private places of a Mac are hidden");
        };
        assert!(candidates[0].error.to_string().starts_with("host-secrets"));
        config.hidden = Some(Vec::new());
        let (backend, effective, rejected) = choose(&config, &auto, &mut mac()).unwrap();
        assert_eq!(backend.name(), "sandbox-exec");
        assert_eq!(rejected, []);
        let enforced = effective.enforced();
        assert!(enforced.contains(Feature::ReadOnly) && enforced.contains(Feature::Network));

        let mut nested = mac();
        nested.seatbelt = Some(true);
        let Err(Error::Negotiate { candidates }) = choose(&config, &auto, &mut nested) else {
            panic!("a sandbox in a Seatbelt sandbox");
        };
        let told = candidates[0].error.to_string();
        assert!(
            told.ends_with("a Seatbelt sandbox cannot be made inside another"),
            "{told}"
        );
    }

    #[test]
    fn linux_does_not_hear_of_macs_unless_asked() {
        let mut config = Config::new(Root::Host);
        config.prefer = sandboxlib_config::FeatureSet::EMPTY;
        let mut facts = HostFacts::linux(1000, 1000);
        facts.max_user_namespaces = Some(0);
        let told =
            |names: &[&str]| match choose(&config, &chosen(names, Os::Linux), &mut facts.clone()) {
                Err(error) => error.to_string(),
                Ok((backend, ..)) => panic!("{} can do it", backend.name()),
            };
        assert!(!told(&["userns", "chroot"]).contains("macOS"));
        assert_eq!(
            told(&["sandbox-exec"]),
            "no backend can do what was asked: sandbox-exec: the backend cannot be used here: \
             Seatbelt exists on macOS alone"
        );
    }

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

    fn on(mut facts: HostFacts) -> (&'static str, Vec<Candidate>) {
        let config = Config::new(Root::Host);
        match choose(&config, &chosen(&["auto"], Os::Linux), &mut facts) {
            Ok((backend, _, before)) => (backend.name(), before),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn auto_goes_on_where_apparmor_keeps_user_namespaces_from_us() {
        let (name, before) = on(ubuntu(Some(true)));
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
        assert_eq!(on(ubuntu(Some(false))).0, "userns");
        assert_eq!(on(ubuntu(None)).0, "userns");
    }
}
