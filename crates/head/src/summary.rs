//! The results of a sweep or of several runs: the best first, the settings in which they differ, and whether the
//! differences are significant.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::interval::{may_be_equal, mean_and_error};
use crate::settings::HeadConfig;
use crate::sweep::HeadId;

/// A sweep's results, as in sweep.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepResults {
    /// The number of validation photos.
    pub photos: usize,
    /// The results by descending mean validation accuracy.
    #[serde(rename = "settings")]
    pub configs: Vec<ConfigResult>,
}

/// The results of one combination of settings, over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigResult {
    /// The settings.
    #[serde(flatten)]
    pub config: HeadConfig,
    /// Mean validation accuracy of the heads that did not diverge; `None` if all did.
    pub val_accuracy: Option<f64>,
    /// Its standard error; `None` if fewer than two heads did not diverge.
    pub val_accuracy_error: Option<f64>,
    /// Mean validation loss.
    pub val_loss: Option<f64>,
    /// Validation accuracy of each head that did not diverge.
    pub val_accuracies: Vec<f64>,
    /// Number of heads whose loss was no longer finite.
    pub diverged: u32,
}

impl ConfigResult {
    /// The number of heads, including those that diverged.
    pub fn heads(&self) -> u64 {
        self.val_accuracies.len() as u64 + u64::from(self.diverged)
    }
}

/// The result of one head of a sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadResult {
    /// The head.
    pub id: HeadId,
    /// Its metrics on the validation rows; `None` if it diverged.
    pub validation: Option<ValidationResult>,
}

/// A head's metrics on the validation rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationResult {
    /// Mean loss.
    pub loss: f64,
    /// Accuracy.
    pub accuracy: f64,
}

/// The results of each combination of settings that a head was trained with (a stopped sweep leaves some out), by
/// descending mean validation accuracy.
pub fn summarise(configs: &[HeadConfig], heads: &[HeadResult]) -> Vec<ConfigResult> {
    let mut results = Vec::new();
    for (config_index, config) in configs.iter().enumerate() {
        let (mut losses, mut val_accuracies, mut diverged) = (Vec::new(), Vec::new(), 0);
        for head in heads.iter().filter(|head| head.id.config_index == config_index) {
            match head.validation {
                Some(validation) => {
                    losses.push(validation.loss);
                    val_accuracies.push(validation.accuracy);
                }
                None => diverged += 1,
            }
        }
        if losses.is_empty() && diverged == 0 {
            continue;
        }
        let accuracy = (!val_accuracies.is_empty()).then(|| mean_and_error(&val_accuracies));
        results.push(ConfigResult {
            config: config.clone(),
            val_accuracy: accuracy.map(|(mean, _)| mean),
            val_accuracy_error: accuracy.and_then(|(_, error)| error),
            val_loss: (!losses.is_empty()).then(|| mean_and_error(&losses).0),
            val_accuracies,
            diverged,
        });
    }
    let score = |result: &ConfigResult| result.val_accuracy.unwrap_or(-1.0);
    results.sort_by(|a, b| score(b).total_cmp(&score(a)));
    results
}

/// A field of JSON objects that is not the same in all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct DifferingField {
    /// Its name.
    pub name: String,
    /// Its value in each object; null if the object does not have it.
    pub values: Vec<Value>,
}

/// The fields of a value that serializes as a JSON object, such as the settings of a head.
///
/// # Panics
/// When it serializes as anything else.
pub fn json_fields(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        other => panic!("expected a JSON object, found {other:?}"),
    }
}

/// The fields whose values differ between the objects that have them, by name. A nested object is one value.
pub fn differing_fields(objects: &[Map<String, Value>]) -> Vec<DifferingField> {
    let mut names: Vec<&String> = objects.iter().flat_map(Map::keys).collect();
    names.sort_unstable();
    names.dedup();
    let mut differing = Vec::new();
    for name in names {
        let mut present = objects.iter().filter_map(|object| object.get(name));
        let first = present.next();
        if present.any(|value| Some(value) != first) {
            let values = objects.iter().map(|object| object.get(name).cloned().unwrap_or_default()).collect();
            differing.push(DifferingField { name: name.clone(), values });
        }
    }
    differing
}

/// The value of a setting as text: `0` for no hidden layers, `256x64` for two.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "0".to_owned(),
        Value::Array(values) => values.iter().map(value_text).collect::<Vec<_>>().join("x"),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", value_text(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A sentence on whether the best of these accuracies is significantly better than the others; `None` for fewer than
/// two. The accuracies come in descending order, each measured on this many photos.
pub fn significance_sentence(accuracies: &[f64], photos: usize) -> Option<String> {
    let (&best, others) = accuracies.split_first()?;
    if others.is_empty() {
        return None;
    }
    let like_best = others.iter().filter(|&&other| may_be_equal(best, other, photos)).count();
    Some(if like_best == 0 {
        format!("the first is significantly better on {photos} validation photos")
    } else if like_best == others.len() {
        format!("no difference is significant on {photos} validation photos")
    } else {
        format!("the first {} do not differ significantly on {photos} validation photos", like_best + 1)
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use serde_json::json;

    use super::*;
    use crate::settings::{FitConfig, Positive};

    #[test]
    fn the_best_settings_come_first_and_diverged_ones_last() {
        let config = |rate| HeadConfig {
            hidden: Vec::new(),
            batch_size: NonZeroUsize::MIN,
            view_count: 0,
            fit: FitConfig::new(Positive::new("learning rate", rate).unwrap(), NonZeroUsize::MIN),
        };
        let configs = [0.1, 0.2, 0.3, 0.4].map(config);
        let head = |config_index, seed_index, validation: Option<(f64, f64)>| HeadResult {
            id: HeadId { config_index, seed_index },
            validation: validation.map(|(loss, accuracy)| ValidationResult { loss, accuracy }),
        };
        let heads = [
            head(0, 0, Some((0.5, 0.7))),
            head(0, 1, Some((0.7, 0.8))),
            head(1, 0, None),
            head(2, 0, Some((0.4, 0.9))),
            head(2, 1, None),
        ];
        let results = summarise(&configs, &heads);
        let rates: Vec<f64> = results.iter().map(|result| result.config.fit.learning_rate.get()).collect();
        assert_eq!(rates, [0.3, 0.1, 0.2], "settings without a head are left out");
        assert_eq!((results[0].val_accuracy, results[0].val_accuracy_error, results[0].diverged), (Some(0.9), None, 1));
        assert!((results[1].val_accuracy.unwrap() - 0.75).abs() < 1e-12);
        assert!((results[1].val_accuracy_error.unwrap() - 0.05).abs() < 1e-12);
        assert_eq!((results[2].val_accuracy, results[2].diverged), (None, 1));
    }

    #[test]
    fn only_differing_fields_are_returned() {
        let objects = [json!({"a": 1, "b": [1, 2], "c": 1}), json!({"a": 1, "b": [1, 3]})];
        let maps = objects.map(|object| json_fields(&object));
        let expected = DifferingField { name: "b".to_owned(), values: vec![json!([1, 2]), json!([1, 3])] };
        assert_eq!(differing_fields(&maps), [expected]);
    }

    #[test]
    fn the_sentence_counts_accuracies_that_do_not_differ_significantly() {
        let sentence = |accuracies: &[f64]| significance_sentence(accuracies, 341).unwrap_or_default();
        assert_eq!(sentence(&[0.9]), "");
        assert_eq!(sentence(&[0.9, 0.5]), "the first is significantly better on 341 validation photos");
        let two = "the first 2 do not differ significantly on 341 validation photos";
        assert_eq!(sentence(&[0.83, 0.82, 0.5]), two);
        assert_eq!(sentence(&[0.83, 0.82]), "no difference is significant on 341 validation photos");
    }
}
