//! The metadata of an exported file, its metadata_props.

use backbone::weights::IMAGENET_DIGEST;
use head::prediction::Predictor;
use head::run::{Origin, Run};
use serde_json::{Map, Value, json};

use super::proto::StringStringEntryProto;
use crate::export::options::{NamedOutput, WeightFormat};

/// The metadata of a run's model with these outputs.
pub(super) fn metadata(
    run: &Run,
    predictor: &Predictor,
    outputs: &[NamedOutput],
    weights: WeightFormat,
) -> Vec<StringStringEntryProto> {
    let classes: Vec<&str> = predictor.classes().iter().collect();
    let mut names = Map::new();
    for NamedOutput { output, name } in outputs {
        names.insert(output.name().to_owned(), json!(name));
    }
    let mut entries = vec![
        entry("class_names", json!(classes)),
        entry("fingerprint", json!(run.config.fingerprint)),
        entry("temperature", json!(predictor.temperature())),
        entry("training", training(run)),
        entry("outputs", Value::Object(names)),
        entry("weights", json!(weights.name())),
        entry("license", json!(license(run))),
    ];
    if let Some(calibration) = predictor.calibration() {
        entries.push(entry("threshold", json!(calibration.constants.threshold)));
    }
    entries
}

/// An entry. A text is stored as it is, any other value as JSON.
fn entry(key: &str, value: Value) -> StringStringEntryProto {
    let value = match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    StringStringEntryProto { key: key.to_owned(), value }
}

/// How the head was trained and its validation metrics, or the file that it was imported from.
fn training(run: &Run) -> Value {
    let validation = run.metrics.validation();
    match &run.config.origin {
        Origin::Trained(from) => json!({
            "version": run.config.version,
            "cache_digest": from.cache_digest,
            "setting": from.config,
            "validation_split": from.validation_split,
            "seed": from.seed,
            "kept_epoch": run.metrics.kept_epoch,
            "val_rows": validation.map(|metrics| metrics.rows),
            "val_loss": validation.map(|metrics| metrics.loss),
            "val_accuracy": validation.map(|metrics| metrics.accuracy),
        }),
        Origin::Imported(from) => json!({ "version": run.config.version, "imported_from": from.model }),
    }
}

/// The licence of the weights.
fn license(run: &Run) -> &'static str {
    if run.config.fingerprint.weights == IMAGENET_DIGEST {
        "network: Keras's ImageNet weights, Apache-2.0; head: not stated"
    } else {
        "not stated"
    }
}
