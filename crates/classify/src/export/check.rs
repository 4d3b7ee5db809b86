//! Checks an exported ONNX file: runs it in ONNX Runtime, in Python, and compares the answers with those that
//! `classify` gave when the file was written.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use super::options::{Output, WeightFormat};

/// Runs a model on the inputs of its golden file; its first lines describe what it prints.
const SCRIPT: &str = include_str!("check.py");

/// More bytes than the golden file's array with the model's hash has.
const MAX_HASH_ARRAY: u64 = 4096;

/// The comparison of ONNX Runtime's answers with those of `classify`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The version of ONNX Runtime.
    pub onnxruntime: String,
    /// The version of the package onnx, whose checker accepted the file; `None` if the package is not installed.
    pub checker: Option<String>,
    /// The number of inputs.
    pub inputs: usize,
    /// For how many inputs the most probable class is the same; `None` for a file without logits and probabilities.
    pub same_class: Option<usize>,
    /// The comparison of each output.
    pub outputs: Vec<CheckedOutput>,
}

/// The comparison of one output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedOutput {
    /// Its name in the golden file.
    pub output: &'static str,
    /// The largest absolute difference over all inputs. For logits and unfamiliarity it is divided by the largest
    /// absolute value of the input's answer, if that is above 1. `None` if it is not finite.
    pub distance: Option<f64>,
    /// The distance up to which the difference counts as rounding.
    pub allowed: f64,
}

/// Why a file could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The model or the golden file cannot be read.
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
    /// The golden file is damaged, or none.
    #[error("{}: not a golden file: {problem}", path.display())]
    NotGolden {
        /// The golden file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// onnx or ONNX Runtime cannot use the model.
    #[error("{}: {problem}", path.display())]
    Refused {
        /// The model.
        path: PathBuf,
        /// Their error.
        problem: String,
    },
    /// The golden file belongs to another model, or the model has changed.
    #[error("{}: belongs to another model than {}, or that has changed since", golden.display(), model.display())]
    OtherModel {
        /// The model.
        model: PathBuf,
        /// The golden file.
        golden: PathBuf,
    },
    /// The script printed no result.
    #[error("{}: gave no result: {problem}", python.display())]
    NoResult {
        /// The interpreter.
        python: PathBuf,
        /// The last line on its standard error.
        problem: String,
    },
}

impl Checked {
    /// Whether all classes are the same and all distances are within what is allowed.
    pub fn is_right(&self) -> bool {
        let within = |output: &CheckedOutput| output.distance.is_some_and(|distance| distance <= output.allowed);
        self.same_class.is_none_or(|same| same == self.inputs) && self.outputs.iter().all(within)
    }
}

/// The golden file of a model, with inputs and expected answers: `model.golden.npz` beside `model.onnx`.
pub fn golden_path(model: &Path) -> PathBuf {
    model.with_extension("golden.npz")
}

/// Runs the model in ONNX Runtime with this Python interpreter, and compares its answers with the golden file's. Wrong
/// answers are not an error; see [`Checked::is_right`].
///
/// # Errors
/// When a file is missing or damaged, or Python or a package is not installed.
pub fn check_onnx(python: &Path, model: &Path, golden: &Path) -> Result<Checked, CheckError> {
    let read = |path: &Path| std::fs::read(path).map_err(|cause| CheckError::Io { path: path.to_owned(), cause });
    let model_hash = blake3::hash(&read(model)?);
    let not_golden = |problem| CheckError::NotGolden { path: golden.to_owned(), problem };
    let expected = hash_in_golden(&read(golden)?).map_err(|error| not_golden(error.to_string()))?;
    if model_hash.as_bytes() != expected.as_slice() {
        return Err(CheckError::OtherModel { model: model.to_owned(), golden: golden.to_owned() });
    }
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
        Ok(Found::Error { error, in_golden: true }) => return Err(not_golden(error)),
        Ok(Found::Error { error, .. }) => {
            return Err(CheckError::Refused { path: model.to_owned(), problem: error });
        }
        Err(_) => {
            let stderr = String::from_utf8_lossy(&ran.stderr);
            let problem = stderr.lines().next_back().unwrap_or("it printed nothing").to_owned();
            return Err(CheckError::NoResult { python: python.to_owned(), problem });
        }
    };
    let mut outputs = Vec::new();
    for output in Output::ALL {
        if let Some(&distance) = found.distances.get(output.name()) {
            outputs.push(CheckedOutput { output: output.name(), distance, allowed: allowed(output, &found.weights) });
        }
    }
    let Distances { onnxruntime, checker, inputs, same_class, .. } = found;
    Ok(Checked { onnxruntime, checker, inputs, same_class, outputs })
}

/// The blake3 of the model that the golden file of these bytes belongs to: the last bytes of its array `model_blake3`.
fn hash_in_golden(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let mut array = Vec::new();
    archive.by_name("model_blake3.npy")?.take(MAX_HASH_ARRAY).read_to_end(&mut array)?;
    Ok(array.split_off(array.len().saturating_sub(blake3::OUT_LEN)))
}

/// The largest distance that rounding may cause: sums of float32 in another order, or kernels rounded to float16.
fn allowed(output: Output, weights: &str) -> f64 {
    let for_f32 = match output {
        Output::Probabilities => 1e-4,
        Output::Logits | Output::Unfamiliarity => 1e-3,
    };
    if weights == WeightFormat::F16.name() { 100.0 * for_f32 } else { for_f32 }
}

/// What the script prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Distances(Distances),
    Missing { missing: String },
    Error { error: String, in_golden: bool },
}

#[derive(Deserialize)]
struct Distances {
    onnxruntime: String,
    checker: Option<String>,
    weights: String,
    inputs: usize,
    same_class: Option<usize>,
    distances: BTreeMap<String, Option<f64>>,
}
