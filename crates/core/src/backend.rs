use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use sandboxlib_config::SandboxPath;
use sandboxlib_mount::MountPlan;

use crate::{ChildScript, EffectiveConfig, HostFacts, Reason, Started, Support};

/// A way to isolate a command.
///
/// All of it is pure: no method asks the operating system, forks or mounts, so every backend is
/// tested on every system without privilege, and what it will do can be shown before it is done.
pub trait Backend: std::fmt::Debug + Send + Sync {
    /// The name by which people choose it.
    fn name(&self) -> &'static str;

    /// What it can enforce on a host like this. It is never more than what
    /// [`prepare`](Self::prepare) delivers.
    fn support(&self, facts: &HostFacts) -> Support;

    /// Turns what was negotiated into what is to be done.
    ///
    /// # Errors
    /// [`PrepareError`] if this combination cannot be had although each part of it can.
    fn prepare(
        &self,
        config: &EffectiveConfig,
        plan: MountPlan,
        facts: &HostFacts,
    ) -> Result<Launch, PrepareError>;
}

/// How a command is started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launch {
    /// By a child that carries out this script.
    Direct(ChildScript),
    /// By a program that does the isolating.
    Helper(HelperCall),
}

/// The command line of a helper program. The sandboxed command and its arguments are put behind
/// `args`. The helper itself is started in `/` of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperCall {
    /// The helper.
    pub program: PathBuf,
    /// Its arguments, up to the command.
    pub args: Vec<HelperArg>,
    /// What is known about the command having been started when the helper fails.
    pub on_failure: Started,
}

impl HelperCall {
    /// The arguments for a run in the working directory `cwd`.
    pub fn arguments<'a>(&'a self, cwd: &'a SandboxPath) -> impl Iterator<Item = &'a OsStr> {
        self.args.iter().map(|arg| match arg {
            HelperArg::Text(text) => text.as_os_str(),
            HelperArg::Cwd => cwd.as_path().as_os_str(),
        })
    }
}

/// An argument of a helper program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelperArg {
    /// This text.
    Text(OsString),
    /// The working directory of the single run, as seen inside.
    Cwd,
}

impl<T: Into<OsString>> From<T> for HelperArg {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// Why a backend cannot prepare a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PrepareError {
    /// The cause and its cures.
    pub reason: Reason,
}

impl From<Reason> for PrepareError {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}
