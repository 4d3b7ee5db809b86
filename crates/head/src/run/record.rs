//! A finished run: how it is put together, saved and loaded.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use feature_cache::{ClassNames, FeatureCache, NewFolder, Split};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::RunConfig;
use super::error::{CacheMismatch, RunError};
use super::place::check_free;
use super::weights;
use crate::charts::curves_svg;
use crate::data::{Rows, TrainingData};
use crate::fit::Trained;
use crate::history::History;
use crate::layers::Classifier;
use crate::metrics::SplitMetrics;
use crate::settings::Setting;

const CONFIG: &str = "config.json";
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
}

/// A trained head with everything that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it was trained on and how.
    pub config: RunConfig,
    /// Loss and accuracy by epoch.
    pub history: History,
    /// The head, with the weights that were kept.
    pub classifier: Classifier,
    /// How good it is.
    pub metrics: RunMetrics,
}

/// metrics.json: how good a run's head is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The epoch that the head's weights are from, counted from 1.
    pub kept_epoch: usize,
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
    /// The run of a head after its training, evaluated on the training, validation and test rows.
    pub fn new(training: &Training<'_>, trained: Trained) -> Self {
        let Training { cache, data, test, setting, seed } = *training;
        let Trained { classifier, history, kept_epoch } = trained;
        let evaluate = |rows: &Rows<'_>| SplitMetrics::measure(&classifier, rows, cache.classes());
        let mut splits = BTreeMap::new();
        splits.insert(Split::Train, evaluate(&data.train));
        splits.insert(Split::Validation, evaluate(&data.validation));
        if let Some(test) = test {
            splits.insert(Split::Test, evaluate(test));
        }
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cache: std::path::absolute(cache.path()).unwrap_or_else(|_| cache.path().to_owned()),
            cache_digest: cache.digest().to_owned(),
            fingerprint: cache.fingerprint().clone(),
            class_indices: cache.classes().clone(),
            setting: setting.clone(),
            validation_split: data.held_out,
            seed,
        };
        Self { config, history, classifier, metrics: RunMetrics { kept_epoch, splits } }
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
        check_free(path)?;
        let folder = NewFolder::create(path).map_err(|cause| not_written(path, cause))?;
        self.write_files(folder.path())?;
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
        let history: History = read_json(&path.join(HISTORY))?;
        let metrics: RunMetrics = read_json(&path.join(METRICS))?;
        let epochs = history.loss.len();
        let others = [history.accuracy.len(), history.val_loss.len(), history.val_accuracy.len()];
        if others != [epochs; 3] || epochs == 0 {
            return Err(damaged(path.join(HISTORY), "its lists are not of one length".to_owned()));
        }
        let bytes = read(&path.join(HEAD))?;
        let classifier = weights::from_bytes(&bytes, &config).map_err(|problem| damaged(path.join(HEAD), problem))?;
        Ok(Self { config, history, classifier, metrics })
    }

    fn write_files(&self, folder: &Path) -> Result<(), RunError> {
        write_json(&folder.join(CONFIG), &self.config)?;
        write_json(&folder.join(HISTORY), &self.history)?;
        write_json(&folder.join(METRICS), &self.metrics)?;
        write(&folder.join(HISTORY_TABLE), self.history_table().as_bytes())?;
        let head = folder.join(HEAD);
        let bytes = weights::to_bytes(&self.classifier, &self.config)
            .map_err(|error| RunError::Format { path: head.clone(), problem: error.to_string() })?;
        write(&head, &bytes)?;
        write(&folder.join(CURVES), curves_svg(&self.history).as_bytes())
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

fn damaged(path: PathBuf, problem: String) -> RunError {
    RunError::Damaged { path, problem }
}

fn not_written(path: &Path, cause: io::Error) -> RunError {
    RunError::Io { action: "written", path: path.to_owned(), cause }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    fs::write(path, bytes).map_err(|cause| not_written(path, cause))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| RunError::Format { path: path.to_owned(), problem: error.to_string() })?;
    bytes.push(b'\n');
    write(path, &bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    fs::read(path).map_err(|cause| RunError::Io { action: "read", path: path.to_owned(), cause })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    serde_json::from_slice(&read(path)?).map_err(|error| damaged(path.to_owned(), error.to_string()))
}
