//! The confusion matrix: in words, and as a table with a coloured ground or, of many classes, as a list.

use std::cmp::Reverse;

use super::html::{column, table, wide};
use crate::charts::Table;
use crate::markup::escape;
use crate::metrics::SplitMetrics;

/// With more classes than this the confusions are a list.
const MAX_MATRIX_CLASSES: usize = 40;
/// Confusions in that list.
const MAX_LISTED: usize = 50;
/// Confusions in the sentence above the matrix.
const MAX_IN_WORDS: usize = 3;

/// Photos of one class that are predicted as another.
struct Confusion<'a> {
    class: &'a str,
    predicted: &'a str,
    photos: usize,
    /// All photos of the class.
    of: usize,
}

/// The section about a split's confusions.
pub(super) fn confusion_section(metrics: &SplitMetrics) -> String {
    let confusions = most_frequent_first(metrics);
    if metrics.classes.len() > MAX_MATRIX_CLASSES {
        let mut rows = Vec::new();
        for confusion in confusions.iter().take(MAX_LISTED) {
            rows.push(vec![confusion.class.to_owned(), confusion.predicted.to_owned(), confusion.photos.to_string()]);
        }
        let header = ["true class", "predicted class", "photos"].map(str::to_owned).to_vec();
        return table(&Table { header, rows });
    }
    let mut most_frequent = Vec::new();
    for Confusion { class, predicted, photos, of } in confusions.iter().take(MAX_IN_WORDS) {
        most_frequent.push(format!("{class} predicted as {predicted} ({photos} of {of})"));
    }
    let words = if most_frequent.is_empty() {
        "Every prediction is correct.".to_owned()
    } else {
        format!("Most frequent confusions: {}.", most_frequent.join(", "))
    };
    format!(
        "<p>{} Rows are true classes, columns are predicted ones; the diagonal counts the correct predictions.</p>{}",
        escape(&words),
        matrix(metrics)
    )
}

fn most_frequent_first(metrics: &SplitMetrics) -> Vec<Confusion<'_>> {
    let mut confusions = Vec::new();
    for (class, counts) in metrics.classes.iter().zip(&metrics.confusion) {
        let of = counts.iter().sum();
        for (predicted, &photos) in metrics.classes.iter().zip(counts) {
            if class.class != predicted.class && photos > 0 {
                confusions.push(Confusion { class: &class.class, predicted: &predicted.class, photos, of });
            }
        }
    }
    // A stable sort: equal counts stay in the order of the classes.
    confusions.sort_by_key(|confusion| Reverse(confusion.photos));
    confusions
}

/// Counts on a ground that is the stronger the larger their part of the true class; one photo of many is still seen.
fn matrix(metrics: &SplitMetrics) -> String {
    let mut header = "<td></td>".to_owned();
    for class in &metrics.classes {
        header += &format!("<th scope=\"col\"><span>{}</span></th>", escape(&class.class));
    }
    let mut rows = String::new();
    for (k, (class, counts)) in metrics.classes.iter().zip(&metrics.confusion).enumerate() {
        rows += &format!("<tr><th scope=\"row\">{}</th>", escape(&class.class));
        let total = counts.iter().sum::<usize>().max(1) as f64;
        for (predicted, &count) in counts.iter().enumerate() {
            let is_correct = predicted == k;
            let part = if count == 0 { 0.0 } else { 12.0 + 88.0 * count as f64 / total };
            let class = if is_correct { " class=\"right\"" } else { "" };
            let shown = if count == 0 && !is_correct { String::new() } else { count.to_string() };
            rows += &format!("<td{class} style=\"--part:{part:.0}%\">{shown}</td>");
        }
        rows += "</tr>";
    }
    wide("heat", &header, &rows)
}

/// Precision, recall and F1 of each class, the lowest F1 first.
pub(super) fn class_section(metrics: &SplitMetrics) -> String {
    let mut classes: Vec<_> = metrics.classes.iter().collect();
    classes.sort_by(|a, b| a.f1.total_cmp(&b.f1));
    let mut rows = String::new();
    for class in classes {
        rows += &format!("<tr><th scope=\"row\">{}</th>", escape(&class.class));
        for value in [class.precision, class.recall, class.f1] {
            let percent = 100.0 * value;
            rows += &format!("<td>{value:.3}<span class=\"bar\" style=\"--part:{percent:.1}%\"></span></td>");
        }
        rows += &format!("<td>{}</td></tr>", class.support);
    }
    let header = ["class", "precision", "recall", "F1", "photos"].map(column).concat();
    wide("bars", &header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::wilson;
    use crate::metrics::ClassMetrics;

    #[test]
    fn few_classes_are_a_matrix_and_many_a_list() {
        let metrics = |count: usize| {
            let class = |k| ClassMetrics { class: format!("c{k}"), precision: 1.0, recall: 1.0, f1: 1.0, support: 9 };
            let mut confusion = vec![vec![0; count]; count];
            (confusion[0][0], confusion[0][1], confusion[1][0]) = (5, 1, 3);
            SplitMetrics {
                rows: 9,
                loss: 1.0,
                accuracy: 0.5,
                accuracy_interval: wilson(5, 9),
                top_3: 1.0,
                calibration_error: 0.0,
                classes: (0..count).map(class).collect(),
                confusion,
            }
        };
        let matrix = confusion_section(&metrics(2));
        let words = "Most frequent confusions: c1 predicted as c0 (3 of 3), c0 predicted as c1 (1 of 6).";
        assert!(matrix.contains(words), "{matrix}");
        assert!(matrix.contains("<td class=\"right\" style=\"--part:85%\">5</td>"), "{matrix}");
        let list = confusion_section(&metrics(1000));
        assert!(list.contains("<td>c1</td><td>c0</td><td>3</td>") && list.len() < 1000, "{list}");
    }
}
