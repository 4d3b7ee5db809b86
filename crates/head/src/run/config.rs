//! config.json: the classes of a head, the fingerprint of its rows, and how the head was trained or where it was
//! imported from.

use std::path::PathBuf;

use feature_cache::{ClassNames, Fingerprint};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::settings::HeadConfig;

/// Everything about a head except its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct RunConfig {
    /// The program's version.
    pub version: String,
    /// What the head's input rows depend on.
    pub fingerprint: Fingerprint,
    /// The classes and their indices.
    pub class_indices: ClassNames,
    /// Where the head is from.
    pub origin: Origin,
}

/// Where a head is from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// It was trained by this program.
    Trained(TrainedFrom),
    /// It was trained by another program and imported from its file.
    Imported(ImportedFrom),
}

/// What a head was trained on and how: enough to train it again.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedFrom {
    /// The cache's folder. The path is absolute, so that the run can be evaluated from any folder.
    pub cache: PathBuf,
    /// The cache's digest: equal for equal fingerprints, classes, rows, views, labels and paths.
    pub cache_digest: String,
    /// The head's settings, flattened into config.json.
    pub config: HeadConfig,
    /// The fraction of the training rows that was held out; `None` if the cache has a validation split.
    pub validation_split: Option<f64>,
    /// The seed of everything random.
    pub seed: u64,
}

/// The file that a head was imported from, and the head's layers.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedFrom {
    /// The file.
    pub model: ModelFile,
    /// Widths of the hidden layers in order; empty for a linear head.
    pub hidden: Vec<usize>,
}

/// A file with a trained model, as in config.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its name, without the folder.
    pub file: String,
    /// The hash of its bytes, in hexadecimal.
    pub blake3: String,
    /// The version of Keras that wrote it, if the file has it.
    pub keras_version: Option<String>,
}

impl RunConfig {
    /// Widths of the hidden layers in order; empty for a linear head.
    pub fn hidden(&self) -> &[usize] {
        match &self.origin {
            Origin::Trained(from) => &from.config.hidden,
            Origin::Imported(from) => &from.hidden,
        }
    }

    /// What the head was trained on and how; `None` for an imported head.
    pub fn trained(&self) -> Option<&TrainedFrom> {
        match &self.origin {
            Origin::Trained(from) => Some(from),
            Origin::Imported(_) => None,
        }
    }
}

/// config.json of a trained head.
#[derive(Serialize, Deserialize)]
struct TrainedJson {
    version: String,
    cache: PathBuf,
    cache_digest: String,
    fingerprint: Fingerprint,
    class_indices: ClassNames,
    #[serde(flatten)]
    config: HeadConfig,
    validation_split: Option<f64>,
    seed: u64,
}

/// config.json of an imported head.
#[derive(Serialize, Deserialize)]
struct ImportedJson {
    version: String,
    imported_from: ModelFile,
    fingerprint: Fingerprint,
    class_indices: ClassNames,
    hidden: Vec<usize>,
}

/// A field that is only in the config.json of an imported head.
const IMPORTED_FROM: &str = "imported_from";

impl Serialize for RunConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { version, fingerprint, class_indices, origin } = self.clone();
        match origin {
            Origin::Trained(TrainedFrom { cache, cache_digest, config, validation_split, seed }) => {
                let file = TrainedJson {
                    version,
                    cache,
                    cache_digest,
                    fingerprint,
                    class_indices,
                    config,
                    validation_split,
                    seed,
                };
                file.serialize(serializer)
            }
            Origin::Imported(ImportedFrom { model, hidden }) => {
                let file = ImportedJson { version, imported_from: model, fingerprint, class_indices, hidden };
                file.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for RunConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn parse<T: DeserializeOwned, E: Error>(fields: Map<String, Value>) -> Result<T, E> {
            serde_json::from_value(Value::Object(fields)).map_err(E::custom)
        }
        let fields = Map::<String, Value>::deserialize(deserializer)?;
        if fields.contains_key(IMPORTED_FROM) {
            let file: ImportedJson = parse(fields)?;
            let ImportedJson { version, imported_from: model, fingerprint, class_indices, hidden } = file;
            let origin = Origin::Imported(ImportedFrom { model, hidden });
            return Ok(Self { version, fingerprint, class_indices, origin });
        }
        let file: TrainedJson = parse(fields)?;
        let TrainedJson { version, cache, cache_digest, fingerprint, class_indices, config, validation_split, seed } =
            file;
        let origin = Origin::Trained(TrainedFrom { cache, cache_digest, config, validation_split, seed });
        Ok(Self { version, fingerprint, class_indices, origin })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::settings::{KeepWeights, Monitor};

    // Files of version 0.1.0, which later versions must read.
    const WITH_DEFAULTS: &str = include_str!("../../tests/fixtures/config_defaults.json");
    const WITH_EVERY_OPTION: &str = include_str!("../../tests/fixtures/config_every_option.json");
    const IMPORTED: &str = include_str!("../../tests/fixtures/config_imported.json");

    #[test]
    fn files_survive_a_round_trip_byte_for_byte() {
        for file in [WITH_DEFAULTS, WITH_EVERY_OPTION, IMPORTED] {
            let config: RunConfig = serde_json::from_str(file).unwrap();
            assert_eq!(serde_json::to_string_pretty(&config).unwrap() + "\n", file);
        }
        let config: RunConfig = serde_json::from_str(WITH_EVERY_OPTION).unwrap();
        let from = config.trained().unwrap();
        assert_eq!((config.hidden(), from.config.view_count, from.seed), (&[33, 17][..], 2, u64::MAX));
        let keep = KeepWeights::Best { monitor: Monitor::ValAccuracy, patience: NonZeroUsize::new(3) };
        assert_eq!((from.config.fit.keep, from.validation_split), (keep, Some(0.25)));
        let config: RunConfig = serde_json::from_str(IMPORTED).unwrap();
        assert_eq!((config.hidden(), config.trained()), (&[3][..], None));
    }

    /// The first runs had no views and none of these settings.
    #[test]
    fn fields_of_later_versions_may_be_missing() {
        let mut value: Value = serde_json::from_str(WITH_DEFAULTS).unwrap();
        let fields = value.as_object_mut().unwrap();
        for name in ["views", "schedule", "dropout", "label_smoothing", "class_weights", "keep"] {
            assert!(fields.remove(name).is_some(), "{name}");
        }
        let config: RunConfig = serde_json::from_value(value).unwrap();
        assert_eq!(config, serde_json::from_str(WITH_DEFAULTS).unwrap());
    }
}
