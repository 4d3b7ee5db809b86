//! The sums of a depthwise convolution, as a panel: they are made where the pointwise convolution multiplies them, and
//! never go through memory.

use std::ops::Range;

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, Row, Vector};
use super::pack::PackPixels;
use crate::backend::interface::Activation;

/// A depthwise 3x3 convolution of `x` that keeps the side.
pub(super) struct Depthwise<'a> {
    pub x: &'a FeatureMaps,
    /// What happens to `x` first.
    pub activation: Activation,
    /// (9, channels), zeros up to a whole group.
    pub taps: &'a [f32],
}

/// Sums that are made side by side: a value is loaded once for all of them that have it in their windows.
const ACROSS: usize = 3;

impl PackPixels for Depthwise<'_> {
    #[inline(always)]
    fn pack<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [Row<K>],
    ) {
        if pixels.is_empty() || inputs.is_empty() {
            return;
        }
        let side = self.x.side;
        let rows = pixels.start / side..pixels.end.div_ceil(side);
        let mut plane = self.x.values.another((rows.len() + 2) * self.plane_width());
        // The border around the picture, which is the same for all channels.
        plane.fill(kernel.zero());
        let panel = &mut panel[..pixels.len()];
        // A vector's worth of channels at a time: its plane stays in the first-level cache.
        for channel in inputs.clone().step_by(K::LANES) {
            self.copy_plane(kernel, picture, rows.clone(), channel, &mut plane);
            self.sum_windows(kernel, pixels.clone(), channel, &plane, channel - inputs.start, panel);
        }
    }
}

impl Depthwise<'_> {
    /// Vectors from one row of a plane to the next: a border of zeros on either side, and what the last sums of a row have
    /// on their right.
    fn plane_width(&self) -> usize {
        self.x.side + 2 + ACROSS - 1
    }

    /// Copies the channels from `channel` on of some rows of a picture, and of the rows above and below, into a plane
    /// whose border is zero.
    #[inline(always)]
    fn copy_plane<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        rows: Range<usize>,
        channel: usize,
        plane: &mut [Vector<K>],
    ) {
        let x = self.x;
        let values: &[f32] = &x.values;
        let (group, lane) = (channel / GROUP, channel % GROUP);
        // Row 0 is the border above the picture, and column 0 the one on its left.
        for (row, places) in (rows.start..rows.end + 2).zip(plane.chunks_exact_mut(self.plane_width())) {
            if row == 0 || row > x.side {
                continue;
            }
            let pixels = &values[x.index(picture, group, (row - 1) * x.side)..];
            for (place, pixel) in places[1..=x.side].iter_mut().zip(pixels.as_chunks::<GROUP>().0) {
                let value = kernel.load(&pixel[lane..]);
                *place = match self.activation {
                    Activation::Linear => value,
                    Activation::Relu => kernel.relu(value),
                };
            }
        }
    }

    /// Sums the windows around some pixels, whose rows and those around them are in the plane, and packs them: a vector of
    /// channels at input `input` of each row of the panel.
    #[inline(always)]
    fn sum_windows<K: Microkernel>(
        &self,
        kernel: K,
        pixels: Range<usize>,
        channel: usize,
        plane: &[Vector<K>],
        input: usize,
        mut panel: &mut [Row<K>],
    ) {
        let (side, width) = (self.x.side, self.plane_width());
        let mut weights = [[kernel.zero(); 3]; 3];
        let taps = self.taps.chunks_exact(self.taps.len() / 9);
        for (weight, taps) in weights.as_flattened_mut().iter_mut().zip(taps) {
            *weight = kernel.load(&taps[channel..]);
        }
        let first_row = pixels.start / side;
        for row in first_row..pixels.end.div_ceil(side) {
            // The first and the last row may be wanted in part.
            let columns = pixels.start.max(row * side) - row * side..pixels.end.min((row + 1) * side) - row * side;
            let (packed_row, rest) = panel.split_at_mut(columns.len());
            panel = rest;
            // Row 0 of the plane is the one above the first row.
            let rows_around = &plane[(row - first_row) * width..];
            for (column, packed) in columns.step_by(ACROSS).zip(packed_row.chunks_mut(ACROSS)) {
                let mut sums = [kernel.zero(); ACROSS];
                for (values, weights) in rows_around.chunks(width).zip(&weights) {
                    let values = &values[column..column + ACROSS + 2];
                    for (x, &weight) in weights.iter().enumerate() {
                        for (sum, &value) in sums.iter_mut().zip(&values[x..]) {
                            *sum = kernel.mul_add(value, weight, *sum);
                        }
                    }
                }
                for (packed, sum) in packed.iter_mut().zip(sums) {
                    kernel.pack(sum, &mut packed[input..]);
                }
            }
        }
    }
}
