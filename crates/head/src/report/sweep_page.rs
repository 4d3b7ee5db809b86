//! The page of a sweep.

use serde_json::{Map, Value};

use super::html::{Page, figure, table};
use crate::charts::{Mean, Series, Table, mean_chart};
use crate::interval::indistinguishable;
use crate::markup::escape;
use crate::settings::Setting;
use crate::summary::{SettingResult, SweepResults, differing, plain, verdict};

/// The page of a sweep, the best setting first.
pub fn of_sweep(sweep: &SweepResults, title: &str) -> String {
    let heads: u64 = sweep.settings.iter().map(SettingResult::heads).sum();
    let (settings, photos) = (sweep.settings.len(), sweep.photos);
    let about = format!("{heads} heads of {settings} settings, evaluated on {photos} validation photos");
    let mut page = Page::new(title, &about);
    page.section("Result", &result(sweep));
    if sweep.settings.iter().any(|result| result.val_accuracy.is_some()) {
        page.section("Learning rate", &accuracy_by_learning_rate(&sweep.settings));
    }
    page.section("All settings, by validation accuracy", &all_settings(sweep));
    page.finish()
}

/// The best setting, and whether it is better than the others by more than chance.
fn result(sweep: &SweepResults) -> String {
    let accuracies: Vec<f64> = sweep.settings.iter().filter_map(|result| result.val_accuracy).collect();
    let (Some(best), Some(accuracy)) = (sweep.settings.first(), accuracies.first()) else {
        return "<p>Every head diverged: try lower learning rates.</p>".to_owned();
    };
    let (error, seeds) = match best.val_accuracy_error {
        Some(error) => {
            let seeds = best.val_accuracies.len();
            (format!(" ± {:.1}", 100.0 * error), format!("mean and standard error over {seeds} seeds"))
        }
        None => (String::new(), "a single seed".to_owned()),
    };
    let verdict = match verdict(&accuracies, sweep.photos) {
        Some(words) => format!(" In the table below {words}."),
        None => String::new(),
    };
    let varied = varied_names(&sweep.settings);
    let head = if varied.is_empty() { String::new() } else { format!("{}; ", head_name(&best.setting, &varied)) };
    format!(
        "<p><strong>{:.1}{error} %</strong> of the validation photos are predicted correctly at learning rate {} \
         ({}{seeds}).{}</p>",
        100.0 * accuracy,
        best.setting.fit.learning_rate.get(),
        escape(&head),
        escape(&verdict)
    )
}

/// A chart with a series for each combination of the other settings.
fn accuracy_by_learning_rate(results: &[SettingResult]) -> String {
    let varied = varied_names(results);
    let mut series: Vec<Series> = Vec::new();
    for result in results {
        // Every head of it diverged.
        let Some(accuracy) = result.val_accuracy else { continue };
        let name = head_name(&result.setting, &varied);
        let mean = Mean {
            at: result.setting.fit.learning_rate.get(),
            mean: accuracy,
            error: result.val_accuracy_error,
            each: result.val_accuracies.clone(),
        };
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.means.push(mean),
            None => series.push(Series { name, means: vec![mean] }),
        }
    }
    for Series { means, .. } in &mut series {
        means.sort_by(|a, b| a.at.total_cmp(&b.at));
    }
    figure(&mean_chart("Validation accuracy, mean ± standard error", "learning rate", &series))
}

/// The names of the settings that differ between the heads, but for the learning rate.
fn varied_names(results: &[SettingResult]) -> Vec<String> {
    let objects: Vec<_> = results.iter().filter_map(|result| object(&result.setting)).collect();
    differing(&objects).into_iter().map(|(name, _)| name).filter(|name| name != "learning_rate").collect()
}

/// What a head has for each of these settings.
fn head_name(setting: &Setting, varied: &[String]) -> String {
    if varied.is_empty() {
        return "all heads".to_owned();
    }
    let own = object(setting).unwrap_or_default();
    let value = |name: &String| own.get(name).map_or_else(|| "-".to_owned(), plain);
    varied.iter().map(|name| format!("{name} {}", value(name))).collect::<Vec<_>>().join(", ")
}

fn object(setting: &Setting) -> Option<Map<String, Value>> {
    serde_json::to_value(setting).ok()?.as_object().cloned()
}

/// Every setting with its result, and whether it could be as good as the best one. Where only the learning rate varies,
/// nothing else of a head is named.
fn all_settings(sweep: &SweepResults) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let best = sweep.settings.first().and_then(|result| result.val_accuracy);
    let varied = varied_names(&sweep.settings);
    let mut rows = Vec::new();
    for (k, result) in sweep.settings.iter().enumerate() {
        let could_be_best = match (best, result.val_accuracy) {
            (Some(best), Some(own)) => indistinguishable(best, own, sweep.photos),
            _ => false,
        };
        let standing = if k == 0 {
            "is the best"
        } else if could_be_best {
            "could be"
        } else {
            "no"
        };
        let seeds = match (result.val_accuracies.len(), result.diverged) {
            (finished, 0) => finished.to_string(),
            (finished, diverged) => format!("{finished}, {diverged} diverged"),
        };
        let mut row = vec![result.setting.fit.learning_rate.get().to_string()];
        if !varied.is_empty() {
            row.push(head_name(&result.setting, &varied));
        }
        row.extend([
            number(result.val_accuracy),
            number(result.val_accuracy_error),
            number(result.val_loss),
            seeds,
            standing.to_owned(),
        ]);
        rows.push(row);
    }
    let mut header = vec!["learning rate"];
    if !varied.is_empty() {
        header.push("head");
    }
    header.extend(["accuracy", "± error", "loss", "seeds", "as good as the best"]);
    table(&Table { header: header.into_iter().map(str::to_owned).collect(), rows })
}
