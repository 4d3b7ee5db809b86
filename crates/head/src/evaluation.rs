//! A head on photos whose classes are known, as JSON and as text.

use serde::Serialize;

use crate::data::Rows;
use crate::metrics::{MetricsBuilder, SplitMetrics};
use crate::prediction::{Prediction, Predictor};
use crate::text::{accuracy_line, table};

/// With more classes than this the most frequent mistakes are shown in place of the confusion matrix.
const MAX_IN_A_MATRIX: usize = 30;
/// With more classes than this only the weakest are shown.
const MAX_CLASSES_IN_FULL: usize = 100;
/// Classes and mistakes shown if there are many.
const SHOWN: usize = 20;

/// How good a head is, and how many photos it calls unfamiliar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Accuracy and the like.
    #[serde(flatten)]
    pub metrics: SplitMetrics,
    /// Of the probabilities; `None` for a head without one.
    pub temperature: Option<f32>,
    /// The fraction of the rows that are unlike the training rows; `None` for a head that cannot tell.
    pub unfamiliar: Option<f64>,
}

/// Evaluates predictions one by one.
#[derive(Debug)]
pub struct Evaluator<'a> {
    builder: MetricsBuilder<'a>,
    temperature: Option<f32>,
    rows: usize,
    /// `None` for a head that cannot tell.
    unfamiliar: Option<usize>,
}

impl Evaluation {
    /// Evaluates a head on rows, whose labels are indices of its classes.
    pub fn measure(predictor: &Predictor, rows: &Rows<'_>) -> Self {
        let temperature = temperature(predictor);
        Self {
            metrics: SplitMetrics::measure(predictor.classifier(), rows, predictor.classes(), temperature),
            temperature,
            unfamiliar: predictor.unfamiliar_fraction(rows),
        }
    }

    /// Some lines for a terminal: the accuracy on what `name` names, calibration, a table of the classes, and the confusion
    /// matrix or the most frequent mistakes.
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
        format!("{text}\n\n{}\n\n{}", classes(metrics), confusions(metrics)).trim_end().to_owned()
    }
}

impl<'a> Evaluator<'a> {
    /// Without a prediction yet.
    pub fn new(predictor: &'a Predictor) -> Self {
        let temperature = temperature(predictor);
        let builder = MetricsBuilder::new(predictor.classes(), temperature);
        Self { builder, temperature, rows: 0, unfamiliar: predictor.calibration().map(|_| 0) }
    }

    /// Counts the prediction for a row with this label, an index of the head's classes.
    pub fn add(&mut self, prediction: &Prediction, label: usize) {
        self.builder.add(&prediction.logits, &[label]);
        self.rows += 1;
        if let Some(count) = &mut self.unfamiliar {
            *count += usize::from(prediction.unfamiliar == Some(true));
        }
    }

    /// What the predictions come to; `None` if there was none.
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
fn classes(metrics: &SplitMetrics) -> String {
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
        let mut row = vec![class.class.clone()];
        for ratio in [class.precision, class.recall, class.f1] {
            row.push(format!("{ratio:.3}"));
        }
        row.push(class.support.to_string());
        rows.push(row);
    }
    title + &table(&["class", "precision", "recall", "F1", "photos"], rows)
}

/// The confusion matrix; of many classes the most frequent mistakes, and nothing if there is none.
fn confusions(metrics: &SplitMetrics) -> String {
    let name = |class: usize| metrics.classes[class].class.as_str();
    let count = metrics.classes.len();
    let mut rows = Vec::new();
    if count <= MAX_IN_A_MATRIX {
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
