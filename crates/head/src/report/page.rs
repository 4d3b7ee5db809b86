//! The page itself: its look, its tables, and text made safe.

use crate::metrics::SplitMetrics;
use crate::run::RunConfig;
use crate::summary::{SettingResult, differing, plain};
use crate::sweep::Setting;

const STYLE: &str = include_str!("style.css");

/// A page in the making.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main><h1>{title}</h1>"
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

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header: String = header.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
    let row = |cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    let rows: String = rows.map(row).collect();
    format!("<div class=\"wide\"><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>")
}

/// What the run was asked to do.
pub(super) fn setting_rows(config: &RunConfig) -> String {
    let value = serde_json::to_value(config).unwrap_or_default();
    let told = |name: &str| !matches!(name, "fingerprint" | "class_indices" | "cache_digest");
    let rows = value.as_object().into_iter().flatten().filter(|(name, value)| told(name) && !value.is_null());
    table(&["setting", "value"], rows.map(|(name, value)| vec![name.clone(), plain(value)]))
}

/// The confusion matrix: counts on a ground that is the darker the larger their part of the true class.
pub(super) fn heat_map(metrics: &SplitMetrics) -> String {
    let names = || metrics.classes.iter().map(|class| escape(&class.class));
    let header: String = names().map(|name| format!("<th scope=\"col\"><span>{name}</span></th>")).collect();
    let row = |(name, counts): (String, &Vec<usize>)| {
        let total = counts.iter().sum::<usize>().max(1) as f64;
        let cell = |&count: &usize| {
            let part = 100.0 * count as f64 / total;
            let strong = if part > 50.0 { " class=\"strong\"" } else { "" };
            format!(
                "<td{strong} style=\"--part:{part:.0}%\">{}</td>",
                if count == 0 { String::new() } else { count.to_string() }
            )
        };
        format!("<tr><th scope=\"row\">{name}</th>{}</tr>", counts.iter().map(cell).collect::<String>())
    };
    let rows: String = names().zip(&metrics.confusion).map(row).collect();
    format!(
        "<p>Rows: what the photo is. Columns: what it is taken for.</p><div class=\"wide\"><table class=\"heat\">\
         <thead><tr><td></td>{header}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
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

/// Every setting with its result.
pub(super) fn sweep_table(results: &[SettingResult]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let rows = results.iter().map(|result| {
        let numbers = [result.val_accuracy, result.val_accuracy_error, result.val_loss].map(number);
        let rate = result.setting.fit.learning_rate.get().to_string();
        let heads = (result.val_accuracies.len() + result.diverged).to_string();
        [
            vec![rate, other_settings(&result.setting, results)],
            numbers.to_vec(),
            vec![heads, result.diverged.to_string()],
        ]
        .concat()
    });
    let header =
        ["learning rate", "other settings", "val_accuracy", "± standard error", "val_loss", "heads", "diverged"];
    table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    }
}
