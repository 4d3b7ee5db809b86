//! Writes a run's model as a file that gives the same answers in other programs, and checks the answers.
//!
//! ```text
//! run, weights ─ onnx ────────▶ model.onnx
//!              └ golden ──────▶ model.golden.npz: inputs, and the answers of `classify` for them
//! model.onnx, model.golden.npz ─ check (ONNX Runtime) ─▶ distances
//! ```

mod error;
mod options;
mod network;
mod npz;
mod head_arrays;
mod keras;
mod onnx;
mod golden;
mod example;
mod check;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use backbone::Weights;
use feature_cache::write_together;
use head::prediction::Predictor;
use head::run::Run;

pub use self::check::{CheckError, Checked, CheckedOutput, check_onnx, golden_path};
pub use self::error::ExportError;
use self::example::{OnnxExample, keras_example, npz_example};
use self::golden::Golden;
use self::head_arrays::head_npz;
use self::network::Network;
pub use self::options::{NamedOutput, OnnxOptions, Output, Part, PictureInput, UnknownOutput, WeightFormat};

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The files that were written, each with its length in bytes.
    pub files: Vec<(PathBuf, usize)>,
    /// A Python program that runs the model.
    pub example: String,
}

/// Whether files that exist may be overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They are overwritten.
    Yes,
    /// They are an error.
    No,
}

/// Writes a run's model, or its head alone, as an ONNX file at `out`, and its golden file ([`golden_path`]).
///
/// # Errors
/// When the model cannot be exported with these options, or a file cannot be written. Existing files then stay as they
/// were, and no new ones are left.
pub fn export_onnx(
    run: &Run,
    part: Part<'_>,
    options: &OnnxOptions,
    out: &Path,
    overwrite: Overwrite,
) -> Result<Exported, ExportError> {
    let golden_file = golden_path(out);
    check_free(&[out, &golden_file], overwrite)?;
    let predictor = Predictor::new(run);
    let outputs = options.outputs_of(&predictor)?;
    let network = match part {
        Part::Whole { weights, input } => Some(Network::new(run, weights, input)?),
        Part::Head => None,
    };
    let network = network.as_ref();
    let model = onnx::model(run, network, options, &outputs)?;
    let golden = match network {
        Some(network) => Golden::of_network(network, &predictor)?,
        None => Golden::of_head(&predictor),
    };
    let input_name = options.input_name.as_deref().unwrap_or(onnx::default_input_name(network));
    let example = OnnxExample { model: out, network, input_name, outputs: &outputs }.text();
    let golden = golden.to_npz(&model)?;
    write(&[(&golden_file, &golden), (out, &model)])?;
    let files = vec![(out.to_owned(), model.len()), (golden_file, golden.len())];
    Ok(Exported { files, example })
}

/// Writes a run's head alone as numpy arrays.
///
/// # Errors
/// When it cannot be written.
pub fn export_npz(run: &Run, out: &Path, overwrite: Overwrite) -> Result<Exported, ExportError> {
    check_free(&[out], overwrite)?;
    let predictor = Predictor::new(run);
    let bytes = head_npz(&predictor);
    write(&[(out, &bytes)])?;
    let example = npz_example(out, predictor.classifier().layers().len());
    Ok(Exported { files: vec![(out.to_owned(), bytes.len())], example })
}

/// Writes a run's model as a `.keras` archive, which Keras can load, predict with and train.
///
/// # Errors
/// When these are not the run's weights, or the file cannot be written.
pub fn export_keras(run: &Run, weights: &Weights, out: &Path, overwrite: Overwrite) -> Result<Exported, ExportError> {
    check_free(&[out], overwrite)?;
    let network = Network::new(run, weights, PictureInput::Keras)?;
    let bytes = keras::archive(run, &network)?;
    write(&[(out, &bytes)])?;
    Ok(Exported { files: vec![(out.to_owned(), bytes.len())], example: keras_example(out, &network.spec) })
}

/// Checks, before the export is computed, that no path is a folder and that no file is overwritten without permission.
fn check_free(paths: &[&Path], overwrite: Overwrite) -> Result<(), ExportError> {
    for path in paths {
        if path.is_dir() {
            return Err(ExportError::Io { path: path.to_path_buf(), cause: ErrorKind::IsADirectory.into() });
        }
        if overwrite == Overwrite::No && path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists(path.to_path_buf()));
        }
    }
    Ok(())
}

/// Writes all of the files, or none.
fn write(files: &[(&Path, &[u8])]) -> Result<(), ExportError> {
    write_together(files).map_err(|(path, cause)| ExportError::Io { path, cause })
}
