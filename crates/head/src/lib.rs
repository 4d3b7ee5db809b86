//! `head`: dense classifiers trained on cached feature rows, in milliseconds.
//!
//! ```text
//! feature cache ─ data ─ layers ─ loss ─ adam ─ fit, sweep ─ metrics ─ run ─▶ run directory
//! ```
//!
//! The numbers are Keras's: the same start, the same order of rows and the same settings give the same losses, epoch
//! after epoch. Nothing here opens a photo or links torch.

pub mod data;
pub mod settings;
pub mod kernels;
pub mod dropout;
pub mod layers;
pub mod loss;
pub mod schedule;
pub mod adam;
pub mod sampler;
pub mod fit;
pub mod history;
pub mod interval;
pub mod confusion;
pub mod metrics;
pub mod sweep;
pub mod summary;
pub mod knn;
pub mod logistic;
pub mod mislabels;
pub mod run;
pub mod curves;
pub mod report;
pub mod tensorboard;
