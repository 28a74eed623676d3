use std::fmt;

use sandboxlib_core::{ExecProblem, FailedStep, Hint, NegotiateError, PrepareError, SpawnError};
use sandboxlib_core::{Started, UnknownCapability};
use sandboxlib_mount::PlanError;

use crate::Candidate;

/// Why a command did not run, or could not be waited for.
///
/// The text is a lower-case fragment about the failure itself; what caused it follows by
/// [`source`](std::error::Error::source), and what to do by [`hints`](Self::hints).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No backend has this name.
    #[error("unknown backend {name:?}; known are: auto, {}", known.join(", "))]
    UnknownBackend {
        /// The name.
        name: String,
        /// The names of the backends of this build.
        known: Vec<&'static str>,
    },
    /// No backend can enforce what was asked for.
    #[error("no backend can do what was asked: {}", Reasons(candidates))]
    Negotiate {
        /// Every backend that was tried, with its reason.
        candidates: Vec<Candidate>,
    },
    /// The configuration contradicts itself.
    #[error("invalid configuration: {reason}")]
    Config {
        /// What is wrong.
        reason: String,
    },
    /// What an overlay took could not be looked through.
    #[cfg(feature = "image")]
    #[error(transparent)]
    Image {
        /// Why.
        error: sandboxlib_image::Error,
    },
    /// The mounts cannot be planned on this host.
    #[error(transparent)]
    Plan {
        /// Why.
        error: PlanError,
    },
    /// The chosen backend cannot deliver this combination.
    #[error("backend {backend}: {error}")]
    Prepare {
        /// The backend.
        backend: &'static str,
        /// Why.
        error: PrepareError,
    },
    /// The command could not be started.
    #[error("{error}")]
    Spawn {
        /// The backend.
        backend: &'static str,
        /// The step that failed, and why.
        #[source]
        error: Box<SpawnError>,
    },
    /// The command runs, or ran, but waiting for it or talking to it failed.
    #[error("cannot wait for the command")]
    Wait {
        /// The backend.
        backend: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

struct Reasons<'a>(&'a [Candidate]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is none in this build");
        }
        for (i, Candidate { backend, error }) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{backend}: {error}")?;
        }
        Ok(())
    }
}

impl Error {
    /// What to do about it, the likeliest cure first.
    #[must_use]
    pub fn hints(&self) -> Vec<&Hint> {
        match self {
            Self::Negotiate { candidates } => {
                let mut hints: Vec<&Hint> = Vec::new();
                for hint in candidates.iter().flat_map(|c| negotiation_hints(&c.error)) {
                    if !hints.contains(&hint) {
                        hints.push(hint);
                    }
                }
                hints
            }
            Self::Prepare { error, .. } => error.reason.hints.iter().collect(),
            Self::Spawn { error, .. } => error.hints.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the command was started.
    #[must_use]
    pub fn started(&self) -> Started {
        match self {
            Self::Spawn { error, .. } => error.started,
            Self::Wait { .. } => Started::Yes,
            _ => Started::No,
        }
    }

    /// What is wrong with the command itself, if that is what failed.
    #[must_use]
    pub fn exec_problem(&self) -> Option<&ExecProblem> {
        match self {
            Self::Spawn { error, .. } => match &error.step {
                FailedStep::Exec { problem, .. } => Some(problem),
                _ => None,
            },
            _ => None,
        }
    }
}

fn negotiation_hints(error: &NegotiateError) -> Vec<&Hint> {
    match error {
        NegotiateError::Unusable(reason) => reason.hints.iter().collect(),
        NegotiateError::Refused(list) => list.iter().flat_map(|r| &r.reason.hints).collect(),
        _ => Vec::new(),
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Plan { error }
    }
}

impl From<UnknownCapability> for Error {
    fn from(error: UnknownCapability) -> Self {
        Self::Config {
            reason: error.to_string(),
        }
    }
}
