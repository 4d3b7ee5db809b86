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
    /// The network cannot be run, so the file's test cannot be made.
    #[error(transparent)]
    Embedder(#[from] EmbedderError),
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// One of the pictures that the test generates cannot be used, which is a bug.
    #[error("a picture of the file's test: {0}")]
    Picture(#[from] PhotoError),
    /// The network or the head gives NaN or an infinity.
    #[error("the model's answers are not finite: the weights or the run are broken")]
    NotFinite,
    /// ONNX's operators do not give Pillow's pixels for it.
    #[error("the run's photos are resized by {0}, for which ONNX's operators do not give Pillow's pixels")]
    Interpolation(Interpolation),
    /// The training photos were scaled down while they were decoded, before any pixels are there.
    #[error("the run's photos are scaled down while they are decoded, which is before a model gets pixels")]
    FastDecode,
    /// Unfamiliarity is asked for, and the run has no calibration.
    #[error("the run cannot tell unfamiliar photos: it has no calibration.json")]
    NoCalibration,
    /// A name that is given twice, or that a node of the graph has.
    #[error("{0:?} names two values of the model")]
    NameTaken(String),
    /// A weight of more than 65,504.
    #[error("{tensor} has values that are too large for f16")]
    TooLargeForF16 {
        /// The tensor.
        tensor: String,
    },
    /// The model is larger than the format allows.
    #[error("the model would take {bytes} bytes; an ONNX file can have {limit}")]
    TooLarge {
        /// The length that the file would have.
        bytes: usize,
        /// The largest length of the format.
        limit: usize,
    },
    /// The writer of HDF5 refused.
    #[error("the weights cannot be written as HDF5: {0}")]
    Hdf5(String),
    /// Nothing is overwritten.
    #[error("{}: is there already", .0.display())]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot be written: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
}
