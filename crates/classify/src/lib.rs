//! `classify`: the predictions of a trained head for new photos.
//!
//! ```text
//! run ─ model ─┐
//! photos ──────┴─ answers ─▶ printed, sorted into folders, compared with the folders' names
//! ```
//!
//! Models that were trained in Keras become runs: [`import`]. Runs become files for other programs: [`export`]. Over HTTP
//! answers are given by [`serve`].
//!
//! A [`model::Model`] is a run's head on top of the network that its training rows came from. It needs neither the cache nor
//! the training photos.

pub mod photos;
pub mod model;
pub mod answer;
pub mod by_folder;
pub mod sort;
mod keras_xception;
pub mod import;
pub mod export;
pub mod serve;
