//! Starting everything but the command.

use std::path::Path;

use sandboxlib_core::doctor::{Verdict, told};
use sandboxlib_core::{ExecProblem, FailedStep, Failure, Hint, HostFacts, SpawnError, explain};

use crate::system;

/// How far a rehearsal went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rehearsal {
    /// Everything was carried out but the command.
    Done,
    /// A helper does the isolating; what it can do shows only when it runs something.
    NotTried,
}

/// What came of starting a run without a name. No program has the empty name, so when that is
/// all that failed, everything before it was carried out, the init program included; and by then
/// everything of the sandbox is gone again.
pub(crate) fn judge<Child>(started: Result<Child, SpawnError>) -> Result<(), SpawnError> {
    match started {
        Err(error) => match error.step {
            FailedStep::Exec {
                problem: ExecProblem::NotFound,
                ..
            } => Ok(()),
            _ => Err(error),
        },
        // It cannot be, and if it were, dropping the child would end it.
        Ok(_) => Ok(()),
    }
}

/// What may have caused a start to fail, and what to do, the likeliest first: looks at the host
/// ([`diagnose_command`](crate::diagnose_command)) and explains what it sees.
///
/// Everybody who tells people about a failed start asks this, so nobody tells them otherwise.
#[must_use]
pub fn hints(facts: &HostFacts, error: &SpawnError, command: Option<&Path>) -> Vec<Hint> {
    let diagnosis = system::diagnose_command(facts.clone(), &error.step, command);
    let failure = Failure {
        step: &error.step,
        errno: errno(error),
    };
    explain(failure, &diagnosis)
}

/// What the operating system said; 0 where it did not say anything, as when newuidmap fails or
/// the child dies. The step alone tells much then.
pub(crate) fn errno(error: &SpawnError) -> i32 {
    error.source.raw_os_error().unwrap_or(0)
}

/// A start that failed, or did not, as a verdict and what there is to tell of it.
pub(crate) fn verdict(facts: &HostFacts, done: Result<(), SpawnError>) -> (Verdict, String) {
    match done {
        Ok(()) => (Verdict::Works, String::new()),
        Err(error) => {
            let said = told(&error.step, &error.source);
            let hints = hints(facts, &error, None);
            let verdict = Verdict::fails(error.source.raw_os_error(), said.clone(), hints);
            (verdict, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use sandboxlib_core::{ChildScript, Launch, Step};

    use super::*;
    use crate::Prepared;

    fn rehearse(steps: Vec<Step>) -> Result<Rehearsal, SpawnError> {
        Prepared::new(&Launch::Direct(ChildScript { steps }))?.rehearse()
    }

    #[test]
    fn what_can_be_done_is_done_and_what_fails_names_its_step() {
        assert_eq!(rehearse(vec![]).unwrap(), Rehearsal::Done);
        assert_eq!(rehearse(vec![Step::Session]).unwrap(), Rehearsal::Done);
        let nowhere = Step::ChrootTo("/no/such/directory".into());
        let error = rehearse(vec![Step::Session, nowhere]).unwrap_err();
        let FailedStep::Script { index: 1, step, .. } = &error.step else {
            panic!("{error}")
        };
        assert!(matches!(**step, Step::ChrootTo(_)));
    }
}
