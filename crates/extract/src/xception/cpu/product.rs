//! The matrix product that nearly all of the network's time goes into: (pixels, inputs) x (inputs, outputs), with the
//! bias, and ReLU or an addition, in the same step.

use std::ops::Range;

use pulp::{Arch, Simd};

use super::Maps;
use super::buffers::{Buffer, Buffers};
use super::layout::Layout;
use super::strassen::Strassen;
use super::tile::{Columns, DEPTH, STRIDE, TALL, UNROLLED, WIDE, tile, zeros};
use super::vectors::{add, load, relu, store};
use crate::xception::kernel::Kernel;
use crate::xception::layers::Activation;

/// Weights to multiply by, and what happens to the products.
#[derive(Debug)]
pub(super) struct Product {
    weights: Packed,
    results: Results,
}

/// The weights, in the order in which they are read.
#[derive(Debug)]
enum Packed {
    Whole(Whole),
    Halved(Strassen),
}

/// Inputs and outputs from which on seven products of halves take less time than eight. Between 128 and 400 it makes no
/// difference to the network. More inputs than a panel has room for are always halved: only then are they cut into blocks.
const HALVED: usize = 256;

impl Product {
    /// Packs a kernel: each channel of each pixel of its window is an input.
    pub(super) fn new(kernel: &Kernel, after: Activation) -> Self {
        let columns = Arch::new().dispatch(Columns);
        let inputs = kernel.values.len() / kernel.outputs;
        let weights = match inputs.min(kernel.outputs) >= HALVED || inputs > DEPTH {
            true => Packed::Halved(Strassen::pack(kernel, inputs, columns)),
            false => Packed::Whole(Whole::pack(kernel, inputs, columns)),
        };
        Self { weights, results: Results::new(kernel, after, columns) }
    }

    /// Results of a pixel.
    pub(super) fn outputs(&self) -> usize {
        self.results.outputs
    }

    /// Writes the results of what is laid out to `out`, or adds them to what is there.
    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, layout: &impl Layout, out: &mut Maps, onto: bool) {
        match &self.weights {
            Packed::Whole(weights) => weights.run(simd, layout, &self.results, out, onto),
            Packed::Halved(weights) => weights.run(simd, layout, &self.results, out, onto),
        }
    }
}

/// Weights as they are: tile by tile, input by input.
#[derive(Debug)]
pub(super) struct Whole {
    inputs: usize,
    columns: usize,
    packed: Buffer,
}

/// Pixels of a panel, which stays in the second-level cache while the strips of weights pass.
const BAND: usize = 18 * TALL;

impl Whole {
    /// For tiles of so many columns; of at most [`DEPTH`] inputs.
    pub(super) fn pack(kernel: &Kernel, inputs: usize, columns: usize) -> Self {
        let outputs = kernel.outputs;
        let depth = inputs.next_multiple_of(UNROLLED);
        let mut packed = Buffers::default().take(depth * outputs.next_multiple_of(columns));
        for (tile, strip) in packed.chunks_exact_mut(depth * columns).enumerate() {
            for (places, weights) in strip.chunks_exact_mut(columns).zip(kernel.values.chunks_exact(outputs)) {
                places.iter_mut().zip(&weights[tile * columns..]).for_each(|(place, weight)| *place = *weight);
            }
        }
        Self { inputs, columns, packed }
    }

    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, layout: &impl Layout, results: &Results, out: &mut Maps, onto: bool) {
        let outputs = out.channels;
        let mut panel = out.values.another(BAND * STRIDE);
        let panel = panel.as_chunks_mut().0;
        for (picture, out) in out.values.chunks_exact_mut(out.side * out.side * outputs).enumerate() {
            for (band, out) in out.chunks_mut(BAND * outputs).enumerate() {
                let pixels = band * BAND..band * BAND + out.len() / outputs;
                layout.lay(simd, picture, pixels, 0..self.inputs, panel);
                let strips = self.packed.chunks_exact(self.inputs.next_multiple_of(UNROLLED) * self.columns);
                for (n, weights) in strips.enumerate() {
                    let weights = S::as_simd_f32s(weights).0.as_chunks().0;
                    let columns = n * self.columns..outputs.min((n + 1) * self.columns);
                    for (pixels, out) in panel.as_chunks().0.iter().zip(out.chunks_mut(TALL * outputs)) {
                        let sums = tile(simd, &zeros(simd), pixels, weights);
                        for (pixel, sums) in out.chunks_exact_mut(outputs).zip(sums) {
                            results.put(simd, columns.clone(), sums, pixel, onto, true);
                        }
                    }
                }
            }
        }
    }
}

/// What becomes of the sums of products.
#[derive(Debug)]
pub(super) struct Results {
    outputs: usize,
    /// One for each output, then zeros: behind each output is a tile's width.
    bias: Vec<f32>,
    after: Activation,
}

impl Results {
    pub(super) fn new(kernel: &Kernel, after: Activation, columns: usize) -> Self {
        let mut bias = kernel.bias.clone();
        bias.resize(kernel.outputs + columns, 0.0);
        Self { outputs: kernel.outputs, bias, after }
    }

    /// Writes sums to some columns of a pixel's results, or adds them to what is there. With the last sums of these
    /// columns come the bias and what is after it.
    #[inline(always)]
    pub(super) fn put<S: Simd>(
        &self,
        simd: S,
        columns: Range<usize>,
        mut sums: [S::f32s; WIDE],
        pixel: &mut [f32],
        onto: bool,
        last: bool,
    ) {
        let place = &mut pixel[columns.clone()];
        if onto {
            sums = add(simd, sums, &load(simd, place));
        }
        if last {
            sums = add(simd, sums, &load(simd, &self.bias[columns.start..]));
            if self.after == Activation::Relu {
                sums = relu(simd, sums);
            }
        }
        store(simd, place, sums);
    }
}
