//! How good a head is on a split: over all rows, per class, what it takes for what, and how well it knows.

use feature_cache::ClassNames;
use serde::{Deserialize, Serialize};

use crate::data::Rows;
use crate::fit::each_batch;
use crate::interval::{Interval, wilson};
use crate::layers::Classifier;
use crate::loss::{CrossEntropy, largest};

/// Bins of confidence for the calibration error.
const BINS: usize = 15;

/// A head's results on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitMetrics {
    /// Rows it was measured on.
    pub rows: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction of rows that are right.
    pub accuracy: f64,
    /// Where the accuracy on other rows of this kind would be.
    pub accuracy_interval: Interval,
    /// Fraction of rows whose class is among the three that the head finds likeliest.
    pub top_3: f64,
    /// Expected calibration error (Guo et al. 2017): how far confidence is from accuracy, over 15 bins.
    pub calibration_error: f64,
    /// By class, in the order of the class indices.
    pub classes: Vec<ClassMetrics>,
    /// Rows by true class (outer) and predicted class (inner).
    pub confusion: Vec<Vec<usize>>,
}

/// A head's results for one class. A ratio with nothing below the line is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class.
    pub class: String,
    /// Of the rows taken for this class, how many are.
    pub precision: f64,
    /// Of the rows of this class, how many are taken for it.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// Rows of this class.
    pub support: usize,
}

impl SplitMetrics {
    /// Measures the classifier on the rows.
    pub fn measure(classifier: &Classifier, rows: &Rows<'_>, names: &ClassNames) -> Self {
        let cross_entropy = CrossEntropy::new(names.len());
        let mut loss = 0.0;
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        let mut among_three = 0;
        let mut bins = Bins::default();
        each_batch(classifier, rows, |logits, labels| {
            loss += cross_entropy.loss_and_gradient(logits, labels).0 * labels.len() as f64;
            for (logits, &label) in logits.chunks_exact(names.len()).zip(labels) {
                let predicted = largest(logits);
                confusion[label][predicted] += 1;
                // Of equal logits the first counts, as for the accuracy.
                let before = (0..logits.len()).filter(|&k| (logits[k], label) > (logits[label], k)).count();
                among_three += usize::from(before < 3);
                bins.add(confidence(logits), predicted == label);
            }
        });
        let right: usize = (0..names.len()).map(|k| confusion[k][k]).sum();
        let classes = names.iter().enumerate().map(|(k, class)| ClassMetrics::new(class, k, &confusion)).collect();
        Self {
            rows: rows.len(),
            loss: loss / rows.len() as f64,
            accuracy: right as f64 / rows.len() as f64,
            accuracy_interval: wilson(right, rows.len()),
            top_3: among_three as f64 / rows.len() as f64,
            calibration_error: bins.error(),
            classes,
            confusion,
        }
    }
}

/// The probability of the likeliest class: the largest value of the softmax.
pub fn confidence(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    1.0 / logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum::<f64>()
}

/// Rows by confidence.
#[derive(Default)]
struct Bins([(usize, f64, usize); BINS]);

impl Bins {
    fn add(&mut self, confidence: f64, right: bool) {
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        let (rows, confidences, rights) = &mut self.0[bin];
        *rows += 1;
        *confidences += confidence;
        *rights += usize::from(right);
    }

    fn error(&self) -> f64 {
        let rows: usize = self.0.iter().map(|bin| bin.0).sum();
        let apart: f64 = self.0.iter().map(|(_, confidences, rights)| (confidences - *rights as f64).abs()).sum();
        apart / rows.max(1) as f64
    }
}

impl ClassMetrics {
    fn new(class: &str, k: usize, confusion: &[Vec<usize>]) -> Self {
        let right = confusion[k][k];
        let support: usize = confusion[k].iter().sum();
        let predicted: usize = confusion.iter().map(|row| row[k]).sum();
        let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Self {
            class: class.to_owned(),
            precision: ratio(right, predicted),
            recall: ratio(right, support),
            f1: ratio(2 * right, support + predicted),
            support,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Dense;

    /// The logits are the features themselves.
    fn identity(classes: usize) -> (Classifier, ClassNames) {
        let kernel: Vec<f32> = (0..classes * classes).map(|k| f32::from(u8::from(k % (classes + 1) == 0))).collect();
        let layer = Dense::from_keras(classes, &kernel, &vec![0.0; classes]).unwrap();
        let names = ClassNames::new((0..classes).map(|k| format!("class {k}")).collect()).unwrap();
        (Classifier::from_layers(vec![layer]).unwrap(), names)
    }

    #[test]
    fn counts_and_ratios_by_hand() {
        let (classifier, names) = identity(3);
        let features: [[f32; 3]; 4] = [[1., 0., 0.], [0., 1., 0.], [1., 0., 0.], [0., 1., 0.]];
        let rows = Rows::new(features.iter().map(|row| &row[..]).collect(), vec![0, 0, 0, 1]);
        let metrics = SplitMetrics::measure(&classifier, &rows, &names);
        assert_eq!(metrics.confusion, [[2, 1, 0], [0, 1, 0], [0, 0, 0]]);
        assert_eq!((metrics.accuracy, metrics.top_3), (0.75, 1.0));
        let expect = [(1.0, 2.0 / 3.0, 0.8, 3), (0.5, 1.0, 2.0 / 3.0, 1), (0.0, 0.0, 0.0, 0)];
        for (class, (precision, recall, f1, support)) in metrics.classes.iter().zip(expect) {
            assert_eq!((class.precision, class.recall, class.support), (precision, recall, support));
            assert!((class.f1 - f1).abs() < 1e-12);
        }
        // All four are as sure as the softmax of 1 against two 0.
        let sure = 1f64.exp() / (1f64.exp() + 2.0);
        assert!((metrics.calibration_error - (0.75 - sure)).abs() < 1e-9, "{metrics:?}");
    }

    #[test]
    fn the_third_likeliest_class_counts_and_the_fourth_does_not() {
        let (classifier, names) = identity(5);
        let features = [[5., 4., 3., 2., 1.], [5., 4., 3., 2., 1.], [1., 1., 1., 1., 1.], [1., 1., 1., 1., 1.]];
        let rows = Rows::new(features.iter().map(|row| &row[..]).collect(), vec![2, 3, 2, 3]);
        assert_eq!(SplitMetrics::measure(&classifier, &rows, &names).top_3, 0.5);
    }
}
