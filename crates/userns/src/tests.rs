//! What the backend makes of configurations, on hosts that are data.

mod properties;
mod scripts;
mod support_claims;

use super::*;
use sandboxlib_config::{Ids, Mount, Root, RootAccess, SandboxPath, Seccomp};
use sandboxlib_core::{NegotiateError, Subordinate, negotiate};
use sandboxlib_mount::MemoryFs;

/// The files of every host here.
fn files() -> MemoryFs {
    MemoryFs::new()
        .dir("/r/build")
        .dir("/r/proc")
        .dir("/r/dev")
        .dir("/r/tmp")
        .file("/r/secret")
        .socket("/daemon/socket")
}

fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

fn dir() -> Config {
    Config::new(Root::Dir("/r".into()))
}

/// No wish but another root.
fn plain() -> Config {
    let mut config = dir();
    config.network = sandboxlib_config::Network::Shared;
    config.namespaces.pid = Isolation::Shared;
    config.namespaces.ipc = Isolation::Shared;
    config.namespaces.uts = Isolation::Shared;
    config.namespaces.cgroup = Isolation::Shared;
    config.seccomp = Seccomp::None;
    config.allow_nested = true;
    config
}

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = plain();
    change(&mut config);
    config
}

fn user() -> HostFacts {
    HostFacts::linux(1000, 1000)
}

fn root() -> HostFacts {
    HostFacts::linux(0, 0)
}

fn but(mut facts: HostFacts, change: impl FnOnce(&mut HostFacts)) -> HostFacts {
    change(&mut facts);
    facts
}

fn root_without(names: &[&str]) -> HostFacts {
    let lost = CapSet::from_names(names).unwrap();
    but(root(), |f| f.capabilities = f.capabilities.without(lost))
}

fn no_user_namespaces(facts: HostFacts) -> HostFacts {
    but(facts, |f| f.max_user_namespaces = Some(0))
}

fn range(inside: u32, outside: u32, count: u32) -> sandboxlib_core::IdRange {
    sandboxlib_core::IdRange {
        inside,
        outside,
        count,
    }
}

/// Root in the user namespace of somebody else's container.
fn nested() -> HostFacts {
    but(root(), |f| {
        f.uid_map = vec![range(0, 1000, 1), range(1, 100_000, 65536)];
        f.gid_map = vec![range(0, 1000, 1), range(1, 100_000, 1000)];
    })
}

fn granted() -> Subordinate {
    Subordinate {
        uids: vec![(100_000, 65536)],
        gids: vec![(200_000, 65536)],
        newuidmap: Some("/usr/bin/newuidmap".into()),
        newgidmap: Some("/usr/bin/newgidmap".into()),
    }
}

/// An ordinary user with subordinate ids.
fn user_with_range() -> HostFacts {
    but(user(), |f| f.subordinate = Some(granted()))
}

#[derive(Debug)]
enum Refused {
    Negotiate(NegotiateError),
    Prepare(PrepareError),
}

impl Refused {
    fn text(&self) -> String {
        match self {
            Self::Negotiate(e) => e.to_string(),
            Self::Prepare(e) => e.to_string(),
        }
    }
}

/// The way of a run up to the script.
fn launch(config: &Config, facts: &HostFacts) -> Result<(EffectiveConfig, Vec<Step>), Refused> {
    let effective = negotiate(config, &Userns.support(facts)).map_err(Refused::Negotiate)?;
    let plan = sandboxlib_mount::plan(effective.config(), &files()).unwrap();
    match Userns
        .prepare(&effective, plan, facts)
        .map_err(Refused::Prepare)?
    {
        Launch::Direct(script) => Ok((effective, script.steps)),
        other => panic!("{other:?}"),
    }
}

fn steps(config: &Config, facts: &HostFacts) -> Vec<Step> {
    launch(config, facts)
        .map(|(_, steps)| steps)
        .unwrap_or_else(|e| panic!("{}", e.text()))
}

/// The script as people see it.
fn script(config: &Config, facts: &HostFacts) -> String {
    ChildScript {
        steps: steps(config, facts),
    }
    .to_string()
}

fn refusal(config: &Config, facts: &HostFacts) -> String {
    match launch(config, facts) {
        Ok((_, steps)) => panic!("not refused: {steps:?}"),
        Err(refused) => refused.text(),
    }
}

fn namespaces(steps: &[Step]) -> Vec<&'static str> {
    match steps.first() {
        Some(Step::Namespaces(set)) => set.names().collect(),
        other => panic!("{other:?} comes first"),
    }
}

fn kept(steps: &[Step]) -> Vec<String> {
    let sets = steps.iter().filter_map(|step| match step {
        Step::Capabilities(keep) => Some(keep.names().collect::<Vec<_>>()),
        _ => None,
    });
    let sets: Vec<_> = sets.collect();
    assert_eq!(sets.len(), 1);
    sets.concat()
}

fn line(steps: &[Step], begins: &str) -> Option<String> {
    steps
        .iter()
        .map(ToString::to_string)
        .find(|text| text.starts_with(begins))
}
