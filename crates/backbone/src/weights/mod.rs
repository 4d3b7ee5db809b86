//! Xception's weights, read from Keras's files into one canonical form, which is also a file format (canonical.rs).
//!
//! ```text
//! .h5, .weights.h5, .keras  →  tensors by layer and position  →  Weights  →  xception.safetensors
//! ```
//!
//! [`KerasModel`] is a whole model with the network in it: its configuration, the network's weights, and those of other
//! layers.
//!
//! Keras numbers layers differently in each of its formats, and tensors of mixed-up layers can have the right shapes.
//! So tensors from any format get the same names, and all of them together a digest, which is known for the ImageNet
//! weights.

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

/// The [`Weights::digest`] of the ImageNet weights without top that Keras publishes, in hexadecimal.
pub const IMAGENET_DIGEST: &str = "bbbff5d0f992c927cb20ac5460615d003bb3c494660a67849a7464c53bf4af6a";
