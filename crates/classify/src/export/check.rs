//! Checks an exported ONNX file: ONNX Runtime, in Python, must give the answers that `classify` gave when the file was
//! written.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::options::{Output, WeightFormat};

/// The Python program that runs a model on its test; its first lines say what it prints.
const SCRIPT: &str = include_str!("check.py");

/// How far ONNX Runtime's answers are from those of `classify`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The version of ONNX Runtime.
    pub onnxruntime: String,
    /// The version of the package onnx, whose checker accepts the file; `None` if it is not installed.
    pub checker: Option<String>,
    /// The number of inputs.
    pub inputs: usize,
    /// The number of inputs with the same most probable class; `None` for a file without logits and probabilities.
    pub same_class: Option<usize>,
    /// The distances, output by output.
    pub outputs: Vec<CheckedOutput>,
}

/// How far the values of an output are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedOutput {
    /// Its name in the golden file.
    pub output: &'static str,
    /// The largest absolute difference. Those of logits and unfamiliarity are divided by the largest expected value of
    /// the same input, if that is above 1. `None` if a value is not finite.
    pub distance: Option<f64>,
    /// The largest distance that rounding may cause.
    pub allowed: f64,
}

/// Why a file could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The model or its golden file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// Python cannot be started.
    #[error("{}: cannot be run: {cause}", python.display())]
    NoPython {
        /// The interpreter.
        python: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// A package is not installed.
    #[error("{}: has no package {package}", python.display())]
    Missing {
        /// The interpreter.
        python: PathBuf,
        /// The package.
        package: String,
    },
    /// ONNX, ONNX Runtime or numpy refused one of the files.
    #[error("{}: {problem}", path.display())]
    Refused {
        /// The model.
        path: PathBuf,
        /// What they said.
        problem: String,
    },
    /// The golden file is another model's.
    #[error("{}: belongs to another model than {}, or that has changed since", golden.display(), model.display())]
    OtherModel {
        /// The model.
        model: PathBuf,
        /// The golden file.
        golden: PathBuf,
    },
    /// The program printed no result.
    #[error("{}: gave no result: {problem}", python.display())]
    NoResult {
        /// The interpreter.
        python: PathBuf,
        /// The last line on its standard error.
        problem: String,
    },
}

impl Checked {
    /// Whether all classes are the same, and all distances are within their bounds.
    pub fn is_right(&self) -> bool {
        let near = |output: &CheckedOutput| output.distance.is_some_and(|distance| distance <= output.allowed);
        self.same_class.is_none_or(|same| same == self.inputs) && self.outputs.iter().all(near)
    }
}

/// The file with a model's test: `model.golden.npz` next to `model.onnx`.
pub fn golden_path(model: &Path) -> PathBuf {
    model.with_extension("golden.npz")
}

/// Runs the model through ONNX Runtime in this Python interpreter.
///
/// # Errors
/// When a file is missing or damaged, or Python or a package is not there. Answers that are wrong are not an error
/// here.
pub fn check_onnx(python: &Path, model: &Path, golden: &Path) -> Result<Checked, CheckError> {
    let read = |path: &Path| std::fs::read(path).map_err(|cause| CheckError::Io { path: path.to_owned(), cause });
    let model_hash = blake3::hash(&read(model)?);
    read(golden)?;
    let arguments = [OsStr::new("-c"), OsStr::new(SCRIPT), model.as_os_str(), golden.as_os_str()];
    let ran = Command::new(python).args(arguments).output();
    let ran = ran.map_err(|cause| CheckError::NoPython { python: python.to_owned(), cause })?;
    let stdout = String::from_utf8_lossy(&ran.stdout);
    let found = serde_json::from_str(stdout.lines().next_back().unwrap_or_default());
    let found = match found {
        Ok(Found::Distances(found)) => found,
        Ok(Found::Missing { missing }) => {
            return Err(CheckError::Missing { python: python.to_owned(), package: missing });
        }
        Ok(Found::Error { error }) => return Err(CheckError::Refused { path: model.to_owned(), problem: error }),
        Err(_) => {
            let stderr = String::from_utf8_lossy(&ran.stderr);
            let problem = stderr.lines().next_back().unwrap_or("it printed nothing").to_owned();
            return Err(CheckError::NoResult { python: python.to_owned(), problem });
        }
    };
    if found.model_blake3 != model_hash.to_hex().as_str() {
        return Err(CheckError::OtherModel { model: model.to_owned(), golden: golden.to_owned() });
    }
    let mut outputs = Vec::new();
    for output in Output::ALL {
        if let Some(&distance) = found.distances.get(output.name()) {
            outputs.push(CheckedOutput { output: output.name(), distance, allowed: allowed(output, &found.weights) });
        }
    }
    let Distances { onnxruntime, checker, inputs, same_class, .. } = found;
    Ok(Checked { onnxruntime, checker, inputs, same_class, outputs })
}

/// The distance that rounding may cause: float32 sums in another order, or kernels with three digits.
fn allowed(output: Output, weights: &str) -> f64 {
    let of_f32 = match output {
        Output::Probabilities => 1e-4,
        Output::Logits | Output::Unfamiliarity => 1e-3,
    };
    if weights == WeightFormat::F16.name() { 100.0 * of_f32 } else { of_f32 }
}

/// What the script prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Distances(Distances),
    Missing { missing: String },
    Error { error: String },
}

#[derive(Deserialize)]
struct Distances {
    onnxruntime: String,
    checker: Option<String>,
    weights: String,
    inputs: usize,
    same_class: Option<usize>,
    distances: BTreeMap<String, Option<f64>>,
    model_blake3: String,
}
