//! A finished run: how it is put together, saved and loaded.

use std::collections::BTreeMap;
use std::path::Path;

use feature_cache::{ClassNames, FeatureCache, NewFolder, Split};
use serde::{Deserialize, Serialize};

use super::calibration_files::{SharedCentroids, read_calibration, write_calibration};
use super::config::{Origin, RunConfig, TrainedFrom};
use super::error::{CacheMismatch, RunError};
use super::files::{damaged, not_written, read, read_json, write, write_json};
use super::place::check_free;
use super::weights;
use crate::calibration::{Calibration, Familiar};
use crate::charts::curves_svg;
use crate::data::{Rows, TrainingData};
use crate::fit::Trained;
use crate::history::History;
use crate::layers::Classifier;
use crate::metrics::SplitMetrics;
use crate::settings::{CalibrationConfig, Setting};

pub(super) const CONFIG: &str = "config.json";
const HISTORY: &str = "history.json";
const HISTORY_TABLE: &str = "history.csv";
const METRICS: &str = "metrics.json";
const HEAD: &str = "head.safetensors";
const CURVES: &str = "curves.svg";

/// What a head is trained on and how.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// The cache that the rows are from.
    pub cache: &'a FeatureCache,
    /// The cache's training and validation rows.
    pub data: &'a TrainingData<'a>,
    /// The cache's test rows, if it has any: only to evaluate on.
    pub test: Option<&'a Rows<'a>>,
    /// The head's settings.
    pub setting: &'a Setting,
    /// What everything random is drawn from.
    pub seed: u64,
    /// The centroids of the training rows, and how far the validation rows are from them.
    pub familiar: &'a Familiar,
    /// How the trained head's predictions are calibrated.
    pub calibration: CalibrationConfig,
}

/// A head with everything that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its classes, and where it is from.
    pub config: RunConfig,
    /// Loss and accuracy by epoch; no epochs for an imported head.
    pub history: History,
    /// The head, with the weights that were kept.
    pub classifier: Classifier,
    /// How good it is.
    pub metrics: RunMetrics,
    /// What its predictions are calibrated with; none of a head that was not trained here, or by an older version.
    pub calibration: Option<Calibration>,
}

/// metrics.json: how good a run's head is. Nothing is known of an imported one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The epoch that the head's weights are from, counted from 1.
    pub kept_epoch: Option<usize>,
    /// By split; `validation` may be a held-out part of the training rows.
    #[serde(flatten)]
    pub splits: BTreeMap<Split, SplitMetrics>,
}

impl RunMetrics {
    /// The metrics that heads are compared by.
    pub fn validation(&self) -> Option<&SplitMetrics> {
        self.splits.get(&Split::Validation)
    }
}

impl Run {
    /// The run of a head after its training: calibrated on the validation rows, and evaluated on the training, validation and
    /// test rows.
    pub fn new(training: &Training<'_>, trained: Trained) -> Self {
        let Training { cache, data, test, setting, seed, familiar, calibration } = *training;
        let Trained { classifier, history, kept_epoch } = trained;
        let calibration = Calibration::fit(&classifier, &data.validation, familiar, &calibration);
        let temperature = Some(calibration.constants.temperature);
        let evaluate = |rows: &Rows<'_>| SplitMetrics::measure(&classifier, rows, cache.classes(), temperature);
        let mut splits = BTreeMap::new();
        splits.insert(Split::Train, evaluate(&data.train));
        splits.insert(Split::Validation, evaluate(&data.validation));
        if let Some(test) = test {
            splits.insert(Split::Test, evaluate(test));
        }
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: cache.fingerprint().clone(),
            class_indices: cache.classes().clone(),
            origin: Origin::Trained(TrainedFrom {
                cache: std::path::absolute(cache.path()).unwrap_or_else(|_| cache.path().to_owned()),
                cache_digest: cache.digest().to_owned(),
                setting: setting.clone(),
                validation_split: data.held_out,
                seed,
            }),
        };
        let metrics = RunMetrics { kept_epoch: Some(kept_epoch), splits };
        Self { config, history, classifier, metrics, calibration: Some(calibration) }
    }

    /// Checks that the head can be used on a cache: its rows were made in the same way, and its classes are the same.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn check_cache(&self, cache: &FeatureCache) -> Result<(), CacheMismatch> {
        let path = || cache.path().to_owned();
        let differences = self.config.fingerprint.differences(cache.fingerprint());
        if !differences.is_empty() {
            return Err(CacheMismatch::Fingerprint { cache: path(), differences });
        }
        let (of_run, of_cache) = (&self.config.class_indices, cache.classes());
        if of_run != of_cache {
            let (only_in_cache, only_in_run) = (only_in(of_cache, of_run), only_in(of_run, of_cache));
            return Err(CacheMismatch::Classes { cache: path(), only_in_cache, only_in_run });
        }
        let (found, expected) = (cache.columns(), self.classifier.inputs());
        if found != expected {
            return Err(CacheMismatch::Columns { cache: path(), found, expected });
        }
        Ok(())
    }

    /// Writes the run's files into a new folder.
    ///
    /// # Errors
    /// When the folder is there already or cannot be written; then nothing is left of it.
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        self.save_linked(path, None)
    }

    /// [`Run::save`], but runs with the very same centroids ([`Familiar`]), as those of a sweep, have one file for them:
    /// the first one that is saved writes it, the others are hard links to it, or copies where there are no hard links.
    ///
    /// # Errors
    /// Those of [`Run::save`].
    pub fn save_sharing(&self, path: &Path, shared: &SharedCentroids) -> Result<(), RunError> {
        match &self.calibration {
            Some(calibration) => shared.saving(&calibration.centroids, path, |same| self.save_linked(path, same)),
            None => self.save(path),
        }
    }

    fn save_linked(&self, path: &Path, same_centroids: Option<&Path>) -> Result<(), RunError> {
        check_free(path)?;
        let folder = NewFolder::create(path).map_err(|cause| not_written(path, cause))?;
        self.write_files(folder.path(), same_centroids)?;
        folder.publish().map_err(|cause| not_written(path, cause))
    }

    /// Reads a run, every file checked against the others.
    ///
    /// # Errors
    /// When there is none, or a file is not as [`Run::save`] writes it.
    pub fn load(path: &Path) -> Result<Self, RunError> {
        if !path.join(CONFIG).is_file() {
            return Err(RunError::NotARun(path.to_owned()));
        }
        let config: RunConfig = read_json(&path.join(CONFIG))?;
        let (history, metrics) = match &config.origin {
            Origin::Trained(_) => (read_history(&path.join(HISTORY))?, read_json(&path.join(METRICS))?),
            Origin::Imported(_) => (History::default(), RunMetrics::default()),
        };
        let bytes = read(&path.join(HEAD))?;
        let classifier = weights::from_bytes(&bytes, &config).map_err(|problem| damaged(path.join(HEAD), problem))?;
        let calibration = read_calibration(path, classifier.inputs())?;
        Ok(Self { config, history, classifier, metrics, calibration })
    }

    /// Writes the run's files into a folder that is there, as [`Run::save`] does: for a caller that puts more files beside
    /// them before the folder appears under its name.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_into(&self, folder: &Path) -> Result<(), RunError> {
        self.write_files(folder, None)
    }

    /// `same_centroids` is an earlier run whose file of the centroids is shared.
    fn write_files(&self, folder: &Path, same_centroids: Option<&Path>) -> Result<(), RunError> {
        write_json(&folder.join(CONFIG), &self.config)?;
        let head = folder.join(HEAD);
        let bytes = weights::to_bytes(&self.classifier, &self.config)
            .map_err(|error| RunError::Format { path: head.clone(), problem: error.to_string() })?;
        write(&head, &bytes)?;
        if let Some(calibration) = &self.calibration {
            write_calibration(folder, calibration, same_centroids)?;
        }
        if self.config.trained().is_some() {
            write_json(&folder.join(HISTORY), &self.history)?;
            write_json(&folder.join(METRICS), &self.metrics)?;
            write(&folder.join(HISTORY_TABLE), self.history_table().as_bytes())?;
            write(&folder.join(CURVES), curves_svg(&self.history).as_bytes())?;
        }
        Ok(())
    }

    fn history_table(&self) -> String {
        let mut table = "epoch,loss,accuracy,val_loss,val_accuracy\n".to_owned();
        for (number, epoch) in (1..).zip(self.history.epochs()) {
            let (loss, accuracy) = (epoch.loss, epoch.accuracy);
            table += &format!("{number},{loss},{accuracy},{},{}\n", epoch.val_loss, epoch.val_accuracy);
        }
        table
    }
}

/// The classes that the others do not have.
fn only_in(classes: &ClassNames, others: &ClassNames) -> Vec<String> {
    classes.iter().filter(|class| others.label(class).is_none()).map(str::to_owned).collect()
}

fn read_history(path: &Path) -> Result<History, RunError> {
    let history: History = read_json(path)?;
    let epochs = history.loss.len();
    let others = [history.accuracy.len(), history.val_loss.len(), history.val_accuracy.len()];
    if others != [epochs; 3] || epochs == 0 {
        return Err(damaged(path.to_owned(), "its lists are not of one length".to_owned()));
    }
    Ok(history)
}
