//! 3x3 convolutions without padding and with stride 1 that take 16 multiplications for each block of 2x2 outputs, where
//! the definition takes 36.
//!
//! F(2x2, 3x3) of Lavin and Gray (2015, arXiv 1509.09308, section 4.1): the 2x2 outputs Y of a block, from its 4x4
//! inputs d and the 3x3 weights g, are
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        ⊙: elementwise
//!
//!      1  0 -1  0          1    0    0
//! Bᵀ = 0  1  1  0      G = 1/2  1/2  1/2      Aᵀ = 1  1  1  0
//!      0 -1  1  0          1/2 -1/2  1/2           0  1 -1 -1
//!      0  1  0 -1          0    0    1
//! ```
//!
//! Over all channels, each of the 4x4 positions is a matrix product of its own, (blocks, inputs) x (inputs, outputs).

use bytemuck::{cast_slice, cast_slice_mut};

use super::buffers::{Buffer, Buffers};
use super::epilogue::Output;
use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{MR, Microkernel, NR_VECTORS, Tile, Vector};
use crate::backend::interface::{ConvWeights, output_side};

/// Packed weights.
#[derive(Debug)]
pub(super) struct Winograd {
    /// Number of input channels, rounded up to whole groups.
    inputs: usize,
    /// The transformed weights, as the microkernel's elements: by [`Microkernel::NR`] outputs, then by position a
    /// strip.
    packed: Buffer<u8>,
}

/// Positions in a block: 4x4.
const POSITIONS: usize = 16;

/// Maximum number of input channels: the only such layer of Xception has 32.
const MAX_INPUTS: usize = 32;

/// A block's transformed inputs at one position. The length is an odd number of cache lines, as that of a panel's row.
type BlockRow<K> = [<K as Microkernel>::Element; MAX_INPUTS + 16];

/// The transformed inputs of as many blocks as a tile has rows, by position.
type Panel<K> = [[BlockRow<K>; MR]; POSITIONS];

impl Winograd {
    /// Whether this algorithm applies.
    pub(super) fn applies_to(weights: &ConvWeights, stride: usize) -> bool {
        weights.side == 3 && stride == 1 && (GROUP..=MAX_INPUTS).contains(&weights.inputs)
    }

    /// Packs weights for a microkernel. [`Self::applies_to`] must hold.
    pub(super) fn pack<K: Microkernel>(weights: &ConvWeights) -> Self {
        let inputs = weights.inputs.next_multiple_of(GROUP);
        let outputs = weights.outputs.next_multiple_of(GROUP.max(K::NR));
        let strip_len = inputs * K::NR;
        let mut packed = Buffers::default().take::<u8>(POSITIONS * inputs * outputs * size_of::<K::Element>());
        let elements: &mut [K::Element] = cast_slice_mut(&mut packed);
        for (n, strips) in elements.chunks_exact_mut(POSITIONS * strip_len).enumerate() {
            let first_output = n * K::NR;
            for input in 0..weights.inputs {
                for output in first_output..weights.outputs.min(first_output + K::NR) {
                    let transformed = transform_weights(weights, input, output);
                    for (position, strip) in strips.chunks_exact_mut(strip_len).enumerate() {
                        strip[K::strip_index(input, output - first_output, K::NR)] = K::element(transformed[position]);
                    }
                }
            }
        }
        Self { inputs, packed }
    }

    /// Convolves `x`.
    #[inline(always)]
    pub(super) fn run<K: Microkernel>(&self, kernel: K, x: &FeatureMaps, mut output: Output<'_>) {
        let side = output.maps.side;
        let blocks = side.div_ceil(2);
        let padded_outputs = output.epilogue.padded_outputs();
        let strip_len = self.inputs * K::NR;
        let packed: &[K::Element] = cast_slice(&self.packed);
        let mut panels = x.take_buffer::<Panel<K>>(blocks.div_ceil(MR));
        let panels: &mut [Panel<K>] = &mut panels;
        let mut products = [kernel.zeros(); POSITIONS];
        for picture in 0..output.maps.pictures {
            let picture_start = output.maps.index(picture, 0, 0);
            // All inputs are one block of inputs.
            let mut target = output.target::<K>(true, true);
            // Two rows of outputs at a time.
            for top in (0..side).step_by(2) {
                self.pack_blocks(kernel, x, picture, top, panels);
                for (n, strips) in packed.chunks_exact(POSITIONS * strip_len).enumerate() {
                    let outputs = n * K::NR..padded_outputs;
                    for (panel_number, panel) in panels.iter().enumerate() {
                        // The products at all positions of a tile of blocks …
                        for (position, strip) in strips.chunks_exact(strip_len).enumerate() {
                            products[position] = kernel.multiply(&kernel.zeros(), &panel[position], strip);
                        }
                        // … and from them the outputs, block by block.
                        let first_block = panel_number * MR;
                        for block in first_block..blocks.min(first_block + MR) {
                            let results = transform_products(kernel, &products, block - first_block);
                            let pixels = results.iter().enumerate().filter_map(|(n, result)| {
                                let (row, column) = (top + n / 2, 2 * block + n % 2);
                                // If the side is odd, the last blocks have outputs outside the picture.
                                let inside = row < side && column < side;
                                inside.then(|| (picture_start + (row * side + column) * GROUP, result))
                            });
                            target.store(kernel, outputs.clone(), pixels);
                        }
                    }
                }
            }
        }
    }

    /// Packs the transformed inputs of a row of blocks, whose first inputs are in row `top` of the picture. If the
    /// output side is odd, the last blocks reach beyond the picture: zeros, which only discarded outputs depend on.
    #[inline(always)]
    fn pack_blocks<K: Microkernel>(
        &self,
        kernel: K,
        x: &FeatureMaps,
        picture: usize,
        top: usize,
        panels: &mut [Panel<K>],
    ) {
        let blocks = output_side(x.side, 3, 1).div_ceil(2);
        for channel in (0..self.inputs).step_by(K::LANES) {
            let (group, lane) = (channel / GROUP, channel % GROUP);
            let plane = &x.elements::<K>()[x.index(picture, group, 0)..][..x.plane_len()];
            let plane = plane.as_chunks::<GROUP>().0;
            for block in 0..blocks {
                let mut d = [[kernel.zero(); 4]; 4];
                for (d_row, x_row) in d.iter_mut().zip(plane.chunks_exact(x.side).skip(top)) {
                    for (value, pixel) in d_row.iter_mut().zip(&x_row[2 * block..]) {
                        *value = kernel.load(&pixel[lane..]);
                    }
                    // d B
                    *d_row = transform_inputs(kernel, *d_row);
                }
                let panel = &mut panels[block / MR];
                for column in 0..4 {
                    // Bᵀ (d B)
                    let transformed =
                        transform_inputs(kernel, [d[0][column], d[1][column], d[2][column], d[3][column]]);
                    for (row, value) in transformed.into_iter().enumerate() {
                        kernel.store(value, &mut panel[row * 4 + column][block % MR][channel..]);
                    }
                }
            }
        }
    }
}

/// G g Gᵀ of the weights of an input for an output, row by row.
fn transform_weights(weights: &ConvWeights, input: usize, output: usize) -> [f32; POSITIONS] {
    let weight = |row: usize, column: usize| {
        f64::from(weights.kernel[((row * 3 + column) * weights.inputs + input) * weights.outputs + output])
    };
    // g Gᵀ
    let mut rows = [[0.0; 4]; 3];
    for (n, row) in rows.iter_mut().enumerate() {
        *row = transform_filter([weight(n, 0), weight(n, 1), weight(n, 2)]);
    }
    // G (g Gᵀ)
    let mut transformed = [0.0; POSITIONS];
    for column in 0..4 {
        let values = transform_filter([rows[0][column], rows[1][column], rows[2][column]]);
        for (row, value) in values.into_iter().enumerate() {
            transformed[row * 4 + column] = value as f32;
        }
    }
    transformed
}

/// G times a vector.
fn transform_filter([first, middle, last]: [f64; 3]) -> [f64; 4] {
    [first, (first + middle + last) / 2.0, (first - middle + last) / 2.0, last]
}

/// Bᵀ times a vector.
#[inline(always)]
fn transform_inputs<K: Microkernel>(kernel: K, [a, b, c, d]: [Vector<K>; 4]) -> [Vector<K>; 4] {
    [kernel.sub(a, c), kernel.add(b, c), kernel.sub(c, b), kernel.sub(b, d)]
}

/// Aᵀ times a vector.
#[inline(always)]
fn transform_outputs<K: Microkernel>(kernel: K, [a, b, c, d]: [Vector<K>; 4]) -> [Vector<K>; 2] {
    [kernel.add(kernel.add(a, b), c), kernel.sub(kernel.sub(b, c), d)]
}

/// The 2x2 outputs of a block, row by row: Aᵀ m A of the products m at its positions.
#[inline(always)]
fn transform_products<K: Microkernel>(
    kernel: K,
    products: &[Tile<K>; POSITIONS],
    block: usize,
) -> [[Vector<K>; NR_VECTORS]; 4] {
    let mut results = [[kernel.zero(); NR_VECTORS]; 4];
    for vector in 0..NR_VECTORS {
        // m A
        let mut rows = [[kernel.zero(); 2]; 4];
        for (row, [a, b, c, d]) in rows.iter_mut().zip(products.as_chunks::<4>().0) {
            *row = transform_outputs(kernel, [a[block][vector], b[block][vector], c[block][vector], d[block][vector]]);
        }
        // Aᵀ (m A)
        for column in 0..2 {
            let values =
                transform_outputs(kernel, [rows[0][column], rows[1][column], rows[2][column], rows[3][column]]);
            for (row, value) in values.into_iter().enumerate() {
                results[2 * row + column][vector] = value;
            }
        }
    }
    results
}
