//! How good a head is on a split: per class, and what it takes for what.

use feature_cache::ClassNames;
use serde::Serialize;

use crate::data::Rows;
use crate::fit::evaluate;
use crate::layers::Classifier;
use crate::loss::largest;

/// A head's results on one split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitMetrics {
    /// Rows it was measured on.
    pub rows: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction of rows that are right.
    pub accuracy: f64,
    /// By class, in the order of the class indices.
    pub classes: Vec<ClassMetrics>,
    /// Rows by true class (outer) and predicted class (inner).
    pub confusion: Vec<Vec<usize>>,
}

/// A head's results for one class. A ratio with nothing below the line is 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
        let (loss, accuracy) = evaluate(classifier, rows);
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        for (logits, &label) in classifier.logits(&rows.features).chunks_exact(classifier.classes()).zip(&rows.labels) {
            confusion[label][largest(logits)] += 1;
        }
        let classes = names.iter().enumerate().map(|(k, class)| ClassMetrics::new(class, k, &confusion)).collect();
        Self { rows: rows.len(), loss, accuracy, classes, confusion }
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

    #[test]
    fn counts_and_ratios_by_hand() {
        // The logits are the features themselves.
        let identity = Dense::from_keras(3, &[1., 0., 0., 0., 1., 0., 0., 0., 1.], &[0.; 3]).unwrap();
        let classifier = Classifier::from_layers(vec![identity]).unwrap();
        let names = ClassNames::new(vec!["a".into(), "b".into(), "c".into()]).unwrap();
        let features: [[f32; 3]; 4] = [[1., 0., 0.], [0., 1., 0.], [1., 0., 0.], [0., 1., 0.]];
        let rows = Rows { features: features.iter().map(|row| &row[..]).collect(), labels: vec![0, 0, 0, 1] };
        let metrics = SplitMetrics::measure(&classifier, &rows, &names);
        assert_eq!(metrics.confusion, [[2, 1, 0], [0, 1, 0], [0, 0, 0]]);
        assert_eq!(metrics.accuracy, 0.75);
        let expect = [(1.0, 2.0 / 3.0, 0.8, 3), (0.5, 1.0, 2.0 / 3.0, 1), (0.0, 0.0, 0.0, 0)];
        for (class, (precision, recall, f1, support)) in metrics.classes.iter().zip(expect) {
            assert_eq!((class.precision, class.recall, class.support), (precision, recall, support));
            assert!((class.f1 - f1).abs() < 1e-12);
        }
    }
}
