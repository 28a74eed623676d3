//! The way from a configuration to a plan.
//!
//! The planner walks the sandbox as it will look ([`tree`]), resolves every path in it as the
//! kernel will ([`resolve`]), makes the mount points that are missing by the rules of the place
//! ([`make`]), and writes down the steps ([`script`]). Last it closes the sockets that are seen
//! below something read-only ([`sockets`]).

mod dev;
mod hide;
mod host;
mod kinds;
mod make;
mod overlay;
mod resolve;
mod root;
mod script;
mod sockets;
mod tree;

use sandboxlib_config::{Config, SandboxPath};

use self::host::Host;
use self::script::Script;
use self::sockets::ReadOnlyTree;
use self::tree::{NodeId, Tree};
use crate::{FsView, MountPlan, PlanError, PlanStep};

/// Makes a plan that gives `config` on a host with the files of `view`.
///
/// The sources of binds and the root are looked up in `view` as they are: a caller with relative
/// ones makes them absolute first.
///
/// # Errors
/// [`PlanError`] says what is missing, in the way, or contradictory.
pub fn plan(config: &Config, view: &dyn FsView) -> Result<MountPlan, PlanError> {
    let mut planner = Planner::with_root(config, view)?;
    planner.lift_sockets(config)?;
    for mount in &config.mounts {
        planner.mount(mount, config.prefer)?;
    }
    planner.allow_sockets(config)?;
    planner.close_sockets()?;
    Ok(planner.finish())
}

/// What is known while planning.
struct Planner<'a> {
    host: Host<'a>,
    tree: Tree,
    script: Script,
    /// The file systems that become read-only at the end, when no mount point has to be made in
    /// them any more.
    unsealed: Vec<NodeId>,
    /// Every read-only tree that a step has mounted, those included that others cover by now.
    read_only: Vec<ReadOnlyTree>,
    satisfied: Vec<SandboxPath>,
    hidden: Vec<SandboxPath>,
    not_masked: Vec<SandboxPath>,
    sockets: Vec<SandboxPath>,
}

impl Planner<'_> {
    fn finish(mut self) -> MountPlan {
        for node in std::mem::take(&mut self.unsealed) {
            self.script.push(PlanStep::Seal {
                at: self.tree.path(node).clone(),
            });
        }
        MountPlan {
            steps: self.script.finish(),
            satisfied: self.satisfied,
            hidden: self.hidden,
            not_masked: self.not_masked,
            sockets: self.sockets,
        }
    }
}
