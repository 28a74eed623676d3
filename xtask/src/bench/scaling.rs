//! Times against something that grows: binds, mounts of the host.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::bars::with_binds;
use super::candidate::{BWRAP, CLI, Candidate, FLOOR, PREPARED, cli, floor, library};
use super::measure::{Chance, Samples, in_turn};
use super::peers::bwrap;
use super::place::Place;
use super::report::Curve;
use super::stats::Spread;
use super::wanted::Wanted;
use crate::{Result, repo};

/// Binds, and how many times fewer rounds they get.
const BINDS: [(usize, usize); 6] = [(0, 1), (1, 1), (10, 1), (100, 2), (1000, 5), (5000, 10)];
/// bwrap takes a second for these.
const MOST_OF_BWRAP: usize = 1000;
/// With `--quick`.
const MOST_OF_QUICK: usize = 1000;
/// Below this a median means little.
const FEWEST: usize = 3;

/// A set of samples for each number of binds. In each there is also the library without binds.
pub(super) fn binds(place: &Place, wanted: &Wanted, chance: &mut Chance) -> Vec<(usize, Samples)> {
    let mut sets = Vec::new();
    for (binds, fewer) in BINDS {
        if wanted.quick && binds > MOST_OF_QUICK {
            continue;
        }
        let rounds = (wanted.rounds / fewer).max(FEWEST);
        wanted.say(&format!("{binds} binds, {rounds} rounds"));
        let mut hows = vec![
            (PREPARED, library(place, &[], binds)),
            (CLI, cli(place, &[], binds)),
        ];
        if binds <= MOST_OF_BWRAP {
            hows.push((FLOOR, floor(place, "umpitnRlv", binds)));
            hows.push((BWRAP, bwrap(place, binds)));
        }
        let named = |(name, how)| Candidate::new(with_binds(name, binds), how);
        let mut candidates: Vec<_> = hows.into_iter().map(named).collect();
        if binds > 0 {
            candidates.push(Candidate::new(PREPARED, library(place, &[], 0)));
        }
        sets.push((binds, in_turn(&candidates, rounds, chance)));
    }
    sets
}

pub(super) fn curves_of_binds(sets: &[(usize, Samples)]) -> Vec<Curve> {
    let points = |name: &str, binds: usize, set: &Samples| {
        let times = set.of(&with_binds(name, binds))?;
        Some((binds, Spread::of(times)))
    };
    curves("binds", |name| {
        let all = sets.iter();
        all.filter_map(|(binds, set)| points(name, *binds, set))
            .collect()
    })
}

fn curves(against: &str, points: impl Fn(&str) -> Vec<(usize, Spread)>) -> Vec<Curve> {
    [FLOOR, PREPARED, CLI, BWRAP]
        .into_iter()
        .map(|name| Curve {
            against: against.to_owned(),
            name: name.to_owned(),
            points: points(name),
        })
        .filter(|curve| !curve.points.is_empty())
        .collect()
}

/// Mounts of the host besides those that it has.
const MOUNTS: [usize; 5] = [10, 100, 500, 1000, 2000];
const MOUNTS_QUICK: [usize; 2] = [10, 500];

/// In a mount namespace of our own, as root: mounts more and more, and has `measure` take the
/// times each time. Whatever is mounted goes with the namespace.
pub(super) fn host_mounts(
    place: &Place,
    wanted: &Wanted,
    measure: impl Fn(&Wanted) -> Result<Vec<(String, Spread)>>,
) -> Result<Vec<Curve>> {
    let counts: &[usize] = if wanted.quick { &MOUNTS_QUICK } else { &MOUNTS };
    let dir = place.dir().join("host-mounts");
    let mut there = 0;
    let mut found = Vec::new();
    for &count in counts {
        for n in there..count {
            let at = dir.join(n.to_string());
            fs::create_dir_all(&at)?;
            mount_on_itself(&at)?;
        }
        there = count;
        wanted.say(&format!("{count} more mounts of the host"));
        found.push((count, measure(wanted)?));
    }
    Ok(curves("mounts of the host", |name| {
        let at = |(count, times): &(usize, Vec<(String, Spread)>)| {
            let (_, spread) = times.iter().find(|(n, _)| n == name)?;
            Some((*count, *spread))
        };
        found.iter().filter_map(at).collect()
    }))
}

fn mount_on_itself(dir: &Path) -> Result {
    // -n: no table of mounts is written, where there still is one.
    repo::run(
        Command::new("mount")
            .args(["-n", "--bind"])
            .args([dir, dir]),
    )
}

/// The candidates that a growing number of mounts is of interest for.
pub(super) fn few(place: &Place, wanted: &Wanted, chance: &mut Chance) -> Vec<(String, Spread)> {
    let candidates = [
        (FLOOR, floor(place, "umpitnRlv", 0)),
        (PREPARED, library(place, &[], 0)),
        (CLI, cli(place, &[], 0)),
        (BWRAP, bwrap(place, 0)),
    ]
    .map(|(name, how)| Candidate::new(name, how));
    let samples = in_turn(&candidates, (wanted.rounds / 2).max(FEWEST), chance);
    let spreads = samples.times.iter();
    spreads
        .map(|(name, times)| (name.clone(), Spread::of(times)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_the_points_of_its_candidate() {
        let set = |names: &[&str]| Samples {
            times: names.iter().map(|n| ((*n).to_owned(), vec![1.0])).collect(),
            missing: vec![],
        };
        let sets = [
            (0, set(&[PREPARED, BWRAP])),
            (10, set(&["library, prepared, 10 binds", PREPARED])),
        ];
        let curves = curves_of_binds(&sets);
        let counts = |curve: &Curve| curve.points.iter().map(|p| p.0).collect::<Vec<_>>();
        assert_eq!(curves.len(), 2, "{curves:?}");
        assert_eq!(
            (curves[0].name.as_str(), counts(&curves[0])),
            (PREPARED, vec![0, 10])
        );
        assert_eq!(
            (curves[1].name.as_str(), counts(&curves[1])),
            (BWRAP, vec![0])
        );
    }
}
