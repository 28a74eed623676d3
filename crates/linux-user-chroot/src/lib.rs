#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod mounts;
mod support;

use std::path::{Path, PathBuf};

use sandboxlib_config::{Capabilities, Config, UserNamespace};
use sandboxlib_core::{
    Backend, CapSet, EffectiveConfig, HelperArg, HelperCall, HelperFact, HostFacts, Launch,
    NamespaceSet, Os, PrepareError, ProcessLimits, Reason, Started, Step, Support,
};
use sandboxlib_mount::MountPlan;

/// The backend that drives linux-user-chroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxUserChroot {
    program: PathBuf,
}

impl LinuxUserChroot {
    /// The name of the backend.
    pub const NAME: &'static str = "linux-user-chroot";

    /// The backend that drives this program: a path, or a name to be looked up in PATH.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

impl Default for LinuxUserChroot {
    /// The backend that drives the `linux-user-chroot` in PATH.
    fn default() -> Self {
        Self::with_program("linux-user-chroot")
    }
}

/// How many options the classic program takes. It says 1024, and counts the first word that is
/// none as well.
const MOST_OPTIONS: usize = 1023;

impl Backend for LinuxUserChroot {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn os(&self) -> Option<Os> {
        Some(Os::Linux)
    }

    fn helper(&self) -> Option<&Path> {
        Some(&self.program)
    }

    fn support(&self, facts: &HostFacts) -> Support {
        support::support(&self.program, facts)
    }

    fn prepare(
        &self,
        config: &EffectiveConfig,
        plan: MountPlan,
        facts: &HostFacts,
    ) -> Result<Launch, PrepareError> {
        let Some(helper) = facts.helper(&self.program) else {
            return Err(support::missing(&self.program).into());
        };
        let config = config.config();
        check(config, helper, facts)?;
        // The program exits 1 for whatever went wrong, and so do commands.
        let mut call = HelperCall::new(&helper.path, Started::Unknown);
        // The classic program leaves the command the groups of its caller.
        if facts.setgroups && facts.capabilities.contains(CapSet::SETGID) {
            call.before.push(Step::ClearGroups);
        }
        // It filters no system calls, so those that use keys are open.
        call.before.push(Step::Keyring);
        // Children of its own are in the same namespace of users as others.
        let each = ProcessLimits::wanted(config, facts, false);
        call.before.extend(each.map(Step::ProcessLimits));
        let wanted = NamespaceSet::asked_for(config);
        let mut options = 1;
        for (there, option) in [
            (wanted.ipc, "--unshare-ipc"),
            (wanted.pid, "--unshare-pid"),
            (wanted.net, "--unshare-net"),
        ] {
            if there {
                call.arg(option);
                options += 1;
            }
        }
        call.arg("--chdir").arg(HelperArg::Cwd);
        options += mounts::add(&mut call, &plan.steps)?;
        if options > MOST_OPTIONS && !support::is_ours(helper) {
            let text = format!(
                "linux-user-chroot takes {MOST_OPTIONS} options at most, and this needs {options}"
            );
            return Err(Reason::new(text).into());
        }
        Ok(Launch::Helper(call))
    }
}

/// What cannot be had although each part of it can.
fn check(config: &Config, helper: &HelperFact, facts: &HostFacts) -> Result<(), Reason> {
    let wanted = NamespaceSet::asked_for(config);
    if wanted.ipc != wanted.uts {
        let text = "linux-user-chroot isolates ipc and uts together or not at all";
        return Err(Reason::new(text));
    }
    if config.hostname.is_some() {
        return Err(Reason::new(
            "linux-user-chroot has no option for a host name",
        ));
    }
    if config.namespaces.user == UserNamespace::Shared && support::is_ours(helper) {
        let text = "this linux-user-chroot is not set-user-id and needs a user namespace";
        return Err(Reason::new(text));
    }
    if let Capabilities::Only(names) = &config.capabilities {
        let keep = CapSet::from_names(names).map_err(|e| Reason::new(e.to_string()))?;
        if !keep.is_empty() || facts.uid == 0 {
            let text = "linux-user-chroot has no option for capabilities";
            return Err(Reason::new(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
