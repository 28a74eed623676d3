use sandboxlib_core::{
    ChildScript, FailedStep, HelperArg, HelperCall, Launch, ProcessLimits, SpawnError, Started,
    Step,
};

use crate::rehearsal::Rehearsal;
use crate::run::Run;
use crate::{Child, Session, helper, system};

/// A launch that is ready to be started, as often as asked and from any thread.
#[derive(Debug)]
pub struct Prepared {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Script(system::Script),
    Helper {
        script: system::Script,
        call: HelperCall,
    },
}

impl Prepared {
    /// Does once what all starts have in common.
    ///
    /// # Errors
    /// [`SpawnError`] if the launch has something that no system call can take.
    pub fn new(launch: &Launch) -> Result<Self, SpawnError> {
        let way = match launch {
            Launch::Direct(script) => Way::Script(system::Script::new(script)?),
            // A helper isolates; all that is left to do is to keep our own files out of it.
            Launch::Helper(call) => Way::Helper {
                script: system::Script::new(&ChildScript {
                    steps: [&[Step::Session], call.before.as_slice()].concat(),
                })?,
                call: with_filters(call)?,
            },
            other => {
                let what = format!("{other:?}");
                let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
                return Err(SpawnError::new(FailedStep::Lower { what }, source));
            }
        };
        Ok(Self { way })
    }

    /// Starts a command and returns when it runs.
    ///
    /// # Errors
    /// [`SpawnError`] names the step that failed; then nothing of the sandbox is left.
    pub fn start(&self, run: &Run) -> Result<Child, SpawnError> {
        match &self.way {
            Way::Script(script) => script.start(run),
            Way::Helper { .. } if run.as_pid_1 => {
                Err(no_first_process("a helper program starts the command"))
            }
            Way::Helper { .. } if run.limits != ProcessLimits::default() => {
                let what = "limits of one command by a helper program".to_owned();
                let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
                Err(SpawnError::new(FailedStep::Lower { what }, source))
            }
            Way::Helper { script, call } => {
                let (wrapped, errand) = helper::wrap(call, run)?;
                let mut child = script.start(&wrapped).map_err(|mut error| {
                    error.started = Started::No;
                    if let FailedStep::Exec { .. } = error.step {
                        error.step = FailedStep::Helper(call.program.clone());
                    }
                    error
                })?;
                child.set_errand(errand);
                Ok(child)
            }
        }
    }

    /// Keeps up to `count` sandboxes set up in the background, each waiting for a command, and from
    /// now on [`start`](Self::start) takes one of them where it can. The first is there when this
    /// returns; 0 ends them.
    ///
    /// No program was run in them but the init program. They have the mounts of the host as they
    /// were when they were made: when something is mounted or unmounted in the caller's mount
    /// namespace, new ones are made. A command whose standard streams are files (no pipes, sockets
    /// or /dev/null) gets a sandbox of its own where Landlock guards files, because what may be
    /// opened again by /dev/stdin and the like is settled when it is set up.
    ///
    /// # Errors
    /// [`SpawnError`] as [`start`](Self::start) would give it, or `Unsupported` for launches by a
    /// helper program.
    pub fn warm(&self, count: usize) -> Result<(), SpawnError> {
        match &self.way {
            // It never has any.
            Way::Helper { .. } if count == 0 => Ok(()),
            _ => self.direct("sandboxes that stand ready")?.warm(count),
        }
    }

    /// How many sandboxes stand ready.
    #[must_use]
    pub fn warmed(&self) -> usize {
        match &self.way {
            Way::Script(script) => script.warmed(),
            Way::Helper { .. } => 0,
        }
    }

    /// Sets up one sandbox for many commands.
    ///
    /// # Errors
    /// As for [`warm`](Self::warm).
    pub fn session(&self) -> Result<Session, SpawnError> {
        self.direct("a sandbox for many commands")?.session()
    }

    /// What only an init program of our own can do.
    fn direct(&self, what: &str) -> Result<&system::Script, SpawnError> {
        match &self.way {
            Way::Script(script) => Ok(script),
            Way::Helper { call, .. } => {
                let program = call.program.display();
                let why = format!("{program} sets up one sandbox for one command");
                let source = std::io::Error::new(std::io::ErrorKind::Unsupported, why);
                let what = what.to_owned();
                Err(SpawnError::new(FailedStep::Lower { what }, source))
            }
        }
    }

    /// Carries out everything but the command, to see whether it can be done, and undoes it by
    /// ending the sandbox. What the launch makes on the host, such as a mount point in a
    /// writable directory, stays.
    ///
    /// # Errors
    /// [`SpawnError`] as [`start`](Self::start) would give it.
    pub fn rehearse(&self) -> Result<Rehearsal, SpawnError> {
        match &self.way {
            Way::Script(script) => script.rehearse().map(|()| Rehearsal::Done),
            Way::Helper { .. } => Ok(Rehearsal::NotTried),
        }
    }
}

/// The command cannot be process 1.
pub(crate) fn no_first_process(why: &str) -> SpawnError {
    let source = std::io::Error::new(std::io::ErrorKind::Unsupported, why);
    SpawnError::new(FailedStep::FirstProcess, source)
}

/// The call with its system call filters compiled.
fn with_filters(call: &HelperCall) -> Result<HelperCall, SpawnError> {
    let mut call = call.clone();
    for arg in &mut call.args {
        if let HelperArg::SyscallFilter(filter) = arg {
            *arg = HelperArg::Data(system::filter_program(filter)?.into());
        }
    }
    Ok(call)
}
