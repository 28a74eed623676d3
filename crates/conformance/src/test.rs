//! A case as a test.

use std::fmt::Write as _;

use sandboxlib_config::{Config, Root};
use sandboxlib_core::{Backend, Failure, Knob, SpawnError, explain};

use crate::fault::{Fault, What};
use crate::run::{Verdict, run};
use crate::world::NO_PROBE;

/// Set where everything must be tested, so that a skip is a failure.
const MUST_WORK: &str = "SANDBOXLIB_MUST_WORK";

/// Plays the case of this name, and panics if the backend fails it.
#[expect(clippy::panic, reason = "it is the body of a test")]
#[expect(clippy::print_stdout, reason = "the test's output says what it did")]
pub fn check(backend: &dyn Backend, name: &str) {
    let Some(case) = crate::cases().find(|case| case.name == name) else {
        panic!("there is no case {name}");
    };
    match run(case, backend) {
        Ok(Verdict::Held) => {}
        Ok(Verdict::Refused(reason)) => println!("refused, as it may be: {reason}"),
        Ok(Verdict::NoProbe) => skip(NO_PROBE),
        Err(fault) => match forbidden(&fault) {
            Some(cause) => skip(&cause),
            None => panic!("{fault}"),
        },
    }
}

#[expect(clippy::panic, reason = "it is the body of a test")]
#[expect(clippy::print_stdout, reason = "`cargo xtask test` counts these lines")]
fn skip(reason: &str) {
    println!("SKIP: {}", reason.trim().replace('\n', " "));
    if std::env::var_os(MUST_WORK).is_some() {
        panic!("nothing may be skipped here: {reason}");
    }
}

/// Why the sandbox could not be started although the backend is not to blame: something on this
/// host forbids it that cannot be known before it is tried.
fn forbidden(fault: &Fault) -> Option<String> {
    let What::Start(error) = &*fault.what else {
        return None;
    };
    let SpawnError { step, source, .. } = &**error;
    let facts = sandboxlib_spawn::facts(&Config::new(Root::Host));
    let failure = Failure {
        step,
        errno: source.raw_os_error()?,
    };
    let hints = explain(failure, &sandboxlib_spawn::diagnose(facts, step));
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
        )
    });
    let mut text = String::new();
    for hint in of_the_host {
        let _ = write!(text, "{error}: {source}; {}", hint.advice);
    }
    (!text.is_empty()).then_some(text)
}
