use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxlib_config::{Config, Limits, Root, SandboxPath};
use sandboxlib_core::{
    Backend, End, FailedStep, Hint, HostFacts, Knob, Launch, Outcome, ProcessLimits, SpawnError,
    Started,
};
use sandboxlib_spawn::{Gathered, Run, Signaller, Stdio, Stream, Tty, WindowSize, hints};
use tracing::debug_span;

use crate::sandbox::Basis;
use crate::{Error, Prepared};

#[cfg(feature = "tokio")]
use crate::runtime::Running;
#[cfg(not(feature = "tokio"))]
use sandboxlib_spawn::Child as Running;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A command that is going to run in a sandbox, as often as it is started.
#[derive(Debug)]
pub struct Command<'p> {
    pub(crate) basis: &'p Arc<Basis>,
    /// Where it runs, if not in a sandbox of its own.
    pub(crate) session: Option<&'p Arc<sandboxlib_spawn::Session>>,
    pub(crate) run: Run,
    pub(crate) limits: Limits,
    /// Those that it does not have from the sandbox.
    own: Limits,
}

impl<'p> Command<'p> {
    pub(crate) fn new(prepared: &'p Prepared, program: &OsStr) -> Self {
        Self {
            basis: &prepared.basis,
            session: None,
            run: Run::new(program),
            limits: prepared.basis.check.limits,
            own: Limits::default(),
        }
    }

    pub(crate) fn within(mut self, session: &'p Arc<sandboxlib_spawn::Session>) -> Self {
        self.session = Some(session);
        self
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.run.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.run
            .args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. The environment has nothing but what is set here; PATH is
    /// also where the command is looked up.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let name: OsString = name.as_ref().to_owned();
        self.run.env.retain(|(n, _)| *n != name);
        self.run.env.push((name, value.as_ref().to_owned()));
        self
    }

    /// Sets environment variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Sets the working directory, `/` if it is not set.
    pub fn cwd(&mut self, path: SandboxPath) -> &mut Self {
        self.run.cwd = path;
        self
    }

    /// Where standard input comes from.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.run.stdin = stdio.into();
        self
    }

    /// Where standard output goes.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.run.stdout = stdio.into();
        self
    }

    /// Where standard error goes.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.run.stderr = stdio.into();
        self
    }

    /// Passes `fd` on, as descriptor `number` (3 or more) of the command.
    pub fn fd(&mut self, fd: OwnedFd, number: i32) -> &mut Self {
        self.run.fds.push((fd, number));
        self
    }

    /// Gives the command a terminal of its own, and makes it lead a session there. The standard
    /// streams for which nothing else is set lead to it; [`Child::stdin`] and [`Child::stdout`] are
    /// its other end. What is typed there is echoed, lines end in CR LF, and closing it is no end
    /// of input: that is a character, usually 4 (termios(3), `VEOF`).
    ///
    /// Where the sandbox has a /dev of its own it is a terminal there, else one of the host's.
    /// Linux alone has this as yet.
    pub fn tty(&mut self, tty: Tty) -> &mut Self {
        self.run.tty = Some(tty);
        self
    }

    /// Makes the command process 1 of the sandbox itself, with no init program above it: for an
    /// init system of your own. [`Run::as_pid_1`] says what is given up by it, above all that
    /// everything ends with the caller for certain.
    ///
    /// [`spawn`](Self::spawn) refuses it where there is no process id namespace, in a session, with
    /// a terminal, and where a helper program isolates.
    pub fn as_pid_1(&mut self) -> &mut Self {
        self.run.as_pid_1 = true;
        self
    }

    /// Has everything in the sandbox killed when this time has passed since the start. It is
    /// enforced by waiting for the command.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.limits.wall = Some(timeout);
        self
    }

    /// For how long the command may clean up when its time is up ([`Limits::kill_after`]).
    pub fn kill_after(&mut self, grace: Duration) -> &mut Self {
        self.limits.kill_after = Some(grace);
        self
    }

    /// How many bytes the command may print on each stream ([`Limits::output`]). Standard output
    /// and error have to be pipes then, or lead nowhere, and be read by
    /// [`output`](Self::output), [`Child::wait_with_output`], [`Child::wait_streaming`] or
    /// [`Child::wait_relaying`], or by their twins of the feature `tokio`.
    pub fn output_limit(&mut self, bytes: u64) -> &mut Self {
        self.limits.output = Some(bytes);
        self
    }

    /// Adds limits of this command: those that are set count instead of what was said before. Of
    /// those that are of each process ([`Limits::file_size`], `open_files`, `stack`, `core`) and
    /// what the sandbox has, the lower holds.
    ///
    /// The limits of what all processes use together are the sandbox's, and are refused by
    /// [`spawn`](Self::spawn); and so are limits of each process where a helper program isolates.
    pub fn limits(&mut self, limits: Limits) -> &mut Self {
        self.run.limits = ProcessLimits::of(&limits.over(self.own));
        self.own = limits.over(self.own);
        self.limits = limits.over(self.limits);
        self
    }

    /// Starts the command, and returns when it runs.
    ///
    /// # Errors
    /// [`Error::Spawn`] names the step that failed; then nothing of the sandbox is left.
    /// [`Error::Config`] if there is a limit that nobody could hold.
    pub fn spawn(&mut self) -> Result<Child, Error> {
        self.check_streams()?;
        self.check_limits()?;
        let session = self.session.map(Arc::as_ref);
        start(self.basis, session, &self.run, self.limits)
    }

    /// What counts for the whole sandbox was settled when it was set up.
    pub(crate) fn check_limits(&self) -> Result<(), Error> {
        if self.own.counts_the_tree() {
            let reason =
                "limits of processor time, memory and processes hold for the sandbox as a \
                          whole: set them on the sandbox, not on a command"
                    .to_owned();
            return Err(Error::Config { reason });
        }
        Ok(())
    }

    /// A limit of output is held by reading the output.
    pub(crate) fn check_streams(&self) -> Result<(), Error> {
        let read = |stdio: &Stdio| match stdio {
            Stdio::Inherit => self.run.tty.is_some(),
            Stdio::Fd(_) => false,
            _ => true,
        };
        if self.limits.output.is_some() && !(read(&self.run.stdout) && read(&self.run.stderr)) {
            let reason = "a limit of output needs standard output and error to be pipes".to_owned();
            return Err(Error::Config { reason });
        }
        Ok(())
    }

    /// Runs the command to its end, with the caller's standard streams unless others are set.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), or [`Error::Wait`].
    pub fn status(&mut self) -> Result<Outcome, Error> {
        self.spawn()?.wait()
    }

    /// Runs the command to its end and gathers what it prints. Standard input is empty, and
    /// standard output and error are gathered, unless something else is set, such as a terminal,
    /// of which what it shows is gathered as standard output.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), or [`Error::Wait`].
    pub fn output(&mut self) -> Result<Output, Error> {
        self.gather();
        self.spawn()?.wait_with_output()
    }

    /// Has the streams that nothing was said about gathered.
    pub(crate) fn gather(&mut self) {
        let tty = self.run.tty.is_some();
        let unset = |stdio: &Stdio| matches!(stdio, Stdio::Inherit) && !tty;
        if unset(&self.run.stdin) {
            self.run.stdin = Stdio::Null;
        }
        if unset(&self.run.stdout) {
            self.run.stdout = Stdio::Piped;
        }
        if unset(&self.run.stderr) {
            self.run.stderr = Stdio::Piped;
        }
    }
}

/// Starts a command, in `session` or in a sandbox of its own.
pub(crate) fn start(
    basis: &Basis,
    session: Option<&sandboxlib_spawn::Session>,
    run: &Run,
    limits: Limits,
) -> Result<Child, Error> {
    let _span = debug_span!("spawn", program = ?run.program).entered();
    let backend = basis.check.enforcement.backend;
    let started = match session {
        Some(session) => session.start(run),
        None => basis.ready.start(run),
    };
    match started {
        Ok(mut child) => {
            child.set_limits(limits);
            Ok(Child {
                stdin: child.stdin.take(),
                stdout: child.stdout.take(),
                stderr: child.stderr.take(),
                #[allow(
                    clippy::useless_conversion,
                    reason = "with the feature tokio it is another type"
                )]
                inner: child.into(),
                backend,
                helper: match &basis.check.launch {
                    Launch::Helper(call) => Some(Helper {
                        program: call.program.clone(),
                        backend: basis.backend.clone(),
                        facts: basis.check.facts.clone(),
                    }),
                    _ => None,
                },
            })
        }
        Err(error) => {
            let error = Box::new(with_hints(error, basis, run));
            Err(Error::Spawn { backend, error })
        }
    }
}

/// Looks, after the failure, at what may have caused it.
fn with_hints(mut error: SpawnError, basis: &Basis, run: &Run) -> SpawnError {
    let command = program_on_host(&basis.config, run);
    error.hints = hints(&basis.check.facts, &error, command.as_deref());
    error.hints.extend(hidden(&error, basis, run));
    error
}

/// The advice to show what was looked for in a hidden place.
fn hidden(error: &SpawnError, basis: &Basis, run: &Run) -> Option<Hint> {
    let wanted = match &error.step {
        FailedStep::WorkingDirectory(path) => path.as_path().to_owned(),
        FailedStep::Exec { program, .. } => run.cwd.as_path().join(program),
        _ => return None,
    };
    let mut places = basis.check.enforcement.hidden.iter();
    let place = places.find(|place| wanted.starts_with(place.as_path()))?;
    let advice = format!("{place:?} is hidden: name {wanted:?} as readable, or writable");
    Some(Hint::new(Knob::Request("readable"), advice))
}

/// Where on the host the program is, if it comes from the root itself and not from a mount. A
/// guess for the sake of a better hint: nothing is executed by it.
fn program_on_host(config: &Config, run: &Run) -> Option<PathBuf> {
    let root = match &config.root {
        Root::Dir(path) => path.as_path(),
        _ => Path::new("/"),
    };
    let program = Path::new(&run.program);
    let named: Vec<PathBuf> = if run.program.as_encoded_bytes().contains(&b'/') {
        vec![run.cwd.as_path().join(program)]
    } else {
        let path = run.env.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(OsStr::new(Run::DEFAULT_PATH), |(_, value)| value);
        std::env::split_paths(path)
            .map(|dir| dir.join(program))
            .collect()
    };
    named.iter().find_map(|path| {
        let inside = SandboxPath::new(path).ok()?;
        let mounted = config
            .mounts
            .iter()
            .any(|mount| inside.starts_with(&mount.target));
        let outside = root.join(inside.relative());
        (!mounted && outside.exists()).then_some(outside)
    })
}

/// How a helper program ended that did not start the command.
fn unexplained(end: End, said: &[u8]) -> String {
    let why = match end {
        End::Exited(status) => format!("it exited with status {status}"),
        other => format!("it ended: {other:?}"),
    };
    let said = String::from_utf8_lossy(said);
    match said.trim() {
        "" => why,
        said => format!("{why}: {said}"),
    }
}

/// A command that runs in a sandbox. Dropping it kills everything in the sandbox.
#[derive(Debug)]
pub struct Child {
    /// The writing end of standard input, if it is a pipe or the command's terminal.
    pub stdin: Option<File>,
    /// The reading end of standard output, if it is a pipe or the command's terminal.
    pub stdout: Option<File>,
    /// The reading end of standard error, if it is a pipe.
    pub stderr: Option<File>,
    pub(crate) inner: Running,
    pub(crate) backend: &'static str,
    /// The program that does the isolating, if one does.
    helper: Option<Helper>,
}

/// A program that does the isolating, and who can read what it says.
#[derive(Debug)]
struct Helper {
    program: PathBuf,
    backend: Arc<dyn Backend>,
    facts: HostFacts,
}

/// What a command printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub outcome: Outcome,
    /// What came through standard output, if that was a pipe.
    pub stdout: Vec<u8>,
    /// What came through standard error, if that was a pipe.
    pub stderr: Vec<u8>,
}

impl Child {
    /// The process id, on the host, of the sandbox's first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Sends `signal` to the command.
    ///
    /// # Errors
    /// What the operating system says; `BrokenPipe` if the sandbox has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.inner.signal(signal)
    }

    /// A handle for signals from elsewhere, such as another thread.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        self.inner.signaller()
    }

    /// Kills everything in the sandbox.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&mut self) -> io::Result<()> {
        self.inner.kill()
    }

    /// The outcome, if everything in the sandbox has ended.
    ///
    /// # Errors
    /// [`Error::Wait`] with what the operating system says, or [`Error::Spawn`] if a helper
    /// program has ended without having started the command.
    pub fn try_wait(&mut self) -> Result<Option<Outcome>, Error> {
        let outcome = self.inner.try_wait();
        let outcome = outcome.map_err(|source| self.not_waited(source))?;
        outcome
            .map(|outcome| self.with_command(outcome, &[]))
            .transpose()
    }

    /// The outcome, unless there was no command to have one: a helper program that could not set
    /// the sandbox up must not look like a command that failed.
    pub(crate) fn with_command(&self, outcome: Outcome, said: &[u8]) -> Result<Outcome, Error> {
        let Some(helper) = self.helper.as_ref() else {
            return Ok(outcome);
        };
        let reason = match (outcome.started, outcome.end) {
            (Started::Yes, _) => return Ok(outcome),
            (_, End::Exited(status)) => helper.backend.helper_failure(&helper.facts, status, said),
            _ => None,
        };
        if outcome.started == Started::Unknown && reason.is_none() {
            return Ok(outcome);
        }
        let (why, hints) = match reason {
            Some(reason) => (reason.text.into_owned(), reason.hints),
            None => (unexplained(outcome.end, said), Vec::new()),
        };
        let step = FailedStep::HelperSetup(helper.program.clone());
        let mut error = SpawnError::new(step, io::Error::other(why));
        error.started = outcome.started;
        error.hints = hints;
        Err(Error::Spawn {
            backend: self.backend,
            error: Box::new(error),
        })
    }

    /// Waits until everything in the sandbox has ended. Standard input is closed first, if it is
    /// a pipe that the caller has not taken.
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait).
    pub fn wait(&mut self) -> Result<Outcome, Error> {
        drop(self.stdin.take());
        let outcome = self.inner.wait();
        let outcome = outcome.map_err(|source| self.not_waited(source))?;
        self.with_command(outcome, &[])
    }

    /// Waits as [`wait`](Self::wait) does, and sends the command each of `signals` that this
    /// process gets meanwhile; see [`spawn::block_signals`](sandboxlib_spawn::block_signals).
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait).
    pub fn wait_forwarding(&mut self, signals: &[i32]) -> Result<Outcome, Error> {
        drop(self.stdin.take());
        let outcome = self.inner.wait_forwarding(signals);
        let outcome = outcome.map_err(|source| self.not_waited(source))?;
        self.with_command(outcome, &[])
    }

    /// Waits as [`wait_forwarding`](Self::wait_forwarding) does, and copies what comes through the
    /// pipes of standard output and error to the caller's own. Where that is not taken, the
    /// command has to wait.
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait).
    pub fn wait_relaying(&mut self, signals: &[i32]) -> Result<Outcome, Error> {
        self.waiting(|inner| inner.wait_relaying(signals))
    }

    /// Waits as [`wait_relaying`](Self::wait_relaying) does; where the command has a terminal
    /// ([`Command::tty`]), it is connected with the caller's: keys go there, from standard input,
    /// which is raw meanwhile if it is a terminal, and changes of the size too. The terminal is put
    /// back before this returns; see also [`spawn::restore_terminal`](sandboxlib_spawn::restore_terminal).
    ///
    /// Besides `signals` this takes SIGWINCH, SIGTSTP and SIGCONT. A command that goes on for long
    /// ([`kill_after`](Command::kill_after), or 2 s) after it got SIGTERM or SIGHUP from here loses
    /// its terminal, which ends whoever does not ignore that; so it does when the caller's is gone.
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait).
    pub fn wait_interactive(&mut self, signals: &[i32]) -> Result<Outcome, Error> {
        self.inner.stdin = self.stdin.take();
        self.waiting(|inner| inner.wait_interactive(signals))
    }

    /// Gives the command's terminal this size, if it has one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        self.inner.resize(size)
    }

    /// Waits, and hands what comes through the pipes of standard output and error to `take`, piece
    /// by piece, as it comes. As long as `take` does not return, nothing more is read and no limit
    /// is seen to, and a command that prints on has to wait. An error of `take` ends the waiting,
    /// and dropping this child ends the command.
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait); [`Error::Wait`] with what `take` returned.
    pub fn wait_streaming(
        &mut self,
        mut take: impl FnMut(Stream, &[u8]) -> io::Result<()>,
    ) -> Result<Outcome, Error> {
        self.waiting(|inner| inner.wait_streaming(&mut take))
    }

    fn waiting(
        &mut self,
        wait: impl FnOnce(&mut sandboxlib_spawn::Child) -> io::Result<Outcome>,
    ) -> Result<Outcome, Error> {
        self.lend_pipes();
        let outcome = wait(&mut self.inner).map_err(|source| self.not_waited(source))?;
        self.with_command(outcome, &[])
    }

    /// Waits, and gathers what comes through the pipes of standard output and error. Both are
    /// read as they fill, so neither can block the command, and no more is kept than the limit of
    /// output allows.
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait).
    pub fn wait_with_output(mut self) -> Result<Output, Error> {
        self.lend_pipes();
        let gathered = self.inner.wait_with_output();
        let gathered = gathered.map_err(|source| self.not_waited(source))?;
        self.output(gathered)
    }

    /// Waits as [`wait_with_output`](Self::wait_with_output) does, but no longer than `time`: `None`
    /// if the command has not ended by then. What was read is kept for the next call of this or of
    /// that, and there has to be one: who waits holds the limits.
    ///
    /// # Errors
    /// As for [`try_wait`](Self::try_wait).
    pub fn wait_with_output_for(&mut self, time: Duration) -> Result<Option<Output>, Error> {
        let now = Instant::now();
        // Whoever asks for longer than there are numbers gets a year at a time.
        let until = now.checked_add(time).unwrap_or(now + YEAR);
        self.lend_pipes();
        let gathered = self.inner.wait_with_output_until(until);
        let gathered = gathered.map_err(|source| self.not_waited(source))?;
        gathered.map(|gathered| self.output(gathered)).transpose()
    }

    /// Who waits reads the pipes.
    fn lend_pipes(&mut self) {
        drop(self.stdin.take());
        self.inner.stdout = self.stdout.take().or(self.inner.stdout.take());
        self.inner.stderr = self.stderr.take().or(self.inner.stderr.take());
    }

    pub(crate) fn output(&self, (outcome, stdout, stderr): Gathered) -> Result<Output, Error> {
        let outcome = self.with_command(outcome, &stderr)?;
        Ok(Output {
            outcome,
            stdout,
            stderr,
        })
    }

    pub(crate) fn not_waited(&self, source: io::Error) -> Error {
        let backend = self.backend;
        Error::Wait { backend, source }
    }
}
