//! Picture bytes in, the network's input out: the very pixels that Keras's `load_img` gives.
//!
//! Keras decodes with Pillow, converts to RGB, resizes, and ignores the EXIF orientation; each step here follows the
//! file of Pillow that does it, since pixels that are a little off make features that are a lot off.

mod limits;
mod picture;
mod color;
mod jpeg;
mod tiff;
mod prefix_codes;
mod webp;
mod decode;
mod interpolation;
mod resample;
mod resize;
mod view;
mod guard;
mod preprocess;

pub use interpolation::{Interpolation, UnknownInterpolation};
pub use limits::{Limit, Limits, PixelError};
pub use picture::RgbPicture;
pub use preprocess::Preprocess;
pub use view::{Variation, VariationError, View};

#[cfg(test)]
mod tests;
