//! The windows of a convolution without padding, as a panel (im2col).

use std::ops::Range;

use super::feature_maps::{FeatureMaps, group_width};
use super::microkernel::{Microkernel, PanelRow};
use super::pack::PackPixels;
use crate::backend::interface::output_side;

/// Windows of `x`, one for each pixel of the output. A window's inputs are in the order (row, group of channels,
/// column, channel).
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
        _: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [PanelRow<K>],
    ) {
        let &Self { x, kernel_size, stride } = self;
        let output_side = output_side(x.side, kernel_size, stride);
        let elements: &[K::Element] = x.elements::<K>();
        // Where the window of each pixel starts in the first group.
        let mut window_starts = Vec::with_capacity(pixels.len());
        for pixel in pixels {
            let (top, left) = (pixel / output_side * stride, pixel % output_side * stride);
            window_starts.push(x.index(picture, 0, top * x.side + left));
        }
        // The pixels of one row of a window are contiguous in each group of channels: a run of inputs. Of each run,
        // those that are in `inputs` are copied.
        let run_len = kernel_size * group_width(x.channels);
        let mut run_start = 0;
        for row in 0..kernel_size {
            for group in 0..x.groups() {
                let wanted = inputs.start.max(run_start)..inputs.end.min(run_start + run_len);
                if !wanted.is_empty() {
                    let offset = x.index(0, group, row * x.side) + wanted.start - run_start;
                    let packed_inputs = wanted.start - inputs.start..wanted.end - inputs.start;
                    for (&window_start, packed) in window_starts.iter().zip(&mut *panel) {
                        let first = window_start + offset;
                        let source = &elements[first..first + wanted.len()];
                        packed.as_mut()[packed_inputs.clone()].copy_from_slice(source);
                    }
                }
                run_start += run_len;
            }
        }
        // Only the windows of the network's input, with 27 values, do not fill the microkernel's last iteration.
        let padding = inputs.len()..inputs.len().next_multiple_of(K::UNROLL);
        for packed in &mut panel[..window_starts.len()] {
            packed.as_mut()[padding.clone()].fill(K::element(0.0));
        }
    }
}
