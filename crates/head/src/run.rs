//! A run on disk: everything that is needed to judge it, to use it, and to repeat it.
//!
//! ```text
//! RUN/
//!   config.json       the cache and its digest, all settings, the seed, the version
//!   history.json      Keras's history.history
//!   history.csv       the same for a spreadsheet
//!   head.safetensors  dense.kernel (inputs, classes), dense.bias; hidden layers before it
//!   metrics.json      the epoch whose weights were kept; per split: loss, accuracy, per class, confusion matrix
//!   curves.svg        loss and accuracy by epoch
//! ```
//!
//! A run is written beside its place and appears by one rename.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use feature_cache::{ClassNames, Fingerprint, NewFolder, Split};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::curves::curves;
use crate::history::History;
use crate::layers::{Classifier, Dense};
use crate::metrics::SplitMetrics;
use crate::settings::FitConfig;

const CONFIG: &str = "config.json";
const HISTORY: &str = "history.json";
const METRICS: &str = "metrics.json";
const HEAD: &str = "head.safetensors";

/// What a run was asked to do, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The program's version.
    pub version: String,
    /// Where the cache was: absolute, so that the run can be judged from any folder.
    pub cache: PathBuf,
    /// The cache's digest: the same for the same rows, labels and paths.
    pub cache_digest: String,
    /// What the cache's rows depend on.
    pub fingerprint: Fingerprint,
    /// The classes and their indices.
    pub class_indices: ClassNames,
    /// Widths of the hidden layers; none for a linear head.
    pub hidden: Vec<usize>,
    /// Rows per step.
    pub batch_size: NonZeroUsize,
    /// How many views of each photo it has learnt from; 0 if from the photos as they are.
    #[serde(default)]
    pub views: usize,
    /// Everything else about the training.
    #[serde(flatten)]
    pub fit: FitConfig,
    /// The part of the training rows that was held out, where the cache has no validation split.
    pub validation_split: Option<f64>,
    /// What all randomness comes from.
    pub seed: u64,
}

/// How good a run's head is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The epoch that the head's weights are from, counted from 1.
    pub kept_epoch: usize,
    /// By split; `validation` may be the part that was held out.
    #[serde(flatten)]
    pub splits: BTreeMap<Split, SplitMetrics>,
}

impl RunMetrics {
    /// What a head is chosen by.
    pub fn validation(&self) -> Option<&SplitMetrics> {
        self.splits.get(&Split::Validation)
    }
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was asked.
    pub config: RunConfig,
    /// What each epoch gave.
    pub history: History,
    /// The head.
    pub classifier: Classifier,
    /// Its results.
    pub metrics: RunMetrics,
}

/// Why a run was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is something already.
    #[error("{}: is there already; choose another --out", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{}: no run here; make one with: head train CACHE --out {}", .0.display(), .0.display())]
    NotARun(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot be {action}: {cause}", path.display())]
    Io {
        /// `read` or `written`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What it answered.
        cause: io::Error,
    },
    /// A value that the file's format cannot hold.
    #[error("{}: cannot be written: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What its writer said.
        problem: String,
    },
    /// A file that is not what this program writes.
    #[error("{}: damaged: {problem}; train the head again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Run {
    /// Writes the run's files into a new folder.
    ///
    /// # Errors
    /// When the folder is there already or cannot be written; then nothing is there.
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        check_free(path)?;
        let folder = NewFolder::beside(path).map_err(|cause| not_written(path, cause))?;
        self.write_files(folder.path())?;
        folder.publish().map_err(|cause| not_written(path, cause))
    }

    /// Reads a run, every file checked against the others.
    ///
    /// # Errors
    /// When there is none, or a file is not what [`Run::save`] writes.
    pub fn load(path: &Path) -> Result<Self, RunError> {
        if !path.join(CONFIG).is_file() {
            return Err(RunError::NotARun(path.to_owned()));
        }
        let config: RunConfig = read_json(&path.join(CONFIG))?;
        let (history, metrics): (History, _) = (read_json(&path.join(HISTORY))?, read_json(&path.join(METRICS))?);
        let epochs = history.loss.len();
        let others = [history.accuracy.len(), history.val_loss.len(), history.val_accuracy.len()];
        if others != [epochs; 3] || epochs == 0 {
            let problem = "its lists are not of one length".to_owned();
            return Err(RunError::Damaged { path: path.join(HISTORY), problem });
        }
        let head = path.join(HEAD);
        let classifier = read_head(&head, &config).map_err(|problem| RunError::Damaged { path: head, problem })?;
        Ok(Self { config, history, classifier, metrics })
    }

    fn write_files(&self, folder: &Path) -> Result<(), RunError> {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|cause| not_written(&path, cause))
        };
        let format = |name: &str, problem: String| RunError::Format { path: folder.join(name), problem };
        let json = |name: &str, value: Result<Vec<u8>, serde_json::Error>| {
            let mut bytes = value.map_err(|error| format(name, error.to_string()))?;
            bytes.push(b'\n');
            write(name, &bytes)
        };
        json(CONFIG, serde_json::to_vec_pretty(&self.config))?;
        json(HISTORY, serde_json::to_vec_pretty(&self.history))?;
        json(METRICS, serde_json::to_vec_pretty(&self.metrics))?;
        write("history.csv", self.history_csv().as_bytes())?;
        let head = self.head().map_err(|error| format(HEAD, error.to_string()))?;
        write(HEAD, &head)?;
        let curves = curves(&self.history).map_err(|problem| format("curves.svg", problem))?;
        write("curves.svg", curves.as_bytes())
    }

    fn history_csv(&self) -> String {
        let mut table = "epoch,loss,accuracy,val_loss,val_accuracy\n".to_owned();
        for (number, epoch) in (1..).zip(self.history.epochs()) {
            let (loss, accuracy) = (epoch.loss, epoch.accuracy);
            table += &format!("{number},{loss},{accuracy},{},{}\n", epoch.val_loss, epoch.val_accuracy);
        }
        table
    }

    /// The layers in Keras's orientation.
    fn head(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let layers = self.classifier.layers();
        let name = |k: usize| layer_name(k, layers.len());
        let kernels: Vec<Vec<f32>> = layers.iter().map(|layer| layer.kernel()).collect();
        let mut tensors = Vec::new();
        for ((k, layer), kernel) in layers.iter().enumerate().zip(&kernels) {
            let view = |shape: Vec<usize>, values| TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
            tensors.push((format!("{}.kernel", name(k)), view(vec![layer.inputs(), layer.outputs()], kernel)?));
            tensors.push((format!("{}.bias", name(k)), view(vec![layer.outputs()], layer.bias())?));
        }
        // A single entry, since the order of several is that of a hash map.
        let about = serde_json::json!({
            "class_indices": self.config.class_indices,
            "fingerprint": self.config.fingerprint,
        });
        let about = HashMap::from([("icebox".to_owned(), about.to_string())]);
        safetensors::serialize(tensors, Some(about))
    }
}

/// `hidden`, `hidden_1`, … and last `dense`.
fn layer_name(k: usize, layers: usize) -> String {
    match (k + 1 == layers, k) {
        (true, _) => "dense".to_owned(),
        (false, 0) => "hidden".to_owned(),
        (false, k) => format!("hidden_{k}"),
    }
}

fn not_written(path: &Path, cause: io::Error) -> RunError {
    RunError::Io { action: "written", path: path.to_owned(), cause }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let bytes = fs::read(path).map_err(|cause| RunError::Io { action: "read", path: path.to_owned(), cause })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| RunError::Damaged { path: path.to_owned(), problem: error.to_string() })
}

/// The layers that the configuration asks for, and no others.
fn read_head(path: &Path, config: &RunConfig) -> Result<Classifier, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let tensor = |name: &str| -> Result<(Vec<usize>, Vec<f32>), String> {
        let view = file.tensor(name).map_err(|error| error.to_string())?;
        let values: Vec<f32> = view.data().as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        match view.dtype() == Dtype::F32 && values.iter().all(|value| value.is_finite()) {
            true => Ok((view.shape().to_vec(), values)),
            false => Err(format!("{name} does not hold finite float32 values")),
        }
    };
    let outputs: Vec<usize> = [&config.hidden[..], &[config.class_indices.len()]].concat();
    if file.len() != 2 * outputs.len() {
        return Err(format!("expected {} tensors, found {}", 2 * outputs.len(), file.len()));
    }
    let layer = |(k, &units): (usize, &usize)| {
        let name = layer_name(k, outputs.len());
        let ((shape, kernel), (_, bias)) = (tensor(&format!("{name}.kernel"))?, tensor(&format!("{name}.bias"))?);
        match (&shape[..], bias.len()) {
            (&[inputs, found], biases) if (found, biases) == (units, units) => {
                Dense::from_keras(inputs, &kernel, &bias).map_err(|error| error.to_string())
            }
            _ => {
                Err(format!("{name} has a kernel of shape {shape:?} and {} biases, expected {units} units", bias.len()))
            }
        }
    };
    let layers = outputs.iter().enumerate().map(layer).collect::<Result<_, _>>()?;
    Classifier::from_layers(layers).map_err(|error| error.to_string())
}

/// Whether a run can be put there, before the work begins.
///
/// # Errors
/// When there is something already.
pub fn check_free(path: &Path) -> Result<(), RunError> {
    match path.symlink_metadata() {
        Ok(_) => Err(RunError::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(not_written(path, cause)),
    }
}

/// The first of `FOLDER/NAME-1`, `FOLDER/NAME-2`, … that is free.
pub fn next_free(folder: &Path, name: &str) -> PathBuf {
    let mut number = 1;
    loop {
        let path = folder.join(format!("{name}-{number}"));
        if path.symlink_metadata().is_err() {
            return path;
        }
        number += 1;
    }
}
