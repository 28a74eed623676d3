//! A case as a test.

use sandboxlib_core::Backend;

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
        Err(fault) => match fault.forbidden() {
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
