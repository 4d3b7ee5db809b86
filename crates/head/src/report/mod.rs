//! report.html: a run or a sweep as one page that needs nothing else, to look at and to pass on.
//!
//! Charts are SVG in the page's own colours, light or dark; every chart has its numbers as a table beside it, so that
//! nothing is in a picture or a colour alone.

mod chart;
mod gallery;
mod page;

use std::path::Path;

pub use self::gallery::{Mistake, mistakes};

use self::chart::{Line, Points, line_chart, points_chart};
use self::page::{Page, details_table, escape, heat_map, setting_rows};
use crate::metrics::SplitMetrics;
use crate::run::Run;
use crate::summary::SettingResult;

/// The page of a run. `mistakes` are of its validation rows; `photos` is the data set to take their thumbnails from.
pub fn of_run(run: &Run, title: &str, mistakes: &[Mistake], photos: Option<&Path>) -> String {
    let mut page = Page::new(title);
    if let Some(validation) = run.metrics.validation() {
        page.section("Result", &result(validation, run.metrics.kept_epoch));
    }
    page.section("Training", &curves(run));
    if let Some(validation) = run.metrics.validation() {
        page.section("What is taken for what", &heat_map(validation));
        page.section("By class", &by_class(validation));
    }
    if !mistakes.is_empty() {
        page.section("The surest mistakes", &gallery::figures(mistakes, photos));
    }
    page.section("Settings", &setting_rows(&run.config));
    page.finish()
}

/// The page of a sweep, the best setting first.
pub fn of_sweep(results: &[SettingResult], title: &str, verdict: Option<&str>) -> String {
    let mut page = Page::new(title);
    if let Some(verdict) = verdict {
        page.section("Result", &format!("<p>{}</p>", escape(verdict)));
    }
    page.section("Learning rate and validation accuracy", &rates(results));
    page.section("All settings", &page::sweep_table(results));
    page.finish()
}

fn curves(run: &Run) -> String {
    let history = &run.history;
    let chart = |title: &str, train: &[f64], validation: &[f64]| {
        line_chart(
            title,
            "epoch",
            &[Line { name: "train", values: train }, Line { name: "validation", values: validation }],
        )
    };
    let rows = (1..).zip(history.epochs()).map(|(number, epoch): (usize, _)| {
        let numbers =
            [epoch.loss, epoch.val_loss, epoch.accuracy, epoch.val_accuracy].map(|value| format!("{value:.4}"));
        std::iter::once(number.to_string()).chain(numbers).collect()
    });
    let table = details_table(&["epoch", "loss", "val_loss", "accuracy", "val_accuracy"], rows);
    format!(
        "<div class=\"charts\">{}{}</div>{table}",
        chart("Loss", &history.loss, &history.val_loss),
        chart("Accuracy", &history.accuracy, &history.val_accuracy),
    )
}

fn result(metrics: &SplitMetrics, kept_epoch: usize) -> String {
    let SplitMetrics { rows, loss, accuracy, accuracy_interval, top_3, calibration_error, .. } = metrics;
    format!(
        "<p><strong>{:.1} %</strong> of {rows} photos are right with the weights of epoch {kept_epoch}; on other photos \
         of this kind between {:.1} % and {:.1} %, with 95 % confidence.</p>\
         <p>Loss {loss:.4}, right among the first three {:.1} %, expected calibration error {:.3}.</p>",
        100.0 * accuracy,
        100.0 * accuracy_interval.low,
        100.0 * accuracy_interval.high,
        100.0 * top_3,
        calibration_error,
    )
}

fn by_class(metrics: &SplitMetrics) -> String {
    let rows = metrics.classes.iter().map(|class| {
        let bar = |name: &str, value: f64| {
            format!(
                "<td class=\"bar\"><span style=\"--part:{:.1}%\" title=\"{name} {value:.3}\">{value:.3}</span></td>",
                100.0 * value
            )
        };
        format!(
            "<tr><th scope=\"row\">{}</th>{}{}{}<td>{}</td></tr>",
            escape(&class.class),
            bar("precision", class.precision),
            bar("recall", class.recall),
            bar("F1", class.f1),
            class.support
        )
    });
    format!(
        "<div class=\"wide\"><table class=\"bars\"><thead><tr><th scope=\"col\">class</th><th scope=\"col\">precision</th>\
         <th scope=\"col\">recall</th><th scope=\"col\">F1</th><th scope=\"col\">photos</th></tr></thead>\
         <tbody>{}</tbody></table></div>",
        rows.collect::<String>()
    )
}

/// Accuracy by learning rate, a series for each combination of the other settings.
fn rates(results: &[SettingResult]) -> String {
    let mut series: Vec<(String, Vec<Points>)> = Vec::new();
    for result in results {
        let Some(mean) = result.val_accuracy else { continue };
        let name = page::other_settings(&result.setting, results);
        let point = Points {
            at: result.setting.fit.learning_rate.get(),
            mean,
            error: result.val_accuracy_error.unwrap_or(0.0),
            each: result.val_accuracies.clone(),
        };
        match series.iter_mut().find(|(other, _)| *other == name) {
            Some((_, points)) => points.push(point),
            None => series.push((name, vec![point])),
        }
    }
    for (_, points) in &mut series {
        points.sort_by(|a, b| a.at.total_cmp(&b.at));
    }
    points_chart("Validation accuracy ± standard error", "learning rate", &series)
}
