//! Depthwise convolution that writes its output into a panel, where the pointwise convolution multiplies it; it never
//! goes through memory.

use std::ops::Range;

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, PanelRow, Vector};
use super::pack::PackPixels;
use crate::backend::interface::Activation;

/// A depthwise 3x3 convolution of `x` that keeps the side.
pub(super) struct Depthwise<'a> {
    pub x: &'a FeatureMaps,
    /// Applied to `x` first.
    pub activation: Activation,
    /// (9, channels), padded with zeros to whole groups.
    pub taps: &'a [f32],
}

/// Output columns computed at a time: a loaded value is used for each of them.
const COLUMNS_AT_ONCE: usize = 3;

impl PackPixels for Depthwise<'_> {
    #[inline(always)]
    fn pack<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [PanelRow<K>],
    ) {
        if pixels.is_empty() || inputs.is_empty() {
            return;
        }
        let side = self.x.side;
        let rows = pixels.start / side..pixels.end.div_ceil(side);
        let mut plane = self.x.take_buffer((rows.len() + 2) * self.plane_width());
        // Zeros for the border around the picture, which is never overwritten.
        plane.fill(kernel.zero());
        let panel = &mut panel[..pixels.len()];
        // A vector of channels at a time: its plane stays in the first-level cache.
        for channel in inputs.clone().step_by(K::LANES) {
            self.copy_plane(kernel, picture, rows.clone(), channel, &mut plane);
            self.convolve_plane(kernel, pixels.clone(), channel, &plane, channel - inputs.start, panel);
        }
    }
}

impl Depthwise<'_> {
    /// Vectors per row of a plane: the picture's side, a zero on either side, and `COLUMNS_AT_ONCE - 1` that the last
    /// outputs of a row may read.
    fn plane_width(&self) -> usize {
        self.x.side + 2 + COLUMNS_AT_ONCE - 1
    }

    /// Copies a vector of channels, from `channel` on, of some rows of a picture and of the rows above and below them
    /// into a plane whose border is zero.
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
        let elements: &[K::Element] = x.elements::<K>();
        let (group, lane) = (channel / GROUP, channel % GROUP);
        // Row 0 is the border above the picture, and column 0 the one on its left.
        for (row, plane_row) in (rows.start..rows.end + 2).zip(plane.chunks_exact_mut(self.plane_width())) {
            if row == 0 || row > x.side {
                continue;
            }
            let pixels = &elements[x.index(picture, group, (row - 1) * x.side)..];
            for (out, pixel) in plane_row[1..=x.side].iter_mut().zip(pixels.as_chunks::<GROUP>().0) {
                let value = kernel.load(&pixel[lane..]);
                *out = match self.activation {
                    Activation::Linear => value,
                    Activation::Relu => kernel.relu(value),
                };
            }
        }
    }

    /// Convolves a vector of channels of some pixels, whose rows and the rows above and below are in the plane, and
    /// packs the output at `input` of the panel's rows.
    #[inline(always)]
    fn convolve_plane<K: Microkernel>(
        &self,
        kernel: K,
        pixels: Range<usize>,
        channel: usize,
        plane: &[Vector<K>],
        input: usize,
        mut panel: &mut [PanelRow<K>],
    ) {
        let (side, width) = (self.x.side, self.plane_width());
        let mut weights = [[kernel.zero(); 3]; 3];
        let taps = self.taps.chunks_exact(self.taps.len() / 9);
        for (weight, taps) in weights.as_flattened_mut().iter_mut().zip(taps) {
            *weight = kernel.load_f32(&taps[channel..]);
        }
        let first_row = pixels.start / side;
        for row in first_row..pixels.end.div_ceil(side) {
            // `pixels` may begin and end within a row.
            let first_column = pixels.start.max(row * side) - row * side;
            let end_column = pixels.end.min((row + 1) * side) - row * side;
            let (packed_row, rest) = panel.split_at_mut(end_column - first_column);
            panel = rest;
            // Row 0 of the plane is the one above the first row.
            let rows_around = &plane[(row - first_row) * width..];
            let columns = (first_column..end_column).step_by(COLUMNS_AT_ONCE);
            for (column, packed) in columns.zip(packed_row.chunks_mut(COLUMNS_AT_ONCE)) {
                let mut outputs = [kernel.zero(); COLUMNS_AT_ONCE];
                for (dy, weights) in weights.iter().enumerate() {
                    let values = &rows_around[dy * width + column..][..COLUMNS_AT_ONCE + 2];
                    for (dx, &weight) in weights.iter().enumerate() {
                        for (n, output) in outputs.iter_mut().enumerate() {
                            *output = kernel.mul_add(values[n + dx], weight, *output);
                        }
                    }
                }
                for (packed, output) in packed.iter_mut().zip(outputs) {
                    kernel.store(output, &mut packed.as_mut()[input..]);
                }
            }
        }
    }
}
