//! What has to be shown: ratios between candidates, each with its bar.

use super::candidate::{
    BWRAP, CLI, CLI_SOFT, FLOOR, HEAP, NO_NETWORK, PID_1, PLAIN, PREPARED, SESSION, SOFT, WARM,
};
use super::images::{DIRECTORY, FIRST, LIBRARY, SECOND, TAR, UMOCI};
use super::measure::Samples;
use super::report::{AT_LEAST, AT_MOST, Throughput, Verdict};
use super::stats::ratios;

/// The number of binds of the rows with many.
pub(super) const BINDS: usize = 1000;
/// The number of workers of the row for throughput.
const WORKERS: usize = 4;

/// The name of a candidate with binds.
pub(super) fn with_binds(name: &str, binds: usize) -> String {
    match binds {
        0 => name.to_owned(),
        n => format!("{name}, {n} binds"),
    }
}

/// The time of one candidate, to that of another, at most.
#[derive(Debug)]
pub(super) struct Bar {
    name: &'static str,
    to: &'static str,
    /// Binds of either.
    binds: (usize, usize),
    most: f64,
}

const fn bar(name: &'static str, to: &'static str, most: f64) -> Bar {
    let binds = (0, 0);
    Bar {
        name,
        to,
        binds,
        most,
    }
}

pub(super) const BARS: [Bar; 16] = [
    bar(PREPARED, FLOOR, 1.25),
    bar(PREPARED, BWRAP, 0.42),
    bar(PID_1, FLOOR, 1.12),
    bar(WARM, PLAIN, 1.2),
    bar(SESSION, PLAIN, 1.3),
    bar(CLI, BWRAP, 0.50),
    bar(HEAP, PREPARED, 1.1),
    bar(NO_NETWORK, PLAIN, 1.9),
    bar(PREPARED, SOFT, 1.15),
    bar(CLI, CLI_SOFT, 1.15),
    Bar {
        binds: (BINDS, 0),
        ..bar(PREPARED, PREPARED, 2.5)
    },
    Bar {
        binds: (BINDS, BINDS),
        ..bar(CLI, BWRAP, 0.01)
    },
    bar(FIRST, TAR, 1.0),
    bar(FIRST, UMOCI, 1.0),
    bar(LIBRARY, TAR, 1.0),
    bar(SECOND, DIRECTORY, 1.3),
];

/// Runs per second of the library, to those of bwrap.
const THROUGHPUT: f64 = 2.2;

impl Bar {
    pub(super) fn names(&self) -> [String; 2] {
        let (ours, theirs) = self.binds;
        [with_binds(self.name, ours), with_binds(self.to, theirs)]
    }

    /// Holds it against the first of `sets` that has both; without one it is not measured.
    fn verdict(&self, sets: &[&Samples]) -> Verdict {
        let [what, to] = self.names();
        let ratio = sets
            .iter()
            .find_map(|set| Some(ratios(set.of(&what)?, set.of(&to)?)));
        Verdict {
            what,
            to,
            wanted: AT_MOST.to_owned(),
            bar: self.most,
            ratio,
        }
    }
}

pub(super) fn verdicts(sets: &[&Samples], throughput: &[Throughput]) -> Vec<Verdict> {
    let mut verdicts: Vec<_> = BARS.iter().map(|bar| bar.verdict(sets)).collect();
    let rates = |name: &str| {
        let mut rows = throughput.iter();
        rows.find(|row| row.name == name && row.workers == WORKERS)
            .map(|row| row.rates.as_slice())
    };
    let ratio = rates(PREPARED)
        .zip(rates(BWRAP))
        .map(|(ours, theirs)| ratios(ours, theirs));
    verdicts.push(Verdict {
        what: format!("{PREPARED}, throughput at {WORKERS} workers"),
        to: BWRAP.to_owned(),
        wanted: AT_LEAST.to_owned(),
        bar: THROUGHPUT,
        ratio,
    });
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_takes_the_set_that_has_both() {
        let set = |times: &[(&str, f64)]| Samples {
            times: times
                .iter()
                .map(|(n, t)| ((*n).to_owned(), vec![*t]))
                .collect(),
            missing: vec![],
        };
        let one = set(&[(PREPARED, 10.0), (FLOOR, 8.0)]);
        let two = set(&[(PREPARED, 10.0), ("library, prepared, 1000 binds", 20.0)]);
        let verdicts = verdicts(&[&one, &two], &[]);
        let ratio = |what: &str, to: &str| {
            let row = verdicts.iter().find(|v| v.what == what && v.to == to);
            row.unwrap().ratio.map(|r| r.median)
        };
        assert_eq!(ratio(PREPARED, FLOOR), Some(1.25));
        assert_eq!(ratio("library, prepared, 1000 binds", PREPARED), Some(2.0));
        assert_eq!(ratio(PREPARED, BWRAP), None);
    }
}
