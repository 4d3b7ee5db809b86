//! The sections on classes: the confusion matrix or, with many classes, a list of mistakes; per-class metrics.

use super::html::{header_cell, scrolling_table, table};
use crate::charts::Table;
use crate::markup::escape;
use crate::metrics::{ClassMetrics, SplitMetrics};

/// With more classes than this, the most frequent mistakes are listed instead of the matrix.
const MAX_MATRIX_CLASSES: usize = 40;
/// Mistakes in that list.
const MAX_LISTED: usize = 50;
/// Mistakes in the sentence above the matrix.
const MAX_IN_SENTENCE: usize = 3;
/// The most classes whose precision and recall are shown, those with the lowest F1.
const MAX_CLASSES: usize = 200;
/// The sentence where there are no mistakes.
const ALL_CORRECT: &str = "Every prediction is correct.";
/// The shade of a cell with a single photo of many, so that it is still visible.
const MIN_SHADE_PERCENT: f64 = 12.0;

/// The confusion matrix below a sentence with the most frequent mistakes; with many classes a list of mistakes.
pub(super) fn confusion_section(metrics: &SplitMetrics) -> String {
    let name = |class: usize| metrics.classes.get(class).map_or("", |class| class.name.as_str());
    let mistakes = metrics.confusion.mistakes();
    if metrics.classes.len() > MAX_MATRIX_CLASSES {
        let mut rows = Vec::new();
        for cell in mistakes.iter().take(MAX_LISTED) {
            rows.push(vec![name(cell.class).to_owned(), name(cell.predicted).to_owned(), cell.rows.to_string()]);
        }
        let sentence = match mistakes.len() {
            0 => return format!("<p>{ALL_CORRECT}</p>"),
            kinds if kinds > MAX_LISTED => {
                format!("The {MAX_LISTED} most frequent of {kinds} kinds of mistakes; metrics.json has all.")
            }
            _ => "All kinds of mistakes, the most frequent first.".to_owned(),
        };
        let header = ["true class", "predicted class", "photos"].map(str::to_owned).to_vec();
        return format!("<p>{sentence}</p>{}", table(&Table { header, rows }));
    }

    let mut most_frequent = Vec::new();
    for cell in mistakes.iter().take(MAX_IN_SENTENCE) {
        let support = metrics.classes.get(cell.class).map_or(0, |class| class.support);
        let (class, predicted) = (name(cell.class), name(cell.predicted));
        most_frequent.push(format!("{class} predicted as {predicted} ({} of {support})", cell.rows));
    }
    let sentence = if most_frequent.is_empty() {
        ALL_CORRECT.to_owned()
    } else {
        format!("Most frequent mistakes: {}.", most_frequent.join(", "))
    };
    format!(
        "<p>{} Rows are true classes, columns are predicted ones; the diagonal counts the correct predictions.</p>{}",
        escape(&sentence),
        matrix(metrics)
    )
}

/// The confusion matrix. The larger a cell's share of its true class, the stronger its colour; a single photo is still
/// visible.
fn matrix(metrics: &SplitMetrics) -> String {
    let mut header = "<td></td>".to_owned();
    let mut rows = String::new();
    for (class, ClassMetrics { name, support, .. }) in metrics.classes.iter().enumerate() {
        let name = escape(name);
        header += &format!("<th scope=\"col\"><span>{name}</span></th>");
        rows += &format!("<tr><th scope=\"row\">{name}</th>");
        for predicted in 0..metrics.classes.len() {
            let (count, is_correct) = (metrics.confusion.rows(class, predicted), predicted == class);
            let share = count as f64 / (*support).max(1) as f64;
            let shade = if count == 0 { 0.0 } else { MIN_SHADE_PERCENT + (100.0 - MIN_SHADE_PERCENT) * share };
            let correct_class = if is_correct { " class=\"right\"" } else { "" };
            let text = if count == 0 && !is_correct { String::new() } else { count.to_string() };
            rows += &format!("<td{correct_class} style=\"--part:{shade:.0}%\">{text}</td>");
        }
        rows += "</tr>";
    }
    scrolling_table("heat", &header, &rows)
}

/// Precision, recall and F1 of each class, by ascending F1; with many classes only the lowest.
pub(super) fn class_section(metrics: &SplitMetrics) -> String {
    let count = metrics.classes.len();
    let mut rows = String::new();
    for class in metrics.weakest_classes().into_iter().take(MAX_CLASSES) {
        rows += &format!("<tr><th scope=\"row\">{}</th>", escape(&class.name));
        for value in [class.precision, class.recall, class.f1] {
            let percent = 100.0 * value;
            rows += &format!("<td>{value:.3}<span class=\"bar\" style=\"--part:{percent:.1}%\"></span></td>");
        }
        rows += &format!("<td>{}</td></tr>", class.support);
    }
    let header = ["class", "precision", "recall", "F1", "photos"].map(header_cell).concat();
    let mut section = String::new();
    if count > MAX_CLASSES {
        section =
            format!("<p>The {MAX_CLASSES} of {count} classes with the lowest F1; metrics.json has all of them.</p>");
    }
    section + &scrolling_table("bars", &header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confusion::{Cell, Confusion};
    use crate::interval::wilson;

    #[test]
    fn few_classes_have_a_matrix_and_many_a_list() {
        let metrics = |count: usize| {
            let class = |k: usize| ClassMetrics {
                name: format!("c{k}"),
                precision: 1.0,
                recall: 1.0,
                f1: 1.0,
                support: [6, 3].get(k).copied().unwrap_or_default(),
            };
            let mut confusion = Confusion::new(count);
            for (class, predicted, rows) in [(0, 0, 5), (0, 1, 1), (1, 0, 3)] {
                confusion.add(Cell { class, predicted, rows }).unwrap();
            }
            SplitMetrics {
                rows: 9,
                loss: 1.0,
                accuracy: 0.5,
                accuracy_interval: wilson(5, 9),
                top_3: 1.0,
                calibration_error: 0.0,
                calibration_error_with_temperature: None,
                classes: (0..count).map(class).collect(),
                confusion,
            }
        };
        let matrix = confusion_section(&metrics(2));
        let sentence = "Most frequent mistakes: c1 predicted as c0 (3 of 3), c0 predicted as c1 (1 of 6).";
        assert!(matrix.contains(sentence), "{matrix}");
        assert!(matrix.contains("<td class=\"right\" style=\"--part:85%\">5</td>"), "{matrix}");
        let list = confusion_section(&metrics(1000));
        assert!(list.contains("<td>c1</td><td>c0</td><td>3</td>") && list.len() < 1000, "{list}");
        assert!(list.contains("All kinds of mistakes, the most frequent first."), "{list}");

        let mut many = metrics(1000);
        for class in 2..MAX_LISTED + 1 {
            many.confusion.add(Cell { class, predicted: 0, rows: 1 }).unwrap();
        }
        let list = confusion_section(&many);
        assert!(list.contains("The 50 most frequent of 51 kinds of mistakes; metrics.json has all."), "{list}");
        let perfect = SplitMetrics { confusion: Confusion::new(1000), ..metrics(1000) };
        assert_eq!(confusion_section(&perfect), "<p>Every prediction is correct.</p>");

        let all = class_section(&metrics(MAX_CLASSES));
        assert_eq!(all.matches("<tr><th scope=\"row\">").count(), MAX_CLASSES);
        assert!(!all.contains("<p>"), "{all}");
        let weakest = class_section(&metrics(10_000));
        assert_eq!(weakest.matches("<tr><th scope=\"row\">").count(), MAX_CLASSES);
        assert!(weakest.contains("The 200 of 10000 classes with the lowest F1"), "{weakest}");
    }
}
