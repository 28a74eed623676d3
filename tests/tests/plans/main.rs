//! Plans of the mount planner, carried out by the kernel: what a process inside finds is held
//! against the planner's model, the mount table against the plan, and the host against what it
//! was before.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a surprise ends the test"
)]

mod case;
mod check;
mod files;
mod inside;
#[allow(dead_code, reason = "the planner's tests ask it more than these do")]
#[path = "../../../crates/mount/tests/planner/model.rs"]
mod model;
mod mounts;
mod probe;
mod race;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use sandboxlib::UserNamespace;

use crate::case::{Case, Wishes};
use crate::inside::{Inside, user_namespaces};

/// Not a test of anything: what the sandboxes of this file run. See [`probe`].
#[test]
fn probe_inside() {
    probe::main();
}

#[test]
fn the_kernel_shows_what_the_model_shows() {
    let Some(modes) = user_namespaces() else {
        return;
    };
    let inside = Inside::new();
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(150),
        // Each attempt takes some milliseconds.
        max_shrink_iters: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let seen = Seen::default();
    let mut runner = TestRunner::new(config);
    let strategy = (case::wishes(), proptest::sample::select(modes));
    let result = runner.run(&strategy, |(wishes, user)| {
        run(&inside, &wishes, user, &seen)
    });
    match result {
        Ok(()) => {}
        // It names the configuration; the wishes that it was made from are of no use besides.
        Err(TestError::Fail(why, _)) => panic!("{why}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    println!("{seen:?}");
}

/// What all the cases together have come across, so that a reader of the log can judge them.
#[derive(Debug, Default)]
struct Seen {
    cases: Cell<usize>,
    mounts: Cell<usize>,
    shadows: Cell<usize>,
    made_on_host: Cell<usize>,
    masked: Cell<usize>,
    paths: Cell<usize>,
}

fn run(
    inside: &Inside,
    wishes: &Wishes,
    user: UserNamespace,
    seen: &Seen,
) -> Result<(), TestCaseError> {
    let case = Case::build(wishes, inside, user);
    check::check(&case, inside, seen)
        .map_err(|why| TestCaseError::fail(format!("{why}\n{}\n{:#?}", case.plan, case.config)))
}
