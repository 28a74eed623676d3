//! What is to be measured. It is handed to the process that measures as JSON.

use serde::{Deserialize, Serialize};

use super::bars::BARS;
use super::candidate::{BWRAP, FLOOR, PLAIN};
use super::peers::Peer;
use super::place::Place;

/// The parts of a whole measurement.
pub(super) const PARTS: [&str; 6] = [
    "latency",
    "binds",
    "throughput",
    "memory",
    "mounts",
    "images",
];

/// The request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) place: Place,
    /// `root` or `user`.
    pub(super) account: String,
    pub(super) rounds: usize,
    pub(super) quick: bool,
    /// Parts, or words in the names of candidates; nothing means all.
    pub(super) only: Vec<String>,
    pub(super) peers: Vec<Peer>,
    pub(super) seed: u64,
}

impl Wanted {
    pub(super) fn part(&self, part: &str) -> bool {
        let parts: Vec<_> = self
            .only
            .iter()
            .filter(|o| PARTS.contains(&o.as_str()))
            .collect();
        // Names alone mean candidates, whose part is the first.
        let names_alone = parts.is_empty() && !self.only.is_empty();
        let default = if names_alone {
            part == PARTS[0]
        } else {
            parts.is_empty()
        };
        default || parts.iter().any(|p| *p == part)
    }

    /// Whether this one is measured in the part `latency`. What ratios are made with always is.
    pub(super) fn candidate(&self, name: &str) -> bool {
        let names: Vec<_> = self
            .only
            .iter()
            .filter(|o| !PARTS.contains(&o.as_str()))
            .collect();
        let named = |name: &str| names.iter().any(|n| name.contains(n.as_str()));
        let beside = || {
            let bars = BARS.iter().map(|bar| bar.names());
            bars.filter(|[what, _]| named(what))
                .any(|[_, to]| to == name)
        };
        names.is_empty() || [PLAIN, FLOOR, BWRAP].contains(&name) || named(name) || beside()
    }

    /// Tells whoever waits what is going on.
    pub(super) fn say(&self, what: &str) {
        eprintln!("measuring as {}: {what}", self.account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::candidate::{CLI, CLI_SOFT, COLD, PREPARED, SOFT};

    fn only(words: &[&str]) -> Wanted {
        Wanted {
            place: Place::at("/p"),
            account: "user".into(),
            rounds: 1,
            quick: false,
            only: words.iter().map(|w| (*w).to_owned()).collect(),
            peers: vec![],
            seed: 1,
        }
    }

    #[test]
    fn nothing_named_is_everything() {
        let all = only(&[]);
        assert!(PARTS.iter().all(|part| all.part(part)));
        assert!(all.candidate(COLD) && all.candidate("anybody"));
    }

    #[test]
    fn parts_and_candidates_are_chosen_by_name() {
        let binds = only(&["binds"]);
        assert!(binds.part("binds") && !binds.part("latency"));
        let cli = only(&[CLI]);
        assert!(cli.part("latency") && !cli.part("throughput"));
        assert!(cli.candidate(CLI) && cli.candidate(CLI_SOFT) && cli.candidate(BWRAP));
        assert!(!cli.candidate(COLD) && !cli.candidate("crun"));
        let prepared = only(&[PREPARED]);
        assert!(prepared.candidate(SOFT), "a bar needs it");
    }
}
