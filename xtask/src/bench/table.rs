//! The results as text.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{Result, host};

const BEGIN: &str = "<!-- written by cargo xtask bench --write -->";
const END: &str = "<!-- end -->";

/// The table, with a line for each row.
pub(super) fn text(results: &[Value]) -> String {
    let mut text = String::from(
        "| what | as | run-sandbox, us | against | its time, us | plain spawn, us | ratio (p10 to p90) | at most | |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in results {
        let median = |name: &str| row[name]["median"].as_f64().unwrap_or(f64::NAN);
        let ratio = |part: &str| row["ratio"][part].as_f64().unwrap_or(f64::NAN);
        let verdict = if row["within_bar"] == true {
            "met"
        } else {
            "**missed**"
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {:.0} | {:.0} | {:.3} ({:.3} to {:.3}) | {} | {verdict} |",
            row["row"].as_str().unwrap_or_default(),
            row["as"].as_str().unwrap_or_default(),
            median("run_sandbox_us"),
            row["against"].as_str().unwrap_or_default(),
            median("other_us"),
            median("plain_us"),
            ratio("median"),
            ratio("p10"),
            ratio("p90"),
            row["bar"],
        );
    }
    text
}

/// Replaces the part of `file` between the markers.
pub(super) fn write(file: &Path, results: &[Value]) -> Result {
    let old = fs::read_to_string(file)?;
    let pairs = results
        .first()
        .map_or(0, |r| r["pairs"].as_u64().unwrap_or(0));
    let part = format!(
        "{}, Linux {}, {} processors, {}, {pairs} pairs a row, by `cargo xtask bench --write`:\n\n{}",
        host::today(),
        host::kernel(),
        host::processors(),
        host::version_of("bwrap"),
        text(results),
    );
    fs::write(file, replaced(&old, &part)?)?;
    Ok(())
}

fn replaced(old: &str, part: &str) -> Result<String> {
    let missing = || format!("no {BEGIN:?} and {END:?} in the file");
    let (before, rest) = old.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{part}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_part_between_the_markers_is_replaced() {
        let old = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(
            replaced(&old, "new\n").unwrap(),
            format!("a\n{BEGIN}\nnew\n{END}\nb\n")
        );
        assert!(replaced("no markers", "new").is_err());
    }

    #[test]
    fn a_missed_bar_is_said() {
        let row =
            |within: bool| json!({"row": "x", "as": "root", "bar": 0.75, "within_bar": within});
        assert!(text(&[row(false)]).contains("**missed**"));
        assert!(!text(&[row(true)]).contains("**missed**"));
    }
}
