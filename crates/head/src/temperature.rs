//! The temperature at which a head's probabilities are as confident as it is right (Guo et al. 2017).

use rayon::prelude::*;

/// The lowest temperature that is fitted.
pub const MIN: f32 = 0.25;
/// The highest.
pub const MAX: f32 = 4.0;

/// More iterations than bisection alone would take to the last digit of a float32.
const MAX_ITERATIONS: usize = 60;
/// Converged when the inverse temperature changes by no more than this.
const TOLERANCE: f64 = 1e-9;
/// Rows whose slopes are one task; the slopes are added in order, so the result depends on no number of threads.
const TASK: usize = 64;

/// The temperature from [`MIN`] to [`MAX`] at which the mean cross-entropy of these rows is lowest; `logits` is (rows,
/// classes) row-major.
///
/// The cross-entropy is a convex function of the inverse temperature β: its first derivative is the mean of
/// `E[z] - z_label`, its second that of `Var[z]`, with `z` distributed as the softmax of `β z`. Newton's method finds where
/// the first is 0, and bisection takes over where a step would leave the interval that holds it.
pub fn fit(logits: &[f32], labels: &[usize]) -> f32 {
    let (mut low, mut high) = (1.0 / f64::from(MAX), 1.0 / f64::from(MIN));
    // Where the minimum is beyond an end, the end is the best that is allowed.
    if Slope::at(low, logits, labels).first > 0.0 {
        return MAX;
    }
    if Slope::at(high, logits, labels).first < 0.0 {
        return MIN;
    }
    let mut inverse = 1.0;
    for _ in 0..MAX_ITERATIONS {
        let Slope { first, second } = Slope::at(inverse, logits, labels);
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
struct Slope {
    first: f64,
    second: f64,
}

impl Slope {
    fn at(inverse: f64, logits: &[f32], labels: &[usize]) -> Self {
        let classes = logits.len() / labels.len().max(1);
        let parts: Vec<Self> = logits
            .par_chunks((TASK * classes).max(1))
            .zip(labels.par_chunks(TASK))
            .map(|(logits, labels)| Self::of_rows(inverse, logits, labels, classes))
            .collect();
        let mut sum = Self::default();
        for part in parts {
            sum.first += part.first;
            sum.second += part.second;
        }
        sum
    }

    fn of_rows(inverse: f64, logits: &[f32], labels: &[usize], classes: usize) -> Self {
        let mut slope = Self::default();
        for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
            // Relative to the largest, so that no power overflows.
            let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let (mut sum, mut of_values, mut of_squares) = (0.0, 0.0, 0.0);
            for &logit in logits {
                let value = f64::from(logit) - max;
                let power = (inverse * value).exp();
                // Not so for a logit of minus infinity.
                if power > 0.0 {
                    sum += power;
                    of_values += power * value;
                    of_squares += power * value * value;
                }
            }
            let mean = of_values / sum;
            slope.first += mean - (f64::from(logits[label]) - max);
            slope.second += of_squares / sum - mean * mean;
        }
        slope
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
        CrossEntropy::new(3).loss_and_gradient(&logits, labels).0
    }

    #[test]
    fn no_temperature_on_a_fine_grid_is_better() {
        for scale in [0.05, 0.5, 1.0, 3.0, 10.0, 100.0] {
            let (logits, labels) = rows(scale);
            let found = fit(&logits, &labels);
            let of_found = loss(&logits, &labels, found);
            let mut best = (f64::INFINITY, 0.0);
            for k in 0..=4000 {
                let temperature = MIN * (MAX / MIN).powf(k as f32 / 4000.0);
                let of_grid = loss(&logits, &labels, temperature);
                if of_grid < best.0 {
                    best = (of_grid, temperature);
                }
            }
            assert!(of_found <= best.0 + 1e-6, "{scale}: {of_found} at {found}, {best:?}");
            assert!((found / best.1 - 1.0).abs() < 0.02, "{scale}: {found} and {best:?}");
        }
    }

    #[test]
    fn it_stays_within_its_bounds() {
        // Every row right by far, and every row wrong.
        assert_eq!(fit(&[5.0, 0.0, 0.0, 5.0], &[0, 1]), MIN);
        assert_eq!(fit(&[5.0, 0.0, 0.0, 5.0], &[1, 0]), MAX);
        // Where any temperature is as good, it is 1.
        assert_eq!(fit(&[1.0, 1.0], &[0]), 1.0);
        assert!(fit(&[f32::NEG_INFINITY, 0.0, 1.0, 0.0, 0.0, 0.5], &[1, 0, 0]).is_finite());
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let (logits, labels) = rows(2.0);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(&logits, &labels))
        };
        assert_eq!(on(1).to_bits(), on(2).to_bits());
        assert_eq!(on(1).to_bits(), on(3).to_bits());
    }
}
