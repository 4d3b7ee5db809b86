//! A run: creating, saving and loading it.

use std::collections::BTreeMap;
use std::path::Path;

use feature_cache::{ClassNames, FeatureCache, NewFolder, Split};
use serde::{Deserialize, Serialize};

use super::calibration_files::{SharedCentroids, read_calibration, write_calibration};
use super::config::{Origin, RunConfig, TrainedFrom};
use super::error::{CacheMismatch, RunError};
use super::files::{damaged, not_written, read, read_json, write, write_json};
use super::new_path::check_free;
use super::weights;
use crate::calibration::{Calibration, FittedCentroids};
use crate::charts::curves_svg;
use crate::data::{Rows, TrainValSplit};
use crate::fit::Trained;
use crate::history::History;
use crate::layers::Classifier;
use crate::metrics::SplitMetrics;
use crate::settings::{CalibrationConfig, HeadConfig};

pub(super) const CONFIG: &str = "config.json";
const HISTORY: &str = "history.json";
const HISTORY_TABLE: &str = "history.csv";
const METRICS: &str = "metrics.json";
const HEAD: &str = "head.safetensors";
const CURVES: &str = "curves.svg";

/// What a run is made from besides the trained head.
#[derive(Debug, Clone, Copy)]
pub struct RunInputs<'a> {
    /// The cache that the rows are from.
    pub cache: &'a FeatureCache,
    /// The cache's training and validation rows.
    pub data: &'a TrainValSplit<'a>,
    /// The cache's test rows, if it has any, to evaluate the head on.
    pub test: Option<&'a Rows<'a>>,
    /// The head's settings.
    pub config: &'a HeadConfig,
    /// The seed of everything random.
    pub seed: u64,
    /// The centroids of the training rows, and the distances of the validation rows to them.
    pub centroids: &'a FittedCentroids,
    /// How predictions are calibrated.
    pub calibration: CalibrationConfig,
}

/// A head with its configuration, history, metrics and calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Classes, fingerprint, and how the head was trained or where it was imported from.
    pub config: RunConfig,
    /// Loss and accuracy by epoch; empty for an imported head.
    pub history: History,
    /// The head, with the weights that were kept.
    pub classifier: Classifier,
    /// Its metrics.
    pub metrics: RunMetrics,
    /// Its calibration; `None` for an imported head, and for one that an older version trained.
    pub calibration: Option<Calibration>,
}

/// metrics.json: the metrics of a run's head; empty for an imported head.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The epoch whose weights were kept, counted from 1.
    pub kept_epoch: Option<usize>,
    /// By split. `validation` may be a held-out part of the training rows.
    #[serde(flatten)]
    pub splits: BTreeMap<Split, SplitMetrics>,
}

impl RunMetrics {
    /// The metrics by which heads are compared.
    pub fn validation(&self) -> Option<&SplitMetrics> {
        self.splits.get(&Split::Validation)
    }
}

impl Run {
    /// The run of a trained head: calibrates it on the validation rows, and evaluates it on the training, validation
    /// and test rows.
    pub fn new(inputs: &RunInputs<'_>, trained: Trained) -> Self {
        let RunInputs { cache, data, test, config, seed, centroids, calibration } = *inputs;
        let Trained { classifier, history, kept_epoch } = trained;
        let calibration = Calibration::fit(&classifier, &data.validation, centroids, &calibration);
        let temperature = Some(calibration.constants.temperature);
        let evaluate = |rows: &Rows<'_>| SplitMetrics::measure(&classifier, rows, cache.classes(), temperature);
        let mut splits = BTreeMap::new();
        splits.insert(Split::Train, evaluate(&data.train));
        splits.insert(Split::Validation, evaluate(&data.validation));
        if let Some(test) = test {
            splits.insert(Split::Test, evaluate(test));
        }
        let run_config = RunConfig {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: cache.fingerprint().clone(),
            class_indices: cache.classes().clone(),
            origin: Origin::Trained(TrainedFrom {
                cache: std::path::absolute(cache.path()).unwrap_or_else(|_| cache.path().to_owned()),
                cache_digest: cache.digest().to_owned(),
                config: config.clone(),
                validation_split: data.held_out,
                seed,
            }),
        };
        let metrics = RunMetrics { kept_epoch: Some(kept_epoch), splits };
        Self { config: run_config, history, classifier, metrics, calibration: Some(calibration) }
    }

    /// Checks that the head can be used on a cache: that fingerprint, classes and row length match.
    ///
    /// # Errors
    /// When one of these does not match.
    pub fn check_cache(&self, cache: &FeatureCache) -> Result<(), CacheMismatch> {
        let path = || cache.path().to_owned();
        let differences = self.config.fingerprint.differences(cache.fingerprint());
        if !differences.is_empty() {
            return Err(CacheMismatch::Fingerprint { cache: path(), differences });
        }
        let (run_classes, cache_classes) = (&self.config.class_indices, cache.classes());
        if run_classes != cache_classes {
            let only_in_cache = only_in(cache_classes, run_classes);
            let only_in_run = only_in(run_classes, cache_classes);
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
    /// When the folder exists or cannot be written. After an error there is no new folder.
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        self.save_linked(path, None)
    }

    /// [`Run::save`], but runs that share their centroids ([`FittedCentroids`]), as those of a sweep, also share the
    /// file: the first run writes it, the others have hard links to it, or copies if the file system has no hard links.
    ///
    /// # Errors
    /// Those of [`Run::save`].
    pub fn save_sharing(&self, path: &Path, shared: &SharedCentroids) -> Result<(), RunError> {
        match &self.calibration {
            Some(calibration) => shared.save(&calibration.centroids, path, |same| self.save_linked(path, same)),
            None => self.save(path),
        }
    }

    /// [`Run::save`]; familiar.safetensors becomes a hard link to that of the run `same_centroids`, if one is given.
    fn save_linked(&self, path: &Path, same_centroids: Option<&Path>) -> Result<(), RunError> {
        check_free(path)?;
        let folder = NewFolder::create(path).map_err(|cause| not_written(path, cause))?;
        self.write_files(folder.path(), same_centroids)?;
        publish(folder, path)
    }

    /// Reads a run; checks that the history's lists have one length and that layers and centroids fit the config.
    ///
    /// # Errors
    /// When there is no run, or a file is not as [`Run::save`] writes it.
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

    /// Writes the run's files into an existing folder, for callers that add more files before they rename the folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_into(&self, folder: &Path) -> Result<(), RunError> {
        self.write_files(folder, None)
    }

    /// Writes the run's files into `folder`. `same_centroids` is an earlier run with the same centroids, whose file is
    /// shared.
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

    /// history.csv: a line for each epoch.
    fn history_table(&self) -> String {
        let mut table = "epoch,loss,accuracy,val_loss,val_accuracy\n".to_owned();
        for (number, epoch) in (1..).zip(self.history.epochs()) {
            let (loss, accuracy) = (epoch.loss, epoch.accuracy);
            table += &format!("{number},{loss},{accuracy},{},{}\n", epoch.val_loss, epoch.val_accuracy);
        }
        table
    }
}

/// Renames the folder to `path`, which another process may have taken since the folder was created.
fn publish(folder: NewFolder, path: &Path) -> Result<(), RunError> {
    folder.publish().map_err(|cause| check_free(path).err().unwrap_or_else(|| not_written(path, cause)))
}

/// The classes that are not among the others.
fn only_in(classes: &ClassNames, others: &ClassNames) -> Vec<String> {
    classes.iter().filter(|class| others.label(class).is_none()).map(str::to_owned).collect()
}

fn read_history(path: &Path) -> Result<History, RunError> {
    let history: History = read_json(path)?;
    let epochs = history.loss.len();
    let others = [history.accuracy.len(), history.val_loss.len(), history.val_accuracy.len()];
    if others != [epochs; 3] || epochs == 0 {
        return Err(damaged(path.to_owned(), "its lists are empty or not of one length".to_owned()));
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_was_taken_while_the_run_was_written_exists() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let folder = NewFolder::create(&path).unwrap();
        std::fs::create_dir_all(path.join("of another process")).unwrap();
        assert!(matches!(publish(folder, &path), Err(RunError::Exists(taken)) if taken == path));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
