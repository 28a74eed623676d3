//! The results as text, as JSON, and as docs/matrix.md.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::judge::{Found, Judged};
use super::rows::{BACKENDS, Expect, NATURE, NEVER, Place, Row, Who};
use super::{Outcome, Played};
use crate::{Result, host};

const BEGIN: &str = "<!-- written by cargo xtask matrix --write -->";

const INTRODUCTION: &str = "\
# What works where

Each row is an environment: a kernel, a user, a restriction. In each the whole \
[conformance suite](../crates/conformance) is run with every backend, by the same static program. \
A row is in this table only if what was found there is what is expected \
(`xtask/src/matrix/rows.rs`), and if what the doctor says of each backend and each of its \
features, and of a plain run, is what the suite and a real run found. `cargo xtask matrix` runs \
what this machine can run and says what it could not; `cargo xtask matrix list` names the rows.

- **works**: every case of the suite holds, but for what the second and the third table say of the \
backend everywhere, and for what the cell names.
- **no**: nothing runs, and the reason is told beforehand, or by the start that fails. Nothing is \
run with less isolation than was asked for.
- **limits**: what holds the limits of processor time, memory and processes, each of which was \
exceeded by a command and ended it ([limits.md](limits.md)).
";

/// One line for a row, in a table for people.
pub(super) fn text(played: &[Played]) -> String {
    let mut out = String::new();
    for Played { row, outcome } in played {
        let _ = writeln!(out, "{} ({}, as {})", row.name, row.what, who(row));
        match outcome {
            Outcome::Judged {
                kernel,
                backends,
                limits: (means, wrong),
            } => {
                let _ = writeln!(out, "  Linux {kernel}");
                let _ = writeln!(out, "  {:<20}{}", "limits", held(means));
                for mismatch in wrong {
                    let _ = writeln!(out, "    MISMATCH {}", one_line(mismatch));
                }
                for (n, judged) in backends.iter().enumerate() {
                    let _ = writeln!(out, "  {:<20}{}", judged.backend, cell(row, n, judged));
                    for mismatch in &judged.mismatches {
                        let _ = writeln!(out, "    MISMATCH {}", one_line(mismatch));
                    }
                }
            }
            Outcome::Broken(why) => {
                let _ = writeln!(out, "  BROKEN {}", one_line(why));
            }
            Outcome::NotRun(why) => {
                let _ = writeln!(out, "  not run: {}", one_line(why));
            }
        }
    }
    let count = |wanted: fn(&Outcome) -> bool| {
        let outcomes = played.iter().map(|played| &played.outcome);
        outcomes.filter(|outcome| wanted(outcome)).count()
    };
    let _ = writeln!(
        out,
        "{} rows as expected, {} not as expected, {} not run",
        count(Outcome::is_right),
        count(Outcome::is_wrong),
        count(|outcome| matches!(outcome, Outcome::NotRun(_)))
    );
    out
}

/// What holds the limits, for people.
fn held(means: &str) -> &str {
    match means {
        "" => "not tried",
        means => means,
    }
}

fn one_line(text: &str) -> String {
    let line = text.trim().replace('\n', " | ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn who(row: &Row) -> &'static str {
    match row.who {
        Who::Root => "root",
        Who::User | Who::Ranged => "user",
    }
}

/// What a backend does, beyond what is so everywhere.
fn cell(row: &Row, n: usize, judged: &Judged) -> String {
    match &judged.found {
        // What the row expects is a part of it, and the best one.
        Found::Unusable(why) => match row.expect[n] {
            Expect::Unusable(words) if judged.mismatches.is_empty() => format!("no: {words}"),
            _ => format!("no: {}", one_line(why)),
        },
        Found::Works { lacks, deviates } => {
            let never = |name: &&str| !NEVER[n].contains(name);
            let by_nature = |name: &&str| {
                !NATURE
                    .iter()
                    .any(|(backend, case, _)| *backend == judged.backend && case == name)
            };
            let lacks = lacks.iter().map(|(name, _)| name.as_str()).filter(never);
            let cases = deviates
                .iter()
                .map(|(name, _)| name.as_str())
                .filter(by_nature);
            let but: Vec<&str> = lacks.chain(cases).collect();
            match but.is_empty() {
                true => "works".to_owned(),
                false => format!("works but for {}", but.join(", ")),
            }
        }
    }
}

/// The same for programs.
pub(super) fn json(played: &[Played]) -> Value {
    let rows: Vec<Value> = played
        .iter()
        .map(|Played { row, outcome }| {
            let mut value = json!({"row": row.name, "what": row.what, "as": who(row)});
            match outcome {
                Outcome::NotRun(why) => value["not_run"] = json!(why),
                Outcome::Broken(why) => value["broken"] = json!(why),
                Outcome::Judged {
                    kernel,
                    backends,
                    limits: (means, wrong),
                } => {
                    value["kernel"] = json!(kernel);
                    value["limits"] = json!({"by": means, "mismatches": wrong});
                    value["as_expected"] = json!(outcome.is_right());
                    value["backends"] = backends.iter().map(judged_json).collect();
                }
            }
            value
        })
        .collect();
    json!({"date": host::today(), "rows": rows})
}

fn judged_json(judged: &Judged) -> Value {
    let mut value = json!({"name": judged.backend, "mismatches": judged.mismatches});
    let pairs = |list: &[(String, String)]| -> Value {
        let pair = |(name, why): &(String, String)| json!({"name": name, "why": why});
        list.iter().map(pair).collect()
    };
    match &judged.found {
        Found::Unusable(why) => value["unusable"] = json!(why),
        Found::Works { lacks, deviates } => {
            value["lacks"] = pairs(lacks);
            value["deviates"] = pairs(deviates);
        }
    }
    value
}

/// Writes `file`. Rows that were not run now keep the line that they have there.
pub(super) fn write(file: &Path, rows: &[Row], played: &[Played]) -> Result {
    let old = fs::read_to_string(file).unwrap_or_default();
    if let Some(wrong) = played.iter().find(|played| played.outcome.is_wrong()) {
        return Err(format!(
            "nothing is written: the row {} is not as expected",
            wrong.row.name
        )
        .into());
    }
    let mut text = format!("{BEGIN}\n{INTRODUCTION}\n| row | what | as | Linux | date |");
    for backend in BACKENDS {
        let _ = write!(text, " {backend} |");
    }
    let _ = writeln!(
        text,
        " limits |\n|---|---|---|---|---|---|{}",
        "---|".repeat(BACKENDS.len())
    );
    for row in rows {
        let now = played.iter().find(|played| played.row.name == row.name);
        match now.map(|played| &played.outcome) {
            Some(Outcome::Judged {
                kernel,
                backends,
                limits: (means, _),
            }) => {
                let today = host::today();
                let (name, what, who) = (row.name, row.what, who(row));
                let _ = write!(text, "| {name} | {what} | {who} | {kernel} | {today} |");
                for (n, judged) in backends.iter().enumerate() {
                    let _ = write!(text, " {} |", cell(row, n, judged).replace('|', "\\|"));
                }
                let _ = writeln!(text, " {} |", held(means));
            }
            _ => match old.lines().find(|line| is_line_of(line, row)) {
                Some(line) => {
                    let _ = writeln!(text, "{line}");
                }
                None => eprintln!("xtask: docs/matrix.md has no line for the row {}", row.name),
            },
        }
    }
    text.push_str("\n## What a backend enforces nowhere\n\n| backend | features |\n|---|---|\n");
    for (backend, never) in BACKENDS.iter().zip(NEVER) {
        let never = match never.is_empty() {
            true => "it enforces all".to_owned(),
            false => never.join(", "),
        };
        let _ = writeln!(text, "| {backend} | {never} |");
    }
    text.push_str(
        "\nAn ordinary user's bubblewrap has no subordinate ids either: bwrap maps a single id.\n\n\
         ## What a backend does otherwise than the suite wants\n\n\
         A helper program does some things in a way of its own, and will go on doing so.\n\n\
         | backend | case | why |\n|---|---|---|\n",
    );
    for (backend, case, why) in NATURE {
        let _ = writeln!(text, "| {backend} | {case} | {why} |");
    }
    fs::write(file, text)?;
    println!("{}", file.display());
    Ok(())
}

fn is_line_of(line: &str, row: &Row) -> bool {
    let mut cells = line.split('|').map(str::trim).skip(1);
    cells.next() == Some(row.name)
}

/// The rows, for `list`.
pub(super) fn list(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let place = match row.place {
            Place::Host => "this machine".to_owned(),
            Place::Kernel(version) => format!("Linux {version}"),
        };
        let _ = writeln!(
            out,
            "{:<27}{place:<14}{:<6}{}",
            row.name,
            who(row),
            row.what
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::rows::ROWS;

    fn judged(name: &str, lacks: &[&str], mismatches: &[&str]) -> Judged {
        let pair = |name: &&str| ((*name).to_owned(), "x".to_owned());
        Judged {
            backend: name.to_owned(),
            found: Found::Works {
                lacks: lacks.iter().map(pair).collect(),
                deviates: Vec::new(),
            },
            mismatches: mismatches.iter().map(|m| (*m).to_owned()).collect(),
        }
    }

    #[test]
    fn a_cell_names_what_is_particular() {
        let root = &ROWS[0];
        assert_eq!(cell(root, 0, &judged("userns", &[], &[])), "works");
        let chroot = judged("chroot", NEVER[1], &[]);
        assert_eq!(cell(root, 1, &chroot), "works");
        let less = judged("userns", &["proc"], &[]);
        assert_eq!(cell(root, 0, &less), "works but for proc");
    }

    #[test]
    fn rows_that_were_not_run_keep_their_line_and_mismatches_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("matrix.md");
        fs::write(&file, "| user | before |\n").unwrap();
        let played = |mismatches: &[&str]| {
            let backends = BACKENDS.map(|name| judged(name, &[], mismatches)).to_vec();
            let kernel = "9.9".to_owned();
            vec![Played {
                row: &ROWS[0],
                outcome: Outcome::Judged {
                    kernel,
                    backends,
                    limits: ("accounting".to_owned(), Vec::new()),
                },
            }]
        };
        assert!(write(&file, ROWS, &played(&["no"])).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "| user | before |\n");
        write(&file, ROWS, &played(&[])).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\n| user | before |\n"), "{text}");
        assert!(text.contains("| root | root | root | 9.9 |"), "{text}");
        assert!(text.starts_with(BEGIN));
    }
}
