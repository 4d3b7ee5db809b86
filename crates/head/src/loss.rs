//! Softmax cross-entropy from logits, as Keras's `CategoricalCrossentropy(from_logits=True)`.

use crate::settings::{ClassWeights, Fraction};

/// The loss over rows of logits, in nats.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy {
    classes: usize,
    /// The part of each target that is spread over all classes.
    smoothing: f32,
    /// How much a row counts, by its class, (classes,); empty when every row counts the same.
    weights: Vec<f32>,
}

impl CrossEntropy {
    /// The plain loss: every row counts the same, and the target is 1 at its label.
    pub fn new(classes: usize) -> Self {
        Self { classes, smoothing: 0.0, weights: Vec::new() }
    }

    /// The loss with `smoothing` of each target spread over all classes, its label's included: Keras's `label_smoothing`.
    pub fn smoothed(classes: usize, smoothing: Fraction) -> Self {
        Self { smoothing: smoothing.get() as f32, ..Self::new(classes) }
    }

    /// The same loss with each row weighted by how often its class is among the training `labels`.
    pub fn weighted(self, weights: ClassWeights, labels: &[usize]) -> Self {
        if weights == ClassWeights::None {
            return self;
        }
        let mut counts = vec![0usize; self.classes];
        for &label in labels {
            counts[label] += 1;
        }
        let weight = |&count: &usize| labels.len() as f32 / (self.classes * count.max(1)) as f32;
        Self { weights: counts.iter().map(weight).collect(), ..self }
    }

    /// The number of logits in a row.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The mean loss over a batch of logits, (rows, classes) row-major, and its gradient with respect to them, of the same
    /// shape.
    ///
    /// With the target `t = (1 - s) onehot(label) + s / classes` and the weight `w` of its class, a row's loss is
    /// `w (ln Σ_k exp(z_k) - Σ_k t_k z_k)`, with the largest logit taken out first; its gradient is
    /// `w (softmax(z) - t) / rows`.
    pub fn loss_and_gradient(&self, logits: &[f32], labels: &[usize]) -> (f64, Vec<f32>) {
        let mut gradient = logits.to_vec();
        let rows = labels.len() as f32;
        let of_label = 1.0 - self.smoothing;
        let of_each = self.smoothing / self.classes as f32;
        let mut total = 0.0;
        // Each row of the gradient begins as the row's logits and is replaced in place.
        for (row, &label) in gradient.chunks_exact_mut(self.classes).zip(labels) {
            let weight = self.weights.get(label).copied().unwrap_or(1.0);
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut expected = of_label * (row[label] - largest);
            if self.smoothing > 0.0 {
                expected += of_each * row.iter().map(|value| value - largest).sum::<f32>();
            }
            let mut sum = 0.0;
            for value in row.iter_mut() {
                *value = (*value - largest).exp();
                sum += *value;
            }
            total += f64::from(weight * (sum.ln() - expected));
            for value in row.iter_mut() {
                *value = weight * (*value / (sum * rows) - of_each / rows);
            }
            row[label] -= weight * of_label / rows;
        }
        (total / labels.len() as f64, gradient)
    }
}

/// How many rows have their largest logit at their label; of equal logits the first counts, as in Keras's argmax.
pub fn correct(logits: &[f32], labels: &[usize], classes: usize) -> usize {
    logits.chunks_exact(classes).zip(labels).filter(|(row, label)| largest(row) == **label).count()
}

/// The index of the largest value, the first of equal ones.
pub fn largest(row: &[f32]) -> usize {
    let better = |best: usize, k: usize| if row[k] > row[best] { k } else { best };
    (1..row.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_negative_log_probability() {
        let (loss, gradient) = CrossEntropy::new(3).loss_and_gradient(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[2, 0]);
        let first = -(3f64.exp() / (1f64.exp() + 2f64.exp() + 3f64.exp())).ln();
        assert!((loss - (first + 3f64.ln()) / 2.0).abs() < 1e-7);
        for row in gradient.chunks_exact(3) {
            assert!(row.iter().sum::<f32>().abs() < 1e-7);
        }
        assert!((gradient[3] - (1.0 / 3.0 - 1.0) / 2.0).abs() < 1e-7);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let (loss, gradient) = CrossEntropy::new(2).loss_and_gradient(&[1e30, -1e30], &[0]);
        assert_eq!(loss, 0.0);
        assert!(gradient.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn gradients_are_finite_differences_with_smoothing_and_weights() {
        let labels = [0, 2, 2, 1, 2];
        let logits: Vec<f32> = (0..15).map(|k| ((k * 7) % 11) as f32 / 4.0 - 1.0).collect();
        for smoothing in [0.0, 0.1, 0.4] {
            for weights in [ClassWeights::None, ClassWeights::Balanced] {
                let smoothing = Fraction::new("label smoothing", smoothing).unwrap();
                let loss = CrossEntropy::smoothed(3, smoothing).weighted(weights, &labels);
                let (_, gradient) = loss.loss_and_gradient(&logits, &labels);
                for k in 0..logits.len() {
                    let at = |offset: f32| {
                        let mut logits = logits.clone();
                        logits[k] += offset;
                        loss.loss_and_gradient(&logits, &labels).0
                    };
                    let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
                    assert!((difference - f64::from(gradient[k])).abs() < 1e-5, "{loss:?} {k}");
                }
            }
        }
    }

    #[test]
    fn balanced_weights_are_scikit_learns() {
        let loss = CrossEntropy::new(3).weighted(ClassWeights::Balanced, &[0, 0, 0, 1, 1, 2]);
        assert_eq!(loss.weights, [6.0 / 9.0, 1.0, 2.0]);
    }

    #[test]
    fn of_equal_logits_the_first_counts() {
        assert_eq!(largest(&[0.0, 1.0, 1.0]), 1);
        assert_eq!(correct(&[1.0, 1.0, 0.0, 2.0], &[0, 1], 2), 2);
        assert_eq!(correct(&[1.0, 1.0], &[1], 2), 0);
    }
}
