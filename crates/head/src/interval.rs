//! The uncertainty of a measured accuracy.

use serde::{Deserialize, Serialize};

/// The 97.5th percentile of the normal distribution: intervals have a confidence of 95 %.
const Z: f64 = 1.959_964;

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The Wilson interval (Wilson 1927) for a rate of `successes` out of `count`; from 0 to 1 for 0 of 0.
pub fn wilson(successes: usize, count: usize) -> Interval {
    if count == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, rate) = (count as f64, successes as f64 / count as f64);
    let denominator = 1.0 + Z * Z / n;
    let center = (rate + Z * Z / (2.0 * n)) / denominator;
    let half = Z / denominator * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    Interval { low: (center - half).max(0.0), high: (center + half).min(1.0) }
}

/// The mean and its standard error; the error of a single value is `None`.
pub fn mean_and_error(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()))
}

/// Whether two accuracies, each measured on this many photos, do not differ significantly: a two-sample z-test does not
/// reject equality at the 5 % level. For accuracies on the same photos the test is conservative.
pub fn may_be_equal(one: f64, other: f64, photos: usize) -> bool {
    let variance = |rate: f64| rate * (1.0 - rate) / photos.max(1) as f64;
    (one - other).abs() <= Z * (variance(one) + variance(other)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval_matches_textbook() {
        // 10 of 20: 0.2993 to 0.7007; 0 of 10: 0 to 0.2775 (Agresti and Coull 1998, by hand).
        let half = wilson(10, 20);
        assert!((half.low - 0.2993).abs() < 1e-4 && (half.high - 0.7007).abs() < 1e-4, "{half:?}");
        let none = wilson(0, 10);
        assert!(none.low == 0.0 && (none.high - 0.2775).abs() < 1e-4, "{none:?}");
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn standard_error_of_three_values() {
        assert_eq!(mean_and_error(&[2.0]), (2.0, None));
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0]);
        assert_eq!(mean, 2.0);
        assert!((error.unwrap() - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn small_differences_on_few_photos_are_not_significant() {
        assert!(may_be_equal(0.82, 0.80, 341));
        assert!(!may_be_equal(0.82, 0.70, 341));
        assert!(!may_be_equal(0.82, 0.80, 100_000));
    }
}
