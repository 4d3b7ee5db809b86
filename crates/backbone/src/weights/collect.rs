//! Collects the network's tensors from a weights file of any format; and the errors of weights files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::tensors::{TensorSpec, tensors};

/// All tensors of the network, under the names of [`tensors`], in Keras's layout: convolutions HWIO, depthwise kernels
/// (3, 3, channels, 1), pointwise kernels (1, 1, inputs, outputs).
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    values: BTreeMap<String, Vec<f32>>,
    /// [`Weights::digest`]
    digest: blake3::Hash,
}

/// Why weights cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file operation failed.
    #[error("{}: cannot {action} the weights: {cause}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: std::io::Error,
    },
    /// The file is damaged, or has another format.
    #[error("{}: not readable as {format}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it was read as.
        format: &'static str,
        /// The error of the format's reader.
        problem: String,
    },
    /// The file is larger than any with Xception's weights.
    #[error("{}: {found} bytes, too large for Xception's weights", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
    },
    /// The file's tensors are not the network's.
    #[error("{}: not the weights of Xception without its top: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The tensors that are missing, extra or of another shape.
        mismatch: Mismatch,
    },
    /// A weight is infinite or not a number.
    #[error("{}: {tensor} holds a value that is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A whole model was expected, but the file has only weights, or was not written by Keras.
    #[error("{}: no readable model configuration: {problem}", path.display())]
    NoConfig {
        /// The file.
        path: PathBuf,
        /// The error of reading the configuration.
        problem: String,
    },
    /// The variables of a model's layer are not those that follow from its configuration.
    #[error("{}: layer {layer:?}: {problem}", path.display())]
    Layer {
        /// The file.
        path: PathBuf,
        /// The layer.
        layer: String,
        /// What is wrong with it.
        problem: LayerProblem,
    },
}

/// What is wrong with a layer's variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerProblem {
    /// The file does not have the layer, or is damaged.
    #[error("{0}")]
    Unreadable(String),
    /// The layer has more or fewer variables.
    #[error("expected {expected} variables, found {found}")]
    Count {
        /// Number of variables of such a layer.
        expected: usize,
        /// Number of variables in the file.
        found: usize,
    },
    /// A variable has another shape.
    #[error("{variable}: expected the shape {expected:?}, found {found:?}")]
    Shape {
        /// The variable.
        variable: String,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A value is infinite or not a number.
    #[error("{variable} holds a value that is not finite")]
    NotFinite {
        /// The variable.
        variable: String,
    },
}

/// How a file's tensors differ from the network's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors of the network that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the network does not have, or that come a second time.
    pub extra: Vec<String>,
    /// Tensors with another shape: name, expected, found.
    pub wrong_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
}

/// The tensors that were found in a file so far, under the network's names; other tensors, and those that
/// come a second time, are listed. Only the values of the network's tensors are read, which limits the memory.
#[derive(Debug)]
pub(super) struct WeightsCollector {
    /// Names and shapes of the tensors that have not been found yet.
    not_yet_found: BTreeMap<String, Vec<usize>>,
    values: BTreeMap<String, Vec<f32>>,
    extra: Vec<String>,
    wrong_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Weights {
    /// A tensor's values, row-major in the shape that [`tensors`] gives for it; `None` for an unknown name.
    pub fn values(&self, name: &str) -> Option<&[f32]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// The blake3 hash of all tensors' names, shapes and little-endian values, in the order of [`tensors`]. It does not
    /// depend on the format of the file.
    pub fn digest(&self) -> blake3::Hash {
        self.digest
    }
}

/// [`Weights::digest`] of these tensors. Takes some hundredths of a second.
fn digest(values: &BTreeMap<String, Vec<f32>>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for TensorSpec { name, shape } in tensors() {
        hasher.update(format!("{name} {shape:?}\n").as_bytes());
        hasher.update_rayon(bytemuck::cast_slice(&values[&name]));
    }
    hasher.finalize()
}

impl WeightsCollector {
    /// A collector that has found nothing yet.
    pub(super) fn new() -> Self {
        let not_yet_found = tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
        Self { not_yet_found, values: BTreeMap::new(), extra: Vec::new(), wrong_shape: Vec::new() }
    }

    /// Adds a tensor of the file. `read` reads its values; it is called only for a tensor of the network in its shape.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn add<E>(
        &mut self,
        name: String,
        shape: Vec<usize>,
        read: impl FnOnce() -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        match self.not_yet_found.remove(&name) {
            None => self.extra.push(name),
            Some(expected) if expected != shape => self.wrong_shape.push((name, expected, shape)),
            Some(_) => {
                self.values.insert(name, read()?);
            }
        }
        Ok(())
    }

    /// The weights, if exactly the network's tensors were found, each in its shape.
    ///
    /// # Errors
    /// When tensors are missing, extra or of another shape, or a value is not finite.
    pub(super) fn into_weights(self, path: &Path) -> Result<Weights, WeightsError> {
        let Self { not_yet_found, values, extra, wrong_shape } = self;
        // Listed in the network's order; the map is sorted by name.
        let mut missing: Vec<String> = tensors().into_iter().map(|spec| spec.name).collect();
        missing.retain(|name| not_yet_found.contains_key(name));
        let mismatch = Mismatch { missing, extra, wrong_shape };
        if mismatch != Mismatch::default() {
            return Err(WeightsError::Mismatch { path: path.to_owned(), mismatch });
        }
        // Without an early exit, so that the compiler vectorises the loop.
        let all_finite = |values: &[f32]| values.iter().fold(true, |finite, value| finite & value.is_finite());
        if let Some((name, _)) = values.par_iter().find_first(|(_, values)| !all_finite(values)) {
            return Err(WeightsError::NotFinite { path: path.to_owned(), tensor: name.clone() });
        }
        let digest = digest(&values);
        Ok(Weights { values, digest })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LISTED: usize = 5;
        let mut wrong_shape = Vec::new();
        for (name, expected, found) in &self.wrong_shape {
            wrong_shape.push(format!("{name} (expected {expected:?}, found {found:?})"));
        }
        let lists = [("missing", &self.missing), ("extra", &self.extra), ("of another shape", &wrong_shape)];
        let mut parts = Vec::new();
        for (what, names) in lists {
            if names.is_empty() {
                continue;
            }
            let more = names.len().saturating_sub(LISTED);
            let listed = names[..names.len() - more].join(", ");
            let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{what}: {listed}{and_more}"));
        }
        f.write_str(&parts.join("; "))
    }
}
