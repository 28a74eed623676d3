use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandboxlib_config::SandboxPath;
use sandboxlib_mount::MountPlan;

use crate::{
    ChildScript, Degradation, EffectiveConfig, HostFacts, Os, Reason, Started, Step, Support,
    SyscallFilter,
};

/// A way to isolate a command.
///
/// All of it is pure: no method asks the operating system, forks or mounts, so every backend is
/// tested on every system without privilege, and what it will do can be shown before it is done.
pub trait Backend: std::fmt::Debug + Send + Sync {
    /// The name by which people choose it.
    fn name(&self) -> &'static str;

    /// The one operating system that it is for, if there is one. Elsewhere it is not offered
    /// unless somebody names it, so that nobody has to read of backends of other systems.
    fn os(&self) -> Option<Os> {
        None
    }

    /// The program that it drives, if it drives one: a name to be looked up in PATH, or a path.
    /// What is found of it is in [`HostFacts::helper`] when the backend is asked, and it is
    /// looked for only then, because asking a program for its version takes milliseconds.
    fn helper(&self) -> Option<&Path> {
        None
    }

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

    /// Why the helper program ended without having started the command, told from its exit
    /// status and what it wrote to standard error, of which the end is enough; empty where
    /// nobody kept it. `None` if that does not say so. It is asked where
    /// [`HelperCall::on_failure`] leaves it open or says no.
    fn helper_failure(&self, facts: &HostFacts, status: i32, stderr: &[u8]) -> Option<Reason> {
        let _ = (facts, status, stderr);
        None
    }
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

impl Launch {
    /// The preferred features that it does not enforce, or not in full; see
    /// [`HelperCall::degradations`].
    #[must_use]
    pub fn degradations(&self) -> &[Degradation] {
        match self {
            Self::Direct(_) => &[],
            Self::Helper(call) => &call.degradations,
        }
    }
}

/// The command line of a helper program. The sandboxed command and its arguments are put behind
/// `args`. The helper itself is started in `/` of the host unless `in_cwd` says otherwise, in a
/// session of its own, with no file open but the standard streams, those that the caller passes
/// by name, and those that `args` names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HelperCall {
    /// The helper.
    pub program: PathBuf,
    /// Its arguments, up to the command.
    pub args: Vec<HelperArg>,
    /// What is known about the command having been started when the helper fails and
    /// [`HelperArg::Report`] does not tell.
    pub on_failure: Started,
    /// What is done before the helper is executed, such as giving up supplementary groups.
    pub before: Vec<Step>,
    /// What a run needs in a private directory of the host while it lasts. Parents come before
    /// what is in them.
    pub scratch: Vec<ScratchEntry>,
    /// A text that the helper writes to [`HelperArg::Report`] if the command was started, and
    /// only then.
    pub reports: Option<&'static str>,
    /// Whether the helper is started in the working directory of the run, as a path of the host,
    /// because it changes neither the root nor the directory.
    pub in_cwd: bool,
    /// The features that turned out, for this very configuration, not to be enforced in full.
    /// Only what the caller prefers may be here; what is required is refused.
    pub degradations: Vec<Degradation>,
}

impl HelperCall {
    /// A call of `program` without arguments.
    pub fn new(program: impl Into<PathBuf>, on_failure: Started) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            on_failure,
            before: Vec::new(),
            scratch: Vec::new(),
            reports: None,
            in_cwd: false,
            degradations: Vec::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl Into<HelperArg>) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<HelperArg>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The arguments for a run in the working directory `cwd`, for people: what differs from run
    /// to run is described in angle brackets.
    pub fn arguments<'a>(&'a self, cwd: &'a SandboxPath) -> impl Iterator<Item = Cow<'a, OsStr>> {
        self.args.iter().map(|arg| match arg {
            HelperArg::Text(text) | HelperArg::WithoutTerminal(text) => {
                Cow::Borrowed(text.as_os_str())
            }
            HelperArg::Cwd => Cow::Borrowed(cwd.as_path().as_os_str()),
            HelperArg::Data(data) => Cow::Owned(format!("<{} bytes>", data.len()).into()),
            HelperArg::Report => Cow::Owned("<report>".into()),
            HelperArg::SyscallFilter(filter) => Cow::Owned(format!("<filter: {filter}>").into()),
            HelperArg::Scratch(path) => {
                Cow::Owned(Path::new("<scratch>").join(path).into_os_string())
            }
        })
    }
}

/// An argument of a helper program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelperArg {
    /// This text.
    Text(OsString),
    /// This text, unless the command of the single run has a terminal of its own. It is then
    /// started as the leader of a session, which the helper must not take it out of.
    WithoutTerminal(OsString),
    /// The working directory of the single run, as seen inside.
    Cwd,
    /// The number of a descriptor from which the helper reads this.
    Data(Arc<[u8]>),
    /// The number of a descriptor to which the helper writes what it has to tell; see
    /// [`HelperCall::reports`].
    Report,
    /// The number of a descriptor from which the helper reads this filter, compiled for this
    /// machine: an array of `struct sock_filter`.
    SyscallFilter(SyscallFilter),
    /// The path on the host of something in [`HelperCall::scratch`].
    Scratch(PathBuf),
}

/// Something in the private directory of a run, which is made before the helper is started and
/// removed when everything has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchEntry {
    /// Its path, relative to that directory.
    pub path: PathBuf,
    /// What it is.
    pub kind: ScratchKind,
}

/// What a [`ScratchEntry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScratchKind {
    /// A directory with these permissions.
    Dir(u32),
    /// A file with this content and these permissions.
    File(Arc<[u8]>, u32),
    /// A symbolic link that says this.
    Symlink(OsString),
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
