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

/// Columns of outputs that are computed at a time, from top to bottom.
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
        // Chosen once, not for each value.
        match self.activation {
            Activation::Linear => {
                self.convolve(kernel, |elements| kernel.load(elements), picture, pixels, inputs, panel);
            }
            Activation::Relu => {
                self.convolve(kernel, |elements| kernel.relu(kernel.load(elements)), picture, pixels, inputs, panel);
            }
        }
    }
}

impl Depthwise<'_> {
    /// Convolves a range of channels of some pixels and packs the output. `load` loads a vector and applies the
    /// activation.
    #[inline(always)]
    fn convolve<K: Microkernel>(
        &self,
        kernel: K,
        load: impl Fn(&[K::Element]) -> Vector<K>,
        picture: usize,
        pixels: Range<usize>,
        channels: Range<usize>,
        panel: &mut [PanelRow<K>],
    ) {
        let side = self.x.side;
        let panel = &mut panel[..pixels.len()];
        // A vector of channels at a time: the rows that it needs of its plane stay in the first-level cache.
        for channel in channels.clone().step_by(K::LANES) {
            let (group, lane) = (channel / GROUP, channel % GROUP);
            let plane = &self.x.elements::<K>()[self.x.index(picture, group, 0)..][..self.x.plane_len()];
            let plane = plane.as_chunks::<GROUP>().0;
            let mut weights = [[kernel.zero(); 3]; 3];
            let taps = self.taps.chunks_exact(self.taps.len() / 9);
            for (weight, taps) in weights.as_flattened_mut().iter_mut().zip(taps) {
                *weight = kernel.load_f32(&taps[channel..]);
            }
            for column in (0..side).step_by(COLUMNS_AT_ONCE) {
                // The rows in which some of the columns are to be packed: `pixels` may begin and end within a row.
                let last_column = side.min(column + COLUMNS_AT_ONCE) - 1;
                let first_row = pixels.start.saturating_sub(last_column).div_ceil(side);
                let end_row = pixels.end.saturating_sub(column).div_ceil(side);
                // The sums of three rows of outputs: a row of inputs is loaded once and added to the row above it, the
                // same row and the row below.
                let mut sums = [[kernel.zero(); COLUMNS_AT_ONCE]; 3];
                for x_row in first_row..end_row + 2 {
                    // Row 0 is the zeros above the picture.
                    let mut values = [kernel.zero(); COLUMNS_AT_ONCE + 2];
                    if (1..=side).contains(&x_row) {
                        let row = &plane[(x_row - 1) * side..][..side];
                        load_around(row, column, |pixel| load(&pixel[lane..]), &mut values);
                    }
                    for (place, row_sums) in sums.iter_mut().enumerate() {
                        // The input's row is `x_row - 1`, and the first place is the row of outputs above it.
                        let row = (x_row + place).wrapping_sub(2);
                        if (first_row..end_row).contains(&row) {
                            for (dx, &weight) in weights[2 - place].iter().enumerate() {
                                for (n, sum) in row_sums.iter_mut().enumerate() {
                                    *sum = kernel.mul_add(values[n + dx], weight, *sum);
                                }
                            }
                        }
                    }
                    let [complete, same_row, row_below] = sums;
                    sums = [same_row, row_below, [kernel.zero(); COLUMNS_AT_ONCE]];
                    if x_row < first_row + 2 {
                        continue;
                    }
                    for (n, output) in complete.into_iter().enumerate() {
                        let pixel = (x_row - 2) * side + column + n;
                        let packed = panel.get_mut(pixel.wrapping_sub(pixels.start));
                        if let Some(packed) = packed
                            && column + n < side
                        {
                            kernel.store(output, &mut packed.as_mut()[channel - channels.start..]);
                        }
                    }
                }
            }
        }
    }
}

/// Loads the values of some columns, of the one before them and of the one after them. Those outside the row stay as they
/// are.
#[inline(always)]
fn load_around<P, V>(row: &[P], first_column: usize, load: impl Fn(&P) -> V, values: &mut [V]) {
    for (n, value) in values.iter_mut().enumerate() {
        if let Some(pixel) = row.get((first_column + n).wrapping_sub(1)) {
            *value = load(pixel);
        }
    }
}
