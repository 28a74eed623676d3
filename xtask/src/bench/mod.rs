//! `cargo xtask bench`: run-sandbox against Debian's bwrap, in pairs, with the same isolation.
//!
//! Whole processes are timed, from a process that is small and does nothing else. A and B take
//! turns, so that whatever else happens on the machine happens to both; what counts is the
//! median of the ratios within the pairs.

mod measure;
mod rows;
mod stats;
mod table;

use std::fs;
use std::path::PathBuf;

use crate::account::Account;
use crate::{Result, repo};

/// Pairs for a row, and with `--quick`.
const PAIRS: usize = 200;
const QUICK: usize = 15;

/// A request of the bench to itself, to measure under another account.
const MEASURE: &str = "measure-for";

pub(crate) fn main(mut args: lexopt::Parser) -> Result {
    let (mut pairs, mut json, mut write) = (PAIRS, false, false);
    let mut here = None;
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("quick") => pairs = QUICK,
            lexopt::Arg::Long("pairs") => pairs = args.value()?.string()?.parse()?,
            lexopt::Arg::Long("json") => json = true,
            lexopt::Arg::Long("write") => write = true,
            lexopt::Arg::Long(MEASURE) => {
                here = Some((args.value()?.string()?, PathBuf::from(args.value()?)));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some((who, place)) = here {
        let results = rows::measure_all(&who, &place, pairs)?;
        print!("{}", serde_json::to_string(&results)?);
        return Ok(());
    }

    if !repo::have("bwrap") {
        return Err("there is no bwrap (package bubblewrap) to measure against".into());
    }
    let results = measure(pairs)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        print!("{}", table::text(&results));
    }
    if write {
        table::write(&repo::root().join("docs/benchmarks.md"), &results)?;
    }
    Ok(())
}

/// As this user, and for root as an ordinary user too.
fn measure(pairs: usize) -> Result<Vec<serde_json::Value>> {
    let place = repo::shared_dir("bench")?;
    fs::copy(crate::dist::build()?, place.join("run-sandbox"))?;
    rows::lay_out(&place)?;

    let who = if repo::is_root() { "root" } else { "user" };
    let mut results = rows::measure_all(who, &place, pairs)?;
    if repo::is_root() {
        match Account::ordinary() {
            Ok(account) => {
                // The child measures, so that it is not setpriv that is timed.
                let xtask = place.join("xtask");
                fs::copy(std::env::current_exe()?, &xtask)?;
                let mut command = account.command(&xtask, &place);
                command.arg("bench").arg(format!("--pairs={pairs}"));
                command.arg(format!("--{MEASURE}")).arg("user").arg(&place);
                let text = repo::output(command.current_dir(&place))?;
                results.extend(serde_json::from_str::<Vec<_>>(&text)?);
            }
            Err(why) => eprintln!("xtask: not measured as an ordinary user: {why}"),
        }
    }
    Ok(results)
}

/// lexopt's strings, as UTF-8.
trait Text {
    fn string(self) -> Result<String>;
}

impl Text for std::ffi::OsString {
    fn string(self) -> Result<String> {
        self.into_string()
            .map_err(|s| format!("not UTF-8: {s:?}").into())
    }
}
