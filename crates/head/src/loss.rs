//! Softmax cross-entropy from logits, as Keras's `CategoricalCrossentropy(from_logits=True)`.

/// The mean loss over a batch, and its gradient with respect to the logits, (rows, classes).
///
/// `loss = ln Σ_k exp(z_k) - z_label`, with the largest logit taken out first; the gradient of a row is
/// `(softmax(z) - onehot(label)) / rows`.
pub fn cross_entropy(logits: &[f32], labels: &[usize], classes: usize) -> (f64, Vec<f32>) {
    let mut gradient = logits.to_vec();
    let rows = labels.len() as f32;
    let mut total = 0.0;
    for (row, &label) in gradient.chunks_exact_mut(classes).zip(labels) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let of_label = row[label] - largest;
        let mut sum = 0.0;
        for value in row.iter_mut() {
            *value = (*value - largest).exp();
            sum += *value;
        }
        total += f64::from(sum.ln() - of_label);
        for value in row.iter_mut() {
            *value /= sum * rows;
        }
        row[label] -= 1.0 / rows;
    }
    (total / labels.len() as f64, gradient)
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
        let (loss, gradient) = cross_entropy(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[2, 0], 3);
        let first = -(3f64.exp() / (1f64.exp() + 2f64.exp() + 3f64.exp())).ln();
        assert!((loss - (first + 3f64.ln()) / 2.0).abs() < 1e-7);
        for row in gradient.chunks_exact(3) {
            assert!(row.iter().sum::<f32>().abs() < 1e-7);
        }
        assert!((gradient[3] - (1.0 / 3.0 - 1.0) / 2.0).abs() < 1e-7);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let (loss, gradient) = cross_entropy(&[1e30, -1e30], &[0], 2);
        assert_eq!(loss, 0.0);
        assert!(gradient.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn of_equal_logits_the_first_counts() {
        assert_eq!(largest(&[0.0, 1.0, 1.0]), 1);
        assert_eq!(correct(&[1.0, 1.0, 0.0, 2.0], &[0, 1], 2), 2);
        assert_eq!(correct(&[1.0, 1.0], &[1], 2), 0);
    }
}
