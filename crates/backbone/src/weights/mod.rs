//! Xception's weights: Keras's files in, one canonical form out.
//!
//! ```text
//! .h5, .weights.h5, .keras  →  tensors by layer and position  →  Weights  →  xception.safetensors
//! ```
//!
//! [`KerasModel`] is a model that has the network in it: its configuration, the network's weights, those of other
//! layers.
//!
//! Keras numbers layers differently in each of its formats, and a mix-up can have all the right shapes; so whatever the
//! source, the tensors get our names and one digest, which for the ImageNet weights is known.

mod tensors;
mod collect;
mod file;
mod hdf5;
mod numbering;
mod keras2;
mod keras3;
mod keras;
mod canonical;
mod load;
mod model;

pub use self::collect::{LayerProblem, Mismatch, Weights, WeightsError};
pub use self::model::{KerasModel, LayerPath};
pub use self::tensors::{LAYERS, Layer, LayerKind, TensorSpec, layers, tensors};

/// The digest of the weights that Keras publishes for ImageNet, without the top.
pub const IMAGENET_DIGEST: &str = "bbbff5d0f992c927cb20ac5460615d003bb3c494660a67849a7464c53bf4af6a";
