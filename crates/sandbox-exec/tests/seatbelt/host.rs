//! A Mac in memory, and the way from a configuration to a profile.

use std::path::PathBuf;

use sandboxlib_config::{Config, Isolation, Network, Root, SandboxPath};
use sandboxlib_core::{
    Backend, EffectiveConfig, HelperArg, HelperCall, HelperFact, HostFacts, Launch, Os, negotiate,
};
use sandboxlib_mount::MemoryFs;
use sandboxlib_sandbox_exec::SandboxExec;

use crate::sbpl::Sbpl;

pub(crate) fn at(path: &str) -> SandboxPath {
    SandboxPath::new(path).unwrap()
}

pub(crate) fn facts() -> HostFacts {
    let mut facts = HostFacts::other(Os::MacOs, 501, 20);
    facts.helpers.push(helper());
    facts
}

pub(crate) fn helper() -> HelperFact {
    let path = PathBuf::from("/usr/bin/sandbox-exec");
    HelperFact {
        wanted: path.clone(),
        path,
        version: String::new(),
        setuid_root: false,
    }
}

/// The links at the top, and what else every Mac has.
pub(crate) fn mac() -> MemoryFs {
    MemoryFs::new()
        .dir("/Users/me/src/build")
        .dir("/Users/me/.ssh")
        .file("/Users/me/.netrc")
        .dir("/private/tmp")
        .dir("/private/var/run")
        .dir("/private/var/folders/x")
        .dir("/private/etc")
        .dir("/dev")
        .dir("/usr/bin")
        .symlink("/tmp", "private/tmp")
        .symlink("/var", "private/var")
        .symlink("/etc", "private/etc")
}

/// The host's root, read-only, and what is isolated by default.
pub(crate) fn read_only() -> Config {
    let mut config = Config::new(Root::Host);
    config.hidden = Some(Vec::new());
    config
}

/// No wish but the host's root.
pub(crate) fn plain() -> Config {
    let mut config = read_only();
    config.network = Network::Shared;
    config.namespaces.ipc = Isolation::Shared;
    config
}

/// What is negotiated, and the call.
pub(crate) fn launch(
    config: &Config,
    fs: &MemoryFs,
) -> Result<(EffectiveConfig, HelperCall), String> {
    let backend = SandboxExec;
    let effective =
        negotiate(config, &backend.support(&facts())).map_err(|error| error.to_string())?;
    let plan = sandboxlib_mount::plan(effective.config(), fs).map_err(|e| format!("plan: {e}"))?;
    match backend
        .prepare(&effective, plan, &facts())
        .map_err(|error| error.to_string())?
    {
        Launch::Helper(call) => Ok((effective, call)),
        other => panic!("{other:?}"),
    }
}

/// The arguments as text.
pub(crate) fn arguments(call: &HelperCall) -> Vec<String> {
    // It is started where the command is to be, so no argument says where.
    assert!(call.in_cwd && !call.args.contains(&HelperArg::Cwd));
    call.arguments(&at("/cwd"))
        .map(|arg| arg.to_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn sbpl(call: &HelperCall) -> Sbpl {
    Sbpl::from_arguments(&arguments(call)).0
}

pub(crate) fn refusal(config: &Config) -> String {
    launch(config, &mac())
        .map(|(_, call)| panic!("not refused: {call:?}"))
        .unwrap_err()
}
