//! Results as JSON and as text.

use serde_json::{Value, json};

use crate::expected::expected;
use crate::run::Row;
use crate::target::Target;
use crate::{LEFT_OUT, Who};

/// Everything about a run, for programs. `ours` says whether there is an expectation.
#[must_use]
pub fn json(rows: &[Row], targets: &[Target], who: Who, ours: bool) -> Value {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut value = json!({
                "technique": row.technique.name,
                "cve": row.technique.cve,
                "tries": row.technique.tries,
                "target": row.target,
                "as": row.who.name(),
                "verdict": row.verdict.name(),
                "detail": row.detail,
            });
            if ours {
                let (wanted, why) = expected(row);
                value["expected"] = wanted.name().into();
                value["why"] = why.into();
            }
            value
        })
        .collect();
    let targets: Vec<_> = targets
        .iter()
        .map(|t| json!({ "name": t.name, "version": t.version, "command": t.words.join(" ") }))
        .collect();
    let left_out: Vec<_> = LEFT_OUT
        .iter()
        .map(|(what, why)| json!({ "what": what, "why": why }))
        .collect();
    json!({ "as": who.name(), "targets": targets, "rows": rows, "left_out": left_out })
}

/// For people: a line for each technique and target, those that are blocked counted.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut blocked = 0;
    for row in rows {
        if row.verdict == crate::Verdict::Blocked {
            blocked += 1;
            continue;
        }
        text.push_str(&format!(
            "{:5} {:18} {:18} {:15} {}\n",
            row.who.name(),
            row.target,
            row.technique.name,
            row.verdict.name(),
            row.detail
        ));
    }
    text.push_str(&format!("{blocked} of {} blocked\n", rows.len()));
    text
}
