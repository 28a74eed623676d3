use std::fs;

use sandboxlib_config::{Config, Feature, Root};
use sandboxlib_core::{Backend, HostFacts, Launch, Step, negotiate};
use sandboxlib_mount::plan;
use sandboxlib_spawn::{HostView, Prepared};

use crate::case::Case;
use crate::fault::{Fault, What};
use crate::stage::Stage;
use crate::world::{PROBE, World};

/// How a backend stands to a case that it does not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It claims the features, and they hold.
    Held,
    /// It claims them not all, or this host lacks what the case is about, and it refuses, for
    /// this reason.
    Refused(String),
    /// There is no probe for this system, so nothing was tried.
    NoProbe,
}

/// Plays `case` with `backend` on this host.
///
/// # Errors
/// [`Fault`] if the backend claims what the case needs and does not deliver.
pub fn run(case: &Case, backend: &dyn Backend) -> Result<Verdict, Fault> {
    // What is started for the third time is set up in another way than what is started once.
    for starts_before in [0, 2] {
        let mut script = None;
        match play(case, backend, starts_before, &mut script) {
            Ok(Verdict::Held) => {}
            Ok(other) => return Ok(other),
            Err(what) => {
                return Err(Fault {
                    backend: backend.name(),
                    case: case.name,
                    what: Box::new(what),
                    script,
                });
            }
        }
    }
    Ok(Verdict::Held)
}

fn play(
    case: &Case,
    backend: &dyn Backend,
    starts_before: usize,
    script: &mut Option<String>,
) -> Result<Verdict, What> {
    if PROBE.is_empty() {
        return Ok(Verdict::NoProbe);
    }
    let own_root = case.needs.contains(&Feature::Root) || has_roots(backend);
    let world = World::new(case, own_root)?;
    let config = world.config(case);
    let facts = facts(backend, &config);
    let effective = match negotiate(&config, &backend.support(&facts)) {
        Ok(effective) => effective,
        Err(refusal) => return Ok(Verdict::Refused(refusal.to_string())),
    };
    let plan = plan(effective.config(), &HostView::new(effective.config())).map_err(What::Plan)?;
    let mut may_change: Vec<String> = plan
        .created_on_host()
        .map(|path| path.as_path().display().to_string())
        .collect();
    let launch = match backend.prepare(&effective, plan, &facts) {
        Ok(launch) => launch,
        Err(refusal) if (case.unfit)(&facts) => return Ok(Verdict::Refused(refusal.to_string())),
        Err(refusal) => return Err(What::Refused(refusal)),
    };
    let required = |feature| !effective.config().prefer.contains(feature);
    let lost = launch.degradations();
    if let Some(degradation) = lost.iter().find(|lost| required(lost.feature)) {
        return Err(What::Refused(degradation.reason.clone().into()));
    }
    *script = Some(describe(&launch));
    if starts_before > 0 && matches!(launch, Launch::Helper(_)) {
        // Who starts a helper program starts it in the same way each time.
        return Ok(Verdict::Held);
    }
    let prepared = Prepared::new(&launch).map_err(|error| What::Start(Box::new(error)))?;

    for _ in 0..starts_before {
        // Whether it can be started at all, the case itself finds out.
        let _ = prepared.rehearse();
    }
    for question in case.before {
        let _ = world.ask_host(question);
    }
    let before = world.snapshot();
    let name_before = world.ask_host("hostname");
    let stage = Stage {
        world: &world,
        prepared: &prepared,
        limits: effective.config().limits,
        helper: matches!(launch, Launch::Helper(_)),
        sockets_are_walled: sockets_are_walled(&launch),
    };
    let played = match case.by_hand {
        Some(by_hand) => by_hand(&stage),
        None => stage.play(case),
    };
    for question in case.after {
        let _ = world.ask_host(question);
    }
    played?;

    // What was made on the host because something had to be mounted there is told by the plan, as
    // paths inside.
    let inside = world.inside("").display().to_string();
    for path in &mut may_change {
        let below = path.strip_prefix(inside.as_str()).unwrap_or(path);
        *path = format!("root/{}", below.trim_start_matches('/'));
    }
    may_change.extend(case.leaves.iter().map(|(path, _)| (*path).to_owned()));
    let after = world.snapshot();
    for path in before.keys().chain(after.keys()) {
        let name = path.display().to_string();
        if before.get(path) != after.get(path) && !may_change.contains(&name) {
            let (was, is) = (before.get(path), after.get(path));
            return Err(What::Host(format!("{name} was {was:?} and is {is:?}")));
        }
    }
    for (path, content) in case.leaves {
        let found = fs::read_to_string(world.on_host(path)).unwrap_or_default();
        if !path.ends_with('/') && found != *content {
            return Err(What::Host(format!(
                "{path} holds {found:?}, and right is {content:?}"
            )));
        }
    }
    if let Some(mount) = world.mounts() {
        return Err(What::Host(format!("this is mounted: {mount}")));
    }
    if world.ask_host("hostname") != name_before {
        return Err(What::Host("the name of the host is another one".to_owned()));
    }
    Ok(Verdict::Held)
}

/// Whether the backend can give a command another root than the host's. Those that cannot are
/// tested in the host's.
fn has_roots(backend: &dyn Backend) -> bool {
    let any = Config::new(Root::Host);
    let support = backend.support(&facts(backend, &any));
    support.feature(Feature::Root).is_ok()
}

/// What there is to know before `backend` is asked what it can do: its helper program belongs to
/// that.
fn facts(backend: &dyn Backend, config: &Config) -> HostFacts {
    let mut facts = sandboxlib_spawn::facts(config);
    if let Some(wanted) = backend.helper() {
        sandboxlib_spawn::find_helper(&mut facts, wanted);
    }
    facts
}

/// Whether the backend claims that sockets are out of reach whenever they were made.
fn sockets_are_walled(launch: &Launch) -> bool {
    let Launch::Direct(script) = launch else {
        return false;
    };
    script.steps.iter().any(|step| match step {
        Step::Landlock(landlock) => landlock.covers().any(|what| what == "sockets"),
        _ => false,
    })
}

fn describe(launch: &Launch) -> String {
    match launch {
        Launch::Direct(script) => script.to_string(),
        other => format!("{other:?}"),
    }
}
