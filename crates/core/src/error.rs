use std::fmt;
use std::io;
use std::path::PathBuf;

use sandboxlib_config::SandboxPath;

use crate::{Hint, Started, Step};

/// Where the start of a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailedStep {
    /// Before the child was born: a path, argument or variable that no system call can take.
    Lower {
        /// What could not be passed on.
        what: String,
    },
    /// Making the pipes, files and memory that the child needs.
    Resources(&'static str),
    /// Giving birth to the child (clone(2)) in its namespaces.
    Clone(crate::NamespaceSet),
    /// A step of the script.
    Script {
        /// Its place in the script, from 0.
        index: usize,
        /// The step.
        step: Box<Step>,
        /// The part of the step that failed, such as the name of a system call.
        detail: &'static str,
    },
    /// Handing over the standard streams and the files passed by name.
    Streams,
    /// Changing to the working directory.
    WorkingDirectory(SandboxPath),
    /// Starting the first process of the sandbox, which reaps and forwards signals.
    Init,
    /// Making the command the first process of the sandbox, with no init program above it.
    FirstProcess,
    /// Starting the command.
    Exec {
        /// The command as it was given.
        program: PathBuf,
        /// What is wrong with it.
        problem: ExecProblem,
    },
    /// Starting the helper program.
    Helper(PathBuf),
    /// What a helper program does before it starts the command; it said why on standard error.
    HelperSetup(PathBuf),
    /// The child died before it could say why, by a signal from outside or for want of memory.
    Died,
    /// The sandbox in which the command was to be one of many has ended: it came to a limit, or
    /// somebody killed it.
    Session,
}

/// What is wrong with a command that could not be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecProblem {
    /// Nothing of that name was found inside the root.
    NotFound,
    /// It is there and may not be executed.
    NotExecutable,
    /// It is a script, and the interpreter that it names is missing inside the root.
    InterpreterMissing(PathBuf),
    /// It is a dynamic program, and the loader that it names is missing inside the root.
    LoaderMissing(PathBuf),
    /// It is no program that this kernel and processor can run.
    BadFormat,
    /// The arguments and the environment are larger than the kernel takes.
    TooLong,
    /// Something else, see the errno.
    Other,
}

impl fmt::Display for FailedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower { what } => write!(f, "pass on {what}"),
            Self::Resources(what) => write!(f, "make {what}"),
            Self::Clone(set) if *set == crate::NamespaceSet::default() => {
                f.write_str("clone a child")
            }
            Self::Clone(set) => {
                f.write_str("clone a child into new namespaces:")?;
                set.names().try_for_each(|name| write!(f, " {name}"))
            }
            Self::Script { step, detail, .. } => write!(f, "{step} ({detail})"),
            Self::Streams => f.write_str("hand over the standard streams"),
            Self::WorkingDirectory(path) => {
                write!(f, "change to the working directory {path:?}")
            }
            Self::Init => f.write_str("start the first process of the sandbox"),
            Self::FirstProcess => f.write_str("make the command the first process of the sandbox"),
            Self::Exec { program, problem } => match problem {
                ExecProblem::NotFound => write!(f, "find the command {program:?} in the root"),
                ExecProblem::InterpreterMissing(path) => write!(
                    f,
                    "execute {program:?}: its interpreter {path:?} is missing in the root"
                ),
                ExecProblem::LoaderMissing(path) => {
                    write!(
                        f,
                        "execute {program:?}: its loader {path:?} is missing in the root"
                    )
                }
                ExecProblem::BadFormat => {
                    write!(f, "execute {program:?}: it is no program for this machine")
                }
                ExecProblem::TooLong => {
                    write!(
                        f,
                        "execute {program:?}: its arguments and environment are too long"
                    )
                }
                ExecProblem::NotExecutable | ExecProblem::Other => {
                    write!(f, "execute {program:?}")
                }
            },
            Self::Helper(path) => write!(f, "start the helper {path:?}"),
            Self::HelperSetup(path) => write!(f, "set the sandbox up by the helper {path:?}"),
            Self::Session => f.write_str("run a command in the session: it has ended"),
            Self::Died => f.write_str("set the sandbox up: the child died"),
        }
    }
}

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
#[non_exhaustive]
pub struct SpawnError {
    /// The step that failed.
    pub step: FailedStep,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
    /// What to do about it.
    pub hints: Vec<Hint>,
    /// Whether the command was started. Set-up that failed is always `No`, except where a helper
    /// program does not tell.
    pub started: Started,
}

impl SpawnError {
    /// An error in the set-up, with no hints yet.
    #[must_use]
    pub fn new(step: FailedStep, source: io::Error) -> Self {
        Self {
            step,
            source,
            hints: Vec::new(),
            started: Started::No,
        }
    }
}
