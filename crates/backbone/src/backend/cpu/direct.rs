//! The matrix product of pixels and weights by definition, a multiplication for each pixel, input and output.

use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::buffers::{Buffer, Buffers};
use super::epilogue::Output;
use super::feature_maps::GROUP;
use super::microkernel::{MR, Microkernel, PanelRow, Tile};
use super::pack::{PackPixels, cut_by_picture};
use super::weight_matrix::{WeightMatrix, blocks, weight_at};

/// Packed weights.
#[derive(Debug)]
pub(super) struct Direct {
    inputs: usize,
    /// The microkernel's elements: by block of inputs, then by strip.
    packed: Buffer<u8>,
}

/// Pixels in a panel.
const MC: usize = 18 * MR;

impl Direct {
    /// Packs weights for a microkernel.
    pub(super) fn pack<K: Microkernel>(weights: &WeightMatrix<'_>) -> Self {
        let inputs = weights.inputs();
        let strips = weights.outputs.next_multiple_of(GROUP).div_ceil(K::NR);
        let elements: usize = blocks::<K>(inputs).map(|block| strips * strip_len::<K>(block.len())).sum();
        let mut packed = Buffers::default().take::<u8>(elements * size_of::<K::Element>());
        let mut unfilled: &mut [K::Element] = cast_slice_mut(&mut packed);
        for block in blocks::<K>(inputs) {
            let strip_len = strip_len::<K>(block.len());
            let (packed_block, rest) = unfilled.split_at_mut(strips * strip_len);
            unfilled = rest;
            packed_block.par_chunks_exact_mut(strip_len).enumerate().for_each(|(n, strip)| {
                for input in 0..block.len() {
                    let weights = weights.of_input(block.start + input, n * K::NR..(n + 1) * K::NR);
                    for output in 0..K::NR {
                        let weight = weight_at(weights, output);
                        strip[K::strip_index(input, output, K::NR)] = K::element(weight);
                    }
                }
            });
        }
        Self { inputs, packed }
    }

    /// Multiplies what `pixels` packs by the weights.
    #[inline(always)]
    pub(super) fn run<K: Microkernel>(&self, kernel: K, pixels: &impl PackPixels, mut output: Output<'_>) {
        let out_pixels = output.maps.side * output.maps.side;
        let all_pixels = output.maps.pictures * out_pixels;
        let padded_outputs = output.epilogue.padded_outputs();
        let mut panel = output.maps.take_buffer::<PanelRow<K>>(MC);
        let panel: &mut [PanelRow<K>] = &mut panel;
        // A band has pixels of several pictures, so that no picture but the last leaves a tile half empty.
        for first_pixel in (0..all_pixels).step_by(MC) {
            let band = first_pixel..all_pixels.min(first_pixel + MC);
            // Where the output has each pixel's first group of channels.
            let mut indices = Vec::with_capacity(MC);
            for pixel in band.clone() {
                indices.push(output.maps.index(pixel / out_pixels, 0, pixel % out_pixels));
            }
            let mut packed: &[K::Element] = cast_slice(&self.packed);
            for block in blocks::<K>(self.inputs) {
                for part in cut_by_picture(band.clone(), out_pixels) {
                    pixels.pack(kernel, part.picture, part.pixels, block.clone(), &mut panel[part.rows]);
                }
                let mut target = output.target::<K>(block.start == 0, block.end == self.inputs);
                let strip_len = strip_len::<K>(block.len());
                // A strip stays in the first- or second-level cache, whichever has room for it, while all pixels of the
                // band pass, and the panel in the second-level cache while all strips do.
                for first_output in (0..padded_outputs).step_by(K::NR) {
                    let (strip, rest) = packed.split_at(strip_len);
                    packed = rest;
                    for (rows, indices) in panel.as_chunks::<MR>().0.iter().zip(indices.chunks(MR)) {
                        let tile: Tile<K> = kernel.multiply(&kernel.zeros(), rows, strip);
                        target.store(kernel, first_output..padded_outputs, indices.iter().copied().zip(&tile));
                    }
                }
            }
        }
    }
}

/// Elements of a strip with this many inputs.
fn strip_len<K: Microkernel>(inputs: usize) -> usize {
    inputs.next_multiple_of(K::UNROLL) * K::NR
}
