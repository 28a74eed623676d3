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
