//! Thousands of rounds of each race.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use sandboxlib_escapes::{Stage, Who, races};
use sandboxlib_tests::{host_can, run_sandbox};

#[test]
fn no_race_is_lost() {
    if !host_can() {
        return;
    }
    let stage = Stage::new(Who::me()).unwrap();
    let races = races::all(&run_sandbox(), &stage, 1500).unwrap_or_else(|why| panic!("{why}"));
    for race in races {
        println!(
            "{}: {} rounds: {}; {}",
            race.name, race.rounds, race.detail, race.control
        );
    }
}
