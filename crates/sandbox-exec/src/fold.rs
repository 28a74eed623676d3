//! Making a profile small enough by putting paths together under a common parent.
//!
//! This makes more writable than was asked for, so it is done only where the caller said that
//! less will do, and it is reported.

use std::collections::{BTreeMap, BTreeSet};

use crate::path::MacPath;
use crate::policy::{Policy, Reach, Region};
use crate::profile::Profile;

/// Writable paths that became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The directory that is writable now, except for what the policy says otherwise.
    pub into: MacPath,
    /// How many writable paths it stands for.
    pub paths: usize,
}

/// Nothing is folded into a directory of the top level, such as /Users: that would be too much.
const LEAST_DEPTH: usize = 2;

/// Folds writable paths of `policy`, the deepest first and no more than needed, until its
/// profile is small enough. `None` if it cannot be had.
pub(crate) fn fold(asked: &Policy) -> Option<(Profile, Vec<Fold>)> {
    if asked.base != Reach::Read {
        return None;
    }
    let mut policy = asked.clone();
    let mut tried = BTreeSet::new();
    loop {
        let groups = deepest_groups(&policy, &tried);
        // One within a directory that was made read-only by name stays without effect.
        tried.extend(groups.iter().cloned());
        if groups.is_empty() {
            return None;
        }
        let all = merged(&policy, &groups);
        if Profile::new(&all).compiled_size > Profile::LIMIT {
            policy = all;
            continue;
        }
        // The fewest that are enough, those that save most first.
        let enough =
            |n: usize| Profile::new(&merged(&policy, &groups[..n])).compiled_size <= Profile::LIMIT;
        let (mut too_few, mut fine) = (0, groups.len());
        while fine - too_few > 1 {
            let middle = usize::midpoint(too_few, fine);
            if enough(middle) {
                fine = middle
            } else {
                too_few = middle
            }
        }
        let small = merged(&policy, &groups[..fine]);
        return Some((Profile::new(&small), report(asked, &small)));
    }
}

/// What the folds of `folded` stand for, seen from the policy that was asked for.
fn report(asked: &Policy, folded: &Policy) -> Vec<Fold> {
    let before = asked.layout();
    folded
        .layout()
        .regions
        .iter()
        .filter(|(path, reach)| **reach == Reach::Write && before.reach(path) != Reach::Write)
        .map(|(into, _)| Fold {
            into: into.clone(),
            paths: before
                .regions
                .iter()
                .filter(|(path, reach)| **reach == Reach::Write && path.starts_with(into))
                .count(),
        })
        .collect()
}

/// The directories of the deepest level that hold more than one writable path each, the one with
/// the most first.
fn deepest_groups(policy: &Policy, tried: &BTreeSet<MacPath>) -> Vec<MacPath> {
    let layout = policy.layout();
    let mut groups: BTreeMap<MacPath, usize> = BTreeMap::new();
    for (path, reach) in &layout.regions {
        if *reach == Reach::Write && layout.reach_around(path) == Reach::Read {
            for parent in path.ancestors() {
                if parent.depth() >= LEAST_DEPTH && layout.reach(&parent) == Reach::Read {
                    *groups.entry(parent).or_default() += 1;
                }
            }
        }
    }
    groups.retain(|path, count| *count > 1 && !tried.contains(path));
    let deepest = groups.keys().map(MacPath::depth).max().unwrap_or(0);
    let mut found: Vec<(MacPath, usize)> = groups
        .into_iter()
        .filter(|(path, _)| path.depth() == deepest)
        .collect();
    found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    found.into_iter().map(|(path, _)| path).collect()
}

/// The policy with `groups` writable. They come first, so that whatever was said about a path
/// below them still counts.
fn merged(policy: &Policy, groups: &[MacPath]) -> Policy {
    let writable = groups.iter().map(|path| Region {
        path: path.clone(),
        reach: Reach::Write,
    });
    Policy {
        regions: writable.chain(policy.regions.iter().cloned()).collect(),
        ..policy.clone()
    }
}
