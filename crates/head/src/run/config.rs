//! config.json: what a head was trained on and how.

use std::path::PathBuf;

use feature_cache::{ClassNames, Fingerprint};
use serde::{Deserialize, Serialize};

use crate::settings::Setting;

/// What a head was trained on and how: enough to train it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The program's version.
    pub version: String,
    /// The cache's folder: absolute, so that the run can be evaluated from any folder.
    pub cache: PathBuf,
    /// The cache's digest: the same for the same rows, labels and paths.
    pub cache_digest: String,
    /// What the cache's rows depend on.
    pub fingerprint: Fingerprint,
    /// The classes and their indices.
    pub class_indices: ClassNames,
    /// The head's settings, whose fields stand among these in config.json.
    #[serde(flatten)]
    pub setting: Setting,
    /// The part of the training rows that was held out; none where the cache has a validation split.
    pub validation_split: Option<f64>,
    /// What everything random is drawn from.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::settings::{Keep, Monitor};

    /// Written by version 0.1.0 when the settings' fields stood in [`RunConfig`] itself.
    const WITH_DEFAULTS: &str = include_str!("../../tests/fixtures/config_defaults.json");
    const WITH_EVERY_OPTION: &str = include_str!("../../tests/fixtures/config_every_option.json");

    #[test]
    fn the_file_stays_as_it_was_byte_for_byte() {
        for file in [WITH_DEFAULTS, WITH_EVERY_OPTION] {
            let config: RunConfig = serde_json::from_str(file).unwrap();
            assert_eq!(serde_json::to_string_pretty(&config).unwrap() + "\n", file);
        }
        let config: RunConfig = serde_json::from_str(WITH_EVERY_OPTION).unwrap();
        assert_eq!((&config.setting.hidden[..], config.setting.views, config.seed), (&[33, 17][..], 2, u64::MAX));
        let keep = Keep::Best { monitor: Monitor::ValAccuracy, patience: NonZeroUsize::new(3) };
        assert_eq!((config.setting.fit.keep, config.validation_split), (keep, Some(0.25)));
    }

    /// Written before there were views and options.
    #[test]
    fn fields_of_later_versions_may_be_missing() {
        let mut value: serde_json::Value = serde_json::from_str(WITH_DEFAULTS).unwrap();
        let fields = value.as_object_mut().unwrap();
        for name in ["views", "schedule", "dropout", "label_smoothing", "class_weights", "keep"] {
            assert!(fields.remove(name).is_some(), "{name}");
        }
        let config: RunConfig = serde_json::from_value(value).unwrap();
        assert_eq!(config, serde_json::from_str(WITH_DEFAULTS).unwrap());
    }
}
