//! The matrix product that nearly all of the network's time goes into: (pixels, inputs) x (inputs, outputs), with the
//! bias, and ReLU or an addition, in the same step.

use std::ops::Range;

use pulp::{Arch, Simd};

use super::buffers::{Buffer, Buffers};
use super::layout::Layout;
use super::maps::{GROUP, Maps, side_by_side};
use super::strassen::Strassen;
use super::tile::{Columns, DEPTH, STRIDE, TALL, UNROLLED, WIDE, tile, zeros};
use super::vectors::{load, relu, store};
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
    /// Packs a kernel.
    pub(super) fn new(kernel: &Kernel, after: Activation) -> Self {
        let columns = Arch::new().dispatch(Columns);
        let weights = by_input(kernel);
        let inputs = weights.len();
        let weights = match inputs.min(kernel.outputs) >= HALVED || inputs > DEPTH {
            true => Packed::Halved(Strassen::pack(&weights, kernel.outputs, columns)),
            false => Packed::Whole(Whole::pack(&weights, kernel.outputs, columns)),
        };
        Self { weights, results: Results::new(kernel, after) }
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

/// The weights of each input, one for each output, in the order in which layouts give the inputs: row after row of the
/// window, group after group of channels, pixel after pixel. None for what fills up a group.
pub(super) fn by_input(kernel: &Kernel) -> Vec<&[f32]> {
    let group = side_by_side(kernel.inputs);
    let mut weights = Vec::new();
    for row in kernel.values.chunks_exact(kernel.side * kernel.inputs * kernel.outputs) {
        for first in (0..kernel.inputs).step_by(group) {
            for pixel in row.chunks_exact(kernel.inputs * kernel.outputs) {
                let of_channel = |channel| pixel.chunks_exact(kernel.outputs).nth(channel).unwrap_or_default();
                weights.extend((first..first + group).map(of_channel));
            }
        }
    }
    weights
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
    /// For tiles of so many columns: the weights of at most [`DEPTH`] inputs.
    pub(super) fn pack(by_input: &[&[f32]], outputs: usize, columns: usize) -> Self {
        let inputs = by_input.len();
        let depth = inputs.next_multiple_of(UNROLLED);
        let mut packed = Buffers::default().take(depth * outputs.next_multiple_of(columns.max(GROUP)));
        for (tile, strip) in packed.chunks_exact_mut(depth * columns).enumerate() {
            for (places, weights) in strip.chunks_exact_mut(columns).zip(by_input) {
                places.iter_mut().zip(weights.iter().skip(tile * columns)).for_each(|(place, weight)| *place = *weight);
            }
        }
        Self { inputs, columns, packed }
    }

    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, layout: &impl Layout, results: &Results, out: &mut Maps, onto: bool) {
        let (pictures, pixels) = (out.pictures, out.side * out.side);
        let (of_picture, plane) = (out.groups() * out.plane(), out.plane());
        let mut panel = out.values.another(BAND * STRIDE);
        let panel = panel.as_chunks_mut().0;
        let mut target = Target { results, values: &mut out.values, plane, onto, last: true };
        for picture in 0..pictures {
            for first in (0..pixels).step_by(BAND) {
                let band = first..pixels.min(first + BAND);
                layout.lay(simd, picture, band.clone(), 0..self.inputs, panel);
                let strips = self.packed.chunks_exact(self.inputs.next_multiple_of(UNROLLED) * self.columns);
                for (n, weights) in strips.enumerate() {
                    let weights = S::as_simd_f32s(weights).0.as_chunks().0;
                    let outputs = n * self.columns..results.padded_outputs();
                    for (pixels, first) in panel.as_chunks().0.iter().zip(band.clone().step_by(TALL)) {
                        let sums = tile(simd, &zeros(simd), pixels, weights);
                        for (pixel, sums) in (first..band.end).zip(sums) {
                            target.put(simd, picture * of_picture + pixel * GROUP, outputs.clone(), sums);
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
    /// One for each output, zeros up to a whole group.
    bias: Vec<f32>,
    after: Activation,
}

impl Results {
    pub(super) fn new(kernel: &Kernel, after: Activation) -> Self {
        let mut bias = kernel.bias.clone();
        bias.resize(kernel.outputs.next_multiple_of(GROUP), 0.0);
        Self { outputs: kernel.outputs, bias, after }
    }

    /// As many as there are in whole groups.
    pub(super) fn padded_outputs(&self) -> usize {
        self.bias.len()
    }
}

/// Where the results go.
pub(super) struct Target<'a> {
    pub results: &'a Results,
    pub values: &'a mut [f32],
    /// Values of a group of channels in one picture. Asking the maps for it at each pixel takes a tenth of block 2's time.
    pub plane: usize,
    /// Whether they are added to what is there.
    pub onto: bool,
    /// Whether these sums are the last for their place: with them come the bias and what is after it.
    pub last: bool,
}

impl Target<'_> {
    /// Puts a tile's sums for some outputs, as many as there are, of the pixel whose first group is at `place`.
    #[inline(always)]
    pub(super) fn put<S: Simd>(&mut self, simd: S, place: usize, outputs: Range<usize>, sums: [S::f32s; WIDE]) {
        for (n, mut sum) in sums.into_iter().enumerate() {
            let output = outputs.start + n * S::F32_LANES;
            if output >= outputs.end {
                return;
            }
            let place = &mut self.values[place + output / GROUP * self.plane + output % GROUP..];
            if self.onto {
                sum = simd.add_f32s(sum, load(simd, place));
            }
            if self.last {
                sum = simd.add_f32s(sum, load(simd, &self.results.bias[output..]));
                if self.results.after == Activation::Relu {
                    sum = relu(simd, sum);
                }
            }
            store(simd, place, sum);
        }
    }
}
