//! The page of a sweep.

use super::html::{Page, figure, table};
use crate::charts::{Mean, Series, Table, mean_chart};
use crate::interval::may_be_equal;
use crate::markup::escape;
use crate::settings::HeadConfig;
use crate::summary::{ConfigResult, SweepResults, differing_fields, json_fields, significance_sentence, value_text};

/// The page of a sweep.
pub fn sweep_page(sweep: &SweepResults, title: &str) -> String {
    let heads: u64 = sweep.configs.iter().map(ConfigResult::heads).sum();
    let (count, photos) = (sweep.configs.len(), sweep.photos);
    let about = format!("{heads} heads, {count} combinations of settings, evaluated on {photos} validation photos");
    let mut page = Page::new(title, &about);
    page.section("Result", &result(sweep));
    if sweep.configs.iter().any(|result| result.val_accuracy.is_some()) {
        page.section("Learning rate", &accuracy_by_learning_rate(&sweep.configs));
    }
    page.section("All settings, by validation accuracy", &all_settings(sweep));
    page.finish()
}

/// The best settings, and whether they are significantly better than the others.
fn result(sweep: &SweepResults) -> String {
    let accuracies: Vec<f64> = sweep.configs.iter().filter_map(|result| result.val_accuracy).collect();
    let (Some(best), Some(accuracy)) = (sweep.configs.first(), accuracies.first()) else {
        return "<p>Every head diverged: try lower learning rates.</p>".to_owned();
    };
    let (error, seeds) = match best.val_accuracy_error {
        Some(error) => {
            let seeds = best.val_accuracies.len();
            (format!(" ± {:.1}", 100.0 * error), format!("mean and standard error over {seeds} seeds"))
        }
        None => (String::new(), "a single seed".to_owned()),
    };
    let significance = match significance_sentence(&accuracies, sweep.photos) {
        Some(sentence) => format!(" In the table below {sentence}."),
        None => String::new(),
    };
    let varied = varied_names(&sweep.configs);
    let head = if varied.is_empty() { String::new() } else { format!("{}; ", head_name(&best.config, &varied)) };
    format!(
        "<p><strong>{:.1}{error} %</strong> of the validation photos are predicted correctly at learning rate {} \
         ({}{seeds}).{}</p>",
        100.0 * accuracy,
        best.config.fit.learning_rate.get(),
        escape(&head),
        escape(&significance)
    )
}

/// A chart with a series for each combination of the other settings.
fn accuracy_by_learning_rate(results: &[ConfigResult]) -> String {
    let varied = varied_names(results);
    let mut series: Vec<Series> = Vec::new();
    for result in results {
        // Without an accuracy, every head diverged.
        let Some(accuracy) = result.val_accuracy else { continue };
        let name = head_name(&result.config, &varied);
        let mean = Mean {
            x: result.config.fit.learning_rate.get(),
            mean: accuracy,
            error: result.val_accuracy_error,
            values: result.val_accuracies.clone(),
        };
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.means.push(mean),
            None => series.push(Series { name, means: vec![mean] }),
        }
    }
    for Series { means, .. } in &mut series {
        means.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    figure(&mean_chart("Validation accuracy, mean ± standard error", "learning rate", &series))
}

/// The names of the settings that differ between the heads, except the learning rate.
fn varied_names(results: &[ConfigResult]) -> Vec<String> {
    let configs: Vec<_> = results.iter().map(|result| json_fields(&result.config)).collect();
    let mut names: Vec<String> = differing_fields(&configs).into_iter().map(|field| field.name).collect();
    names.retain(|name| name != "learning_rate");
    names
}

/// The settings with these names and their values, as in `hidden 4, dropout 0.5`; `all heads` without names.
fn head_name(config: &HeadConfig, varied: &[String]) -> String {
    if varied.is_empty() {
        return "all heads".to_owned();
    }
    let fields = json_fields(config);
    let mut parts = Vec::with_capacity(varied.len());
    for name in varied {
        let value = fields.get(name).map_or_else(|| "-".to_owned(), value_text);
        parts.push(format!("{name} {value}"));
    }
    parts.join(", ")
}

/// A table of all combinations of settings with their results, and whether they differ significantly from the best.
fn all_settings(sweep: &SweepResults) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let best = sweep.configs.first().and_then(|result| result.val_accuracy);
    let varied = varied_names(&sweep.configs);
    let mut rows = Vec::new();
    for (k, result) in sweep.configs.iter().enumerate() {
        let differs_from_best = match (best, result.val_accuracy) {
            (Some(best), Some(accuracy)) if k > 0 => {
                if may_be_equal(best, accuracy, sweep.photos) {
                    "no"
                } else {
                    "yes"
                }
            }
            _ => "-",
        };
        let seeds = match (result.val_accuracies.len(), result.diverged) {
            (finished, 0) => finished.to_string(),
            (finished, diverged) => format!("{finished}, {diverged} diverged"),
        };
        let mut row = vec![result.config.fit.learning_rate.get().to_string()];
        if !varied.is_empty() {
            row.push(head_name(&result.config, &varied));
        }
        row.extend([
            number(result.val_accuracy),
            number(result.val_accuracy_error),
            number(result.val_loss),
            seeds,
            differs_from_best.to_owned(),
        ]);
        rows.push(row);
    }
    let mut header = vec!["learning rate"];
    if !varied.is_empty() {
        header.push("head");
    }
    header.extend(["accuracy", "± error", "loss", "seeds", "differs from best"]);
    table(&Table { header: header.into_iter().map(str::to_owned).collect(), rows })
}
