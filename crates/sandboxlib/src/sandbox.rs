use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandboxlib_config::{
    Capabilities, Config, ControlGroups, Feature, HiddenPlace, Ids, Isolation, Limits, Mount,
    MountKind, Network, Overlay, Root, RootAccess, SandboxPath, Seccomp,
};
use sandboxlib_core::{
    Backend, CapSet, ChildScript, EffectiveConfig, Enforcement, HostFacts, KillScope, Landlock,
    Launch, Os, Outcome, Step,
};
use sandboxlib_mount::{MountPlan, plan};
use sandboxlib_spawn::{HostView, Rehearsal};
use tracing::{debug, debug_span};

use crate::choice::{Candidate, choose, ordered};
use crate::{Command, Error};

/// A description of a sandbox, and the backends that may make it.
///
/// [`prepare`](Self::prepare) makes it ready, [`Prepared::command`] runs commands in it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    config: Config,
    names: Option<Vec<String>>,
    extra: Vec<Arc<dyn Backend>>,
}

impl Sandbox {
    /// A sandbox with this root and the defaults of [`Config`].
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self::from_config(Config::new(root))
    }

    /// A sandbox as described.
    #[must_use]
    pub fn from_config(config: Config) -> Self {
        Self {
            config,
            names: None,
            extra: Vec::new(),
        }
    }

    /// The description.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The description, to be changed.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Makes the root read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.config.root_access = Some(RootAccess::ReadOnly);
        self
    }

    /// Makes the root read-only except for `paths` and what is below them.
    #[must_use]
    pub fn writable(mut self, paths: impl IntoIterator<Item = SandboxPath>) -> Self {
        self.config.root_access = Some(RootAccess::ReadOnlyExcept(paths.into_iter().collect()));
        self
    }

    /// Has what the command changes of the root go elsewhere, and the root stay as it is
    /// ([`Config::overlay`]). What is [`writable`](Self::writable) is changed itself.
    #[must_use]
    pub fn overlay(mut self, overlay: Overlay) -> Self {
        self.config.overlay = Some(overlay);
        self
    }

    /// Shows `paths` of the host's root, read-only, although they are in places that are hidden
    /// ([`Config::readable`]).
    #[must_use]
    pub fn readable(mut self, paths: impl IntoIterator<Item = SandboxPath>) -> Self {
        self.config.readable.extend(paths);
        self
    }

    /// Lets the command connect to these unix sockets, or those in these directories, although
    /// they are below something read-only or, in the host's root, hidden ([`Config::sockets`]).
    #[must_use]
    pub fn sockets(mut self, paths: impl IntoIterator<Item = SandboxPath>) -> Self {
        self.config.sockets.extend(paths);
        self
    }

    /// Hides exactly these places of the host's root; none, and the command sees it as the caller
    /// does ([`Config::hidden`]).
    #[must_use]
    pub fn hidden(mut self, places: impl IntoIterator<Item = HiddenPlace>) -> Self {
        self.config.hidden = Some(places.into_iter().collect());
        self
    }

    /// Adds a mount behind those that there are.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.config.mounts.push(mount);
        self
    }

    /// Adds what most programs expect: on Linux `/proc`, a minimal `/dev`, and an empty `/tmp`.
    ///
    /// On other systems that is nothing, because no process there has mounts of its own: with
    /// the host's root a command sees the host's `/dev` and `/tmp`, which
    /// [`writable`](Self::writable) opens to it, and with another root what that root has.
    #[must_use]
    pub fn usual_mounts(mut self) -> Self {
        self.config
            .mounts
            .extend(usual_mounts(sandboxlib_spawn::OS));
        self
    }

    /// Which network the command sees.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.config.network = network;
        self
    }

    /// Who the command is.
    #[must_use]
    pub fn ids(mut self, ids: Ids) -> Self {
        self.config.ids = ids;
        self
    }

    /// Which system calls the command can make. What is asked for here is enforced, or the sandbox
    /// cannot be prepared.
    #[must_use]
    pub fn seccomp(mut self, seccomp: Seccomp) -> Self {
        self.config.seccomp = seccomp;
        self.config.prefer.remove(Feature::Seccomp);
        self
    }

    /// Lets the command make further namespaces, as a sandbox in the sandbox does.
    #[must_use]
    pub fn allow_nested(mut self) -> Self {
        self.config.allow_nested = true;
        self
    }

    /// What a run may use at most. What cannot be held here is refused, unless less will do.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Limits the time from the start of a command ([`Limits::wall`]).
    #[must_use]
    pub fn wall_limit(mut self, time: Duration) -> Self {
        self.config.limits.wall = Some(time);
        self
    }

    /// Limits the time on processors ([`Limits::cpu_time`]).
    #[must_use]
    pub fn cpu_time_limit(mut self, time: Duration) -> Self {
        self.config.limits.cpu_time = Some(time);
        self
    }

    /// Limits memory, in bytes ([`Limits::memory`]).
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.config.limits.memory = Some(bytes);
        self
    }

    /// Limits processes and threads ([`Limits::processes`]).
    #[must_use]
    pub fn process_limit(mut self, most: u64) -> Self {
        self.config.limits.processes = Some(most);
        self
    }

    /// Limits what is printed, in bytes for each stream ([`Limits::output`]).
    #[must_use]
    pub fn output_limit(mut self, bytes: u64) -> Self {
        self.config.limits.output = Some(bytes);
        self
    }

    /// Gives a command whose time is up some more to clean up ([`Limits::kill_after`]).
    #[must_use]
    pub fn kill_after(mut self, grace: Duration) -> Self {
        self.config.limits.kill_after = Some(grace);
        self
    }

    /// Where control groups for the limits may be made.
    #[must_use]
    pub fn control_groups(mut self, groups: ControlGroups) -> Self {
        self.config.control_groups = groups;
        self
    }

    /// Less than this feature will do.
    #[must_use]
    pub fn prefer(mut self, feature: Feature) -> Self {
        self.config.prefer.insert(feature);
        self
    }

    /// The backends to try, in this order; `auto` stands for all that this build has. Without
    /// it the environment variable `SANDBOXLIB_BACKEND` says, and without that it is `auto`.
    #[must_use]
    pub fn backends<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a backend that is not in this build. It is tried before the others.
    #[must_use]
    pub fn with_backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.extra.push(backend);
        self
    }

    /// Says what would be enforced, and how, and runs nothing.
    ///
    /// # Errors
    /// [`Error`] as [`prepare`](Self::prepare) would give it.
    pub fn check(&self) -> Result<Check, Error> {
        self.check_with().map(|(check, _)| check)
    }

    /// The check, and the backend that was chosen.
    fn check_with(&self) -> Result<(Check, Arc<dyn Backend>), Error> {
        let _span = debug_span!("check").entered();
        validate(&self.config)?;
        let mut facts = sandboxlib_spawn::facts(&self.config);
        let mut config = self.config.clone();
        make_absolute(&mut config)?;
        hide_callers_home(&mut config, &facts);
        let backends = ordered(self.names.as_deref(), &self.extra, facts.os)?;
        let (backend, effective, rejected) = choose(&config, &backends, &mut facts)?;
        debug!(backend = backend.name(), "chosen");
        let plan = plan(effective.config(), &HostView::new(effective.config()))?;
        let mut enforcement = enforcement(backend.name(), &effective, &plan);
        let launch = backend
            .prepare(&effective, plan, &facts)
            .map_err(|error| Error::Prepare {
                backend: backend.name(),
                error,
            })?;
        enforcement.kill_scope = kill_scope(&launch);
        enforcement.landlock = landlock(&launch);
        let limits = effective.config().limits;
        enforcement.limits = launch.limits(&limits);
        degrade(&mut enforcement, &launch, effective.config())?;
        let check = Check {
            enforcement,
            launch,
            rejected,
            facts,
            limits,
        };
        Ok((check, backend))
    }

    /// One sandbox for many commands: [`prepare`](Self::prepare) and [`Prepared::session`].
    ///
    /// # Errors
    /// As they say.
    pub fn session(&self) -> Result<Session, Error> {
        self.prepare()?.session()
    }

    /// Chooses a backend, plans, and does once what all runs have in common.
    ///
    /// # Errors
    /// [`Error`] if no backend can enforce what was asked for, the mounts cannot be planned, or
    /// the configuration has something that no system call can take. Nothing was run then, and
    /// nothing changed.
    pub fn prepare(&self) -> Result<Prepared, Error> {
        let (check, backend) = self.check_with()?;
        let _span = debug_span!("prepare").entered();
        let ready =
            sandboxlib_spawn::Prepared::new(&check.launch).map_err(|error| Error::Spawn {
                backend: backend.name(),
                error: Box::new(error),
            })?;
        Ok(Prepared {
            basis: Arc::new(Basis {
                check,
                backend,
                ready,
                config: self.config.clone(),
            }),
        })
    }
}

/// One sandbox that stays up, and in which commands run one after another or side by side. They
/// see what the others have left: files in what is mounted, and processes. Dropping it kills
/// everything in it.
///
/// Each command has its own arguments, environment, working directory, streams and outcome, and
/// the limits that are of a process, of time and of output. The limits of memory, processes and
/// processor time hold for the sandbox as a whole: what exceeds them ends it, and the outcome of
/// each command that ran says so. Killing a command, or its time being up, kills its process
/// group; what it started and left otherwise goes on until the session ends.
#[derive(Debug)]
pub struct Session {
    inner: Arc<sandboxlib_spawn::Session>,
    prepared: Prepared,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A start that goes on in the background may still have its share.
        let _ = self.inner.end();
    }
}

impl Session {
    /// A command to run in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command<'_> {
        self.prepared.command(program).within(&self.inner)
    }

    /// The process id, on the host, of the sandbox's first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// What is enforced for every command.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        self.prepared.enforcement()
    }

    /// The outcome of the whole, if the sandbox has ended: because of a limit, or because somebody
    /// killed it.
    ///
    /// # Errors
    /// [`Error::Wait`] with what the operating system says.
    pub fn try_wait(&self) -> Result<Option<Outcome>, Error> {
        self.inner.try_wait().map_err(|e| self.not_waited(e))
    }

    /// Kills everything in it, and tells what all commands together have used.
    ///
    /// # Errors
    /// [`Error::Wait`] with what the operating system says.
    pub fn close(self) -> Result<Outcome, Error> {
        self.inner.end().map_err(|e| self.not_waited(e))
    }

    /// Ends it as [`close`](Self::close) does, while others may still use it: commands that run
    /// are told by their outcome.
    ///
    /// # Errors
    /// [`Error::Wait`] with what the operating system says.
    pub fn end(&self) -> Result<Outcome, Error> {
        self.inner.end().map_err(|e| self.not_waited(e))
    }

    fn not_waited(&self, source: std::io::Error) -> Error {
        let backend = self.prepared.basis.check.enforcement.backend;
        Error::Wait { backend, source }
    }
}

/// Can be read from (poll(2)) when the sandbox has ended; then
/// [`try_wait`](Session::try_wait) has its outcome.
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// What would be, if it were run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Check {
    /// What would be enforced, and by which backend.
    pub enforcement: Enforcement,
    /// How.
    pub launch: Launch,
    /// The backends before it that cannot do what was asked.
    pub rejected: Vec<Candidate>,
    /// What was known about the host.
    pub facts: HostFacts,
    /// The limits that would hold.
    pub limits: Limits,
}

/// A sandbox that is ready to run commands, one after another or side by side, from any thread.
/// Runs share nothing writable but what the configuration shares.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) basis: Arc<Basis>,
}

/// What all commands have in common.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) check: Check,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) ready: sandboxlib_spawn::Prepared,
    pub(crate) config: Config,
}

impl Prepared {
    /// A command to run in it: a path inside the root, or a name that is looked up by PATH.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command<'_> {
        Command::new(self, program.as_ref())
    }

    /// Keeps up to `count` sandboxes set up in the background, and has commands started in them
    /// where that is possible: a start takes little longer than that of the bare program then. The
    /// first is there when this returns; 0 ends them, and so does dropping this.
    ///
    /// Nothing of any program was run in them. When the caller's mounts change they are made anew.
    /// As long as half of them are left, a command that has taken one has some milliseconds of the
    /// processors before another takes its place.
    ///
    /// # Errors
    /// [`Error::Spawn`] as a run would give it, or `Unsupported` for a backend that starts a helper
    /// program.
    pub fn warm(&self, count: usize) -> Result<(), Error> {
        let warm = self.basis.ready.warm(count);
        warm.map_err(|error| self.failed(error))
    }

    /// How many sandboxes stand ready.
    #[must_use]
    pub fn warmed(&self) -> usize {
        self.basis.ready.warmed()
    }

    /// Sets up one sandbox in which commands run one after another or side by side.
    ///
    /// # Errors
    /// As for [`warm`](Self::warm).
    pub fn session(self) -> Result<Session, Error> {
        match self.basis.ready.session() {
            Ok(inner) => Ok(Session {
                inner: Arc::new(inner),
                prepared: self,
            }),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, mut error: sandboxlib_core::SpawnError) -> Error {
        error.hints = sandboxlib_spawn::hints(&self.basis.check.facts, &error, None);
        Error::Spawn {
            backend: self.basis.check.enforcement.backend,
            error: Box::new(error),
        }
    }

    /// Does everything that [`Command::spawn`] does but execute a command, to see whether it can
    /// be done here, and ends the sandbox again.
    ///
    /// Where mount points have to be made on the host, they are made, as for a run
    /// ([`Enforcement::created_on_host`]).
    ///
    /// # Errors
    /// [`Error::Spawn`] as a run would give it.
    pub fn rehearse(&self) -> Result<Rehearsal, Error> {
        let _span = debug_span!("rehearse").entered();
        let rehearsal = self.basis.ready.rehearse();
        rehearsal.map_err(|error| self.failed(error))
    }

    /// What was changed of the root, where that is kept ([`Overlay::Keep`]), by this run and
    /// those before it: to be asked when none is under way. Mount points that were made for this
    /// sandbox alone are no change, and are removed from what is kept.
    ///
    /// # Errors
    /// [`Error::Config`] where nothing is kept; [`Error::Image`].
    #[cfg(feature = "image")]
    pub fn changes(&self) -> Result<sandboxlib_image::Changes, Error> {
        let Some(Overlay::Keep(dir)) = &self.basis.config.overlay else {
            let reason = "no overlay keeps what is changed".to_owned();
            return Err(Error::Config { reason });
        };
        let root = match &self.basis.config.root {
            Root::Dir(path) => path,
            _ => Path::new("/"),
        };
        let made = match self.launch() {
            Launch::Direct(script) => made(script),
            _ => Vec::new(),
        };
        sandboxlib_image::Changes::of(dir.join("upper"), root, made)
            .map_err(|error| Error::Image { error })
    }

    /// What is enforced for every command.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        &self.basis.check.enforcement
    }

    /// How a command is started.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.basis.check.launch
    }
}

/// What most programs expect to be mounted on the system `os`.
fn usual_mounts(os: Os) -> Vec<Mount> {
    let tmpfs = MountKind::Tmpfs {
        size: None,
        mode: 0o1777,
    };
    let usual = [
        ("proc", MountKind::Proc),
        ("dev", MountKind::Dev),
        ("tmp", tmpfs),
    ];
    let at_root = |(name, kind)| {
        let target = SandboxPath::root().join(name).ok()?;
        Some(Mount::new(target, kind))
    };
    match os {
        Os::Linux => usual.into_iter().filter_map(at_root).collect(),
        _ => Vec::new(),
    }
}

/// What the script makes inside alone to mount on.
#[cfg(feature = "image")]
fn made(script: &ChildScript) -> Vec<std::path::PathBuf> {
    use sandboxlib_mount::PlanStep;
    let steps = script.steps.iter().filter_map(|step| match step {
        Step::Mount(
            PlanStep::MakeDir {
                at, on_host: false, ..
            }
            | PlanStep::MakeFile { at, on_host: false },
        ) => Some(at.as_path().to_owned()),
        _ => None,
    });
    steps.collect()
}

/// What no backend has to be asked about.
fn validate(config: &Config) -> Result<(), Error> {
    if let Capabilities::Only(names) = &config.capabilities {
        CapSet::from_names(names)?;
    }
    if let Ids::Pair { uid, gid } = config.ids {
        for (what, id) in [("uid", uid), ("gid", gid)] {
            // The kernel keeps -1 for "no id" (setresuid(2), user_namespaces(7)).
            if id == u32::MAX {
                return Err(Error::Config {
                    reason: format!("{what} {id} is no id"),
                });
            }
        }
    }
    if let Some(name) = &config.hostname {
        // sethostname(2): at most 64 bytes on Linux.
        if name.is_empty() || name.len() > 64 || name.as_encoded_bytes().contains(&0) {
            let reason = format!("host name {name:?} is not of 1 to 64 bytes without NUL");
            return Err(Error::Config { reason });
        }
        if config.namespaces.uts == Isolation::Shared {
            let reason = "a host name of its own needs the uts namespace isolated".to_owned();
            return Err(Error::Config { reason });
        }
    }
    Ok(())
}

/// Host paths are meant as the caller sees them now, also if it changes directory before a run.
fn make_absolute(config: &mut Config) -> Result<(), Error> {
    let absolute = |path: &mut std::path::PathBuf| {
        if !path.as_os_str().is_empty() && path.is_relative() {
            *path = std::path::absolute(Path::new(path)).map_err(|e| Error::Config {
                reason: format!("cannot make {path:?} absolute: {e}"),
            })?;
        }
        Ok::<(), Error>(())
    };
    if let Root::Dir(path) = &mut config.root {
        absolute(path)?;
    }
    if let Some(Overlay::Keep(path)) = &mut config.overlay {
        absolute(path)?;
    }
    for mount in &mut config.mounts {
        if let MountKind::Bind { source, .. } = &mut mount.kind {
            absolute(source)?;
        }
    }
    Ok(())
}

/// Says what is hidden of the host's root by default, which depends on who asks.
fn hide_callers_home(config: &mut Config, facts: &HostFacts) {
    if config.root == Root::Host && config.hidden.is_none() {
        let privileged = facts.uid == 0 || !facts.capabilities.is_empty();
        let homes = sandboxlib_spawn::caller_homes();
        config.hidden = Some(HiddenPlace::usual(homes, privileged));
    }
}

fn enforcement(
    backend: &'static str,
    effective: &EffectiveConfig,
    plan: &MountPlan,
) -> Enforcement {
    let mut enforcement = Enforcement::none(backend);
    enforcement.enforced = effective.enforced();
    enforcement.degradations = effective.degradations().to_vec();
    enforcement.created_on_host = plan.created_on_host().cloned().collect();
    enforcement.seccomp = effective.config().seccomp.name();
    enforcement.not_masked.clone_from(&plan.not_masked);
    enforcement.hidden.clone_from(&plan.hidden);
    enforcement
}

fn landlock(launch: &Launch) -> Option<Landlock> {
    let steps = match launch {
        Launch::Direct(script) => &script.steps,
        Launch::Helper(call) => &call.before,
        _ => return None,
    };
    steps.iter().find_map(|step| match step {
        Step::Landlock(landlock) => Some(landlock.clone()),
        _ => None,
    })
}

/// Adds what `launch` does not enforce after all.
fn degrade(enforcement: &mut Enforcement, launch: &Launch, config: &Config) -> Result<(), Error> {
    for degradation in launch.degradations() {
        // What is required is enforced or refused, whatever a backend makes of it.
        if !config.prefer.contains(degradation.feature) {
            return Err(Error::Prepare {
                backend: enforcement.backend,
                error: degradation.reason.clone().into(),
            });
        }
        enforcement.enforced.remove(degradation.feature);
        enforcement.degradations.push(degradation.clone());
    }
    Ok(())
}

fn kill_scope(launch: &Launch) -> KillScope {
    let contained = |script: &ChildScript| {
        script
            .steps
            .iter()
            .any(|step| matches!(step, Step::Namespaces(set) if set.pid))
    };
    match launch {
        Launch::Direct(script) if contained(script) => KillScope::Everything,
        _ => KillScope::ProcessGroup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_mounts_are_a_matter_of_systems_with_mounts() {
        let kinds = |os| {
            let mounts = usual_mounts(os);
            mounts.iter().map(|m| m.kind.name()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(Os::Linux), ["proc", "dev", "tmpfs"]);
        assert!(kinds(Os::MacOs).is_empty() && kinds(Os::FreeBsd).is_empty());
    }
}
