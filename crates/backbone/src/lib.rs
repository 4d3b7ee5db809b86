//! From photos to feature rows: a frozen ImageNet Xception, with the pixels that Keras gives it.
//!
//! ```text
//! photo ─ pixels (decode, resize, views) ────────────┐
//! weights ─ xception, in a backend (own, libtorch) ──┴─ pipeline (decode ∥ network) ─▶ rows in the order of the photos
//! ```
//!
//! [`Embedder`] computes rows of photos: [`Compute`] (what the user asks for) becomes an
//! [`Engine`](compute::Engine) (what this machine can run), for which a backend runs the layers of
//! [`Xception`](xception::Xception). Nothing here reads a data set or a cache, prints, or parses a command line.

pub mod pixels;
pub mod photo;
pub mod weights;
pub mod processor;
pub mod precision;
pub mod compute;
pub mod network;
mod distance;
mod backend;
pub mod xception;
pub mod spec;
mod pipeline;
mod memory_budget;
mod embedder;
pub mod golden;
pub mod memory;

pub use compute::{BatchSize, Compute, ComputeError, Device, Kernels, LinkedLibtorch, libtorch};
pub use distance::relative_l2;
pub use embedder::{Embedder, EmbedderError, ThreadEmbedder};
pub use network::NetworkError;
pub use photo::{Photo, PhotoError, Source};
pub use pipeline::{EmbedReport, EndReason, Event, Times, find_broken};
pub use precision::{NumberFormat, Precision, UnknownName};
pub use spec::{EmbedSpec, UnsupportedField, UnsupportedFingerprint};
pub use weights::Weights;
