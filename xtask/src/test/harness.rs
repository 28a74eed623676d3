//! Starts one test program, shows what it prints and reads the results out of it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::no_input;
use super::report::{Reader, Tally};
use crate::Result;

/// Runs a test program.
pub(super) fn run(name: &str, command: &mut Command) -> Result<Tally> {
    println!("\n-- {name}");
    // The output of tests that pass holds the reasons of those that skipped something.
    command.args(["--show-output", "--test-threads=2"]);
    follow(name, command)
}

/// Runs cargo's documentation tests.
pub(super) fn run_doc(command: &mut Command) -> Result<Tally> {
    println!("\n-- documentation");
    follow("documentation", command)
}

/// Runs a program that sums up as libtest does.
pub(super) fn run_as_libtest(name: &str, command: &mut Command) -> Result<Tally> {
    println!("\n-- {name}");
    follow(name, command)
}

fn follow(name: &str, command: &mut Command) -> Result<Tally> {
    let mut child = no_input(command).stdout(Stdio::piped()).spawn()?;
    let mut reader = Reader::new(name);
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            reader.line(&line);
        }
    }
    let status = child.wait()?;
    Ok(reader.finish(status.success()))
}
