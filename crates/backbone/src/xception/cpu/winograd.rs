//! 3x3 convolutions with stride 1, in 16 multiplications for each block of 2x2 results in place of 36.
//!
//! Winograd's minimal filtering as Lavin and Gray (2015, arXiv 1509.09308, section 4.1) nest it: of the 4x4 inputs d of a
//! block and the weights g
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        ⊙: place by place
//!
//!      1  0 -1  0          1    0    0
//! Bᵀ = 0  1  1  0      G = 1/2  1/2  1/2      Aᵀ = 1  1  1  0
//!      0 -1  1  0          1/2 -1/2  1/2           0  1 -1 -1
//!      0  1  0 -1          0    0    1
//! ```
//!
//! Over all channels, each of the 4x4 places is a product of its own, (blocks, inputs) x (inputs, outputs).

use std::array;

use pulp::{Simd, WithSimd};

use super::buffers::{Buffer, Buffers};
use super::maps::{GROUP, Maps};
use super::product::{Results, Target};
use super::tile::{Sums, TALL, WIDE, tile, zeros};
use super::vectors::{load, store};
use crate::xception::kernel::Kernel;
use crate::xception::layers::{Activation, leaving};

/// The transformed weights, tile by tile; of a tile place by place, then input by input.
#[derive(Debug)]
pub(super) struct Winograd {
    inputs: usize,
    columns: usize,
    packed: Buffer,
    results: Results,
}

/// Places of a block: 4x4.
const PLACES: usize = 16;

/// Inputs, at most: Xception has one such layer, and it has so many.
const INPUTS: usize = 32;

/// Values from one block of a panel to the next: an odd number of cache lines.
const APART: usize = INPUTS + 16;

/// A block's inputs at one place, transformed.
type Place = [f32; APART];

impl Winograd {
    /// Packs a kernel for tiles of so many columns, if it is one for this.
    pub(super) fn pack(kernel: &Kernel, stride: usize, after: Activation, columns: usize) -> Option<Self> {
        if (kernel.side, stride) != (3, 1) || !(GROUP..=INPUTS).contains(&kernel.inputs) {
            return None;
        }
        let inputs = kernel.inputs.next_multiple_of(GROUP);
        let mut packed = Buffers::default().take(PLACES * inputs * kernel.outputs.next_multiple_of(columns.max(GROUP)));
        for (n, weights) in packed.chunks_exact_mut(columns).enumerate() {
            let (tile, place, input) = (n / inputs / PLACES, n / inputs % PLACES, n % inputs);
            for (output, weight) in (tile * columns..kernel.outputs).zip(weights) {
                let g = |row: usize, column: usize| match input < kernel.inputs {
                    true => {
                        f64::from(kernel.values[((row * 3 + column) * kernel.inputs + input) * kernel.outputs + output])
                    }
                    false => 0.0,
                };
                let rows: [f64; 3] =
                    array::from_fn(|row| of_weights(array::from_fn(|column| g(row, column)))[place % 4]);
                *weight = of_weights(rows)[place / 4] as f32;
            }
        }
        Some(Self { inputs, columns, packed, results: Results::new(kernel, after) })
    }
}

/// G g.
fn of_weights([first, middle, last]: [f64; 3]) -> [f64; 4] {
    [first, (first + middle + last) / 2.0, (first - middle + last) / 2.0, last]
}

/// Bᵀ d.
#[inline(always)]
fn of_inputs<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// Aᵀ m.
#[inline(always)]
fn of_products<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(a, b), c), simd.sub_f32s(simd.sub_f32s(b, c), d)]
}

/// The convolution of maps, written to `out` or added to what is there.
pub(super) struct Run<'a> {
    pub layer: &'a Winograd,
    pub x: &'a Maps,
    pub out: &'a mut Maps,
    pub onto: bool,
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer: &Winograd { inputs, columns, ref packed, ref results }, x, out, onto } = self;
        let (pictures, side, plane) = (out.pictures, out.side, out.plane());
        let of_picture = out.groups() * plane;
        let across = side.div_ceil(2);
        let mut panels = x.values.another(PLACES * across.next_multiple_of(TALL) * APART);
        let panels: &mut [[Place; TALL]] = panels.as_chunks_mut().0.as_chunks_mut().0;
        let mut products = [zeros(simd); PLACES];
        let mut target = Target { results, values: &mut out.values, plane, onto, last: true };
        for picture in 0..pictures {
            for above in (0..side).step_by(2) {
                lay(simd, x, picture, above, inputs, panels);
                for (n, weights) in packed.chunks_exact(PLACES * inputs * columns).enumerate() {
                    let outputs = n * columns..results.padded_outputs();
                    for (blocks, first) in panels.chunks_exact(PLACES).zip((0..across).step_by(TALL)) {
                        let places = blocks.iter().zip(weights.chunks_exact(inputs * columns));
                        for (product, (blocks, weights)) in products.iter_mut().zip(places) {
                            *product = tile(simd, &zeros(simd), blocks, S::as_simd_f32s(weights).0.as_chunks().0);
                        }
                        for block in 0..TALL.min(across - first) {
                            for (n, sums) in sums(simd, &products, block).into_iter().enumerate() {
                                let (row, column) = (above + n / 2, 2 * (first + block) + n % 2);
                                if row < side && column < side {
                                    let place = picture * of_picture + (row * side + column) * GROUP;
                                    target.put(simd, place, outputs.clone(), sums);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Lays out a row of blocks, whose first inputs are in row `above` of the picture: for each tile of blocks place after
/// place. What lies outside the picture is zero.
#[inline(always)]
fn lay<S: Simd>(simd: S, x: &Maps, picture: usize, above: usize, inputs: usize, panels: &mut [[Place; TALL]]) {
    let zero = simd.splat_f32s(0.0);
    for channel in (0..inputs).step_by(S::F32_LANES) {
        let plane = &x.values[x.place(picture, channel / GROUP, 0)..][..x.plane()];
        let rows = plane.as_chunks::<GROUP>().0.chunks_exact(x.side);
        for block in 0..leaving(x.side, 3, 1).div_ceil(2) {
            let mut d = [[zero; 4]; 4];
            for (d, row) in d.iter_mut().zip(rows.clone().skip(above)) {
                for (d, pixel) in d.iter_mut().zip(&row[2 * block..]) {
                    *d = load(simd, &pixel[channel % GROUP..]);
                }
                *d = of_inputs(simd, *d);
            }
            let places = &mut panels[block / TALL * PLACES..][..PLACES];
            for column in 0..4 {
                let down = of_inputs(simd, [d[0][column], d[1][column], d[2][column], d[3][column]]);
                for (row, value) in down.into_iter().enumerate() {
                    store(simd, &mut places[row * 4 + column][block % TALL][channel..], value);
                }
            }
        }
    }
}

/// A block's results, row by row, from the products of its places.
#[inline(always)]
fn sums<S: Simd>(simd: S, products: &[Sums<S>; PLACES], block: usize) -> [[S::f32s; WIDE]; 4] {
    let mut results = [[simd.splat_f32s(0.0); WIDE]; 4];
    for vector in 0..WIDE {
        let mut rows = [[simd.splat_f32s(0.0); 2]; 4];
        for (row, [a, b, c, d]) in rows.iter_mut().zip(products.as_chunks::<4>().0) {
            *row = of_products(simd, [a[block][vector], b[block][vector], c[block][vector], d[block][vector]]);
        }
        for column in 0..2 {
            let down = of_products(simd, [rows[0][column], rows[1][column], rows[2][column], rows[3][column]]);
            for (row, value) in down.into_iter().enumerate() {
                results[2 * row + column][vector] = value;
            }
        }
    }
    results
}
