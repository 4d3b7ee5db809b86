//! The page itself: its look, its tables, and text made safe.

use crate::interval::indistinguishable;
use crate::metrics::SplitMetrics;
use crate::run::RunConfig;
use crate::summary::{SettingResult, SweepResults, differing, plain};
use crate::sweep::Setting;

const STYLE: &str = include_str!("style.css");
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
/// With more classes than this the confusions are a list, not a map.
const MOST_IN_A_MAP: usize = 40;
/// Confusions in that list.
const MOST_IN_A_LIST: usize = 50;

/// A page in the making.
pub(super) struct Page(String);

impl Page {
    /// The policy makes the browser see to it that nothing is fetched and no script runs, whatever a name holds.
    pub(super) fn new(title: &str, about: &str) -> Self {
        let (title, about) = (escape(title), escape(about));
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main><header><h1>{title}</h1><p>{about}</p></header>\n"
        ))
    }

    pub(super) fn section(&mut self, heading: &str, content: &str) {
        self.0 += &format!("<section><h2>{}</h2>{content}</section>\n", escape(heading));
    }

    pub(super) fn finish(self) -> String {
        self.0 + "</main></body></html>\n"
    }
}

/// Text as HTML shows it.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The numbers behind a chart, folded away.
pub(super) fn details_table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    format!("<details><summary>as a table</summary>{}</details>", table(header, rows))
}

pub(super) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let row = |cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    let header: String = header.iter().map(|name| column(name)).collect();
    wide("", &header, &rows.map(row).collect::<String>())
}

pub(super) fn column(name: &str) -> String {
    format!("<th scope=\"col\">{}</th>", escape(name))
}

/// A table that scrolls by itself where it is wider than the page, with the keyboard too.
pub(super) fn wide(class: &str, header: &str, rows: &str) -> String {
    format!(
        "<div class=\"wide\" tabindex=\"0\"><table class=\"{class}\"><thead><tr>{header}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// What the run was asked to do.
pub(super) fn setting_rows(config: &RunConfig) -> String {
    let value = serde_json::to_value(config).unwrap_or_default();
    let told = |name: &str| !matches!(name, "fingerprint" | "class_indices" | "cache_digest");
    let rows = value.as_object().into_iter().flatten().filter(|(name, value)| told(name) && !value.is_null());
    table(&["setting", "value"], rows.map(|(name, value)| vec![name.clone(), plain(value)]))
}

/// The most frequent mistakes in words and the confusion matrix as a map, or a list of the mistakes of many classes.
pub(super) fn confusions(metrics: &SplitMetrics) -> String {
    let class = |k: usize| metrics.classes.get(k).map_or("", |class| class.class.as_str());
    let mistakes = metrics.confusion.mistakes();
    if metrics.classes.len() > MOST_IN_A_MAP {
        let rows = mistakes.iter().take(MOST_IN_A_LIST);
        let rows = rows
            .map(|cell| vec![class(cell.class).to_owned(), class(cell.predicted).to_owned(), cell.rows.to_string()]);
        return table(&["class", "predicted", "photos"], rows);
    }
    let mut most = Vec::new();
    for cell in mistakes.iter().take(3) {
        let of = metrics.classes.get(cell.class).map_or(0, |class| class.support);
        most.push(format!("{} predicted as {} ({} of {of})", class(cell.class), class(cell.predicted), cell.rows));
    }
    let words =
        if most.is_empty() { "There are no mistakes.".to_owned() } else { format!("Most often: {}.", most.join(", ")) };
    format!(
        "<p>{} A row is a class, a column what its photos are predicted as; on the diagonal they are right.</p>{}",
        escape(&words),
        heat_map(metrics)
    )
}

/// The confusion matrix: counts on a ground that is the stronger the larger their part of the true class; one photo
/// of many is still seen.
fn heat_map(metrics: &SplitMetrics) -> String {
    let mut header = String::new();
    let mut rows = String::new();
    for (k, class) in metrics.classes.iter().enumerate() {
        let name = escape(&class.class);
        header += &format!("<th scope=\"col\"><span>{name}</span></th>");
        rows += &format!("<tr><th scope=\"row\">{name}</th>");
        for predicted in 0..metrics.classes.len() {
            let count = metrics.confusion.rows(k, predicted);
            let part = if count == 0 { 0.0 } else { 12.0 + 88.0 * count as f64 / class.support.max(1) as f64 };
            let right = if k == predicted { " class=\"right\"" } else { "" };
            let shown = if count == 0 && k != predicted { String::new() } else { count.to_string() };
            rows += &format!("<td{right} style=\"--part:{part:.0}%\">{shown}</td>");
        }
        rows += "</tr>";
    }
    wide("heat", &format!("<td></td>{header}"), &rows)
}

/// What a setting differs in from the others of its sweep, but for the learning rate.
pub(super) fn other_settings(setting: &Setting, results: &[SettingResult]) -> String {
    let object = |setting: &Setting| serde_json::to_value(setting).ok().and_then(|value| value.as_object().cloned());
    let all: Vec<_> = results.iter().filter_map(|result| object(&result.setting)).collect();
    let own = object(setting).unwrap_or_default();
    let names = differing(&all).into_iter().map(|(name, _)| name).filter(|name| name != "learning_rate");
    let words: Vec<String> = names.map(|name| format!("{name} {}", own.get(&name).map_or("-".into(), plain))).collect();
    if words.is_empty() { "all heads".to_owned() } else { words.join(", ") }
}

/// Every setting with its result, and whether it could be as good as the best one.
pub(super) fn sweep_table(sweep: &SweepResults) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let best = sweep.settings.first().and_then(|result| result.val_accuracy);
    let rows = sweep.settings.iter().enumerate().map(|(k, result)| {
        let alike = best.zip(result.val_accuracy).is_some_and(|(best, own)| indistinguishable(best, own, sweep.photos));
        let standing = if k == 0 {
            "is the best"
        } else if alike {
            "could be"
        } else {
            "no"
        };
        let heads = match (result.val_accuracies.len(), result.diverged) {
            (finished, 0) => finished.to_string(),
            (finished, diverged) => format!("{finished}, {diverged} diverged"),
        };
        vec![
            result.setting.fit.learning_rate.get().to_string(),
            other_settings(&result.setting, &sweep.settings),
            number(result.val_accuracy),
            number(result.val_accuracy_error),
            number(result.val_loss),
            heads,
            standing.to_owned(),
        ]
    });
    let header = ["learning rate", "head", "accuracy", "± error", "loss", "seeds", "as good as the best"];
    table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confusion::{Cell, Confusion};
    use crate::interval::wilson;
    use crate::metrics::ClassMetrics;

    #[test]
    fn many_classes_are_a_list_of_confusions_and_few_a_map() {
        let metrics = |count: usize| {
            let class = |k: usize| ClassMetrics {
                class: format!("c{k}"),
                precision: 1.0,
                recall: 1.0,
                f1: 1.0,
                support: [6, 3].get(k).copied().unwrap_or_default(),
            };
            let mut confusion = Confusion::new(count);
            for (class, predicted, rows) in [(0, 0, 5), (0, 1, 1), (1, 0, 3)] {
                confusion.add(Cell { class, predicted, rows }).unwrap();
            }
            let classes = (0..count).map(class).collect();
            let (accuracy_interval, calibration_error) = (wilson(5, 9), 0.0);
            SplitMetrics {
                rows: 9,
                loss: 1.0,
                accuracy: 0.5,
                accuracy_interval,
                top_3: 1.0,
                calibration_error,
                classes,
                confusion,
            }
        };
        let map = confusions(&metrics(2));
        assert!(map.contains("Most often: c1 predicted as c0 (3 of 3), c0 predicted as c1 (1 of 6)."), "{map}");
        assert!(map.contains("<td class=\"right\" style=\"--part:85%\">5</td>"), "{map}");
        let list = confusions(&metrics(1000));
        assert!(list.contains("<td>c1</td><td>c0</td><td>3</td>") && list.len() < 1000, "{list}");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    }
}
