//! From a photo's bytes to the network's input.

use super::decode::{DECODER_OVERHEAD, OpenedPhoto, memory_to_open};
use super::guard::guarded;
use super::interpolation::Interpolation;
use super::limits::{Limits, PixelError};
use super::orientation::Orientation;
use super::picture::RgbPicture;
use super::resize::{self, resize};
use super::view::View;

/// How photos become the network's input.
#[derive(Debug, Clone, Copy)]
pub struct Preprocess {
    /// Width and height of the network's input in pixels.
    pub side: u32,
    /// How photos are resized to it.
    pub interpolation: Interpolation,
    /// Whether photos are turned upright before they are resized and views are drawn.
    pub orientation: Orientation,
    /// Limits on a photo's pixels and memory.
    pub limits: Limits,
    /// Whether JPEGs are scaled down to a half, a quarter or an eighth while they are decoded, as long as width and
    /// height stay at least `side`: several times faster for large photos.
    pub fast_decode: bool,
}

impl Preprocess {
    /// The number of values of the network's input, (side, side, 3).
    pub fn input_len(&self) -> usize {
        3 * (self.side as usize).pow(2)
    }

    /// Checks from a photo's header that it is a picture and within the limits.
    ///
    /// # Errors
    /// When it is not, or its header is damaged.
    pub fn check(&self, photo: &[u8]) -> Result<(), PixelError> {
        guarded(|| self.open(photo).map(drop))
    }

    /// The maximum memory of opening, decoding and resizing a photo in bytes, from its header, for which the photo is
    /// opened.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn memory(&self, photo: &[u8]) -> Result<u64, PixelError> {
        guarded(|| {
            let opened = self.open(photo)?;
            Ok(opened.memory().max(self.memory_to_resize(&opened)).max(self.memory_to_open(photo)))
        })
    }

    /// The maximum memory of opening a photo in bytes: of [`Self::check`] and [`Self::memory`]. A photo that needs more
    /// than the limit is refused before it takes any.
    pub fn memory_to_open(&self, photo: &[u8]) -> u64 {
        memory_to_open(photo, self.limits, self.orientation)
    }

    /// Decodes a photo.
    ///
    /// # Errors
    /// When it is not a picture, is damaged, exceeds a limit, or makes the program panic.
    pub fn decode(&self, photo: &[u8]) -> Result<RgbPicture, PixelError> {
        guarded(|| self.open(photo)?.decode())
    }

    /// Resizes the picture, or a view of it, into `input`, (side, side, 3), which has [`Self::input_len`] values.
    ///
    /// # Errors
    /// When it cannot be resized, which is a bug.
    pub fn resize(&self, picture: &RgbPicture, view: Option<View>, input: &mut [u8]) -> Result<(), PixelError> {
        guarded(|| {
            match view {
                Some(view) => view.render(picture, self.side, self.interpolation, input),
                None => resize(picture, self.side, self.interpolation, input),
            }
            Ok(())
        })
    }

    /// Reads the header and checks the limits.
    fn open<'a>(&self, photo: &'a [u8]) -> Result<OpenedPhoto<'a>, PixelError> {
        let min_side = self.fast_decode.then_some(self.side);
        let photo = OpenedPhoto::open(photo, self.limits, min_side, self.orientation)?;
        let (width, height) = photo.size();
        self.limits.check_bytes(width, height, self.memory_to_resize(&photo))?;
        Ok(photo)
    }

    /// The maximum memory of turning and resizing the decoded picture in bytes, including the picture.
    fn memory_to_resize(&self, photo: &OpenedPhoto<'_>) -> u64 {
        let (width, height) = photo.size();
        let picture = 3 * u64::from(width) * u64::from(height);
        let turning = if photo.swaps_sides() { picture } else { 0 };
        let resizing = resize::memory(width, height, self.side, self.interpolation);
        picture.saturating_add(resizing.max(turning)).saturating_add(DECODER_OVERHEAD)
    }
}
