//! Picture bytes in, the network's input out: the very pixels that Keras's `load_img` gives.
//!
//! Keras decodes with Pillow, converts to RGB, resizes, and ignores the EXIF orientation, as is done here by default; each
//! step follows the file of Pillow that does it, since pixels that are a little off make features that are a lot off.

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
