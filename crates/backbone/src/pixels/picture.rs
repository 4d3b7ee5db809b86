//! A decoded picture: turning it, and taking rectangles of it.

use image::metadata::Orientation as Turn;
use image::{DynamicImage, RgbImage};

/// A decoded picture in 8-bit RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbPicture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// (height, width, 3) row-major.
    pub pixels: Vec<u8>,
}

impl RgbPicture {
    /// The picture rotated or mirrored; a rotation by 90 degrees copies it.
    pub(super) fn turned(self, turn: Turn) -> Self {
        let Self { width, height, pixels } = self;
        let picture = RgbImage::from_raw(width, height, pixels).expect("a picture has width * height * 3 values");
        let mut picture = DynamicImage::from(picture);
        picture.apply_orientation(turn);
        let picture = picture.into_rgb8();
        Self { width: picture.width(), height: picture.height(), pixels: picture.into_raw() }
    }

    /// The rectangle of `width` x `height` pixels whose top left pixel is at (`left`, `top`); it must lie within the
    /// picture.
    pub(super) fn region(&self, left: u32, top: u32, width: u32, height: u32) -> Region<'_> {
        let stride = 3 * self.width as usize;
        let pixels = &self.pixels[top as usize * stride + 3 * left as usize..];
        Region { width: width as usize, height: height as usize, stride, pixels }
    }
}

/// A rectangle of a picture, with at least one pixel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Number of values from the start of a row of the picture to the start of the next.
    pub stride: usize,
    /// The picture's values from the rectangle's first one to the picture's end.
    pub pixels: &'a [u8],
}

impl<'a> Region<'a> {
    /// The 3 * width values of row `y`.
    pub(super) fn row(self, y: usize) -> &'a [u8] {
        &self.pixels[y * self.stride..][..3 * self.width]
    }

    /// The rows from top to bottom.
    pub(super) fn rows(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.height).map(move |y| self.row(y))
    }
}
