//! Resizing by convolution, as in Pillow 13 (src/libImaging/Resample.c). Each output pixel is a weighted sum over a
//! window of source pixels, in fixed point; when shrinking, windows are wider. One pass resizes the width, another the
//! height. Resizing libraries are not used, since they differ from Pillow at the windows' edges and in the order of the
//! passes.

use super::interpolation::Interpolation;
use super::picture::Region;

/// Fractional bits of a weight: of 32 bits, 8 are left for the pixel and 2 for overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A weight function and half its width in source pixels. When a picture shrinks, [`windows`] widens it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    weight: fn(f64) -> f64,
    support: f64,
}

/// The source pixels of one output pixel, and their weights.
struct Window {
    /// The first source pixel.
    start: usize,
    /// One weight for each source pixel, in fixed point.
    weights: Vec<i32>,
}

impl Kernel {
    /// The kernel of an interpolation; `None` for nearest neighbour.
    pub(super) fn of(interpolation: Interpolation) -> Option<Self> {
        let (weight, support): (fn(f64) -> f64, f64) = match interpolation {
            Interpolation::Nearest => return None,
            Interpolation::Box => (box_window, 0.5),
            Interpolation::Bilinear => (triangle, 1.0),
            Interpolation::Hamming => (hamming, 1.0),
            Interpolation::Bicubic => (cubic, 2.0),
            Interpolation::Lanczos => (lanczos, 3.0),
        };
        Some(Self { weight, support })
    }

    /// The maximum memory of [`resample`] in bytes, for a picture of this size or a rectangle of it.
    pub(super) fn memory(self, width: u32, height: u32, side: u32) -> u64 {
        let (width, height, side) = (u64::from(width), u64::from(height), u64::from(side));
        // One edge of the first pass's output is `side`. If the width is resized first, the other edge is the height,
        // which is then at most `side` or less than twice the width. If the height is resized first, the other edge is
        // the width, which is then less than the height.
        let first_pass = 3 * side * height.min(side.max(2 * width));
        let sums = 12 * side.max(width.min(height));
        let windows = self.windows_memory(width, side).max(self.windows_memory(height, side));
        first_pass + windows + sums
    }

    /// The maximum memory of [`windows`] in bytes: four for each weight, and eight more for each weight of one window.
    fn windows_memory(self, source: u64, side: u64) -> u64 {
        let stretch = (source as f64 / side as f64).max(1.0);
        let weights = ((2.0 * self.support * stretch) as u64 + 2).min(source);
        side * (size_of::<Window>() as u64 + 4 * weights) + 8 * weights
    }
}

/// Resizes to `side` x `side` pixels, into `out`, (side, side, 3).
pub(super) fn resample(region: Region<'_>, side: usize, kernel: Kernel, out: &mut [u8]) {
    // An axis that keeps its length is not resampled.
    if region.width == side {
        resample_height(region, side, kernel, out);
    } else if region.height == side {
        resample_width(region, side, kernel, out);
    } else if is_height_first(region.width, region.height, side) {
        let mut pixels = vec![0; 3 * region.width * side];
        resample_height(region, side, kernel, &mut pixels);
        let first_pass = Region { width: region.width, height: side, stride: 3 * region.width, pixels: &pixels };
        resample_width(first_pass, side, kernel, out);
    } else {
        let mut pixels = vec![0; 3 * side * region.height];
        resample_width(region, side, kernel, &mut pixels);
        let first_pass = Region { width: side, height: region.height, stride: 3 * side, pixels: &pixels };
        resample_height(first_pass, side, kernel, out);
    }
}

/// Whether the height is resized before the width; the order changes how pixels are rounded. Pillow 13 begins with the
/// height if it loses more than twice as many pixels as the width, so that the other pass has fewer pixels
/// (`ImagingResampleInner`, `horizontal_first`). Earlier versions always began with the width.
fn is_height_first(width: usize, height: usize, side: usize) -> bool {
    let lost = |length: usize| length as i64 - side as i64;
    lost(height) > 0 && lost(height) > 2 * lost(width)
}

/// Resizes the width to `side`, into `out`, (height, side, 3).
fn resample_width(region: Region<'_>, side: usize, kernel: Kernel, out: &mut [u8]) {
    let windows = windows(region.width, side, kernel);
    for (row, out) in region.rows().zip(out.chunks_exact_mut(3 * side)) {
        for (window, out) in windows.iter().zip(out.as_chunks_mut::<3>().0) {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[3 * window.start..].as_chunks::<3>().0.iter().zip(&window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            *out = sums.map(to_pixel);
        }
    }
}

/// Resizes the height to `side`, into `out`, (side, width, 3).
fn resample_height(region: Region<'_>, side: usize, kernel: Kernel, out: &mut [u8]) {
    let out_rows = out.chunks_exact_mut(3 * region.width);
    if region.height == side {
        for (row, out) in region.rows().zip(out_rows) {
            out.copy_from_slice(row);
        }
        return;
    }
    let mut sums = vec![HALF; 3 * region.width];
    for (window, out) in windows(region.height, side, kernel).iter().zip(out_rows) {
        sums.fill(HALF);
        for (y, weight) in (window.start..).zip(&window.weights) {
            for (sum, value) in sums.iter_mut().zip(region.row(y)) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = to_pixel(*sum);
        }
    }
}

/// Half of one in fixed point. Sums begin with it, so that the shift in [`to_pixel`] rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// The pixel value of a sum in fixed point.
fn to_pixel(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The window of each of `target` output pixels (Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`).
fn windows(source: usize, target: usize, kernel: Kernel) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let stretch = scale.max(1.0);
    let support = kernel.support * stretch;
    // As in Pillow, which multiplies by the inverse: dividing would sometimes round differently.
    let inverse = 1.0 / stretch;
    let window = |position: usize| {
        let center = (position as f64 + 0.5) * scale;
        // Casts truncate as in C; negative values become 0.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(source);
        let weights: Vec<f64> =
            (start..end).map(|pixel| (kernel.weight)((pixel as f64 - center + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| {
            let weight = weight / sum * f64::from(1u32 << PRECISION_BITS);
            (weight + 0.5f64.copysign(weight)) as i32
        };
        Window { start, weights: weights.iter().map(fixed).collect() }
    };
    (0..target).map(window).collect()
}

fn box_window(x: f64) -> f64 {
    f64::from(x > -0.5 && x <= 0.5)
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// In Pillow's C, and so here, the two constants have single precision and all else double.
fn hamming(x: f64) -> f64 {
    let x = x.abs();
    match x {
        0.0 => 1.0,
        _ if x >= 1.0 => 0.0,
        _ => sinc(x) * (f64::from(0.54f32) + f64::from(0.46f32) * (x * std::f64::consts::PI).cos()),
    }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        _ if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_covers_the_first_pass_for_every_rectangle_of_a_picture() {
        let side = 20;
        let kernel = Kernel::of(Interpolation::Box).unwrap();
        for (width, height) in [(23, 120), (120, 23), (60, 100), (60, 101), (1, 500), (300, 15), (15, 18)] {
            let windows = kernel.windows_memory(width, side).max(kernel.windows_memory(height, side));
            let counted = kernel.memory(width as u32, height as u32, side as u32) - windows;
            for part_width in 1..=width {
                for part_height in 1..=height {
                    let is_height_first = is_height_first(part_width as usize, part_height as usize, side as usize);
                    let first_pass = 3 * side * if is_height_first { part_width } else { part_height };
                    let sums = 12 * if is_height_first { part_width } else { side };
                    assert!(
                        first_pass + sums <= counted,
                        "{part_width} x {part_height} of {width} x {height}: {first_pass} + {sums} > {counted}"
                    );
                }
            }
        }
    }
}
