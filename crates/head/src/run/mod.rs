//! A run on disk: everything that is needed to evaluate a head, to use it, and to train it again.
//!
//! ```text
//! RUN/
//!   config.json       the cache and its digest, all settings, the seed, the version
//!   history.json      Keras's history.history
//!   history.csv       the same for a spreadsheet
//!   head.safetensors  dense.kernel (inputs, classes), dense.bias (classes,); hidden layers before it
//!   metrics.json      the epoch whose weights were kept; per split: loss, accuracy, per class, confusion matrix (above 100
//!                     classes only its cells that are not zero)
//!   curves.svg        loss and accuracy by epoch
//! ```
//!
//! A run is written beside its place and appears by one rename.

mod error;
mod config;
mod weights;
mod place;
mod record;

pub use self::config::RunConfig;
pub use self::error::{CacheMismatch, RunError};
pub use self::place::{check_free, next_free};
pub use self::record::{Run, RunMetrics, Training};
