//! `cargo xtask instructions`: how many instructions everything takes that comes before the clone
//! of a start, held against a budget, so that it does not grow unseen.
//!
//! Instructions are counted by callgrind, which gives the same number on a busy machine. It cannot
//! follow the child, whose clone(2) it does not know, and it answers ENOSYS to the newest system
//! calls, openat2 among them. So the host that is planned for is in memory, and a start is counted
//! up to its clone. What system calls cost in the kernel is not in these numbers; the benchmark
//! has that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, dist, repo};

/// What the example does, and with how many binds.
const ROWS: [(&str, u32); 7] = [
    ("plan", 0),
    ("plan", 100),
    ("launch", 0),
    ("launch", 100),
    ("lower", 0),
    ("lower", 100),
    (START, 0),
];

/// The part that ends with the clone.
const START: &str = "start";

/// So many times more of a part, to tell what one takes.
const TIMES: u64 = 10;

/// More than the budget by this part, in hundredths, is too much. Other compilers and processors
/// (the C library copies memory in several ways) stay far below it.
const MARGIN: u64 = 10;

/// Beside xtask's Cargo.toml: for each kind of processor the instructions of each row.
const BUDGET: &str = "xtask/instructions.json";

/// The numbers of one kind of processor.
type Counts = BTreeMap<String, u64>;

pub(crate) fn main(mut args: lexopt::Parser) -> Result {
    let mut write = false;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("write") => write = true,
            other => return Err(other.unexpected().into()),
        }
    }
    if !repo::have("valgrind") {
        return Err("there is no valgrind (package valgrind) to count by".into());
    }
    let program = dist::build_examples(&[("sandboxlib", "instructions")])?.join("instructions");
    let found = count(&program)?;
    let file = repo::root().join(BUDGET);
    let mut budgets: BTreeMap<String, Counts> = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(e) => return Err(format!("{BUDGET}: {e}").into()),
    };
    let processor = std::env::consts::ARCH.to_owned();
    if write {
        budgets.insert(processor, found);
        let text = serde_json::to_string_pretty(&budgets)?;
        return Ok(fs::write(file, text + "\n")?);
    }
    let budget = budgets.remove(&processor).unwrap_or_default();
    let (text, faults) = held_against(&budget, &found);
    print!("{text}");
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}; if that is worth it, `cargo xtask instructions --write` renews {BUDGET}, which is \
         committed with the reason",
        faults.join("; ")
    )
    .into())
}

fn count(program: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    for (part, binds) in ROWS {
        let number = if part == START {
            up_to_clone(program, binds)?
        } else {
            let of = |times| whole(program, part, binds, times);
            of(1 + TIMES)?.saturating_sub(of(1)?) / TIMES
        };
        counts.insert(format!("{part}, {binds} binds"), number);
    }
    Ok(counts)
}

/// All instructions of the program.
fn whole(program: &Path, part: &str, binds: u32, times: u64) -> Result<u64> {
    let mut command = callgrind(Path::new("/dev/null"));
    let arguments = [part.to_owned(), binds.to_string(), times.to_string()];
    let output = command.arg(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = output
        .status
        .success()
        .then(|| number_after(&said, "Collected :"));
    number
        .flatten()
        .ok_or_else(|| format!("{part}: {}: {said}", output.status).into())
}

/// The instructions of a start until it calls `clone`, where callgrind gives up.
fn up_to_clone(program: &Path, binds: u32) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    let mut command = callgrind(&out);
    command
        .arg("--toggle-collect=sandboxlib_spawn::linux::Script::start")
        .arg("--dump-before=sandboxlib_spawn::linux::start::clone")
        .arg(program)
        .args([START, &binds.to_string(), "1"]);
    let output = command.output()?;
    let first = PathBuf::from(format!("{}.1", out.display()));
    let number = fs::read_to_string(first)
        .ok()
        .and_then(|text| number_after(&text, "totals:"));
    number.filter(|n| *n > 0).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!(
            "a start was not seen to come to its clone: are there no functions Script::start and \
             start::clone in the program any more? {said}"
        )
        .into()
    })
}

fn callgrind(out: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        // The number of variables is copied, compared and counted.
        .env_clear()
        .stdin(std::process::Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

fn number_after(text: &str, word: &str) -> Option<u64> {
    let (_, rest) = text.split_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A table, and what is over the budget.
fn held_against(budget: &Counts, found: &Counts) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut faults = Vec::new();
    for (row, number) in found {
        let Some(wanted) = budget.get(row) else {
            text.push_str(&format!("{row:20} {number:>12}, no budget\n"));
            faults.push(format!("{row} has no budget"));
            continue;
        };
        let most = wanted + wanted * MARGIN / 100;
        let least = wanted - wanted * MARGIN / 100;
        let verdict = if *number > most {
            faults.push(format!(
                "{row} takes {number} instructions, at most {most} are allowed"
            ));
            "too many"
        } else if *number < least {
            "so few that the budget should be renewed (--write)"
        } else {
            "fine"
        };
        text.push_str(&format!(
            "{row:20} {number:>12} of {wanted:>12}: {verdict}\n"
        ));
    }
    (text, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(number: u64) -> Counts {
        Counts::from([("plan, 0 binds".to_owned(), number)])
    }

    #[test]
    fn growth_beyond_the_margin_is_a_fault() {
        let faults = |number| held_against(&counts(1000), &counts(number)).1.len();
        assert_eq!([faults(1000), faults(1100), faults(500)], [0, 0, 0]);
        assert_eq!(faults(1101), 1);
        assert!(
            held_against(&counts(1000), &counts(500))
                .0
                .contains("renewed")
        );
        assert_eq!(held_against(&Counts::new(), &counts(1)).1.len(), 1);
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(
            number_after("==1== Collected : 123\n==1==\n", "Collected :"),
            Some(123)
        );
        assert_eq!(
            number_after("summary: 5\n\ntotals: 7\n", "totals:"),
            Some(7)
        );
        assert_eq!(number_after("totals: none", "totals:"), None);
    }

    #[test]
    fn the_committed_budget_has_every_row() {
        let text = fs::read(repo::root().join(BUDGET)).unwrap();
        let budgets: BTreeMap<String, Counts> = serde_json::from_slice(&text).unwrap();
        for (processor, counts) in budgets {
            let rows = ROWS.map(|(part, binds)| format!("{part}, {binds} binds"));
            assert!(
                rows.iter().all(|row| counts.contains_key(row)),
                "{processor}"
            );
            assert_eq!(counts.len(), rows.len(), "{processor}");
        }
    }
}
