//! report.html: a run or a sweep as one page that needs nothing else, to look at and to pass on.
//!
//! Charts are SVG in the page's own colours, light or dark; every chart has its numbers as a table beside it, so that
//! nothing is in a picture or a colour alone.

mod fitting;
mod chart;
mod gallery;
mod page;

use std::path::Path;

use feature_cache::Split;

pub use self::gallery::{Mistake, mistakes};

use self::chart::{Line, Points, line_chart, points_chart};
use self::page::{Page, column, confusions, escape, other_settings, setting_rows, sweep_table, wide};
use crate::metrics::SplitMetrics;
use crate::run::{Run, RunConfig};
use crate::summary::{SettingResult, SweepResults, verdict};

/// The page of a run. `mistakes` are of its validation rows; `photos` is the data set to take their thumbnails from.
pub fn of_run(run: &Run, title: &str, mistakes: &[Mistake], photos: Option<&Path>) -> String {
    let mut page = Page::new(title, &about(run));
    if let Some(validation) = run.metrics.validation() {
        page.section("Result", &result(run, validation));
    }
    page.section("Training", &curves(run));
    if let Some(validation) = run.metrics.validation() {
        page.section("What is taken for what", &confusions(validation));
        page.section("By class, the weakest first", &by_class(validation));
    }
    if !mistakes.is_empty() {
        page.section("The surest mistakes", &gallery::figures(mistakes, photos));
    }
    page.section("Settings", &setting_rows(&run.config));
    page.finish()
}

/// The page of a sweep, the best setting first.
pub fn of_sweep(sweep: &SweepResults, title: &str) -> String {
    let heads: usize = sweep.settings.iter().map(|result| result.val_accuracies.len() + result.diverged).sum();
    let about =
        format!("{heads} heads of {} settings, judged by {} validation photos", sweep.settings.len(), sweep.photos);
    let mut page = Page::new(title, &about);
    page.section("Result", &best(sweep));
    if sweep.settings.iter().any(|result| result.val_accuracy.is_some()) {
        page.section("Learning rate", &rates(&sweep.settings));
    }
    page.section("All settings, by validation accuracy", &sweep_table(sweep));
    page.finish()
}

fn about(run: &Run) -> String {
    let RunConfig { version, hidden, batch_size, views, fit, seed, .. } = &run.config;
    let epochs = match run.history.loss.len() {
        trained if trained < fit.epochs.get() => format!("{trained} of {} epochs", fit.epochs),
        trained => format!("{trained} epochs"),
    };
    let head = match &hidden[..] {
        [] => "A linear head".to_owned(),
        widths => {
            format!("A head with {} hidden units", widths.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    let views = if *views > 0 { format!(" drawn from {views} views a photo") } else { String::new() };
    format!(
        "{head}, learning rate {}, {epochs} in batches of {batch_size}{views}, seed {seed}; icebox {version}",
        fit.learning_rate.get()
    )
}

fn curves(run: &Run) -> String {
    let history = &run.history;
    let chart = |title: &str, train: &[f64], validation: &[f64], best: Option<usize>| {
        line_chart(
            title,
            &[Line { name: "train", values: train }, Line { name: "validation", values: validation }],
            best,
        )
    };
    let lowest = fitting::lowest(&history.val_loss).map(|(epoch, _)| epoch);
    let highest = history.best_epoch().map(|(epoch, _)| epoch);
    format!(
        "<div class=\"charts\">{}{}</div>",
        chart("Loss", &history.loss, &history.val_loss, lowest),
        chart("Accuracy", &history.accuracy, &history.val_accuracy, highest),
    )
}

/// The number that counts, how sure it is, what training came to, and the other numbers.
fn result(run: &Run, validation: &SplitMetrics) -> String {
    let SplitMetrics { rows, loss, accuracy, accuracy_interval, top_3, calibration_error, .. } = validation;
    let percent = |part: f64| format!("{:.1} %", 100.0 * part);
    let train = run.metrics.splits.get(&Split::Train);
    let numbers = [
        ("validation accuracy", Some(percent(*accuracy))),
        ("training accuracy", train.map(|train| percent(train.accuracy))),
        ("validation loss", Some(format!("{loss:.4}"))),
        ("training loss", train.map(|train| format!("{:.4}", train.loss))),
        ("among the first three", Some(percent(*top_3))),
        ("calibration error", Some(format!("{calibration_error:.3}"))),
    ];
    let tile = |(name, value): (&str, Option<String>)| Some(format!("<div><dt>{name}</dt><dd>{}</dd></div>", value?));
    let tiles: String = numbers.into_iter().filter_map(tile).collect();
    format!(
        "<p><strong>{}</strong> of {rows} validation photos are right with the weights of epoch {}; on other photos of \
         this kind between {} and {}, with 95 % confidence.</p><p>{} {}</p><dl>{tiles}</dl>",
        percent(*accuracy),
        run.metrics.kept_epoch,
        percent(accuracy_interval.low),
        percent(accuracy_interval.high),
        train.map_or_else(String::new, |train| fitting::gap(train.accuracy, validation)),
        fitting::trend(&run.history, run.metrics.kept_epoch).unwrap_or_default()
    )
}

fn by_class(metrics: &SplitMetrics) -> String {
    let mut classes: Vec<_> = metrics.classes.iter().collect();
    classes.sort_by(|a, b| a.f1.total_cmp(&b.f1));
    let rows = classes.into_iter().map(|class| {
        let bar = |value: f64| {
            format!("<td>{value:.3}<span class=\"bar\" style=\"--part:{:.1}%\"></span></td>", 100.0 * value)
        };
        let bars: String = [class.precision, class.recall, class.f1].map(bar).concat();
        format!("<tr><th scope=\"row\">{}</th>{bars}<td>{}</td></tr>", escape(&class.class), class.support)
    });
    let header = ["class", "precision", "recall", "F1", "photos"].map(column).concat();
    wide("bars", &header, &rows.collect::<String>())
}

/// The best setting, and whether it is better than the others or only luckier.
fn best(sweep: &SweepResults) -> String {
    let accuracies: Vec<f64> = sweep.settings.iter().filter_map(|result| result.val_accuracy).collect();
    let (Some(first), Some(accuracy)) = (sweep.settings.first(), accuracies.first()) else {
        return "<p>Every head diverged: try lower learning rates.</p>".to_owned();
    };
    let (error, seeds) = match (first.val_accuracy_error, first.val_accuracies.len()) {
        (Some(error), seeds) => {
            (format!(" ± {:.1}", 100.0 * error), format!("mean and standard error over {seeds} seeds"))
        }
        (None, _) => (String::new(), "a single seed".to_owned()),
    };
    let verdict =
        verdict(&accuracies, sweep.photos).map_or_else(String::new, |words| format!(" In the table below {words}."));
    format!(
        "<p><strong>{:.1}{error} %</strong> of the validation photos are right at learning rate {} ({}; {seeds}).{}</p>",
        100.0 * accuracy,
        first.setting.fit.learning_rate.get(),
        escape(&other_settings(&first.setting, &sweep.settings)),
        escape(&verdict)
    )
}

/// Accuracy by learning rate, a series for each combination of the other settings.
fn rates(results: &[SettingResult]) -> String {
    let mut series: Vec<(String, Vec<Points>)> = Vec::new();
    for result in results {
        let Some(mean) = result.val_accuracy else { continue };
        let name = other_settings(&result.setting, results);
        let point = Points {
            at: result.setting.fit.learning_rate.get(),
            mean,
            error: result.val_accuracy_error,
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
    points_chart("Validation accuracy, mean ± standard error", "learning rate", &series)
}
