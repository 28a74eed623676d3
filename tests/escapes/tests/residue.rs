//! What 2,000 runs leave behind.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use sandboxlib_escapes::{Stage, Who, residue};
use sandboxlib_tests::{host_can, run_sandbox, skip};

#[test]
fn two_thousand_runs_leave_nothing() {
    if !host_can() {
        return;
    }
    let stage = Stage::new(Who::me()).unwrap();
    if !stage.root().join("bin/busybox").exists() {
        skip("no /bin/busybox (package busybox-static)");
        return;
    }
    let tally = residue::check(&run_sandbox(), &stage, 2000).unwrap_or_else(|why| panic!("{why}"));
    println!("{tally:?}");
}
