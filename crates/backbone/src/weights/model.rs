//! A Keras model with the network in it: its configuration, the network's weights, and those of other layers.

use std::path::{Path, PathBuf};

use hdf5_reader::error::Result as Hdf5Result;
use hdf5_reader::{Dataset, Hdf5File};
use serde_json::Value;

use super::collect::{LayerProblem, Weights, WeightsError};
use super::file::map;
use super::hdf5::{shape, values};
use super::keras::{self, Archive};
use super::{keras2, keras3};

/// The maximum length of a configuration in bytes; that of a model with Xception has 125,000.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// A model in a `.keras` archive, or in a `.h5` file that `model.save` wrote.
pub struct KerasModel {
    path: PathBuf,
    digest: blake3::Hash,
    config: Value,
    keras_version: Option<String>,
    weights: Hdf5File,
}

/// The path of a layer in a model's file: `.h5` files name layers, `.keras` archives number them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerPath {
    /// The names of the models around the layer, the outermost one first, without the whole model, then the layer's
    /// name.
    pub names: Vec<String>,
    /// The numbered names of the same: `dense` for a model's first `Dense`, `dense_1` for its second.
    pub numbered: Vec<String>,
}

impl KerasModel {
    /// Opens a `.keras` archive, or a `.h5` file with a whole model.
    ///
    /// # Errors
    /// When the file cannot be read, or has no configuration: it has only weights, or was not written by Keras.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::from_bytes(path, &map(path)?)
    }

    /// [`Self::open`] on the file's bytes; `path` is for errors.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, WeightsError> {
        let digest = blake3::Hasher::new().update_rayon(bytes).finalize();
        let no_config = |problem| WeightsError::NoConfig { path: path.to_owned(), problem };
        let (config, keras_version, weights);
        if Archive::is_zip(bytes) {
            let mut archive = Archive::open(path, bytes)?;
            config = archive.entry("config.json", MAX_CONFIG_BYTES)?;
            // Only the version is read from it, so it may be missing.
            let metadata = archive.entry("metadata.json", MAX_CONFIG_BYTES).unwrap_or_default();
            let metadata: Value = serde_json::from_slice(&metadata).unwrap_or_default();
            keras_version = metadata["keras_version"].as_str().map(str::to_owned);
            weights = archive.weights()?;
        } else {
            weights = keras::open(path, bytes)?;
            let text = attribute(&weights, "model_config").map_err(|error| no_config(error.to_string()))?;
            if text.len() as u64 > MAX_CONFIG_BYTES {
                return Err(no_config(format!("it has {} bytes, more than {MAX_CONFIG_BYTES}", text.len())));
            }
            config = text.into_bytes();
            keras_version = attribute(&weights, "keras_version").ok();
        }
        let config = serde_json::from_slice(&config).map_err(|error| no_config(error.to_string()))?;
        Ok(Self { path: path.to_owned(), digest, config, keras_version, weights })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The blake3 hash of the file's bytes.
    pub fn digest(&self) -> blake3::Hash {
        self.digest
    }

    /// The model's layers and how they are connected: `{"class_name": …, "config": …}`, where `config` is the result of
    /// `model.get_config`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The version of Keras that wrote the file, if the file has it.
    pub fn keras_version(&self) -> Option<&str> {
        self.keras_version.as_deref()
    }

    /// The weights of the network, which may be anywhere in the model.
    ///
    /// # Errors
    /// When the model does not have every tensor of Xception without its top.
    pub fn network(&self) -> Result<Weights, WeightsError> {
        keras::network(&self.path, &self.weights)?.into_weights(&self.path)
    }

    /// The values of a layer's variables, each row-major. `expected` has the names and shapes of the variables, in
    /// Keras's order.
    ///
    /// # Errors
    /// When the layer is not there or has other variables, or a value is not finite.
    pub fn variables(&self, layer: &LayerPath, expected: &[(&str, Vec<usize>)]) -> Result<Vec<Vec<f32>>, WeightsError> {
        let failed = |problem| WeightsError::Layer { path: self.path.clone(), layer: layer.names.join("/"), problem };
        let unreadable = |error: hdf5_reader::error::Error| failed(LayerProblem::Unreadable(error.to_string()));
        let datasets = self.datasets(layer).map_err(unreadable)?;
        if datasets.len() != expected.len() {
            return Err(failed(LayerProblem::Count { expected: expected.len(), found: datasets.len() }));
        }
        let mut variables = Vec::new();
        for (dataset, (name, expected)) in datasets.iter().zip(expected) {
            let (variable, found) = ((*name).to_owned(), shape(dataset));
            if found != *expected {
                return Err(failed(LayerProblem::Shape { variable, expected: expected.clone(), found }));
            }
            let values = values(dataset).map_err(unreadable)?;
            if values.iter().any(|value| !value.is_finite()) {
                return Err(failed(LayerProblem::NotFinite { variable }));
            }
            variables.push(values);
        }
        Ok(variables)
    }

    /// The datasets of a layer's variables, in the layer's order.
    fn datasets(&self, layer: &LayerPath) -> Hdf5Result<Vec<Dataset>> {
        match keras2::layer_names(&self.weights)? {
            Some((group, _)) => keras2::variables(&group, &layer.names),
            None => keras3::variables(&self.weights, &layer.numbered),
        }
    }
}

/// A text in an attribute of the file's root.
fn attribute(file: &Hdf5File, name: &str) -> Hdf5Result<String> {
    file.root_group()?.attribute(name)?.read_string()
}
