//! How large a profile becomes when it is compiled.
//!
//! The format is Apple's own. What is published about it: the compiler keeps each distinct
//! pattern once and shares what patterns have in common at their beginning; 6,540 `subpath`
//! rules about short, similar paths came to 65,602 bytes, and 1,600 about paths of some 60
//! bytes, which differ from the twelfth on, to 97,830. The estimate is above both. Where it is
//! wrong all the same, sandbox-exec refuses the profile and starts nothing.

use std::collections::BTreeSet;

use crate::profile::Use;

/// What a profile without any path comes to.
const EMPTY: usize = 4096;
/// The test itself, in the graph of each operation that it decides about.
const TEST: usize = 8;
/// The head of a pattern.
const PATTERN: usize = 16;

pub(crate) fn estimate(uses: &[Use]) -> usize {
    let tests: usize = uses.iter().map(|one| one.operations * TEST).sum();
    let patterns: BTreeSet<(bool, &[u8])> = uses
        .iter()
        .map(|one| (one.exact, one.path.as_str().as_bytes()))
        .collect();
    let mut size = EMPTY + tests;
    let mut before: &[u8] = &[];
    for (_, pattern) in &patterns {
        let shared = before
            .iter()
            .zip(*pattern)
            .take_while(|(a, b)| a == b)
            .count();
        size += PATTERN + pattern.len() - shared;
        before = pattern;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacPath;

    fn uses(paths: impl Iterator<Item = String>) -> Vec<Use> {
        paths
            .map(|path| Use {
                path: MacPath::new(path).unwrap(),
                exact: false,
                operations: 1,
            })
            .collect()
    }

    #[test]
    fn the_estimate_is_above_what_was_measured_and_not_absurdly() {
        let short = estimate(&uses((0..6540).map(|n| format!("/a/b/{n}"))));
        assert!((65_602..65_602 * 3).contains(&short), "{short}");
        // A multiplier that is prime to 2^64, so that the digits differ from the first on.
        let digits = |n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let store = (0..1600).map(|n| {
            let hash = digits(n) + &digits(n + 9000);
            format!("/nix/store/{hash}-some-package-1.2.3")
        });
        let store = estimate(&uses(store));
        assert!((97_830..97_830 * 2).contains(&store), "{store}");
    }

    #[test]
    fn the_same_pattern_counts_once() {
        let once = estimate(&uses(["/a".to_owned()].into_iter()));
        let twice = estimate(&uses(["/a".to_owned(), "/a".to_owned()].into_iter()));
        assert_eq!(twice - once, TEST);
    }
}
