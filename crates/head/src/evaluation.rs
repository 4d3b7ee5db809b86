//! The evaluation of a head on labelled photos, as JSON and as text.

use serde::Serialize;

use crate::data::Rows;
use crate::metrics::{MetricsBuilder, SplitMetrics};
use crate::prediction::{Prediction, Predictor};
use crate::text::{accuracy_line, table};

/// With more classes than this, the most frequent mistakes are shown instead of the confusion matrix.
const MAX_MATRIX_CLASSES: usize = 30;
/// With more classes than this, only those with the lowest F1 are shown.
const MAX_CLASSES_IN_FULL: usize = 100;
/// Classes and mistakes shown if there are many.
const SHOWN: usize = 20;

/// The metrics of a head, and the fraction of unfamiliar photos.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Loss, accuracy, per-class metrics, confusion matrix, calibration error.
    #[serde(flatten)]
    pub metrics: SplitMetrics,
    /// Temperature of the probabilities; `None` for a head without calibration.
    pub temperature: Option<f32>,
    /// The fraction of the rows that are unfamiliar; `None` for a head without calibration.
    pub unfamiliar: Option<f64>,
}

/// Accumulates an [`Evaluation`] prediction by prediction.
#[derive(Debug)]
pub struct Evaluator<'a> {
    builder: MetricsBuilder<'a>,
    temperature: Option<f32>,
    rows: usize,
    /// The number of unfamiliar rows; `None` for a head without calibration.
    unfamiliar: Option<usize>,
}

impl Evaluation {
    /// Evaluates a head on rows whose labels are indices of its classes.
    pub fn measure(predictor: &Predictor, rows: &Rows<'_>) -> Self {
        let temperature = temperature(predictor);
        Self {
            metrics: SplitMetrics::measure(predictor.classifier(), rows, predictor.classes(), temperature),
            temperature,
            unfamiliar: predictor.unfamiliar_fraction(rows),
        }
    }

    /// Lines for a terminal: accuracy, calibration, a table of the classes, and the confusion matrix or the most
    /// frequent mistakes. `name` names the rows.
    pub fn text(&self, name: &str) -> String {
        let Self { metrics, temperature, unfamiliar } = self;
        let mut text = accuracy_line(metrics, name);
        text += &format!("\nloss {:.4}, top-3 accuracy {:.4}", metrics.loss, metrics.top_3);
        text += &format!("\nexpected calibration error {:.4}", metrics.calibration_error);
        if let (Some(temperature), Some(error)) = (temperature, metrics.calibration_error_with_temperature) {
            text += &format!(", with temperature {temperature:.3} {error:.4}");
        }
        if let Some(unfamiliar) = unfamiliar {
            text += &format!("\nunfamiliar (unlike the training photos): {:.1} % of the photos", 100.0 * unfamiliar);
        }
        format!("{text}\n\n{}\n\n{}", class_table(metrics), confusion_table(metrics)).trim_end().to_owned()
    }
}

impl<'a> Evaluator<'a> {
    /// An evaluator without predictions.
    pub fn new(predictor: &'a Predictor) -> Self {
        let temperature = temperature(predictor);
        let builder = MetricsBuilder::new(predictor.classes(), temperature);
        Self { builder, temperature, rows: 0, unfamiliar: predictor.calibration().map(|_| 0) }
    }

    /// Adds the prediction for a row with this label, which is an index of the head's classes.
    pub fn add(&mut self, prediction: &Prediction, label: usize) {
        self.builder.add(&prediction.logits, &[label]);
        self.rows += 1;
        if let Some(count) = &mut self.unfamiliar {
            *count += usize::from(prediction.unfamiliar == Some(true));
        }
    }

    /// The evaluation of the added predictions; `None` if there are none.
    pub fn finish(self) -> Option<Evaluation> {
        if self.rows == 0 {
            return None;
        }
        let unfamiliar = self.unfamiliar.map(|count| count as f64 / self.rows as f64);
        Some(Evaluation { metrics: self.builder.finish(), temperature: self.temperature, unfamiliar })
    }
}

fn temperature(predictor: &Predictor) -> Option<f32> {
    predictor.calibration().map(|calibration| calibration.constants.temperature)
}

/// A table of precision, recall and F1 by class.
fn class_table(metrics: &SplitMetrics) -> String {
    let count = metrics.classes.len();
    let mut title = String::new();
    let mut shown = Vec::new();
    if count <= MAX_CLASSES_IN_FULL {
        shown.extend(&metrics.classes);
    } else {
        title = format!("the {SHOWN} of {count} classes with the lowest F1 (--json has all)\n\n");
        shown.extend(metrics.weakest_classes().into_iter().take(SHOWN));
    }
    let mut rows = Vec::new();
    for class in shown {
        let mut row = vec![class.name.clone()];
        for ratio in [class.precision, class.recall, class.f1] {
            row.push(format!("{ratio:.3}"));
        }
        row.push(class.support.to_string());
        rows.push(row);
    }
    title + &table(&["class", "precision", "recall", "F1", "photos"], rows)
}

/// The confusion matrix; with many classes the most frequent mistakes, or an empty text if there are none.
fn confusion_table(metrics: &SplitMetrics) -> String {
    let name = |class: usize| metrics.classes[class].name.as_str();
    let count = metrics.classes.len();
    let mut rows = Vec::new();
    if count <= MAX_MATRIX_CLASSES {
        let mut header = vec!["class \\ predicted"];
        for class in 0..count {
            header.push(name(class));
            let mut row = vec![name(class).to_owned()];
            for predicted in 0..count {
                row.push(metrics.confusion.rows(class, predicted).to_string());
            }
            rows.push(row);
        }
        return table(&header, rows);
    }
    for cell in metrics.confusion.mistakes().iter().take(SHOWN) {
        rows.push(vec![name(cell.class).to_owned(), name(cell.predicted).to_owned(), cell.rows.to_string()]);
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("the most frequent mistakes\n\n{}", table(&["class", "predicted", "photos"], rows))
}
