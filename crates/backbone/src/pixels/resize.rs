//! Resizes to the network's input size, with exactly the pixels that Pillow computes: nearest neighbour here, other
//! interpolations in `resample`.

use super::interpolation::Interpolation;
use super::picture::{Region, RgbPicture};
use super::resample::{Kernel, resample};

/// Resizes to `side` x `side` pixels, ignoring the aspect ratio, into `out`, (side, side, 3). The pixels are exactly
/// Pillow's.
pub fn resize(picture: &RgbPicture, side: u32, interpolation: Interpolation, out: &mut [u8]) {
    resize_region(picture.region(0, 0, picture.width, picture.height), side, interpolation, out);
}

/// [`resize`] for a rectangle of a picture.
pub(super) fn resize_region(region: Region<'_>, side: u32, interpolation: Interpolation, out: &mut [u8]) {
    let side = side as usize;
    match Kernel::of(interpolation) {
        None => nearest(region, side, out),
        Some(kernel) => resample(region, side, kernel, out),
    }
}

/// The maximum memory in bytes of resizing a picture of this size, or a rectangle of it, without the picture and the
/// output.
pub(super) fn memory(width: u32, height: u32, side: u32, interpolation: Interpolation) -> u64 {
    match Kernel::of(interpolation) {
        None => 2 * u64::from(side) * size_of::<usize>() as u64,
        Some(kernel) => kernel.memory(width, height, side),
    }
}

/// Nearest neighbour as in Pillow (src/libImaging/Geometry.c, `ImagingScaleAffine`).
fn nearest(region: Region<'_>, side: usize, out: &mut [u8]) {
    let source_columns = positions(region.width, side);
    let source_rows = positions(region.height, side);
    for (y, out_row) in source_rows.into_iter().zip(out.chunks_exact_mut(3 * side)) {
        let row = region.row(y);
        for (&x, out_pixel) in source_columns.iter().zip(out_row.chunks_exact_mut(3)) {
            out_pixel.copy_from_slice(&row[3 * x..][..3]);
        }
    }
}

/// For each of `side` output pixels along one axis, the index of the source pixel that it copies, of `source_length`.
/// The position is accumulated step by step, as in Pillow: rounding errors add up, and the closed form
/// `(x + 0.5) * scale` picks other pixels.
fn positions(source_length: usize, side: usize) -> Vec<usize> {
    let scale = source_length as f64 / side as f64;
    let mut position = scale * 0.5;
    let mut pixels = Vec::with_capacity(side);
    for _ in 0..side {
        pixels.push((position as usize).min(source_length - 1));
        position += scale;
    }
    pixels
}
