//! The results of a sweep, or of a set of runs: the best settings first, what they differ in, and whether that is chance.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::interval::{indistinguishable, mean_and_error};
use crate::settings::Setting;
use crate::sweep::HeadId;

/// A sweep's results, as sweep.json has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepResults {
    /// Validation photos that each head was evaluated on.
    pub photos: usize,
    /// The best setting first.
    pub settings: Vec<SettingResult>,
}

/// The results of one setting's heads, one for each seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingResult {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// Mean validation accuracy over the seeds; none when every head diverged.
    pub val_accuracy: Option<f64>,
    /// Its standard error; none of a single seed.
    pub val_accuracy_error: Option<f64>,
    /// Mean validation loss.
    pub val_loss: Option<f64>,
    /// Validation accuracy of each seed's head.
    pub val_accuracies: Vec<f64>,
    /// Heads whose loss was no longer finite.
    pub diverged: u32,
}

impl SettingResult {
    /// How many heads were trained with the setting, those that diverged included.
    pub fn heads(&self) -> u64 {
        self.val_accuracies.len() as u64 + u64::from(self.diverged)
    }
}

/// A head of a sweep after its training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadResult {
    /// Which head.
    pub id: HeadId,
    /// How it does on the validation rows; none when it diverged.
    pub validation: Option<ValidationResult>,
}

/// A head's results on the validation rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationResult {
    /// Mean loss.
    pub loss: f64,
    /// Fraction of rows that are right.
    pub accuracy: f64,
}

/// The result of each setting that has a head, the highest mean validation accuracy first.
pub fn summarise(settings: &[Setting], heads: &[HeadResult]) -> Vec<SettingResult> {
    let mut results = Vec::new();
    for (k, setting) in settings.iter().enumerate() {
        let (mut losses, mut val_accuracies, mut diverged) = (Vec::new(), Vec::new(), 0);
        for head in heads.iter().filter(|head| head.id.setting == k) {
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
        results.push(SettingResult {
            setting: setting.clone(),
            val_accuracy: accuracy.map(|(mean, _)| mean),
            val_accuracy_error: accuracy.and_then(|(_, error)| error),
            val_loss: (!losses.is_empty()).then(|| mean_and_error(&losses).0),
            val_accuracies,
            diverged,
        });
    }
    let score = |result: &SettingResult| result.val_accuracy.unwrap_or(-1.0);
    results.sort_by(|a, b| score(b).total_cmp(&score(a)));
    results
}

/// The fields in which some of the objects that have them differ, each with its value in every object, null where it is
/// missing; nested objects are one field.
pub fn differing(objects: &[Map<String, Value>]) -> Vec<(String, Vec<Value>)> {
    let mut names: Vec<&String> = objects.iter().flat_map(Map::keys).collect();
    names.sort_unstable();
    names.dedup();
    let mut differing = Vec::new();
    for name in names {
        let mut present = objects.iter().filter_map(|object| object.get(name));
        let first = present.next();
        if present.any(|value| Some(value) != first) {
            let values = objects.iter().map(|object| object.get(name).cloned().unwrap_or_default()).collect();
            differing.push((name.clone(), values));
        }
    }
    differing
}

/// A value of a setting as text: `0` for no hidden layers, `256x64` for two.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "0".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join("x"),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// One sentence on whether the best of these accuracies, the highest first, is better than the others by more than chance.
/// None for fewer than two.
pub fn verdict(accuracies: &[f64], photos: usize) -> Option<String> {
    let (&best, others) = accuracies.split_first()?;
    let alike = others.iter().filter(|&&other| indistinguishable(best, other, photos)).count();
    Some(match (others.len(), alike) {
        (0, _) => return None,
        (_, 0) => format!("the first is better than the others by more than chance on {photos} photos"),
        (others, alike) if alike == others => {
            format!("none can be told from the first: on {photos} photos the differences could be chance")
        }
        (_, alike) => {
            format!("the first {} cannot be told apart: on {photos} photos the differences could be chance", alike + 1)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use serde_json::json;

    use super::*;
    use crate::settings::{FitConfig, Positive};

    #[test]
    fn the_best_setting_comes_first_and_the_diverged_last() {
        let setting = |rate| Setting {
            hidden: Vec::new(),
            batch_size: NonZeroUsize::MIN,
            views: 0,
            fit: FitConfig::new(Positive::new("learning rate", rate).unwrap(), NonZeroUsize::MIN),
        };
        let settings = [0.1, 0.2, 0.3, 0.4].map(setting);
        let head = |setting, seed, validation: Option<(f64, f64)>| HeadResult {
            id: HeadId { setting, seed },
            validation: validation.map(|(loss, accuracy)| ValidationResult { loss, accuracy }),
        };
        let heads = [
            head(0, 0, Some((0.5, 0.7))),
            head(0, 1, Some((0.7, 0.8))),
            head(1, 0, None),
            head(2, 0, Some((0.4, 0.9))),
            head(2, 1, None),
        ];
        let results = summarise(&settings, &heads);
        let rates: Vec<f64> = results.iter().map(|result| result.setting.fit.learning_rate.get()).collect();
        assert_eq!(rates, [0.3, 0.1, 0.2], "a setting without a head is left out");
        assert_eq!((results[0].val_accuracy, results[0].val_accuracy_error, results[0].diverged), (Some(0.9), None, 1));
        assert!((results[1].val_accuracy.unwrap() - 0.75).abs() < 1e-12);
        assert!((results[1].val_accuracy_error.unwrap() - 0.05).abs() < 1e-12);
        assert_eq!((results[2].val_accuracy, results[2].diverged), (None, 1));
    }

    #[test]
    fn only_what_differs_is_a_column() {
        let objects = [json!({"a": 1, "b": [1, 2], "c": 1}), json!({"a": 1, "b": [1, 3]})];
        let maps: Vec<_> = objects.iter().map(|object| object.as_object().unwrap().clone()).collect();
        assert_eq!(differing(&maps), [("b".to_owned(), vec![json!([1, 2]), json!([1, 3])])]);
    }

    #[test]
    fn the_verdict_counts_what_could_be_chance() {
        assert_eq!(verdict(&[0.9], 341), None);
        assert!(verdict(&[0.9, 0.5], 341).unwrap().starts_with("the first is better than the others"));
        assert!(verdict(&[0.83, 0.82, 0.5], 341).unwrap().starts_with("the first 2 cannot be told apart"));
        assert!(verdict(&[0.83, 0.82], 341).unwrap().starts_with("none can be told from the first"));
    }
}
