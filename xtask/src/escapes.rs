//! `cargo xtask escapes`: the escape suite, as root and as an ordinary user, against our backends
//! or against other programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::account::Account;
use crate::{Result, host, repo};

/// What is passed on to the program that does it.
struct Options {
    words: Vec<String>,
    against: Vec<String>,
    root: bool,
    user: bool,
    json: bool,
    write: bool,
}

const PROGRAMS: [&str; 3] = ["escapes", "run-sandbox", "linux-user-chroot"];

pub(crate) fn main(mut args: lexopt::Parser) -> Result<ExitCode> {
    use lexopt::prelude::*;
    let mut what = None;
    let mut options = Options {
        words: Vec::new(),
        against: Vec::new(),
        root: repo::is_root(),
        user: true,
        json: false,
        write: false,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) if what.is_none() => what = Some(word.string()?),
            Long("as") => match args.value()?.string()?.as_str() {
                "root" if repo::is_root() => options.user = false,
                "root" => return Err("this is not root".into()),
                "user" => options.root = false,
                other => return Err(format!("--as root or user, not {other:?}").into()),
            },
            Long("json") => options.json = true,
            Long("write") => options.write = true,
            Long("against") => options.against.push(args.value()?.string()?),
            Long(name @ ("backend" | "technique" | "rounds")) => {
                options.words.push(format!("--{name}"));
                options.words.push(args.value()?.string()?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let place = build()?;
    match what.as_deref() {
        None => suite(&options, &place),
        Some(what @ ("races" | "residue")) => {
            options.words.insert(0, what.to_owned());
            for who in ["root", "user"] {
                if let Some(mut command) = command(&options, &place, who)? {
                    repo::run(&mut command)?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(format!("no {other:?}: races, residue, or nothing").into()),
    }
}

/// Builds what is needed, in a place that an ordinary user can reach.
fn build() -> Result<PathBuf> {
    let packages = ["sandboxlib-escapes", "run-sandbox", "linux-user-chroot"];
    let mut build = repo::cargo();
    build.args(["build", "--quiet", "--bins"]);
    build.args(packages.iter().flat_map(|name| ["--package", name]));
    repo::run(&mut build)?;
    let place = repo::shared_dir("escapes")?;
    for name in PROGRAMS {
        let to = place.join(name);
        // Somebody may be running the old one.
        let _ = fs::remove_file(&to);
        fs::copy(repo::target().join("debug").join(name), to)?;
    }
    Ok(place)
}

/// The command line for somebody; `None` if that was not asked for, or cannot be had.
fn command(options: &Options, place: &Path, who: &str) -> Result<Option<Command>> {
    let program = place.join("escapes");
    let mut command = match who {
        "root" if options.root => Command::new(&program),
        "user" if options.user && repo::is_root() => {
            let account = match Account::ordinary() {
                Ok(account) => account,
                Err(why) => {
                    eprintln!("xtask: not as an ordinary user: {why}");
                    return Ok(None);
                }
            };
            let home = place.join(format!("home-{}", account.uid));
            fs::create_dir_all(&home)?;
            account.own(&home)?;
            let mut command = account.command(&program, &home);
            command.env("TMPDIR", &home);
            command
        }
        "user" if options.user => Command::new(&program),
        _ => return Ok(None),
    };
    command
        .args(&options.words)
        .arg("--run-sandbox")
        .arg(place.join("run-sandbox"))
        .current_dir(place);
    Ok(Some(command))
}

/// One run of the program: what it found, and whether it was as expected.
struct Played {
    found: Value,
    expected: bool,
}

fn play(command: &mut Command) -> Result<Played> {
    let output = command.arg("--json").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = serde_json::from_slice(&output.stdout).map_err(|_| said.trim().to_owned())?;
    eprint!("{said}");
    Ok(Played {
        found,
        expected: output.status.success(),
    })
}

fn suite(options: &Options, place: &Path) -> Result<ExitCode> {
    // Our own first, where all is written; and each other program apart, so that one that cannot
    // be started does not take the others with it.
    let mut lines: Vec<Option<&String>> = options.against.iter().map(Some).collect();
    if options.write || lines.is_empty() {
        lines.insert(0, None);
    }
    let mut results = Vec::new();
    let mut missing = Vec::new();
    let mut expected = true;
    for line in lines {
        for who in ["root", "user"] {
            let Some(mut command) = command(options, place, who)? else {
                continue;
            };
            if let Some(line) = line {
                command.args(["--against", line]);
            }
            match (play(&mut command), line) {
                (Ok(played), _) => {
                    expected &= played.expected;
                    results.push(played.found);
                }
                (Err(why), Some(line)) => {
                    missing.push(format!("`{line}` as {who}: {why}").replace('\n', " "))
                }
                (Err(why), None) => return Err(why),
            }
        }
    }
    let table = table(&results);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        println!("{table}");
    }
    for line in &missing {
        eprintln!("xtask: {line}");
    }
    if options.write {
        let file = repo::root().join("docs/escapes.md");
        fs::write(&file, document(&results, &table, &missing))?;
        println!("{}", file.display());
    }
    Ok(if expected && missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The columns: who against what.
fn columns(results: &[Value]) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    for result in results {
        for target in list(&result["targets"]) {
            let column = (
                text(target, "name").to_owned(),
                text(result, "as").to_owned(),
            );
            // What is about the host's root has a list of its own.
            if !columns.contains(&column) && !column.0.ends_with(" on /") {
                columns.push(column);
            }
        }
    }
    columns.sort_by_key(|(name, _)| {
        let first = columns_order(name);
        (first, name.clone())
    });
    columns
}

/// Our backends in the order in which they are chosen, then the others.
fn columns_order(name: &str) -> usize {
    ["userns", "bubblewrap", "linux-user-chroot", "chroot"]
        .iter()
        .position(|ours| *ours == name)
        .unwrap_or(usize::MAX)
}

/// A table of all techniques, in which `.` is blocked and `-` not applicable.
fn table(results: &[Value]) -> String {
    let columns = columns(results);
    let mut cells: BTreeMap<(&str, &str, &str), &str> = BTreeMap::new();
    let mut techniques: Vec<(&str, &str, &str)> = Vec::new();
    for row in results.iter().flat_map(|result| list(&result["rows"])) {
        let name = text(row, "technique");
        if text(row, "target").ends_with(" on /") {
            continue;
        }
        if !techniques.iter().any(|(known, ..)| *known == name) {
            techniques.push((name, text(row, "tries"), text(row, "cve")));
        }
        cells.insert(
            (name, text(row, "target"), text(row, "as")),
            text(row, "verdict"),
        );
    }
    let mut table = String::from("| technique | what is tried |");
    for (target, who) in &columns {
        let _ = write!(table, " {target}, {who} |");
    }
    table.push_str("\n|---|---|");
    table.push_str(&"---|".repeat(columns.len()));
    table.push('\n');
    for (name, tries, cve) in techniques {
        let cve = if cve.is_empty() {
            String::new()
        } else {
            format!(" ({cve})")
        };
        let _ = write!(table, "| {name} | {tries}{cve} |");
        for (target, who) in &columns {
            let verdict = cells.get(&(name, target.as_str(), who.as_str()));
            let cell = match verdict {
                Some(&"blocked") => ".",
                Some(&"not applicable") | None => "-",
                Some(&"escaped") => "**escaped**",
                Some(other) => other,
            };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

const INTRODUCTION: &str = "\
# Ways out, tried

The escape suite starts a small static program in a sandbox, has it try a way out, and looks from \
outside whether it worked: a secret that came out, a file that changed, a signal that arrived, a \
process that lives on, a descriptor that the host's /proc shows. Each attack is shown to work \
first, without a sandbox or in one that is weakened: an attack that never works proves nothing.

- `.`: blocked.
- **escaped**: something outside was reached.
- partial: a part of the kernel, or of the sandbox's own keeper, was reached that a command does \
not need; nothing outside.
- `-`: not applicable: it cannot be shown to work here, for the reasons below.

All programs get a root of their own with next to nothing in it, read-only; one directory to write \
and one to read; no network. `cargo xtask escapes` does this for our backends and compares with \
what is expected, `cargo xtask escapes --against 'COMMAND ...'` for other programs, \
`cargo xtask escapes --write [--against ...]` writes this page. What a program can be told to do, \
and was not, is not held against it: the lines are below.
";

fn document(results: &[Value], table: &str, missing: &[String]) -> String {
    let mut page = format!(
        "<!-- written by cargo xtask escapes --write -->\n{INTRODUCTION}\n{}, Linux {}.\n\n{table}\n",
        host::today(),
        host::kernel()
    );
    page.push_str("## What they were\n\n| | version | command |\n|---|---|---|\n");
    let mut seen = Vec::new();
    for target in results.iter().flat_map(|result| list(&result["targets"])) {
        let name = text(target, "name");
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let command = text(target, "command");
        // Where it was built is of no interest.
        let command = match command.split_once(' ') {
            Some((program, rest)) => {
                let program = program.rsplit('/').next().unwrap_or(program);
                format!("{program} {rest}")
            }
            None => command.to_owned(),
        };
        let command = command.replace('|', "\\|");
        let _ = writeln!(
            page,
            "| {name} | {} | `{command}` |",
            text(target, "version")
        );
    }
    for line in missing {
        let _ = writeln!(page, "\nNot tried: {line}");
    }

    page.push_str("\n## What is open in our backends, and why\n\n| as | backend | technique | | why |\n|---|---|---|---|---|\n");
    for row in results.iter().flat_map(|result| list(&result["rows"])) {
        if !text(row, "why").is_empty() && text(row, "verdict") != "not applicable" {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                text(row, "as"),
                text(row, "target"),
                text(row, "technique"),
                text(row, "verdict"),
                text(row, "why"),
            );
        }
    }

    page.push_str("\n## Not applicable\n\n| as | technique | why |\n|---|---|---|\n");
    let mut reasons = Vec::new();
    for row in results.iter().flat_map(|result| list(&result["rows"])) {
        if text(row, "verdict") != "not applicable" {
            continue;
        }
        // What was said of the attempt has names of the moment in it.
        let why = text(row, "detail").split(": ").next().unwrap_or_default();
        let line = format!(
            "| {} | {} | {why} |",
            text(row, "as"),
            text(row, "technique")
        );
        if !reasons.contains(&line) {
            reasons.push(line);
        }
    }
    page.push_str(&reasons.join("\n"));

    page.push_str("\n\n## Left out\n\n| what | why |\n|---|---|\n");
    for left in results.first().map_or(&[][..], |r| list(&r["left_out"])) {
        let _ = writeln!(page, "| {} | {} |", text(left, "what"), text(left, "why"));
    }
    page.push_str(
        "\nRaces and what is left behind are tried as well: `cargo xtask escapes races [--rounds N]` \
         and `cargo xtask escapes residue [--rounds N]` (10,000 runs, the supervisors of a third of \
         them killed with SIGKILL at random moments).\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_table_has_a_column_for_each_who_and_what() {
        let result = |who: &str, verdict: &str| {
            json!({
                "as": who,
                "targets": [{"name": "userns", "version": "1", "command": "/x/run-sandbox -e userns"}],
                "rows": [{
                    "technique": "t", "tries": "it", "cve": "", "target": "userns", "as": who,
                    "verdict": verdict, "detail": "d", "why": "",
                }],
                "left_out": [],
            })
        };
        let results = [result("root", "blocked"), result("user", "escaped")];
        let table = super::table(&results);
        assert!(table.contains("| t | it | . | **escaped** |"), "{table}");
        let page = super::document(&results, &table, &[]);
        assert!(
            page.contains("| userns | 1 | `run-sandbox -e userns` |"),
            "{page}"
        );
    }
}
