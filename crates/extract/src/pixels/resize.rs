//! To the network's side, as Pillow resizes: the nearest pixel here, windows over the pixels in `resample`.

use clap::ValueEnum;

use super::RgbPicture;
use super::resample::{Kernel, resample};

/// How a picture is resized; the names are Keras's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Interpolation {
    /// The nearest pixel: Keras's default.
    #[default]
    Nearest,
    /// A triangle over the pixels.
    Bilinear,
    /// A cubic over the pixels.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
    /// The mean of the pixels.
    Box,
    /// A Hamming window over the pixels.
    Hamming,
}

impl Interpolation {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|variant| variant.name() == name)
    }

    /// Its name in Keras and in a fingerprint.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
            Self::Box => "box",
            Self::Hamming => "hamming",
        }
    }
}

/// Resizes to `side` x `side` pixels, whatever the picture's own proportions: side * side * 3 values into `out`. The
/// pixels are Pillow's, to the last bit.
pub fn resize(picture: &RgbPicture, side: u32, interpolation: Interpolation, out: &mut [u8]) {
    match Kernel::of(interpolation) {
        None => nearest(picture, side, out),
        Some(kernel) => resample(picture, side, kernel, out),
    }
}

/// Pillow's nearest neighbour (src/libImaging/Geometry.c, `ImagingScaleAffine`).
fn nearest(picture: &RgbPicture, side: u32, out: &mut [u8]) {
    let columns = positions(picture.width, side);
    let rows = positions(picture.height, side);
    let stride = 3 * picture.width as usize;
    for (y, out) in rows.into_iter().zip(out.chunks_exact_mut(3 * side as usize)) {
        let row = &picture.pixels[y * stride..][..stride];
        for (&x, out) in columns.iter().zip(out.chunks_exact_mut(3)) {
            out.copy_from_slice(&row[3 * x..][..3]);
        }
    }
}

/// Which of `source` pixels each of `side` comes from. The position is summed up step by step, as in Pillow: the
/// rounding errors add up, and the closed form `(x + 0.5) * scale` picks other pixels.
fn positions(source: u32, side: u32) -> Vec<usize> {
    let scale = f64::from(source) / f64::from(side);
    let mut position = scale * 0.5;
    let step = |_| {
        let pixel = position as usize;
        position += scale;
        pixel.min(source as usize - 1)
    };
    (0..side).map(step).collect()
}
