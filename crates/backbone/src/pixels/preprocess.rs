//! From a photo's bytes to the network's input.

use super::{Interpolation, Limits, PixelError, RgbPicture, View, decode, decode_fast, resize};

/// How photos become the network's input.
#[derive(Debug, Clone, Copy)]
pub struct Preprocess {
    /// Width and height of the network's input in pixels.
    pub side: u32,
    /// How pictures are resized to it.
    pub interpolation: Interpolation,
    /// Whether JPEGs are scaled down while they are decoded ([`decode_fast`]).
    pub fast_decode: bool,
    /// Which pictures are too large.
    pub limits: Limits,
}

impl Preprocess {
    /// Values of an input: `side` x `side` pixels of three channels.
    pub fn values(&self) -> usize {
        3 * (self.side as usize).pow(2)
    }

    /// Decodes a photo.
    ///
    /// # Errors
    /// When it is no picture, a damaged one, or over the limits.
    pub fn decode(&self, photo: &[u8]) -> Result<RgbPicture, PixelError> {
        if self.fast_decode { decode_fast(photo, self.limits, self.side) } else { decode(photo, self.limits) }
    }

    /// Writes the picture, or a view of it, resized, to `input`, which holds [`Self::values`].
    pub fn resize(&self, picture: &RgbPicture, view: Option<View>, input: &mut [u8]) {
        match view {
            Some(view) => view.draw(picture, self.side, self.interpolation, input),
            None => resize(picture, self.side, self.interpolation, input),
        }
    }
}
