//! `extract`: a folder of photos in, a feature cache out.
//!
//! ```text
//! folder of photos ─ dataset ─ inventory ─ pixels ─ xception ─ pipeline ─▶ feature cache
//! ```

pub mod dataset;
pub mod pixels;
pub mod inventory;
pub mod changes;
pub mod weights;
pub mod xception;
