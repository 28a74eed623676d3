use std::fmt::Write as _;
use std::io;

use sandboxlib_config::{Config, Root};
use sandboxlib_core::{End, Knob, PrepareError, SpawnError};
use sandboxlib_mount::PlanError;

/// A backend that does not do what it claims.
#[derive(Debug, thiserror::Error)]
#[error("the backend {backend} fails the case {case}: {what}{}", shown(.script))]
pub struct Fault {
    /// The backend.
    pub backend: &'static str,
    /// The case.
    pub case: &'static str,
    /// What is wrong.
    pub what: Box<What>,
    /// What was to be done, as `--explain` shows it, as far as it came to that.
    pub script: Option<String>,
}

impl Fault {
    /// Why the sandbox could not be started although the backend is not to blame: something on
    /// this host, such as a system call filter, forbids what cannot be known before it is tried.
    /// `None` if the backend is to blame.
    #[must_use]
    pub fn forbidden(&self) -> Option<String> {
        let What::Start(error) = &*self.what else {
            return None;
        };
        let facts = sandboxlib_spawn::facts(&Config::new(Root::Host));
        let hints = sandboxlib_spawn::hints(&facts, error, None);
        let of_the_host = hints.iter().filter(|hint| {
            matches!(
                hint.knob,
                Knob::Sysctl { .. }
                    | Knob::Lsm(_)
                    | Knob::Seccomp
                    | Knob::Kernel { .. }
                    | Knob::KernelConfig(_)
                    | Knob::Limit(_)
                    | Knob::Mount(_)
                    | Knob::Request("no_new_privs")
            )
        });
        let mut text = String::new();
        for hint in of_the_host {
            let _ = write!(text, "{error}: {}; {}", error.source, hint.advice);
        }
        (!text.is_empty()).then_some(text)
    }
}

fn shown(script: &Option<String>) -> String {
    let script = script
        .as_deref()
        .map(|s| format!("\nhow:\n{}", s.trim_end()));
    script.unwrap_or_default()
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// Every feature of the case is claimed, and then it is refused.
    #[error("it claims every feature and then refuses: {0}")]
    Refused(PrepareError),
    /// There is no mount plan of it.
    #[error("it cannot be planned: {0}")]
    Plan(PlanError),
    /// The sandbox could not be started.
    #[error("{0}: {source}", source = .0.source)]
    Start(Box<SpawnError>),
    /// The probe answered something else than what is right.
    #[error("{question:?} was answered by {got}, and right is {wanted}")]
    Answer {
        /// What it was asked.
        question: String,
        /// What is right.
        wanted: String,
        /// What it answered.
        got: String,
    },
    /// The run ended in another way than it has to.
    #[error("the run ended by {got:?}, and right is {wanted}; standard error: {stderr:?}")]
    End {
        /// What is right.
        wanted: String,
        /// How it ended.
        got: End,
        /// What was printed meanwhile.
        stderr: String,
    },
    /// The host is not as it was.
    #[error("afterwards, on the host, {0}")]
    Host(String),
    /// Something that can be put into words alone.
    #[error("{0}")]
    Other(String),
    /// The suite itself could not do its work.
    #[error("the suite itself failed: {0}")]
    Suite(#[from] io::Error),
}
