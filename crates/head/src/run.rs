//! A run on disk: everything that is needed to judge it, to use it, and to repeat it.
//!
//! ```text
//! RUN/
//!   config.json       the cache and its digest, all settings, the seed, the version
//!   history.json      Keras's history.history
//!   history.csv       the same for a spreadsheet
//!   head.safetensors  dense.kernel (inputs, classes), dense.bias; hidden layers before it
//!   metrics.json      per split: loss, accuracy, per class, confusion matrix
//!   curves.svg        loss and accuracy by epoch
//! ```
//!
//! A run is written beside its place and appears by one rename.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use feature_cache::{ClassNames, Fingerprint};
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

use crate::curves::curves;
use crate::fit::FitConfig;
use crate::history::History;
use crate::layers::Classifier;
use crate::metrics::SplitMetrics;

/// What a run was asked to do, and with what.
#[derive(Debug, Clone, Serialize)]
pub struct RunConfig {
    /// This program's version.
    pub version: &'static str,
    /// The cache, as it was named.
    pub cache: PathBuf,
    /// The cache's digest: the same for the same rows, labels and paths.
    pub cache_digest: String,
    /// What the cache's rows depend on.
    pub fingerprint: Fingerprint,
    /// The classes and their indices.
    pub class_indices: ClassNames,
    /// Widths of the hidden layers; none for a linear head.
    pub hidden: Vec<usize>,
    /// Learning rate, epochs, batch size.
    #[serde(flatten)]
    pub fit: FitConfig,
    /// The part of the training rows that was held out, where the cache has no validation split.
    pub validation_split: Option<f64>,
    /// What all randomness comes from.
    pub seed: u64,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was asked.
    pub config: RunConfig,
    /// What each epoch gave.
    pub history: History,
    /// The head as it is after the last epoch.
    pub classifier: Classifier,
    /// Its results by split.
    pub metrics: BTreeMap<&'static str, SplitMetrics>,
}

/// Why a run was not written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is something already.
    #[error("{}: is there already; choose another --out", .0.display())]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot be written: {cause}", path.display())]
    Io {
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
}

impl Run {
    /// Writes the run's files into a new folder.
    ///
    /// # Errors
    /// When the folder is there already or cannot be written; then nothing is there.
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        check_free(path)?;
        let beside = beside(path);
        let written = self
            .write_files(&beside)
            .and_then(|()| fs::rename(&beside, path).map_err(|cause| RunError::Io { path: path.to_owned(), cause }));
        if written.is_err() {
            // What is left is of no use; the error that counts is the first one.
            let _ = fs::remove_dir_all(&beside);
        }
        written
    }

    fn write_files(&self, folder: &Path) -> Result<(), RunError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| RunError::Io { path, cause }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(io(&path))
        };
        let format = |name: &str, problem: String| RunError::Format { path: folder.join(name), problem };
        let json = |name: &str, value: Result<Vec<u8>, serde_json::Error>| {
            let mut bytes = value.map_err(|error| format(name, error.to_string()))?;
            bytes.push(b'\n');
            write(name, &bytes)
        };
        json("config.json", serde_json::to_vec_pretty(&self.config))?;
        json("history.json", serde_json::to_vec_pretty(&self.history))?;
        json("metrics.json", serde_json::to_vec_pretty(&self.metrics))?;
        write("history.csv", self.history_csv().as_bytes())?;
        let head = self.head().map_err(|error| format("head.safetensors", error.to_string()))?;
        write("head.safetensors", &head)?;
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

    /// The layers in Keras's orientation: `hidden.kernel`, `hidden_1.kernel`, … and `dense.kernel`, with biases.
    fn head(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let layers = self.classifier.layers();
        let name = |k: usize| match (k + 1 == layers.len(), k) {
            (true, _) => "dense".to_owned(),
            (false, 0) => "hidden".to_owned(),
            (false, k) => format!("hidden_{k}"),
        };
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

/// Whether a run can be put there, before the work begins.
///
/// # Errors
/// When there is something already.
pub fn check_free(path: &Path) -> Result<(), RunError> {
    match path.symlink_metadata() {
        Ok(_) => Err(RunError::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(RunError::Io { path: path.to_owned(), cause }),
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

/// A hidden folder in the same place, this process's own.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}
