//! `extract`: a folder of photos in, a feature cache out.
//!
//! ```text
//! folder of photos ─ dataset ─ inventory ─ pixels ─ xception ─ pipeline ─▶ feature cache
//! ```

pub mod dataset;
pub mod inventory;
pub mod changes;
pub mod pixels;
pub mod arithmetic;
pub mod weights;
pub mod xception;
pub mod pipeline;
pub mod batch_size;
pub mod fingerprint;
pub mod views;
pub mod extraction;
pub mod audit;
pub mod doctor;
pub mod memory;
pub mod progress;
