//! The page of a run.

use feature_cache::Split;

use super::classes::{class_section, confusion_section};
use super::gallery::Gallery;
use super::html::{Page, figure, table};
use super::overfitting;
use crate::charts::{Table, curves};
use crate::metrics::SplitMetrics;
use crate::run::{ImportedFrom, Origin, Run, RunConfig, TrainedFrom};
use crate::summary::{json_fields, value_text};

/// The result section of an imported head.
const IMPORTED: &str = "<p>The head was trained by another program, so there are no training curves and no metrics. To \
                        evaluate it on labelled photos, extract them and name the cache: <code>head evaluate RUN \
                        --cache CACHE</code>.</p>";

/// The page of a run.
pub fn run_page(run: &Run, title: &str, gallery: &Gallery<'_>) -> String {
    let mut page = Page::new(title, &about(run));
    let validation = run.metrics.validation();
    if let Some(validation) = validation {
        page.section("Result", &result(run, validation));
    }
    match &run.config.origin {
        Origin::Trained(_) => page.section("Training curves", &training_curves(run)),
        Origin::Imported(_) => page.section("Result", IMPORTED),
    }
    if let Some(validation) = validation {
        page.section("Confusion matrix", &confusion_section(validation));
        page.section("Per-class metrics", &class_section(validation));
    }
    if let Some(mistakes) = gallery.mistakes_section() {
        page.section("Most confident mistakes", &mistakes);
    }
    if let Some(unfamiliar) = gallery.unfamiliar_section() {
        page.section("Most unfamiliar photos", &unfamiliar);
    }
    page.section("Settings", &settings(&run.config));
    page.finish()
}

/// The head and its training in one line.
fn about(run: &Run) -> String {
    let RunConfig { version, origin, .. } = &run.config;
    let hidden = run.config.hidden();
    let head = if hidden.is_empty() {
        "A linear head".to_owned()
    } else {
        let widths: Vec<String> = hidden.iter().map(usize::to_string).collect();
        format!("A head with {} hidden units", widths.join(", "))
    };
    let TrainedFrom { config, seed, .. } = match origin {
        Origin::Trained(from) => from,
        Origin::Imported(ImportedFrom { model, .. }) => {
            let keras = model.keras_version.as_ref().map_or(String::new(), |version| format!(" of Keras {version}"));
            return format!("{head}, imported from {}{keras}; icebox {version}", model.file);
        }
    };
    let (fit, batch_size) = (&config.fit, config.batch_size);
    let epochs_done = run.history.loss.len();
    let epochs = if epochs_done < fit.epochs.get() {
        format!("{epochs_done} of {} epochs", fit.epochs)
    } else {
        format!("{epochs_done} epochs")
    };
    let views = match config.view_count {
        0 => String::new(),
        views => format!(" drawn from {views} views of each photo"),
    };
    let learning_rate = fit.learning_rate.get();
    format!(
        "{head}, learning rate {learning_rate}, {epochs} in batches of {batch_size}{views}, seed {seed}; icebox \
         {version}"
    )
}

/// The accuracy with its interval, sentences on overfitting and calibration, and a list of metrics.
fn result(run: &Run, validation: &SplitMetrics) -> String {
    let percent = |part: f64| format!("{:.1} %", 100.0 * part);
    let SplitMetrics { rows, accuracy, accuracy_interval, .. } = validation;
    let (accuracy, low, high) = (percent(*accuracy), percent(accuracy_interval.low), percent(accuracy_interval.high));
    let kept_epoch = run.metrics.kept_epoch;
    let weights = kept_epoch.map_or_else(String::new, |epoch| format!(" with the weights of epoch {epoch}"));
    let train = run.metrics.splits.get(&Split::Train);

    let mut numbers = vec![("validation accuracy", accuracy.clone())];
    if let Some(train) = train {
        numbers.push(("training accuracy", percent(train.accuracy)));
    }
    numbers.push(("validation loss", format!("{:.4}", validation.loss)));
    if let Some(train) = train {
        numbers.push(("training loss", format!("{:.4}", train.loss)));
    }
    numbers.push(("top-3 accuracy", percent(validation.top_3)));
    numbers.push(("expected calibration error", format!("{:.3}", validation.calibration_error)));
    if let Some(error) = validation.calibration_error_with_temperature {
        numbers.push(("calibration error with temperature", format!("{error:.3}")));
    }
    let mut list = String::new();
    for (name, value) in numbers {
        list += &format!("<div><dt>{name}</dt><dd>{value}</dd></div>");
    }

    let gap = train.map_or_else(String::new, |train| overfitting::gap(train.accuracy, validation));
    let trend = kept_epoch.and_then(|epoch| overfitting::trend(&run.history, epoch)).unwrap_or_default();
    let calibration = calibration(run, validation).unwrap_or_default();
    format!(
        "<p><strong>{accuracy}</strong> of {rows} validation photos are predicted correctly{weights}. On other photos \
         of this kind the accuracy is between {low} and {high}, with 95 % confidence.</p>\
         <p>{gap} {trend}</p>{calibration}\
         <dl>{list}</dl>"
    )
}

/// A paragraph on the temperature; `None` for a head without calibration.
fn calibration(run: &Run, validation: &SplitMetrics) -> Option<String> {
    let temperature = run.calibration.as_ref()?.constants.temperature;
    let with_temperature = validation.calibration_error_with_temperature?;
    let without = validation.calibration_error;
    Some(if temperature == 1.0 {
        format!(
            "<p>Probabilities are the softmax of the logits (temperature 1). Confidence and accuracy differ by \
             {without:.3} on average (expected calibration error).</p>"
        )
    } else {
        let effect = if temperature > 1.0 { "less" } else { "more" };
        format!(
            "<p>For probabilities the logits are divided by a temperature of {temperature:.2}, which fits the \
             validation photos best: it makes the head {effect} confident and changes no prediction. Confidence and \
             accuracy differ by {with_temperature:.3} on average with the temperature, by {without:.3} without it \
             (expected calibration error).</p>"
        )
    })
}

fn training_curves(run: &Run) -> String {
    let [loss, accuracy] = curves(&run.history);
    format!("<div class=\"charts\">{}{}</div>", figure(&loss), figure(&accuracy))
}

/// The run's configuration, without fingerprint, class indices and digest.
fn settings(config: &RunConfig) -> String {
    let mut rows = Vec::new();
    for (name, value) in json_fields(config) {
        if !matches!(name.as_str(), "fingerprint" | "class_indices" | "cache_digest") && !value.is_null() {
            let text = value_text(&value);
            rows.push(vec![name, text]);
        }
    }
    table(&Table { header: ["setting", "value"].map(str::to_owned).to_vec(), rows })
}
