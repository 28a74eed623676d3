use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandboxlib_config::{
    Config, Feature, FeatureSet, Ids, Isolation, Mount, MountKind, Network, Overlay, Root,
    RootAccess, SandboxPath, Seccomp, UserNamespace,
};
use sandboxlib_core::doctor::{BackendFindings, Findings, Verdict, told};
use sandboxlib_core::{Backend, HostFacts, NegotiateError, Refusal};
use sandboxlib_spawn::Rehearsal;
use tracing::debug_span;

use crate::choice::{builtin, choose, ordered};
use crate::{Error, Sandbox};

/// Tries what sandboxes are made of, each mechanism apart, and what each backend of this build
/// can enforce with it on this host.
///
/// Everything is rehearsed and not asserted: children carry out the steps of real scripts and end
/// before any command. Nothing is left and nothing on the host changes; it takes a few hundred
/// milliseconds at most. What says no, and the cures, are found and worded as they are for a run
/// that fails.
///
/// Backends that drive a helper program are left out: it is looked for, among the mechanisms, and
/// not driven, because what it would do to the host cannot be rehearsed.
#[must_use]
pub fn doctor() -> Findings {
    let _span = debug_span!("doctor").entered();
    let mut config = plain();
    config.ids = Ids::SUBORDINATE;
    let facts = sandboxlib_spawn::facts(&config);
    let checks = sandboxlib_spawn::doctor(&facts);
    let mut findings = Findings::new(facts, checks);
    findings.chosen = chosen(&findings.facts);
    let own = builtin(findings.facts.os)
        .into_iter()
        .filter(|backend| backend.helper().is_none());
    findings.backends = own.map(examine).collect();
    findings
}

/// What a plain run asks for, with nothing of which less will do.
fn plain() -> Config {
    let mut config = Sandbox::new(Root::Host).usual_mounts().config().clone();
    config.prefer = FeatureSet::EMPTY;
    config
}

/// The backend that a run takes if nobody says which. A run does with less where
/// [`Config::DEFAULT_PREFER`] lets it.
fn chosen(facts: &HostFacts) -> Option<&'static str> {
    let config = Sandbox::new(Root::Host).usual_mounts().config().clone();
    let backends = ordered(None, &[], facts.os).ok()?;
    let (backend, ..) = choose(&config, &backends, &mut facts.clone()).ok()?;
    Some(backend.name())
}

fn examine(backend: Arc<dyn Backend>) -> BackendFindings {
    let name = backend.name();
    // Volumes are between an image and whoever reads it.
    let of_backends = |feature: &&Feature| **feature != Feature::Volumes;
    let features = Feature::ALL
        .iter()
        .filter(of_backends)
        .map(|feature| {
            let verdict = match asking_for(*feature) {
                Some(config) => rehearse(&backend, config),
                None => Verdict::Unknown,
            };
            (*feature, verdict)
        })
        .collect();
    BackendFindings::new(name, rehearse(&backend, plain()), features)
}

/// A configuration that asks for nothing.
fn bare() -> Config {
    let mut config = Config::new(Root::Host);
    config.root_access = Some(RootAccess::ReadWrite);
    config.hidden = Some(Vec::new());
    config.network = Network::Shared;
    config.prefer = FeatureSet::EMPTY;
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    let ns = &mut config.namespaces;
    for isolation in [
        &mut ns.pid,
        &mut ns.ipc,
        &mut ns.uts,
        &mut ns.cgroup,
        &mut ns.time,
    ] {
        *isolation = Isolation::Shared;
    }
    config
}

/// A configuration that asks for `feature` and, where that means nothing by itself, for what it
/// cannot be without if the backend has it. `None` where this host has no place to try it at.
fn asking_for(feature: Feature) -> Option<Config> {
    let mut config = bare();
    let ns = &mut config.namespaces;
    match feature {
        Feature::Root => config.root = Root::Dir("/".into()),
        Feature::ReadOnly => config.root_access = Some(RootAccess::ReadOnly),
        Feature::Network => config.network = Network::Isolated,
        Feature::Pid => ns.pid = Isolation::Isolated,
        Feature::Ipc => ns.ipc = Isolation::Isolated,
        Feature::Uts => ns.uts = Isolation::Isolated,
        Feature::Cgroup => ns.cgroup = Isolation::Isolated,
        Feature::Time => ns.time = Isolation::Isolated,
        Feature::User => ns.user = UserNamespace::Isolated,
        Feature::Ids => {
            let id = u32::from(sandboxlib_spawn::caller_ids().0 == 0);
            config.ids = Ids::Pair { uid: id, gid: id };
        }
        Feature::HostSecrets => config.hidden = None,
        Feature::Subordinate => config.ids = Ids::SUBORDINATE,
        Feature::Seccomp => config.seccomp = Seccomp::Build,
        Feature::Nested => config.allow_nested = false,
        Feature::CpuTime => config.limits.cpu_time = Some(Duration::from_secs(3600)),
        Feature::Memory => config.limits.memory = Some(1 << 30),
        Feature::Processes => config.limits.processes = Some(1000),
        Feature::FileSize => config.limits.file_size = Some(1 << 30),
        Feature::OpenFiles => config.limits.open_files = Some(100),
        Feature::Stack => config.limits.stack = Some(8 << 20),
        Feature::Core => config.limits.core = Some(0),
        Feature::Overlay => {
            config.root_access = None;
            config.overlay = Some(Overlay::Discard);
        }
        // No backend is asked for it.
        Feature::Volumes => return None,
        Feature::Proc => {
            // It shows process ids, and has to be of those of the sandbox.
            ns.pid = Isolation::Isolated;
            config.prefer.insert(Feature::Pid);
            config.mounts = vec![Mount::new(place()?, MountKind::Proc)];
        }
        Feature::Bind => {
            let place = place()?;
            config.mounts = vec![Mount::bind(place.as_path(), place.clone())];
        }
        Feature::Tmpfs => config.mounts = vec![Mount::tmpfs(place()?)],
        Feature::Dev => config.mounts = vec![Mount::new(place()?, MountKind::Dev)],
        Feature::Mask => config.mounts = vec![Mount::new(place()?, MountKind::Mask)],
        Feature::File => {
            let kind = MountKind::File {
                data: [].into(),
                mode: 0o644,
            };
            in_private(&mut config, kind)?;
        }
        Feature::Entries => in_private(&mut config, MountKind::Dir { mode: 0o755 })?,
        _ => return None,
    }
    Some(config)
}

/// Something that needs no place on the host, because a tmpfs below it gives one.
fn in_private(config: &mut Config, kind: MountKind) -> Option<()> {
    let place = place()?;
    let at = place.join("try").ok()?;
    config.prefer.insert(Feature::Tmpfs);
    config.mounts = vec![Mount::tmpfs(place), Mount::new(at, kind)];
    Some(())
}

/// A directory that exists, so that mounting there makes nothing on the host.
fn place() -> Option<SandboxPath> {
    ["/tmp", "/usr", "/etc", "/dev", "/proc"]
        .iter()
        .map(Path::new)
        .find(|path| path.is_dir() && path.canonicalize().is_ok_and(|real| real == *path))
        .and_then(|path| SandboxPath::new(PathBuf::from(path)).ok())
}

/// Whether `backend` can do what `config` asks, found out by doing everything but running a
/// command.
fn rehearse(backend: &Arc<dyn Backend>, config: Config) -> Verdict {
    let sandbox = Sandbox::from_config(config).backends([backend.name()]);
    let prepared = match sandbox.prepare() {
        Ok(prepared) => prepared,
        Err(error) => return refused(&error),
    };
    let enforcement = prepared.enforcement();
    if !enforcement.created_on_host.is_empty() {
        // Something went away since it was looked for, and the host is left as it is.
        return Verdict::Unknown;
    }
    match prepared.rehearse() {
        Ok(Rehearsal::Done) => Verdict::Works,
        // A launch that cannot be rehearsed is not tried.
        Ok(_) => Verdict::Unknown,
        Err(error) => refused(&error),
    }
}

/// Why a run would fail with this error.
fn refused(error: &Error) -> Verdict {
    match error {
        Error::Negotiate { candidates } => match candidates.first().map(|c| &c.error) {
            Some(NegotiateError::Unusable(reason)) => reason.into(),
            Some(NegotiateError::Refused(list)) => match &list[..] {
                [one] => Verdict::from(&one.reason),
                _ => Verdict::Fails {
                    errno: None,
                    cause: by_reason(list),
                    hints: unique(list.iter().flat_map(|refusal| &refusal.reason.hints)),
                },
            },
            _ => plainly(error),
        },
        Error::Prepare { error, .. } => Verdict::from(&error.reason),
        Error::Spawn { error, .. } => Verdict::fails(
            error.source.raw_os_error(),
            told(&error.step, &error.source),
            error.hints.clone(),
        ),
        other => plainly(other),
    }
}

/// The features that are refused, those with one reason together.
fn by_reason(refusals: &[Refusal]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for Refusal { feature, reason } in refusals {
        match reasons.iter_mut().find(|(text, _)| *text == reason.text) {
            Some((_, names)) => names.push(feature.name()),
            None => reasons.push((&reason.text, vec![feature.name()])),
        }
    }
    let each: Vec<String> = reasons
        .iter()
        .map(|(text, names)| format!("{} cannot be enforced: {text}", names.join(", ")))
        .collect();
    each.join("; ")
}

fn unique<'a>(
    hints: impl Iterator<Item = &'a sandboxlib_core::Hint>,
) -> Vec<sandboxlib_core::Hint> {
    let mut list = Vec::new();
    for hint in hints {
        if !list.contains(hint) {
            list.push(hint.clone());
        }
    }
    list
}

fn plainly(error: &Error) -> Verdict {
    let hints = error.hints().into_iter().cloned().collect();
    Verdict::fails(None, error.to_string(), hints)
}
