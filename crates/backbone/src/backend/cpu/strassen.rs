//! The matrix product of pixels and weights for large layers, with seven products of half the size where the definition
//! takes eight.
//!
//! Pixels, inputs and outputs are each cut into two halves: A12 holds the second half of the inputs of the first half
//! of the pixels, B21 the weights from the second half of the inputs to the first half of the outputs. Strassen (1969,
//! "Gaussian Elimination is not Optimal") found that seven products of sums of these quarters are enough. This is
//! Winograd's variant, which has the fewest additions (Boyer et al. 2009, arXiv 0707.2347, section 2):
//!
//! ```text
//! S1 = A21 + A22   S2 = S1 - A11    S3 = A11 - A21   S4 = A12 - S2
//! T1 = B12 - B11   T2 = B22 - T1    T3 = B22 - B12   T4 = B21 - T2
//!
//! U2 = A11 B11 + S2 T2     U3 = U2 + S3 T3     U4 = U2 + S1 T1
//!
//! C11 = A11 B11 + A12 B21      C12 = U4 + S4 B22
//! C21 = U3 + A22 T4            C22 = U3 + S1 T1
//! ```
//!
//! Weight sums T are computed once, pixel sums S when panels are packed. A tile that adds to an earlier one starts with
//! that tile's accumulators. Which half a pixel is in depends only on its place in its picture, so rows have the same bits
//! in any batch. Strassen alone raises the distance of the features from Keras's from 1.7e-6 to 2.1e-6 (relative L2).

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;

use super::buffers::{Buffer, Buffers};
use super::epilogue::{Output, Target};
use super::feature_maps::GROUP;
use super::microkernel::{MR, Microkernel, NR_VECTORS, PanelRow, Tile};
use super::pack::{PackPixels, PartOfBand, cut_by_picture};
use super::weight_matrix::{WeightMatrix, blocks, weight_at};

/// Packed weights.
#[derive(Debug)]
pub(super) struct Strassen {
    inputs: usize,
    /// Inputs of the first half; the second may have fewer.
    half_inputs: usize,
    /// Outputs of the first half; the second may have fewer.
    half_outputs: usize,
    /// The microkernel's elements: by block of inputs, then by product, then by strip.
    packed: Buffer<u8>,
}

/// One of the seven products.
#[derive(Debug, Clone, Copy)]
enum SubProduct {
    A11B11,
    A12B21,
    S2T2,
    S3T3,
    A22T4,
    S1T1,
    S4B22,
}

/// Order of multiplication, and of panels and weights in memory. A product comes after those that it adds to.
const SUB_PRODUCTS: [SubProduct; 7] = {
    use SubProduct::{A11B11, A12B21, A22T4, S1T1, S2T2, S3T3, S4B22};
    [A11B11, A12B21, S2T2, S3T3, A22T4, S1T1, S4B22]
};

/// Pairs of pixels in a panel, one pixel of each half. For every MC pairs all weights are read from memory again.
const MC: usize = TILES * MR;

/// Tiles in a panel.
const TILES: usize = 28;

/// The left factors of the products.
type Panels<K> = [[PanelRow<K>; MC]; SUB_PRODUCTS.len()];

/// Tiles that later products add to, `[u, u3]`: `u` holds A11 B11, then U2, then U4.
type Partial<K, const VECTORS: usize = NR_VECTORS> = [Tile<K, VECTORS>; 2];

/// Where the output has the first group of channels of each pixel of a pair (`FeatureMaps::index`). A picture's second
/// half may have one pixel less.
type PairIndex = [Option<usize>; 2];

/// Indices of a pair's pixels.
const FIRST: usize = 0;
const SECOND: usize = 1;

impl Strassen {
    /// Packs weights for a microkernel.
    pub(super) fn pack<K: Microkernel>(weights: &WeightMatrix<'_>) -> Self {
        let inputs = weights.inputs();
        // Halves are whole groups, not whole vectors of this processor, since the last bits depend on what is in which
        // half.
        let half_inputs = inputs.div_ceil(2).next_multiple_of(GROUP);
        let half_outputs = weights.outputs.div_ceil(2).next_multiple_of(GROUP);
        let elements = SUB_PRODUCTS.len() * half_inputs * half_outputs;
        let mut packed = Buffers::default().take::<u8>(elements * size_of::<K::Element>());
        let mut unfilled: &mut [K::Element] = cast_slice_mut(&mut packed);
        for block in blocks::<K>(half_inputs) {
            let product_len = block.len() * half_outputs;
            let (packed_block, rest) = unfilled.split_at_mut(SUB_PRODUCTS.len() * product_len);
            unfilled = rest;
            packed_block.par_chunks_exact_mut(product_len).zip(SUB_PRODUCTS).for_each(|(packed_product, product)| {
                packed_product.par_chunks_mut(block.len() * K::NR).enumerate().for_each(|(n, strip)| {
                    // The last strip may have fewer outputs.
                    let outputs = n * K::NR..half_outputs.min((n + 1) * K::NR);
                    let second_outputs = half_outputs + outputs.start..half_outputs + outputs.end;
                    for input in block.clone() {
                        let quarters = [
                            weights.of_input(input, outputs.clone()),
                            weights.of_input(input, second_outputs.clone()),
                            weights.of_input(half_inputs + input, outputs.clone()),
                            weights.of_input(half_inputs + input, second_outputs.clone()),
                        ];
                        for output in 0..outputs.len() {
                            let factor = product.right_factor(quarters.map(|quarter| weight_at(quarter, output)));
                            let index = K::strip_index(input - block.start, output, outputs.len());
                            strip[index] = K::element(factor);
                        }
                    }
                });
            });
        }
        Self { inputs, half_inputs, half_outputs, packed }
    }

    /// Multiplies what `pixels` packs by the weights.
    #[inline(always)]
    pub(super) fn run<K: Microkernel>(&self, kernel: K, pixels: &impl PackPixels, mut output: Output<'_>) {
        let out_pixels = output.maps.side * output.maps.side;
        let half_pixels = out_pixels.div_ceil(2);
        let pairs = output.maps.pictures * half_pixels;
        let strips = self.half_outputs.div_ceil(K::NR);
        let mut panels = output.maps.take_buffer::<Panels<K>>(1);
        let panels = &mut panels[0];
        let mut partials = output.maps.take_buffer::<Partial<K>>(strips * TILES);
        for first_pair in (0..pairs).step_by(MC) {
            let band = first_pair..pairs.min(first_pair + MC);
            let mut indices: Vec<PairIndex> = Vec::with_capacity(MC);
            for pair in band.clone() {
                let (picture, pixel) = (pair / half_pixels, pair % half_pixels);
                let second = pixel + half_pixels;
                let second = (second < out_pixels).then(|| output.maps.index(picture, 0, second));
                indices.push([Some(output.maps.index(picture, 0, pixel)), second]);
            }
            for block in blocks::<K>(self.half_inputs) {
                self.pack_pixels(kernel, pixels, out_pixels, band.clone(), block.clone(), panels);
                let target = output.target::<K>(block.start == 0, block.end == self.half_inputs);
                self.multiply(kernel, block, panels, &mut partials, &indices, target);
            }
        }
    }

    /// Packs the left factors for a band's pairs and a block of inputs: the quarters of A, and their sums S.
    #[inline(always)]
    fn pack_pixels<K: Microkernel>(
        &self,
        kernel: K,
        pixels: &impl PackPixels,
        out_pixels: usize,
        band: Range<usize>,
        block: Range<usize>,
        panels: &mut Panels<K>,
    ) {
        // In the order of `SUB_PRODUCTS`. No product uses A21 itself: it is packed where S2 will be, and overwritten.
        let [a11, a12, a21, s3, a22, s1, s4] = panels;
        let half_pixels = out_pixels.div_ceil(2);
        // The second half may have fewer inputs.
        let second_block =
            self.inputs.min(self.half_inputs + block.start)..self.inputs.min(self.half_inputs + block.end);
        // A pair has the number of its first pixel.
        for PartOfBand { picture, pixels: first_pixels, rows } in cut_by_picture(band.clone(), half_pixels) {
            let second_pixels = first_pixels.start + half_pixels..out_pixels.min(first_pixels.end + half_pixels);
            // The quarters.
            pixels.pack(kernel, picture, first_pixels.clone(), block.clone(), &mut a11[rows.clone()]);
            pixels.pack(kernel, picture, first_pixels, second_block.clone(), &mut a12[rows.clone()]);
            pixels.pack(kernel, picture, second_pixels.clone(), block.clone(), &mut a21[rows.clone()]);
            pixels.pack(kernel, picture, second_pixels.clone(), second_block.clone(), &mut a22[rows.clone()]);
            // Zeros for the pixel and the inputs that the second halves may lack.
            for missing in rows.start + second_pixels.len()..rows.end {
                a21[missing].as_mut().fill(K::element(0.0));
                a22[missing].as_mut().fill(K::element(0.0));
            }
            for row in rows {
                a12[row].as_mut()[second_block.len()..block.len()].fill(K::element(0.0));
                a22[row].as_mut()[second_block.len()..block.len()].fill(K::element(0.0));
            }
        }
        // Their sums.
        for pair in 0..band.len() {
            let [a11, a12, a22] = [&a11[pair], &a12[pair], &a22[pair]].map(|row| row.as_ref());
            let [a21_and_s2, s1, s3, s4] =
                [&mut a21[pair], &mut s1[pair], &mut s3[pair], &mut s4[pair]].map(|row| row.as_mut());
            for input in (0..block.len()).step_by(K::LANES) {
                let a11 = kernel.load(&a11[input..]);
                let a12 = kernel.load(&a12[input..]);
                let a21 = kernel.load(&a21_and_s2[input..]);
                let a22 = kernel.load(&a22[input..]);
                let sum1 = kernel.add(a21, a22);
                let sum2 = kernel.sub(sum1, a11);
                kernel.store(sum1, &mut s1[input..]);
                kernel.store(sum2, &mut a21_and_s2[input..]);
                kernel.store(kernel.sub(a11, a21), &mut s3[input..]);
                kernel.store(kernel.sub(a12, sum2), &mut s4[input..]);
            }
        }
    }

    /// Multiplies the panels of a block of inputs, one product after the other, and adds the products to the output.
    #[inline(always)]
    fn multiply<K: Microkernel>(
        &self,
        kernel: K,
        block: Range<usize>,
        panels: &Panels<K>,
        partials: &mut [Partial<K>],
        indices: &[PairIndex],
        mut target: Target<'_, K::Element>,
    ) {
        let packed: &[K::Element] = cast_slice(&self.packed);
        let packed = &packed[SUB_PRODUCTS.len() * self.half_outputs * block.start..];
        let product_len = block.len() * self.half_outputs;
        // A strip stays in the first- or second-level cache, whichever has room for it, while all pixels of the band
        // pass, and a panel in the second-level cache while all strips of a product pass.
        for ((product, panel), packed) in SUB_PRODUCTS.into_iter().zip(panels).zip(packed.chunks_exact(product_len)) {
            let pixel_tiles = panel.as_chunks::<MR>().0;
            for (n, strip) in packed.chunks(block.len() * K::NR).enumerate() {
                let outputs = n * K::NR..self.half_outputs;
                let partials = &mut partials[n * TILES..][..TILES];
                let strip = Strip { product, outputs, weights: strip };
                // The last strip may have fewer vectors of outputs.
                if strip.outputs.len() > K::LANES {
                    strip.multiply::<K, NR_VECTORS>(kernel, pixel_tiles, partials, indices, &mut target);
                } else {
                    // The first half of the same memory, as tiles of one vector.
                    strip.multiply::<K, 1>(kernel, pixel_tiles, cast_slice_mut(partials), indices, &mut target);
                }
            }
        }
    }
}

/// Some outputs of a product.
struct Strip<'a, E> {
    product: SubProduct,
    /// From the strip's first output to the end of the half.
    outputs: Range<usize>,
    /// The right factor.
    weights: &'a [E],
}

impl<E> Strip<'_, E> {
    /// Multiplies a panel by the strip, tile by tile, and adds the products to the output.
    #[inline(always)]
    fn multiply<K: Microkernel<Element = E>, const VECTORS: usize>(
        &self,
        kernel: K,
        panel: &[[PanelRow<K>; MR]],
        partials: &mut [Partial<K, VECTORS>],
        indices: &[PairIndex],
        target: &mut Target<'_, K::Element>,
    ) {
        let first_outputs = self.outputs.clone();
        let half_outputs = self.outputs.end;
        let second_outputs = half_outputs + first_outputs.start..target.padded_outputs();
        for ((pairs, pixels), [u, u3]) in indices.chunks(MR).zip(panel).zip(partials) {
            let initial = match self.product {
                SubProduct::A11B11 | SubProduct::S1T1 => &kernel.zeros(),
                SubProduct::A12B21 | SubProduct::S2T2 | SubProduct::S3T3 | SubProduct::S4B22 => &*u,
                SubProduct::A22T4 => &*u3,
            };
            let tile = kernel.multiply(initial, pixels, self.weights);
            match self.product {
                SubProduct::A11B11 | SubProduct::S2T2 => *u = tile,
                SubProduct::S3T3 => *u3 = tile,
                // C11
                SubProduct::A12B21 => store(kernel, target, pairs, FIRST, first_outputs.clone(), &tile),
                // C21
                SubProduct::A22T4 => store(kernel, target, pairs, SECOND, first_outputs.clone(), &tile),
                // U4 = U2 + S1 T1 is kept for C12; C22 = U3 + S1 T1 is stored.
                SubProduct::S1T1 => {
                    *u = add_tiles(kernel, u, &tile);
                    let c22 = add_tiles(kernel, u3, &tile);
                    store(kernel, target, pairs, SECOND, second_outputs.clone(), &c22);
                }
                // C12
                SubProduct::S4B22 => store(kernel, target, pairs, FIRST, second_outputs.clone(), &tile),
            }
        }
    }
}

impl SubProduct {
    /// One weight of the right factor, from the weights at the same position in B11, B12, B21, B22.
    fn right_factor(self, quarters: [f32; 4]) -> f32 {
        let [b11, b12, b21, b22] = quarters.map(f64::from);
        let factor = match self {
            Self::A11B11 => b11,
            Self::A12B21 => b21,
            Self::S2T2 => b22 - b12 + b11,
            Self::S3T3 => b22 - b12,
            Self::A22T4 => b21 - b22 + b12 - b11,
            Self::S1T1 => b12 - b11,
            Self::S4B22 => b22,
        };
        factor as f32
    }
}

/// The sum of two tiles.
#[inline(always)]
fn add_tiles<K: Microkernel, const VECTORS: usize>(
    kernel: K,
    a: &Tile<K, VECTORS>,
    b: &Tile<K, VECTORS>,
) -> Tile<K, VECTORS> {
    let mut sum = *a;
    for (sums, values) in sum.iter_mut().zip(b) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = kernel.add(*sum, value);
        }
    }
    sum
}

/// Stores a tile for the first or the second pixels of some pairs.
#[inline(always)]
fn store<K: Microkernel, const VECTORS: usize>(
    kernel: K,
    target: &mut Target<'_, K::Element>,
    pairs: &[PairIndex],
    half: usize,
    outputs: Range<usize>,
    tile: &Tile<K, VECTORS>,
) {
    let pixels = pairs.iter().zip(tile);
    target.store(kernel, outputs, pixels.filter_map(|(indices, accumulators)| Some((indices[half]?, accumulators))));
}
