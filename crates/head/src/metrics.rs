//! A head's metrics on a split: loss, accuracy, per-class metrics, confusion matrix, calibration error.

use feature_cache::ClassNames;
use serde::{Deserialize, Serialize};

use crate::confusion::{Cell, Confusion};
use crate::data::Rows;
use crate::fit::map_batches;
use crate::interval::{Interval, wilson};
use crate::layers::Classifier;
use crate::loss::{CrossEntropy, argmax};
use crate::probability::confidence;

/// Confidence bins of the expected calibration error.
const BINS: usize = 15;

/// A head's metrics on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitMetrics {
    /// The number of rows.
    pub rows: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction of rows predicted correctly.
    pub accuracy: f64,
    /// 95 % Wilson interval of the accuracy.
    pub accuracy_interval: Interval,
    /// Top-3 accuracy: fraction of rows whose class is among the three with the largest probabilities.
    pub top_3: f64,
    /// Expected calibration error of the softmax of the logits (Guo et al. 2017): the difference between confidence and
    /// accuracy, averaged over 15 bins.
    pub calibration_error: f64,
    /// Expected calibration error of the probabilities at the head's temperature; `None` for a head without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration_error_with_temperature: Option<f64>,
    /// Per-class metrics, in the order of the class indices.
    pub classes: Vec<ClassMetrics>,
    /// Rows by class and predicted class.
    pub confusion: Confusion,
}

/// A head's metrics for one class. A ratio whose denominator is 0 is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class's name.
    #[serde(rename = "class")]
    pub name: String,
    /// The fraction of the rows predicted as this class that are of this class.
    pub precision: f64,
    /// The fraction of the rows of this class that are predicted as this class.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// Rows of this class.
    pub support: usize,
}

/// Accumulates [`SplitMetrics`] batch by batch.
#[derive(Debug)]
pub struct MetricsBuilder<'a> {
    names: &'a ClassNames,
    temperature: Option<f32>,
    cross_entropy: CrossEntropy,
    rows: usize,
    total_loss: f64,
    correct: usize,
    in_top_3: usize,
    bins: Bins,
    bins_with_temperature: Bins,
    confusion: Confusion,
}

impl<'a> MetricsBuilder<'a> {
    /// A builder without rows. The head's temperature is used for [`SplitMetrics::calibration_error_with_temperature`]
    /// only.
    pub fn new(names: &'a ClassNames, temperature: Option<f32>) -> Self {
        Self {
            names,
            temperature,
            cross_entropy: CrossEntropy::new(names.len()),
            rows: 0,
            total_loss: 0.0,
            correct: 0,
            in_top_3: 0,
            bins: Bins::default(),
            bins_with_temperature: Bins::default(),
            confusion: Confusion::new(names.len()),
        }
    }

    /// Adds rows: their logits, (rows, classes) row-major, and their labels, which are indices of the names.
    pub fn add(&mut self, logits: &[f32], labels: &[usize]) {
        self.add_batch(BatchMetrics::new(&self.cross_entropy, self.temperature, logits, labels));
    }

    fn add_batch(&mut self, batch: BatchMetrics) {
        self.rows += batch.rows.len();
        self.total_loss += batch.total_loss;
        for row in batch.rows {
            let RowMetrics { label, predicted, rank, confidence, confidence_with_temperature } = row;
            let cell = Cell { class: label, predicted, rows: 1 };
            self.confusion.add(cell).expect("labels and logits are those of the classes");
            self.correct += usize::from(predicted == label);
            self.in_top_3 += usize::from(rank < 3);
            self.bins.add(confidence, predicted == label);
            if let Some(confidence) = confidence_with_temperature {
                self.bins_with_temperature.add(confidence, predicted == label);
            }
        }
    }

    /// The metrics of the added rows. Without rows, the means are NaN.
    pub fn finish(self) -> SplitMetrics {
        let rows = self.rows as f64;
        let calibration_error_with_temperature =
            self.temperature.map(|_| self.bins_with_temperature.calibration_error());
        SplitMetrics {
            rows: self.rows,
            loss: self.total_loss / rows,
            accuracy: self.correct as f64 / rows,
            accuracy_interval: wilson(self.correct, self.rows),
            top_3: self.in_top_3 as f64 / rows,
            calibration_error: self.bins.calibration_error(),
            calibration_error_with_temperature,
            classes: class_metrics(&self.confusion, self.names),
            confusion: self.confusion,
        }
    }
}

/// What [`MetricsBuilder`] adds for a batch. Computed on all threads.
struct BatchMetrics {
    /// The summed cross-entropy.
    total_loss: f64,
    rows: Vec<RowMetrics>,
}

/// What [`MetricsBuilder`] adds for a row.
struct RowMetrics {
    label: usize,
    predicted: usize,
    /// How many classes rank before the label.
    rank: usize,
    confidence: f64,
    confidence_with_temperature: Option<f64>,
}

impl BatchMetrics {
    /// `logits` is (rows, classes) row-major.
    fn new(cross_entropy: &CrossEntropy, temperature: Option<f32>, logits: &[f32], labels: &[usize]) -> Self {
        let total_loss = cross_entropy.measure(logits, labels).total;
        let measure = |(logits, &label): (&[f32], &usize)| {
            // Among equal logits the lower index ranks first, as in argmax.
            let ranked_before = |k: usize| logits[k] > logits[label] || (logits[k] == logits[label] && k < label);
            RowMetrics {
                label,
                predicted: argmax(logits),
                rank: (0..logits.len()).filter(|&k| ranked_before(k)).count(),
                confidence: confidence(logits, 1.0),
                confidence_with_temperature: temperature.map(|temperature| confidence(logits, temperature)),
            }
        };
        Self { total_loss, rows: logits.chunks_exact(cross_entropy.classes()).zip(labels).map(measure).collect() }
    }
}

impl SplitMetrics {
    /// Evaluates the classifier on the rows, whose labels are indices of `names`.
    pub fn measure(classifier: &Classifier, rows: &Rows<'_>, names: &ClassNames, temperature: Option<f32>) -> Self {
        let mut builder = MetricsBuilder::new(names, temperature);
        let cross_entropy = builder.cross_entropy.clone();
        let batch_metrics =
            |logits: Vec<f32>, labels: &[usize]| BatchMetrics::new(&cross_entropy, temperature, &logits, labels);
        map_batches(classifier, rows, batch_metrics, |batch| builder.add_batch(batch));
        builder.finish()
    }

    /// The classes by ascending F1.
    pub fn weakest_classes(&self) -> Vec<&ClassMetrics> {
        let mut classes: Vec<&ClassMetrics> = self.classes.iter().collect();
        // Without photos F1 is 0 and says nothing.
        classes.sort_by(|a, b| (a.support == 0).cmp(&(b.support == 0)).then(a.f1.total_cmp(&b.f1)));
        classes
    }
}

/// Precision, recall and F1 of each class.
fn class_metrics(confusion: &Confusion, names: &ClassNames) -> Vec<ClassMetrics> {
    let mut support = vec![0; names.len()];
    let mut predicted = vec![0; names.len()];
    for cell in confusion.cells() {
        support[cell.class] += cell.rows;
        predicted[cell.predicted] += cell.rows;
    }
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let mut classes = Vec::with_capacity(names.len());
    for (k, name) in names.iter().enumerate() {
        let correct = confusion.rows(k, k);
        classes.push(ClassMetrics {
            name: name.to_owned(),
            precision: ratio(correct, predicted[k]),
            recall: ratio(correct, support[k]),
            f1: ratio(2 * correct, support[k] + predicted[k]),
            support: support[k],
        });
    }
    classes
}

/// Rows by the confidence of their prediction: bin k is from k / 15 to (k + 1) / 15.
#[derive(Debug, Default)]
struct Bins([Bin; BINS]);

#[derive(Debug, Default)]
struct Bin {
    rows: usize,
    total_confidence: f64,
    correct: usize,
}

impl Bins {
    fn add(&mut self, confidence: f64, correct: bool) {
        let bin = &mut self.0[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.rows += 1;
        bin.total_confidence += confidence;
        bin.correct += usize::from(correct);
    }

    /// The expected calibration error; 0 without rows.
    fn calibration_error(&self) -> f64 {
        let rows: usize = self.0.iter().map(|bin| bin.rows).sum();
        let difference: f64 = self.0.iter().map(|bin| (bin.total_confidence - bin.correct as f64).abs()).sum();
        difference / rows.max(1) as f64
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
        let metrics = SplitMetrics::measure(&classifier, &rows, &names, None);
        let cells: Vec<(usize, usize, usize)> =
            metrics.confusion.cells().map(|cell| (cell.class, cell.predicted, cell.rows)).collect();
        assert_eq!(cells, [(0, 0, 2), (0, 1, 1), (1, 1, 1)]);
        assert_eq!((metrics.accuracy, metrics.top_3), (0.75, 1.0));
        let expect = [(1.0, 2.0 / 3.0, 0.8, 3), (0.5, 1.0, 2.0 / 3.0, 1), (0.0, 0.0, 0.0, 0)];
        for (class, (precision, recall, f1, support)) in metrics.classes.iter().zip(expect) {
            assert_eq!((class.precision, class.recall, class.support), (precision, recall, support));
            assert!((class.f1 - f1).abs() < 1e-12);
        }
        // The confidence of all four is the softmax of 1 against two 0.
        let confidence = 1f64.exp() / (1f64.exp() + 2.0);
        assert!((metrics.calibration_error - (0.75 - confidence)).abs() < 1e-9, "{metrics:?}");
        assert_eq!(metrics.calibration_error_with_temperature, None);
        // At a temperature of 2 it is that of 0.5; nothing else changes.
        let confidence = 0.5f64.exp() / (0.5f64.exp() + 2.0);
        let with_temperature = SplitMetrics::measure(&classifier, &rows, &names, Some(2.0));
        let error = with_temperature.calibration_error_with_temperature.unwrap();
        assert!((error - (0.75 - confidence)).abs() < 1e-9, "{with_temperature:?}");
        assert_eq!(SplitMetrics { calibration_error_with_temperature: None, ..with_temperature }, metrics);
    }

    #[test]
    fn top_3_accuracy_includes_the_third_class_and_not_the_fourth() {
        let (classifier, names) = identity(5);
        let features = [[5., 4., 3., 2., 1.], [5., 4., 3., 2., 1.], [1., 1., 1., 1., 1.], [1., 1., 1., 1., 1.]];
        let rows = Rows::new(features.iter().map(|row| &row[..]).collect(), vec![2, 3, 2, 3]);
        assert_eq!(SplitMetrics::measure(&classifier, &rows, &names, None).top_3, 0.5);
    }
}
