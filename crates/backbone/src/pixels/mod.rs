//! From the bytes of a photo to the network's input, with exactly the pixels of Keras's `load_img`.
//!
//! Keras decodes with Pillow, converts to RGB, resizes, and ignores the EXIF orientation. This module does the same,
//! and turns photos upright if asked to ([`Orientation`]). Each step follows the source file of Pillow that does it,
//! since small differences in pixels are large ones in features.

mod limits;
mod picture;
mod color;
mod exif;
mod jpeg;
mod png;
mod tiff;
mod prefix_codes;
mod webp;
mod orientation;
mod decode;
mod interpolation;
mod resample;
mod resize;
mod view;
mod guard;
mod preprocess;

pub use interpolation::{Interpolation, UnknownInterpolation};
pub use limits::{Limit, Limits, PixelError};
pub use orientation::Orientation;
pub use picture::RgbPicture;
pub use preprocess::Preprocess;
pub use view::{AugmentConfig, AugmentConfigError, View};

#[cfg(test)]
mod tests;
