//! Pillow's convolution resize (src/libImaging/Resample.c): a window per output pixel, widened when shrinking, in fixed
//! point, across and then down. Small enough to follow exactly; resizing libraries differ at the windows' edges and in
//! the order of the passes.

use super::interpolation::Interpolation;
use super::picture::Region;

/// Bits behind the point of a weight: 8 for the pixel and 2 for overshoot are left of 32.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A window function and half its width, in source pixels when enlarging.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    weight: fn(f64) -> f64,
    support: f64,
}

/// The source pixels of one output pixel, and what each counts.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

impl Kernel {
    /// None for the nearest pixel.
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

    /// Bytes that [`resample`] takes for a picture of this size or a part of it, at most.
    pub(super) fn memory(self, width: u32, height: u32, side: u32) -> u64 {
        let across = 3 * u64::from(side) * u64::from(height);
        let sums = 12 * u64::from(side);
        across.saturating_add(self.windows_memory(width, side).max(self.windows_memory(height, side))) + sums
    }

    /// Bytes that [`windows`] takes, at most: four for each weight, and eight more for those of one window.
    fn windows_memory(self, source: u32, side: u32) -> u64 {
        let stretch = (f64::from(source) / f64::from(side)).max(1.0);
        let weights = ((2.0 * self.support * stretch) as u64 + 2).min(source.into());
        u64::from(side) * (size_of::<Window>() as u64 + 4 * weights) + 8 * weights
    }
}

/// Resizes to `side` x `side` pixels, into the 3 * side * side values of `out`.
pub(super) fn resample(region: Region<'_>, side: usize, kernel: Kernel, out: &mut [u8]) {
    // An axis that keeps its length is left alone.
    if region.width == side {
        resample_down(region, side, kernel, out);
    } else {
        let across = resample_across(region, &windows(region.width, side, kernel));
        let across = Region { width: side, height: region.height, stride: 3 * side, pixels: &across };
        resample_down(across, side, kernel, out);
    }
}

fn resample_across(region: Region<'_>, windows: &[Window]) -> Vec<u8> {
    let mut across = Vec::with_capacity(3 * region.height * windows.len());
    for row in region.rows() {
        for window in windows {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[3 * window.start..].chunks_exact(3).zip(&window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            across.extend(sums.map(to_pixel));
        }
    }
    across
}

fn resample_down(region: Region<'_>, side: usize, kernel: Kernel, out: &mut [u8]) {
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

/// What makes the shift in [`to_pixel`] round.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn to_pixel(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// `precompute_coeffs` and `normalize_coeffs_8bpc`.
fn windows(source: usize, target: usize, kernel: Kernel) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let stretch = scale.max(1.0);
    let support = kernel.support * stretch;
    let window = |position: usize| {
        let center = (position as f64 + 0.5) * scale;
        // A cast to an integer is C's: towards zero, and negative ones to 0.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(source);
        let weights: Vec<f64> =
            (start..end).map(|pixel| (kernel.weight)((pixel as f64 - center + 0.5) / stretch)).collect();
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

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    match x {
        0.0 => 1.0,
        _ if x >= 1.0 => 0.0,
        _ => sinc(x) * (0.54 + 0.46 * (x * std::f64::consts::PI).cos()),
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
