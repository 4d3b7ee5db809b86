//! The matrix product of pixels and weights by definition, a multiplication for each pixel, input and output.

use bytemuck::cast_slice;

use super::buffers::{Buffer, Buffers};
use super::epilogue::Output;
use super::feature_maps::GROUP;
use super::microkernel::{MR, Microkernel, PanelRow};
use super::pack::PackPixels;
use super::weight_matrix::{WeightMatrix, blocks};

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
        let mut elements = Vec::new();
        for block in blocks::<K>(inputs) {
            for first_output in (0..weights.outputs.next_multiple_of(GROUP)).step_by(K::NR) {
                let mut strip = vec![K::element(0.0); strip_len::<K>(block.len())];
                for input in 0..block.len() {
                    for output in 0..K::NR {
                        let weight = weights.at(block.start + input, first_output + output);
                        strip[K::strip_index(input, output)] = K::element(weight);
                    }
                }
                elements.append(&mut strip);
            }
        }
        let bytes: &[u8] = cast_slice(&elements);
        let mut packed = Buffers::default().take(bytes.len());
        packed.copy_from_slice(bytes);
        Self { inputs, packed }
    }

    /// Multiplies what `pixels` packs by the weights.
    #[inline(always)]
    pub(super) fn run<K: Microkernel>(&self, kernel: K, pixels: &impl PackPixels, mut output: Output<'_>) {
        let out_pixels = output.maps.side * output.maps.side;
        let padded_outputs = output.epilogue.padded_outputs();
        let mut panel = output.maps.values.take_from_pool::<PanelRow<K>>(MC);
        let panel: &mut [PanelRow<K>] = &mut panel;
        for picture in 0..output.maps.pictures {
            let picture_start = output.maps.index(picture, 0, 0);
            for first_pixel in (0..out_pixels).step_by(MC) {
                let band = first_pixel..out_pixels.min(first_pixel + MC);
                let mut packed: &[K::Element] = cast_slice(&self.packed);
                for block in blocks::<K>(self.inputs) {
                    pixels.pack(kernel, picture, band.clone(), block.clone(), panel);
                    let mut target = output.target(block.start == 0, block.end == self.inputs);
                    let strip_len = strip_len::<K>(block.len());
                    // A strip stays in the first-level cache while all pixels of the band pass, and the panel in the
                    // second-level cache while all strips do.
                    for first_output in (0..padded_outputs).step_by(K::NR) {
                        let (strip, rest) = packed.split_at(strip_len);
                        packed = rest;
                        for (rows, first_pixel) in panel.as_chunks::<MR>().0.iter().zip(band.clone().step_by(MR)) {
                            let tile = kernel.multiply(&kernel.zeros(), rows, strip);
                            for (pixel, accumulators) in (first_pixel..band.end).zip(tile) {
                                let index = picture_start + pixel * GROUP;
                                target.store(kernel, index, first_output..padded_outputs, accumulators);
                            }
                        }
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
