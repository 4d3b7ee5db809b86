//! Training and validation curves: loss and accuracy by epoch.

use super::chart::Chart;
use super::lines::{Line, line_chart};
use super::standalone::standalone;
use crate::history::History;

/// The chart of the loss and that of the accuracy.
pub(crate) fn curves(history: &History) -> [Chart; 2] {
    let lowest_loss = history.lowest_val_loss().map(|(epoch, _)| epoch);
    let best_accuracy = history.best_epoch().map(|(epoch, _)| epoch);
    [
        chart("Loss", &history.loss, &history.val_loss, lowest_loss),
        chart("Accuracy", &history.accuracy, &history.val_accuracy, best_accuracy),
    ]
}

/// Both charts side by side as a self-contained SVG file, a run's curves.svg.
pub fn curves_svg(history: &History) -> String {
    standalone("Loss and accuracy by epoch", &curves(history))
}

fn chart(title: &str, train: &[f64], validation: &[f64], best: Option<usize>) -> Chart {
    let lines = [Line { name: "train", values: train }, Line { name: "validation", values: validation }];
    line_chart(title, &lines, best)
}
