//! `extract`: a folder of photos in, a feature cache out.
//!
//! ```text
//! folder of photos ─ dataset ─ inventory ─ jobs (through backbone's Embedder) ─ extraction ─▶ feature cache
//! ```
//!
//! [`extraction::Extraction::run`] is the whole of it, step by step.

pub mod dataset;
pub mod inventory;
pub mod changes;
pub mod views;
pub mod jobs;
pub mod error;
pub mod extraction;
pub mod merge;
pub mod verify;
