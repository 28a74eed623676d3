//! Every technique against every backend of ours, as whoever runs this.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a surprise ends the test"
)]

use sandboxlib_escapes::{Stage, Who, expected, report, run, target, techniques};
use sandboxlib_tests::{host_can, run_sandbox, skip};

fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[test]
fn every_way_out_is_as_open_as_expected() {
    if !host_can() {
        return;
    }
    let program = run_sandbox();
    let who = Who::me();
    let stage = Stage::new(who).unwrap();
    let mut targets = target::ours(&program, who);
    targets.retain(|target| {
        let there = match target.name.as_str() {
            "bubblewrap" => have("bwrap"),
            "linux-user-chroot" => program.with_file_name("linux-user-chroot").exists(),
            _ => true,
        };
        if !there {
            skip(&format!(
                "no helper program for the backend {}",
                target.name
            ));
        }
        there
    });
    let all: Vec<_> = techniques().collect();
    let rows = run::all(&stage, &program, &all, &targets).unwrap_or_else(|why| panic!("{why}"));
    println!("{}", report::text(&rows));
    let surprises = expected::surprises(&rows);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
