//! `classify`: the predictions of a trained head for new photos.
//!
//! ```text
//! run ─ model ─┐
//! photos ──────┴─ answers ─▶ printed, sorted into folders, compared with the folders' names
//! ```
//!
//! [`import`] makes runs of models that were trained in Keras, [`export`] writes runs as files for other programs, and
//! [`serve`] answers over HTTP.
//!
//! A [`model::Model`] is a run's head on top of the network that its training rows came from. It needs neither the cache
//! nor the training photos.

pub mod photos;
pub mod model;
pub mod answer;
pub mod by_folder;
pub mod sort;
mod keras_xception;
pub mod import;
pub mod export;
pub mod serve;
