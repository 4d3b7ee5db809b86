//! Picture bytes in, the network's input out: the very pixels that Keras's `load_img` gives.
//!
//! Keras decodes with Pillow, converts to RGB, resizes, and ignores the EXIF orientation; each step here follows the
//! file of Pillow that does it, since pixels that are a little off make features that are a lot off.

mod interpolation;
mod decode;
mod jpeg;
mod color;
mod resize;
mod resample;
mod view;
mod preprocess;

pub use decode::{decode, decode_fast, probe};
pub use interpolation::{Interpolation, UnknownInterpolation};
pub use preprocess::Preprocess;
pub use resize::resize;
pub use view::{Variation, VariationError, View};

/// A decoded picture: 8-bit RGB, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbPicture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// width * height * 3 values.
    pub pixels: Vec<u8>,
}

impl RgbPicture {
    /// The rectangle of `width` x `height` pixels whose first one is `left` and `top` pixels from the picture's; it must
    /// lie within the picture.
    fn region(&self, left: u32, top: u32, width: u32, height: u32) -> Region<'_> {
        let stride = 3 * self.width as usize;
        let pixels = &self.pixels[top as usize * stride + 3 * left as usize..];
        Region { width: width as usize, height: height as usize, stride, pixels }
    }
}

/// A rectangle of a picture, not empty.
#[derive(Debug, Clone, Copy)]
struct Region<'a> {
    width: usize,
    height: usize,
    /// Values from one row of the picture to the next.
    stride: usize,
    /// The picture's, from the rectangle's first one on.
    pixels: &'a [u8],
}

impl<'a> Region<'a> {
    fn row(self, y: usize) -> &'a [u8] {
        &self.pixels[y * self.stride..][..3 * self.width]
    }

    fn rows(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.height).map(move |y| self.row(y))
    }
}

/// What a picture may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height; larger pictures are refused before memory is taken for them.
    pub max_pixels: u64,
}

impl Limits {
    /// Where Pillow stops with a `DecompressionBombError` (PIL/Image.py, twice `MAX_IMAGE_PIXELS`).
    pub const PILLOW: Self = Self { max_pixels: 178_956_970 };

    fn check(self, width: u32, height: u32) -> Result<(), PixelError> {
        match u64::from(width) * u64::from(height) <= self.max_pixels {
            true => Ok(()),
            false => Err(PixelError::TooManyPixels { width, height, limit: self.max_pixels }),
        }
    }
}

/// Why bytes gave no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PixelError {
    /// None of the known formats.
    #[error("is no picture (JPEG, PNG, BMP, GIF, WebP or TIFF)")]
    NotAPicture,
    /// Over the limit.
    #[error("{width} x {height} pixels, over the limit of {limit}; raise it with --max-pixels")]
    TooManyPixels {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// The most that is allowed.
        limit: u64,
    },
    /// A JPEG that ends before its end-of-image marker.
    #[error("is a truncated JPEG")]
    Truncated,
    /// The decoder gave up.
    #[error("is a damaged {format}: {problem}")]
    Damaged {
        /// Which format it is.
        format: &'static str,
        /// What the decoder said.
        problem: String,
    },
    /// A kind of picture that has no 8-bit RGB form in Pillow.
    #[error("holds {0} values, which have no 8-bit form")]
    Unsupported(&'static str),
}

#[cfg(test)]
mod tests;
