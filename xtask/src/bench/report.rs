//! What was found, as data.

use serde::{Deserialize, Serialize};

use super::stats::Spread;

/// Everything that one account measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// `root` or `user`.
    pub(super) account: String,
    pub(super) rounds: usize,
    pub(super) seed: u64,
    pub(super) bars: Vec<Verdict>,
    pub(super) latency: Vec<Timing>,
    pub(super) throughput: Vec<Throughput>,
    pub(super) curves: Vec<Curve>,
    /// What the image is like, and what was done with it.
    pub(super) image: Option<String>,
    pub(super) images: Vec<ImageTiming>,
    pub(super) memory: Vec<Memory>,
    pub(super) missing: Vec<Missing>,
}

impl Report {
    /// Notes who could not be measured, once each.
    pub(super) fn miss(&mut self, missing: impl IntoIterator<Item = Missing>) {
        for one in missing {
            if !self.missing.contains(&one) {
                self.missing.push(one);
            }
        }
    }
}

/// How long a candidate takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timing {
    pub(super) name: String,
    pub(super) microseconds: Spread,
    /// Ratios within the rounds.
    pub(super) to_plain: Option<Spread>,
    pub(super) to_floor: Option<Spread>,
    pub(super) to_bwrap: Option<Spread>,
}

/// How long something with an image takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ImageTiming {
    pub(super) name: String,
    pub(super) microseconds: Spread,
    /// Who the ratio is to.
    pub(super) to: String,
    pub(super) ratio: Option<Spread>,
}

/// A ratio and what it should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) what: String,
    pub(super) to: String,
    /// `at most` or `at least`.
    pub(super) wanted: String,
    pub(super) bar: f64,
    pub(super) ratio: Option<Spread>,
}

impl Verdict {
    pub(super) fn met(&self) -> Option<bool> {
        let least = self.wanted == AT_LEAST;
        let met = |median: f64| {
            if least {
                median >= self.bar
            } else {
                median <= self.bar
            }
        };
        self.ratio.map(|ratio| met(ratio.median))
    }
}

pub(super) const AT_MOST: &str = "at most";
pub(super) const AT_LEAST: &str = "at least";

/// How much a candidate gets done by several workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Throughput {
    pub(super) name: String,
    pub(super) workers: usize,
    /// Runs per second, of each repetition.
    pub(super) rates: Vec<f64>,
    /// Of all processors, for a run, with what happens after its end.
    pub(super) cpu_microseconds: Spread,
}

/// Times of a candidate against something that grows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Curve {
    pub(super) against: String,
    pub(super) name: String,
    pub(super) points: Vec<(usize, Spread)>,
}

/// What a process of a sandbox keeps resident while the command runs, in KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) name: String,
    pub(super) process: String,
    pub(super) resident: u64,
    /// Of it, what is no file's.
    pub(super) anonymous: u64,
    pub(super) most: u64,
}

/// Who could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Missing {
    pub(super) name: String,
    pub(super) why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::ratios;

    #[test]
    fn a_bar_is_reached_from_its_side() {
        let verdict = |wanted: &str, ratio: Option<f64>| Verdict {
            what: "x".into(),
            to: "y".into(),
            wanted: wanted.into(),
            bar: 2.0,
            ratio: ratio.map(|r| ratios(&[r], &[1.0])),
        };
        assert_eq!(verdict(AT_MOST, Some(1.9)).met(), Some(true));
        assert_eq!(verdict(AT_MOST, Some(2.1)).met(), Some(false));
        assert_eq!(verdict(AT_LEAST, Some(1.9)).met(), Some(false));
        assert_eq!(verdict(AT_LEAST, Some(2.1)).met(), Some(true));
        assert_eq!(verdict(AT_MOST, None).met(), None);
    }

    #[test]
    fn who_is_missing_is_named_once() {
        let one = Missing {
            name: "x".into(),
            why: "not installed".into(),
        };
        let mut report = Report::default();
        report.miss([one.clone(), one]);
        assert_eq!(report.missing.len(), 1);
    }
}
