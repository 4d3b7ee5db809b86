//! The windows of a convolution without padding, as a panel (im2col).

use std::ops::Range;

use super::feature_maps::{FeatureMaps, group_width};
use super::microkernel::{Microkernel, PanelRow};
use super::pack::PackPixels;
use crate::backend::interface::output_side;

/// Windows of `x`, one for each pixel of the output. A window's inputs are in this order: rows, in each row groups of
/// channels, in each group pixels.
pub(super) struct Im2col<'a> {
    pub x: &'a FeatureMaps,
    /// Width and height of the kernel.
    pub kernel_size: usize,
    pub stride: usize,
}

impl PackPixels for Im2col<'_> {
    #[inline(always)]
    fn pack<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [PanelRow<K>],
    ) {
        let &Self { x, kernel_size, stride } = self;
        let output_side = output_side(x.side, kernel_size, stride);
        // The pixels of one row of a window are contiguous in each group of channels.
        let run = kernel_size * group_width(x.channels);
        let values: &[f32] = &x.values;
        for (pixel, packed) in pixels.zip(panel) {
            let packed = packed.as_mut();
            // The pixel's window.
            let (top, left) = (pixel / output_side * stride, pixel % output_side * stride);
            let mut start = 0;
            for row in top..top + kernel_size {
                for group in 0..x.groups() {
                    let wanted = inputs.start.max(start)..inputs.end.min(start + run);
                    if !wanted.is_empty() {
                        let first = x.index(picture, group, row * x.side + left) + wanted.start - start;
                        let out = &mut packed[wanted.start - inputs.start..wanted.end - inputs.start];
                        kernel.pack_slice(&values[first..first + wanted.len()], out);
                    }
                    start += run;
                }
            }
            packed[inputs.len()..inputs.len().next_multiple_of(K::UNROLL)].fill(K::element(0.0));
        }
    }
}
