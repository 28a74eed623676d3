//! `escapes`: what `cargo xtask escapes` starts, as root and as an ordinary user.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program, whose output is its purpose"
)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use sandboxlib_escapes::target::{self, Target};
use sandboxlib_escapes::{Stage, Who, expected, races, report, residue, run, techniques};

const USAGE: &str = "\
Usage: escapes [suite|races|residue] [OPTIONS]

  --run-sandbox PATH    the program under test
  --backend NAME        this backend of ours alone
  --against COMMAND     another program instead: a name that is known, or a line with {root}
  --technique NAME      this technique alone; may be repeated
  --rounds N            races: so many rounds of each; residue: so many runs
  --json                for programs
";

struct Options {
    what: String,
    program: Option<PathBuf>,
    backend: Option<String>,
    against: Vec<String>,
    techniques: Vec<String>,
    rounds: Option<usize>,
    json: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| play(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("escapes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut options = Options {
        what: "suite".to_owned(),
        program: None,
        backend: None,
        against: Vec::new(),
        techniques: Vec::new(),
        rounds: None,
        json: false,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Value(what) => options.what = what.string()?,
            Long("run-sandbox") => options.program = Some(args.value()?.into()),
            Long("backend") => options.backend = Some(args.value()?.string()?),
            Long("against") => options.against.push(args.value()?.string()?),
            Long("technique") => options.techniques.push(args.value()?.string()?),
            Long("rounds") => options.rounds = Some(args.value()?.parse()?),
            Long("json") => options.json = true,
            Long("help") => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn play(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => sandboxlib_tests::run_sandbox(),
    };
    let who = Who::me();
    let stage = Stage::new(who)?;
    match options.what.as_str() {
        "suite" => suite(options, &program, &stage),
        "races" => {
            for race in races::all(&program, &stage, options.rounds.unwrap_or(2000))? {
                println!(
                    "{:5} {:16} {} rounds: {} ({})",
                    who.name(),
                    race.name,
                    race.rounds,
                    race.detail,
                    race.control
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        "residue" => {
            let tally = residue::check(&program, &stage, options.rounds.unwrap_or(10_000))?;
            println!(
                "{:5} {} runs, {} supervisors killed, {} came to their end: nothing is left",
                who.name(),
                tally.runs,
                tally.killed,
                tally.ended
            );
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("no command {other:?}\n\n{USAGE}").into()),
    }
}

fn suite(
    options: &Options,
    program: &std::path::Path,
    stage: &Stage,
) -> Result<ExitCode, Box<dyn Error>> {
    let ours = options.against.is_empty();
    let targets: Vec<Target> = if ours {
        target::ours(program, stage.who)
            .into_iter()
            .filter(|t| {
                options
                    .backend
                    .as_ref()
                    .is_none_or(|name| t.name.starts_with(name))
            })
            .collect()
    } else {
        let lines = options.against.iter();
        lines
            .map(|line| target::other(line))
            .collect::<Result<_, _>>()?
    };
    if targets.is_empty() {
        return Err("there is no such backend for this user".into());
    }
    let chosen: Vec<_> = techniques()
        .filter(|t| options.techniques.is_empty() || options.techniques.iter().any(|n| n == t.name))
        .collect();
    let rows = run::all(stage, program, &chosen, &targets)?;
    if options.json {
        println!("{}", report::json(&rows, &targets, stage.who, ours));
    } else {
        print!("{}", report::text(&rows));
    }
    if !ours {
        return Ok(ExitCode::SUCCESS);
    }
    let surprises = expected::surprises(&rows);
    for line in &surprises {
        eprintln!("not as expected: {line}");
    }
    Ok(if surprises.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
