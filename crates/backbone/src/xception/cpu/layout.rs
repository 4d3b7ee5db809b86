//! What a product multiplies: the inputs of each pixel of the result, side by side.

use std::ops::Range;

use pulp::Simd;

use super::maps::{GROUP, Maps, side_by_side};
use super::tile::{Row, UNROLLED};
use super::vectors::{load, relu, store};
use crate::xception::layers::{Activation, leaving};

/// Lays out the inputs of results.
pub(super) trait Layout {
    /// Writes the inputs number `inputs` of some pixels of a picture of the result, which are counted row by row, to the
    /// rows of `panel`. Those of a photo are less than whole turns of the innermost loop: zeros come behind them.
    fn lay<S: Simd>(&self, simd: S, picture: usize, pixels: Range<usize>, inputs: Range<usize>, panel: &mut [Row]);
}

/// The windows of a convolution without padding: row after row, group after group of channels, pixel after pixel.
pub(super) struct Windows<'a> {
    pub x: &'a Maps,
    /// Width and height of a window.
    pub side: usize,
    pub stride: usize,
}

impl Windows<'_> {
    /// Width and height of the result.
    pub(super) fn leaving(&self) -> usize {
        leaving(self.x.side, self.side, self.stride)
    }
}

impl Layout for Windows<'_> {
    #[inline(always)]
    fn lay<S: Simd>(&self, _: S, picture: usize, pixels: Range<usize>, inputs: Range<usize>, panel: &mut [Row]) {
        let &Self { x, side: window, stride } = self;
        let leaving = self.leaving();
        let of_row = window * side_by_side(x.channels);
        for (pixel, place) in pixels.zip(panel) {
            let (row, column) = (pixel / leaving, pixel % leaving);
            for (n, start) in (0..window * x.groups() * of_row).step_by(of_row).enumerate() {
                let (y, group) = (n / x.groups(), n % x.groups());
                let wanted = inputs.start.max(start)..inputs.end.min(start + of_row);
                if !wanted.is_empty() {
                    let first = x.place(picture, group, (row * stride + y) * x.side + column * stride);
                    let from = &x.values[first + wanted.start - start..][..wanted.len()];
                    place[wanted.start - inputs.start..wanted.end - inputs.start].copy_from_slice(from);
                }
            }
            place[inputs.len()..inputs.len().next_multiple_of(UNROLLED)].fill(0.0);
        }
    }
}

/// The sums of a depthwise 3x3 convolution that keeps the side.
pub(super) struct Depthwise<'a> {
    pub x: &'a Maps,
    /// What happens to `x` first.
    pub before: Activation,
    /// (9, channels), zeros up to a whole group.
    pub kernel: &'a [f32],
}

/// Sums side by side: a value is loaded once for all of them that have it in their windows.
const ACROSS: usize = 3;

impl Layout for Depthwise<'_> {
    #[inline(always)]
    fn lay<S: Simd>(&self, simd: S, picture: usize, pixels: Range<usize>, inputs: Range<usize>, panel: &mut [Row]) {
        if pixels.is_empty() || inputs.is_empty() {
            return;
        }
        let side = self.x.side;
        let rows = pixels.start / side..pixels.end.div_ceil(side);
        let mut plane = self.x.values.another((rows.len() + 2) * self.width() * S::F32_LANES);
        // The border, which is the same for all channels.
        plane.fill(0.0);
        let plane = S::as_mut_simd_f32s(&mut plane).0;
        let panel = &mut panel[..pixels.len()];
        for channel in inputs.clone().step_by(S::F32_LANES) {
            self.fill(simd, picture, rows.clone(), channel, plane);
            self.sum(simd, pixels.clone(), channel, plane, channel - inputs.start, panel);
        }
    }
}

impl Depthwise<'_> {
    /// Values from one row of a plane to the next: a border of zeros on either side, and what the last sums of a row have
    /// on their right.
    fn width(&self) -> usize {
        self.x.side + 2 + ACROSS - 1
    }

    /// Copies a vector's worth of channels, from `channel` on: the rows of a picture and those around them, inside a border
    /// of zeros that is there. All of it stays in the first-level cache.
    #[inline(always)]
    fn fill<S: Simd>(&self, simd: S, picture: usize, rows: Range<usize>, channel: usize, plane: &mut [S::f32s]) {
        let &Self { x, before, .. } = self;
        let (group, lane) = (channel / GROUP, channel % GROUP);
        // Row 0 is the border above the picture, and column 0 the one on its left.
        for (row, places) in (rows.start..rows.end + 2).zip(plane.chunks_exact_mut(self.width())) {
            if row == 0 || row > x.side {
                continue;
            }
            let pixels = &x.values[x.place(picture, group, (row - 1) * x.side)..];
            for (place, pixel) in places[1..=x.side].iter_mut().zip(pixels.as_chunks::<GROUP>().0) {
                let value = load(simd, &pixel[lane..]);
                *place = match before {
                    Activation::None => value,
                    Activation::Relu => relu(simd, value),
                };
            }
        }
    }

    /// The sums of the windows around some pixels, of whose rows the plane has the values: a vector of channels at
    /// `place` of each row of the panel.
    #[inline(always)]
    fn sum<S: Simd>(
        &self,
        simd: S,
        pixels: Range<usize>,
        channel: usize,
        plane: &[S::f32s],
        place: usize,
        mut panel: &mut [Row],
    ) {
        let side = self.x.side;
        let zero = simd.splat_f32s(0.0);
        let mut weights = [[zero; 3]; 3];
        let taps = self.kernel.chunks_exact(self.kernel.len() / 9);
        for (weight, taps) in weights.as_flattened_mut().iter_mut().zip(taps) {
            *weight = load(simd, &taps[channel..]);
        }
        let first = pixels.start / side;
        for row in first..pixels.end.div_ceil(side) {
            let columns = pixels.start.max(row * side) - row * side..pixels.end.min((row + 1) * side) - row * side;
            let (of_row, rest) = panel.split_at_mut(columns.len());
            panel = rest;
            for (column, places) in columns.step_by(ACROSS).zip(of_row.chunks_mut(ACROSS)) {
                let mut sums = [zero; ACROSS];
                let windows = plane[(row - first) * self.width()..].chunks(self.width());
                for (window, weights) in windows.zip(&weights) {
                    let window = &window[column..column + ACROSS + 2];
                    for (x, &weight) in weights.iter().enumerate() {
                        for (sum, &value) in sums.iter_mut().zip(&window[x..]) {
                            *sum = simd.mul_add_f32s(value, weight, *sum);
                        }
                    }
                }
                for (row, sum) in places.iter_mut().zip(sums) {
                    store(simd, &mut row[place..], sum);
                }
            }
        }
    }
}
