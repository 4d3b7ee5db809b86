//! A run on disk: everything needed to evaluate a head, to use it, and to train it again.
//!
//! ```text
//! RUN/
//!   config.json           the cache and its digest, all settings, the seed, the version; or the file that the head was
//!                         imported from
//!   history.json          Keras's history.history
//!   history.csv           the same for a spreadsheet
//!   head.safetensors      dense.kernel (inputs, classes), dense.bias (classes,); hidden layers before it
//!   metrics.json          the epoch whose weights were kept; per split: loss, accuracy, calibration error without and
//!                         with temperature, per-class metrics, confusion matrix (above 100 classes only cells that are
//!                         not zero)
//!   calibration.json      the temperature of the probabilities, the threshold of the unfamiliarity score, mean and
//!                         standard deviation of energy and distance on the validation rows
//!   familiar.safetensors  centroids (centroids, inputs) float16: unit vectors near which the training rows are
//!   curves.svg            loss and accuracy by epoch
//!
//! SWEEP/
//!   sweep.json            each combination of settings with its results, the best first
//!   001-seed-42/          the run of each head: the number of its settings, from 1 on, and its seed; runs with the
//!                         same training rows share one familiar.safetensors (hard links)
//! ```
//!
//! A run is written under a hidden name, then renamed. A run has both calibration.json and familiar.safetensors, or
//! neither: an imported run and one of an older version have neither, and their probabilities are the softmax of the
//! logits. An imported run has only config.json and head.safetensors.

mod error;
mod config;
mod files;
mod weights;
mod calibration_files;
mod new_path;
mod record;
mod imported;
mod sweep_folder;

pub use self::calibration_files::SharedCentroids;
pub use self::config::{ImportedFrom, ModelFile, Origin, RunConfig, TrainedFrom};
pub use self::error::{CacheMismatch, RunError};
pub use self::imported::{ImportedHead, ImportedHeadError};
pub use self::new_path::{check_free, check_writable};
pub use self::record::{Run, RunInputs, RunMetrics};
pub use self::sweep_folder::{Chosen, SweepFolder};
