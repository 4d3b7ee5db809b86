//! Why a model was not exported.

use std::io;
use std::path::PathBuf;

use backbone::pixels::Interpolation;
use backbone::{EmbedderError, NetworkError, PhotoError};

use crate::model::ModelError;

/// Why a model was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run's head cannot be used with these weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be run, so the golden file cannot be made.
    #[error(transparent)]
    Embedder(#[from] EmbedderError),
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// One of the golden file's generated pictures cannot be used, which is a bug.
    #[error("a generated picture of the golden file: {0}")]
    Picture(#[from] PhotoError),
    /// An answer of the model is NaN or infinite.
    #[error("the model's answers are not finite: the weights or the run are broken")]
    NotFinite,
    /// ONNX's operators do not give Pillow's pixels for this interpolation.
    #[error("the run's photos are resized by {0}, for which ONNX's operators do not give Pillow's pixels")]
    Interpolation(Interpolation),
    /// The run's photos are scaled down while they are decoded, which a model that takes pixels cannot do.
    #[error("the run's photos are scaled down while they are decoded, which a model that takes pixels cannot do")]
    FastDecode,
    /// The run has no calibration, and so no score of unfamiliarity.
    #[error("the run has no score of unfamiliarity: it has no calibration.json")]
    NoCalibration,
    /// An output is asked for twice.
    #[error("{0} is named twice among the outputs")]
    OutputTwice(&'static str),
    /// Two inputs, outputs or nodes have the same name.
    #[error("{0:?} names two values of the model")]
    NameTaken(String),
    /// A weight is above 65,504, the largest float16.
    #[error("{tensor} has values that are too large for f16")]
    TooLargeForF16 {
        /// The tensor.
        tensor: String,
    },
    /// The file would be larger than the format allows.
    #[error("the model would take {bytes} bytes; an ONNX file can have {limit}")]
    TooLarge {
        /// The file's size in bytes.
        bytes: usize,
        /// The maximum size in bytes.
        limit: usize,
    },
    /// The HDF5 writer failed.
    #[error("the weights cannot be written as HDF5: {0}")]
    Hdf5(String),
    /// The file exists, and it may not be overwritten.
    #[error("{}: already exists", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{}: cannot be written: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}
