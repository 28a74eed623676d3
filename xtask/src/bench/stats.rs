//! Medians and what is around them.

use serde::{Deserialize, Serialize};

/// The value below which `fraction` of the sorted values lie.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let place = fraction * to_f64(sorted.len() - 1);
    let (low, high) = (to_usize(place.floor()), to_usize(place.ceil()));
    let between = place - place.floor();
    sorted[low] + (sorted[high] - sorted[low]) * between
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of measurements are small"
)]
pub(super) fn to_f64(n: usize) -> f64 {
    n as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index that was made from a length"
)]
fn to_usize(n: f64) -> usize {
    n as usize
}

/// The 10th, 50th and 90th hundredth of a set of values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) p10: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

impl Spread {
    pub(super) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            p10: quantile(&sorted, 0.1),
            median: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
        }
    }
}

/// The spread of the ratios within pairs. A slow moment of the machine hits both of a pair.
pub(super) fn ratios(ours: &[f64], theirs: &[f64]) -> Spread {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    Spread::of(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        let values: Vec<f64> = (0..=10).rev().map(f64::from).collect();
        assert_eq!(
            Spread::of(&values),
            Spread {
                p10: 1.0,
                median: 5.0,
                p90: 9.0
            }
        );
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_of_pairs() {
        // A slow moment hits both of a pair: the ratio does not see it.
        assert_eq!(ratios(&[1.0, 100.0, 2.0], &[2.0, 200.0, 4.0]).median, 0.5);
    }
}
