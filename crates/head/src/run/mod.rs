//! A run on disk: everything that is needed to evaluate a head, to use it, and to train it again.
//!
//! ```text
//! RUN/
//!   config.json           the cache and its digest, all settings, the seed, the version; or the file it was imported from
//!   history.json          Keras's history.history
//!   history.csv           the same for a spreadsheet
//!   head.safetensors      dense.kernel (inputs, classes), dense.bias (classes,); hidden layers before it
//!   metrics.json          the epoch whose weights were kept; per split: loss, accuracy, calibration error without and with
//!                         temperature, per class, confusion matrix (above 100 classes only its cells that are not zero)
//!   calibration.json      the temperature of the probabilities, the threshold of the unfamiliar, mean and deviation of energy
//!                         and distance on the validation rows
//!   familiar.safetensors  centroids (centroids, inputs) float16: unit vectors that the training rows lie around
//!   curves.svg            loss and accuracy by epoch
//!
//! SWEEP/
//!   sweep.json            each setting with its results, the best first
//!   001-seed-42/          the run of each head: the setting's number, from 1 on, and the seed; familiar.safetensors is one
//!                         file of all runs with the same training rows
//! ```
//!
//! A run is written beside its place and appears by one rename. calibration.json and familiar.safetensors are there
//! together; a run that was not trained here, or by an older version, has neither, and then predictions are plain softmax.
//! That of a head that another program trained has config.json and head.safetensors alone.

mod error;
mod config;
mod files;
mod weights;
mod calibration_files;
mod place;
mod record;
mod imported;
mod sweep_folder;

pub use self::calibration_files::SharedCentroids;
pub use self::config::{ImportedFrom, ModelFile, Origin, RunConfig, TrainedFrom};
pub use self::error::{CacheMismatch, RunError};
pub use self::imported::{ImportedHead, ImportedHeadError};
pub use self::place::{check_free, next_free};
pub use self::record::{Run, RunMetrics, Training};
pub use self::sweep_folder::{Chosen, SweepFolder};
