//! Temperature scaling: the temperature at which a head's confidence matches its accuracy (Guo et al. 2017).

use crate::team;

/// The lowest temperature that is fitted.
pub const MIN: f32 = 0.25;
/// The highest temperature that is fitted.
pub const MAX: f32 = 4.0;

/// More iterations than bisection alone needs for the precision of a float32.
const MAX_ITERATIONS: usize = 60;
/// Converged when the inverse temperature changes by no more than this.
const TOLERANCE: f64 = 1e-9;
/// Rows that a thread takes at a time. Their sums are added in order, so the number of threads does not change the
/// result.
const ROWS_PER_TASK: usize = 64;

/// The temperature from [`MIN`] to [`MAX`] at which the mean cross-entropy of these rows is lowest; `logits` is (rows,
/// classes) row-major.
///
/// The cross-entropy is a convex function of the inverse temperature β: its first derivative is the mean of `E[z] -
/// z_label`, its second derivative the mean of `Var[z]`, where the class of `z` is distributed as `softmax(β z)`.
/// Newton's method finds the zero of the first derivative; a step that would leave the interval around it is replaced
/// by bisection.
pub fn fit(logits: &[f32], labels: &[usize]) -> f32 {
    team::with_helpers(|| newton(logits, labels))
}

fn newton(logits: &[f32], labels: &[usize]) -> f32 {
    let (mut low, mut high) = (1.0 / f64::from(MAX), 1.0 / f64::from(MIN));
    // If the minimum is outside the interval, the nearer end is the best allowed value.
    if Derivatives::at(low, logits, labels).first > 0.0 {
        return MAX;
    }
    if Derivatives::at(high, logits, labels).first < 0.0 {
        return MIN;
    }
    let mut inverse = 1.0;
    for _ in 0..MAX_ITERATIONS {
        let Derivatives { first, second } = Derivatives::at(inverse, logits, labels);
        if first > 0.0 {
            high = inverse;
        } else if first < 0.0 {
            low = inverse;
        } else {
            break;
        }
        let newton = inverse - first / second;
        let next = if low < newton && newton < high { newton } else { (low + high) / 2.0 };
        let change = (next - inverse).abs();
        inverse = next;
        if change <= TOLERANCE {
            break;
        }
    }
    ((1.0 / inverse) as f32).clamp(MIN, MAX)
}

/// The derivatives of the summed cross-entropy with respect to the inverse temperature.
#[derive(Debug, Clone, Copy, Default)]
struct Derivatives {
    first: f64,
    second: f64,
}

impl Derivatives {
    /// The derivatives at this inverse temperature; `logits` is (rows, classes) row-major.
    fn at(inverse: f64, logits: &[f32], labels: &[usize]) -> Self {
        let classes = logits.len() / labels.len().max(1);
        let tasks = logits.chunks((ROWS_PER_TASK * classes).max(1)).zip(labels.chunks(ROWS_PER_TASK)).collect();
        let parts = team::map(tasks, |(logits, labels)| Self::sum_rows(inverse, logits, labels, classes));
        let mut sum = Self::default();
        for part in parts {
            sum.first += part.first;
            sum.second += part.second;
        }
        sum
    }

    /// The sums over these rows, computed on the caller's core.
    fn sum_rows(inverse: f64, logits: &[f32], labels: &[usize], classes: usize) -> Self {
        let mut sum = Self::default();
        for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
            // The largest logit is subtracted from all, so that exp cannot overflow.
            let max_logit = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let (mut weights, mut weighted_values, mut weighted_squares) = (0.0, 0.0, 0.0);
            for &logit in logits {
                let value = f64::from(logit) - max_logit;
                let weight = (inverse * value).exp();
                // Zero weights are skipped, since for a logit of minus infinity `weight * value` is NaN.
                if weight > 0.0 {
                    weights += weight;
                    weighted_values += weight * value;
                    weighted_squares += weight * value * value;
                }
            }
            let mean = weighted_values / weights;
            sum.first += mean - (f64::from(logits[label]) - max_logit);
            sum.second += weighted_squares / weights - mean * mean;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::CrossEntropy;

    /// Logits of rows in three classes, some of them predicted as another class than their own.
    fn rows(scale: f32) -> (Vec<f32>, Vec<usize>) {
        let labels: Vec<usize> = (0..200).map(|row| row * 7 % 3).collect();
        let mut logits = Vec::new();
        for (row, &label) in labels.iter().enumerate() {
            for class in 0..3 {
                let noise = ((row * 37 + class * 101) % 29) as f32 / 14.0 - 1.0;
                logits.push(scale * (noise + if class == label { 0.8 } else { 0.0 }));
            }
        }
        (logits, labels)
    }

    fn loss(logits: &[f32], labels: &[usize], temperature: f32) -> f64 {
        let logits: Vec<f32> = logits.iter().map(|logit| logit / temperature).collect();
        CrossEntropy::new(3).measure(&logits, labels).total
    }

    #[test]
    fn the_fitted_temperature_is_the_best_of_a_fine_grid() {
        for scale in [0.05, 0.5, 1.0, 3.0, 10.0, 100.0] {
            let (logits, labels) = rows(scale);
            let found = fit(&logits, &labels);
            let found_loss = loss(&logits, &labels, found);
            let (mut best_loss, mut best) = (f64::INFINITY, 0.0);
            for k in 0..=4000 {
                let temperature = MIN * (MAX / MIN).powf(k as f32 / 4000.0);
                let grid_loss = loss(&logits, &labels, temperature);
                if grid_loss < best_loss {
                    (best_loss, best) = (grid_loss, temperature);
                }
            }
            assert!(found_loss <= best_loss + 1e-6, "{scale}: {found_loss} at {found}, {best_loss} at {best}");
            assert!((found / best - 1.0).abs() < 0.02, "{scale}: {found} and {best}");
        }
    }

    #[test]
    fn the_temperature_stays_within_its_bounds() {
        // All predictions are correct, then all are wrong.
        assert_eq!(fit(&[5.0, 0.0, 0.0, 5.0], &[0, 1]), MIN);
        assert_eq!(fit(&[5.0, 0.0, 0.0, 5.0], &[1, 0]), MAX);
        // If all temperatures give the same loss, it is 1.
        assert_eq!(fit(&[1.0, 1.0], &[0]), 1.0);
        assert!(fit(&[f32::NEG_INFINITY, 0.0, 1.0, 0.0, 0.0, 0.5], &[1, 0, 0]).is_finite());
    }

    #[test]
    fn results_are_bit_identical_on_any_number_of_threads() {
        let (logits, labels) = rows(2.0);
        let on = |threads: usize| team::with_threads(threads, || fit(&logits, &labels));
        assert_eq!(on(1).to_bits(), on(2).to_bits());
        assert_eq!(on(1).to_bits(), on(3).to_bits());
    }
}
