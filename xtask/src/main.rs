//! `cargo xtask`: everything that CI or a maintainer runs.
//!
//! It depends on no crate of the workspace, so that it runs when they do not compile.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people, whose output is its purpose"
)]

mod account;
mod apt;
mod bench;
mod cli_docs;
mod dist;
mod doctor_docs;
mod environments;
mod escapes;
mod host;
mod instructions;
mod lab;
mod lint;
mod matrix;
mod repo;
mod targets;
mod test;
mod tidy;

use std::process::ExitCode;

/// Whatever went wrong, as a sentence for the person who ran xtask.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [--must-work] [--python]
                        build everything, run all tests as this user and, if that is root,
                        again as an ordinary one; --must-work: a skipped test is a failure;
                        --python: those of the Python package alone
  lint                  formatting, clippy, documentation, tidy
  tidy                  the invariants of the workspace
  check-targets [TARGET]...
                        clippy for macOS, FreeBSD and arm64 Linux, tests included
  bench [--quick] [--rounds N] [--only NAME]... [--peer NAME=COMMAND]... [--as root|user]
        [--seed N] [--json] [--write]
                        how long a sandbox takes, against other programs and the least that is
                        possible; --only: latency, binds, throughput, memory, mounts, or a
                        candidate; --write: into docs/benchmarks.md
  instructions [--write]
                        what planning, lowering and the caller's part of a start execute, held
                        against a budget; --write: into xtask/instructions.json
  escapes [--backend B] [--technique T] [--as root|user] [--json] [--write]
          [--against 'COMMAND ...']...
                        ways out, tried against our backends, or against other programs: a name
                        that is known, or a line with {root}, {work} and {ro}
  escapes races|residue [--as root|user] [--rounds N]
                        races, thousands of rounds; what 10,000 runs leave behind
  dist                  build target/dist/run-sandbox, static, as it is shipped
  man                   write target/man/run-sandbox.1
  doctor-docs           write docs/doctor.md: what the doctor says where something is missing
  matrix [list | run ROW... | vm [KERNEL...] | host] [--json] [--write] [--must-work]
                        which backend works on which kernel and under which restriction, held
                        against what is expected and what the doctor says; without a word: all;
                        --write: into docs/matrix.md
  completions           write target/completions/ for bash, zsh and fish
  lab [DIR]             make the Debian root and the source package that the tests build
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        Some(lexopt::Arg::Value(command)) => command.to_string_lossy().into_owned(),
        Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) | None => {
            print!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.as_str() {
        "test" => return test::main(args),
        "instructions" => instructions::main(args)?,
        "escapes" => return escapes::main(args),
        "tidy" => finish(args).and_then(|()| tidy::main())?,
        "lint" => finish(args).and_then(|()| lint::main())?,
        "check-targets" => targets::main(args)?,
        "bench" => bench::main(args)?,
        "dist" => finish(args).and_then(|()| dist::main())?,
        "man" => finish(args).and_then(|()| cli_docs::man())?,
        "doctor-docs" => finish(args).and_then(|()| doctor_docs::main())?,
        "matrix" => return matrix::main(args),
        "completions" => finish(args).and_then(|()| cli_docs::completions())?,
        "lab" => lab::main(args)?,
        other => return Err(format!("no command {other:?}\n\n{USAGE}").into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The end of a command line that takes no more arguments.
fn finish(mut args: lexopt::Parser) -> Result {
    match args.next()? {
        Some(arg) => Err(arg.unexpected().into()),
        None => Ok(()),
    }
}
