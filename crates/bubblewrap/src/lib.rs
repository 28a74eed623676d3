#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod mounts;
mod support;
mod who;

use std::path::{Path, PathBuf};

use sandboxlib_config::{Capabilities, Config, Seccomp, SeccompAction, SeccompOtherwise};
use sandboxlib_core::{
    Backend, CapSet, EffectiveConfig, HelperArg, HelperCall, Hint, HostFacts, Knob, Launch,
    NamespaceSet, Os, PrepareError, Reason, Started, Step, Support, SyscallFilter, TreeLimits,
    bound_tmpfs, limit_steps,
};
use sandboxlib_mount::MountPlan;

use who::Who;

/// The backend that drives bwrap (bubblewrap).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bubblewrap {
    program: PathBuf,
}

impl Bubblewrap {
    /// The name of the backend.
    pub const NAME: &'static str = "bubblewrap";

    /// The backend that drives this program: a path, or a name to be looked up in PATH.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

impl Default for Bubblewrap {
    /// The backend that drives the `bwrap` in PATH.
    fn default() -> Self {
        Self::with_program("bwrap")
    }
}

/// How many words bwrap takes, the command's included (`MAX_ARGS` in bubblewrap.c).
const MOST_WORDS: usize = 9000;
/// How many of them are left to a command, whose length is not known when it is prepared.
const LEFT_TO_COMMAND: usize = 500;

impl Backend for Bubblewrap {
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
        let plan = bound_tmpfs(plan, config);
        let who = Who::choose(config, facts, helper.setuid_root)?;
        let keep = capabilities(config, &who, &plan, facts)?;
        let mut call = HelperCall::new(&helper.path, Started::Unknown);
        // Written when the command has ended, and never if it could not be started.
        call.reports = Some("\"exit-code\"");
        call.before.clone_from(&who.before);
        call.before.extend(Step::keyring(config));
        add_limits(&mut call, config, facts, keep)?;
        call.arg("--json-status-fd").arg(HelperArg::Report);
        call.arg("--die-with-parent");
        call.arg(HelperArg::WithoutTerminal("--new-session".into()));
        if who.unshare {
            call.arg("--unshare-user");
        }
        if let Some((uid, gid)) = who.mapped {
            call.args(["--uid".to_owned(), uid.to_string()]);
            call.args(["--gid".to_owned(), gid.to_string()]);
        }
        let wanted = NamespaceSet::asked_for(config);
        if wanted.pid && lets_little_through(&config.seccomp) {
            let text = "bwrap binds the first process of a process id namespace to the filter too, \
                        and it would end";
            let hint = Hint::new(Knob::Request("backend"), "use the userns backend");
            return Err(Reason::new(text).hint(hint).into());
        }
        for (there, option) in [
            (wanted.pid, "--unshare-pid"),
            (wanted.ipc, "--unshare-ipc"),
            (wanted.uts, "--unshare-uts"),
            (wanted.net, "--unshare-net"),
            (wanted.cgroup, "--unshare-cgroup"),
        ] {
            if there {
                call.arg(option);
            }
        }
        if let Some(name) = &config.hostname {
            call.arg("--hostname").arg(name.clone());
        }
        // Where bwrap is set-user-id it leaves an ordinary user none, and does not discuss it.
        if who.may_choose_capabilities {
            call.args(["--cap-drop", "ALL"]);
            for name in keep.names() {
                call.args(["--cap-add".to_owned(), name]);
            }
        }
        if let Some(filter) = SyscallFilter::wanted(config, false) {
            call.arg("--seccomp").arg(HelperArg::SyscallFilter(filter));
        }
        mounts::add(&mut call, &plan.steps, &who)?;
        call.arg("--chdir").arg(HelperArg::Cwd).arg("--");
        let most = MOST_WORDS - LEFT_TO_COMMAND;
        if call.args.len() > most {
            let words = call.args.len();
            let text = format!(
                "bwrap takes {MOST_WORDS} words at most, of which {LEFT_TO_COMMAND} are left to \
                 the command, and this would take {words}"
            );
            return Err(Reason::new(text).into());
        }
        Ok(Launch::Helper(call))
    }
}

/// The init program that starts bwrap is bound by the limits, and bwrap with it.
fn add_limits(
    call: &mut HelperCall,
    config: &Config,
    facts: &HostFacts,
    keep: CapSet,
) -> Result<(), PrepareError> {
    // bwrap itself, and the first process of the namespace.
    const OWN_PROCESSES: u64 = 2;
    let (_, each) = limit_steps(config, facts, false, keep)?;
    let tree = TreeLimits::wanted(config, facts, OWN_PROCESSES);
    call.before.splice(0..0, tree.map(Step::TreeLimits));
    call.before.extend(each);
    Ok(())
}

/// Whether calls are closed that nobody named, such as those by which an init program waits.
fn lets_little_through(seccomp: &Seccomp) -> bool {
    let open = [SeccompAction::Allow, SeccompAction::Log].map(SeccompOtherwise::Action);
    match seccomp {
        Seccomp::StrictIo => true,
        Seccomp::Rules(list) => {
            list.otherwise != SeccompOtherwise::Build && !open.contains(&list.otherwise)
        }
        _ => false,
    }
}

/// The capabilities that the command keeps.
fn capabilities(
    config: &Config,
    who: &Who,
    plan: &MountPlan,
    facts: &HostFacts,
) -> Result<CapSet, PrepareError> {
    let masks = plan.has_masks();
    let said = matches!(config.capabilities, Capabilities::Only(_));
    let keep = match CapSet::kept(config, masks).map_err(|e| Reason::new(e.to_string()))? {
        _ if !said && !who.may_choose_capabilities => CapSet::EMPTY,
        keep => keep,
    };
    if !keep.is_empty() && !who.may_choose_capabilities {
        let text = "a bwrap that is set-user-id leaves an ordinary user no capability";
        return Err(Reason::new(text).into());
    }
    // dac_override, dac_read_search, sys_admin.
    let opens_masks = CapSet::from_bits(1 << 1 | 1 << 2 | 1 << 21);
    if masks && keep.bits() & opens_masks.bits() != 0 {
        let text = "a masked path is open to a command with CAP_DAC_OVERRIDE, \
                    CAP_DAC_READ_SEARCH or CAP_SYS_ADMIN";
        return Err(Reason::new(text).into());
    }
    if who.unshare {
        return Ok(keep);
    }
    let missing = keep.without(facts.capabilities);
    if said && !missing.is_empty() {
        let names: Vec<String> = missing.names().collect();
        let text = format!("the caller has no {} to pass on", names.join(", "));
        return Err(Reason::new(text).into());
    }
    Ok(keep.without(missing))
}

#[cfg(test)]
mod tests;
