//! `cargo xtask matrix`: which backend works on which kernel, as whom and under which
//! restriction; and that the doctor tells the truth about it.
//!
//! In each row the conformance suite is run with every backend (tests/examples/matrix-row.rs).
//! What comes of it is held against what the row expects, and against the doctor. A mismatch
//! either way is a failure: a row that works better than expected has to be changed too.

mod judge;
mod machine;
mod programs;
mod rows;
mod table;

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::{Result, host, repo};
use judge::Judged;
use machine::Machine;
use programs::{Programs, Told};
use rows::{KERNELS, Place, ROWS, Row};

/// A row and what came of it.
struct Played {
    row: &'static Row,
    outcome: Outcome,
}

enum Outcome {
    Judged {
        kernel: String,
        backends: Vec<Judged>,
        /// What holds the limits of all processes together, and what is not right about it.
        limits: (String, Vec<String>),
    },
    /// The environment was made, and then something else than a verdict came of it.
    Broken(String),
    /// This machine cannot make the environment.
    NotRun(String),
}

impl Outcome {
    fn new(row: &Row, told: Result<Told>) -> Self {
        let told = match told {
            Ok(Ok(told)) => told,
            Ok(Err(why)) => return Self::Broken(why),
            Err(why) => return Self::NotRun(why.to_string()),
        };
        let judged = judge::judge(row, &told)
            .and_then(|backends| Ok((backends, judge::limits(row, &told)?)));
        match judged {
            Ok((backends, limits)) => Self::Judged {
                kernel: told["kernel"].as_str().unwrap_or("unknown").to_owned(),
                backends,
                limits,
            },
            Err(why) => Self::Broken(why.to_string()),
        }
    }

    fn is_right(&self) -> bool {
        match self {
            Self::Judged {
                backends, limits, ..
            } => limits.1.is_empty() && backends.iter().all(|b| b.mismatches.is_empty()),
            Self::Broken(_) | Self::NotRun(_) => false,
        }
    }

    fn is_wrong(&self) -> bool {
        !self.is_right() && !matches!(self, Self::NotRun(_))
    }
}

pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode> {
    let (mut json, mut write, mut must_work) = (false, false, false);
    let mut words = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("json") => json = true,
            lexopt::Arg::Long("write") => write = true,
            lexopt::Arg::Long("must-work") => must_work = true,
            lexopt::Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == ["list"] {
        print!("{}", table::list(ROWS));
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = select(&words)?;
    let played = play(&wanted)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&table::json(&played))?);
    } else {
        print!("{}", table::text(&played));
    }
    if write {
        table::write(&repo::root().join("docs/matrix.md"), ROWS, &played)?;
    }
    let missing = played
        .iter()
        .any(|p| matches!(p.outcome, Outcome::NotRun(_)));
    let wrong = played.iter().any(|p| p.outcome.is_wrong());
    Ok(if wrong || (must_work && missing) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The rows that the words of the command line ask for.
fn select(words: &[&str]) -> Result<Vec<&'static Row>> {
    let (all, chosen): (fn(&Row) -> bool, &[&str]) = match words {
        [] => (|_| true, &[]),
        ["host"] => (|row| row.place == Place::Host, &[]),
        ["vm", kernels @ ..] => (|row| row.place != Place::Host, kernels),
        ["run", names @ ..] if !names.is_empty() => (|_| true, names),
        other => return Err(format!("no rows are called {other:?}").into()),
    };
    let is = |row: &Row, word: &str| match (words.first(), row.place) {
        (Some(&"vm"), Place::Kernel(version)) => version == word,
        _ => row.name == word,
    };
    if let Some(unknown) = chosen
        .iter()
        .find(|word| !ROWS.iter().any(|row| is(row, word)))
    {
        let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.version).collect();
        return Err(format!(
            "there is no row {unknown:?}: see `cargo xtask matrix list`; kernels are {known:?}"
        )
        .into());
    }
    let asked = |row: &&Row| chosen.is_empty() || chosen.iter().any(|word| is(row, word));
    Ok(ROWS.iter().filter(|row| all(row)).filter(asked).collect())
}

fn play(wanted: &[&'static Row]) -> Result<Vec<Played>> {
    let programs = Programs::build()?;
    let on_host = wanted.iter().filter(|row| row.place == Place::Host);
    let mut played: Vec<Played> = on_host
        .map(|row| {
            eprintln!("row {}", row.name);
            let outcome = Outcome::new(row, programs.run(row));
            Played { row, outcome }
        })
        .collect();
    let mut machines = Vec::new();
    for kernel in KERNELS {
        let mine = |row: &&&'static Row| row.place == Place::Kernel(kernel.version);
        let rows: Vec<&'static Row> = wanted.iter().filter(mine).copied().collect();
        if rows.is_empty() {
            continue;
        }
        match Machine::get(kernel.version) {
            Ok(machine) => machines.push((machine, rows)),
            Err(why) => played.extend(not_run(&rows, &why.to_string())),
        }
    }
    played.extend(play_machines(machines, &programs));
    // As they stand in the list, whichever machine was done first.
    played.sort_by_key(|played| ROWS.iter().position(|row| row.name == played.row.name));
    Ok(played)
}

fn not_run(rows: &[&'static Row], why: &str) -> Vec<Played> {
    let outcome = |row: &&'static Row| Played {
        row,
        outcome: Outcome::NotRun(why.to_owned()),
    };
    rows.iter().map(outcome).collect()
}

/// As many machines at a time as there are processors.
fn play_machines(machines: Vec<(Machine, Vec<&'static Row>)>, programs: &Programs) -> Vec<Played> {
    let waiting = Mutex::new(machines);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..host::processors() {
            scope.spawn(|| {
                // A statement of its own, so that others may take one too while this one runs.
                while let Some((machine, rows)) = { lock(&waiting).pop() } {
                    let results = play_machine(&machine, &rows, programs);
                    lock(&done).extend(results);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What is shared is a list, and whoever panics with it in hand leaves it whole.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

fn play_machine(machine: &Machine, rows: &[&'static Row], programs: &Programs) -> Vec<Played> {
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    eprintln!("rows {} in a machine", names.join(", "));
    match machine.run(rows, programs) {
        Ok(told) => rows
            .iter()
            .zip(told)
            .map(|(row, told)| Played {
                row,
                outcome: Outcome::new(row, Ok(told)),
            })
            .collect(),
        Err(why) => not_run(rows, &why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_by_name_place_and_kernel() {
        let names = |words: &[&str]| -> Vec<&str> {
            select(words).unwrap().iter().map(|row| row.name).collect()
        };
        assert_eq!(names(&[]).len(), ROWS.len());
        assert_eq!(names(&["run", "root", "5.10-user"]), ["root", "5.10-user"]);
        assert!(
            names(&["vm", "6.12"])
                .iter()
                .all(|name| name.starts_with("6.12-"))
        );
        assert_eq!(names(&["host"]).len() + names(&["vm"]).len(), ROWS.len());
        for wrong in [&["vm", "1.0"][..], &["run", "x"], &["run"], &["x"]] {
            assert!(select(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_kernel_of_a_row_is_known() {
        for row in ROWS {
            if let Place::Kernel(version) = row.place {
                assert!(KERNELS.iter().any(|kernel| kernel.version == version));
            }
        }
    }
}
