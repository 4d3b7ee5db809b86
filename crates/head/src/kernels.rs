//! The matrix products of training, on strips of 16 values.
//!
//! A layer stores its weights by strips of its inputs, (strips, outputs). The forward pass multiplies the rows by the
//! transposed weights ([`matmul_transposed`]). The backward pass (`Backward`) multiplies the transposed gradient of
//! the outputs by the rows; the gradient of a strip of weights stays in registers until a `Sink` has received it. A
//! thread that has updated its weights can begin the forward pass of the next rows with them.
//! Every sum is added in a fixed order, so the results are bit-identical on every x86-64 processor with AVX2 and on any
//! number of threads.

use std::array;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::simd::{LANES, Strip, dispatch, load, store};
use crate::team;

/// Strips in a group: 512 inputs. The forward pass sums each group separately, and gives each thread whole groups.
const GROUP_STRIPS: usize = 32;
/// The least work that pays for another thread, in multiply-adds of a strip.
const MIN_MULTIPLY_ADDS: usize = 1 << 13;

/// `sums = rows · weightsᵀ`, (rows, outputs): `sums[r][n]` is the dot product of row r and the weights of output n.
/// `rows` is (rows, strips), `weights` (strips, outputs).
///
/// Each group of 512 inputs is summed separately, in 16 lanes that are then added pairwise. The groups are added from
/// the first to the last.
pub fn matmul_transposed(rows: &[&[Strip]], weights: &[Strip], outputs: usize, sums: &mut Vec<f32>) {
    let results = rows.len() * outputs;
    if results == 0 {
        return sums.clear();
    }
    let weights: Vec<&[Strip]> = weights.chunks(GROUP_STRIPS * outputs).collect();
    sums.resize(weights.len() * results, 0.0);
    let groups: Vec<_> = weights.into_iter().zip(sums.chunks_exact_mut(results)).enumerate().collect();
    let threads = threads_for(groups.len() * GROUP_STRIPS * results);
    team::for_each(threads, groups, |(group, (weights, sums))| {
        dispatch(MatmulTransposed { rows, first_strip: group * GROUP_STRIPS, weights, outputs, sums });
    });
    add_groups(sums, results);
}

/// Replaces the sums of all groups, (groups, results), by their totals.
pub(crate) fn add_groups(sums: &mut Vec<f32>, results: usize) {
    let (total, others) = sums.split_at_mut(results);
    for group in others.chunks_exact(results) {
        for (total, sum) in total.iter_mut().zip(group) {
            *total += sum;
        }
    }
    sums.truncate(results);
}

/// How many threads are worth their start for this many multiply-adds of a strip.
fn threads_for(multiply_adds: usize) -> usize {
    (multiply_adds / MIN_MULTIPLY_ADDS).clamp(1, team::threads())
}

/// The product for one group of strips.
struct MatmulTransposed<'a> {
    /// (rows, strips of all groups)
    rows: &'a [&'a [Strip]],
    /// The number of the group's first strip.
    first_strip: usize,
    /// (strips of the group, outputs)
    weights: &'a [Strip],
    outputs: usize,
    /// (rows, outputs)
    sums: &'a mut [f32],
}

impl WithSimd for MatmulTransposed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The block size: its sums, a vector of each row and one of the weights fit into the registers, or nearly: on AVX2
        // a strip takes two.
        if S::REGISTER_COUNT >= 32 {
            self.in_blocks::<S, 4>(simd, 5);
        } else {
            self.in_blocks::<S, 2>(simd, 3);
        }
    }
}

impl MatmulTransposed<'_> {
    /// Computes blocks of `R` rows and up to `max_outputs` outputs.
    #[inline(always)]
    fn in_blocks<S: Simd, const R: usize>(self, simd: S, max_outputs: usize) {
        let Self { rows, first_strip, weights, outputs, sums } = self;
        let count = weights.len() / outputs;
        let width = even_width(outputs, max_outputs);
        for start in (0..rows.len()).step_by(R) {
            // If fewer than `R` rows are left, the last one is repeated; `sums` has no place for the repeated results.
            let block = array::from_fn(|r| &rows[rows.len().min(start + r + 1) - 1][first_strip..first_strip + count]);
            let next_block = &rows[rows.len().min(start + R)..rows.len().min(start + 2 * R)];
            let sums = &mut sums[start * outputs..];
            for n in (0..outputs).step_by(width) {
                let (weights, sums) = (&weights[n..], &mut sums[n..]);
                let later_rows = if n == 0 { next_block } else { &[] };
                match width.min(outputs - n) {
                    1 => block_product::<S, R, 1>(simd, block, weights, outputs, sums, later_rows, first_strip),
                    2 => block_product::<S, R, 2>(simd, block, weights, outputs, sums, later_rows, first_strip),
                    3 => block_product::<S, R, 3>(simd, block, weights, outputs, sums, later_rows, first_strip),
                    4 => block_product::<S, R, 4>(simd, block, weights, outputs, sums, later_rows, first_strip),
                    _ => block_product::<S, R, 5>(simd, block, weights, outputs, sums, later_rows, first_strip),
                }
            }
        }
    }
}

/// The dot products of `R` rows and the weights of `N` outputs. Row r's go to the first `N` sums of row r in `sums`,
/// (rows, outputs). Also prefetches the strips of `later_rows` from `first_strip` on, as many as each of `rows` has.
#[inline(always)]
fn block_product<S: Simd, const R: usize, const N: usize>(
    simd: S,
    rows: [&[Strip]; R],
    weights: &[Strip],
    outputs: usize,
    sums: &mut [f32],
    later_rows: &[&[Strip]],
    first_strip: usize,
) {
    let count = rows[0].len();
    let rows = rows.map(|row| &row[..count]);
    let mut vectors = [[simd.splat_f32s(0.0); N]; R];
    for (k, weights) in weights.chunks(outputs).enumerate().take(count) {
        let weights: &[Strip; N] = weights.first_chunk().expect("each strip has weights for N more outputs");
        let row = rows.map(|row| load::<S>(&row[k]));
        for row in later_rows {
            prefetch(row.as_flattened(), (first_strip + k) * LANES);
        }
        for n in 0..N {
            let weight = load::<S>(&weights[n]);
            for r in 0..R {
                vectors[r][n] = simd.mul_add_f32s(row[r], weight, vectors[r][n]);
            }
        }
    }
    for (sums, vectors) in sums.chunks_mut(outputs).zip(vectors) {
        for n in 0..N {
            sums[n] = simd.reduce_sum_f32s(vectors[n]);
        }
    }
}

/// Receives gradients, strip by strip.
pub(crate) trait Receive {
    /// Receives the gradient of strip number `strip`. Implementations are inlined, since the gradient is in a register.
    fn receive<S: Simd>(&mut self, simd: S, strip: usize, gradient: S::f32s);
}

/// Receives the gradients of a tensor of parameters: stores them, or updates the parameters.
pub(crate) trait Sink: Receive + Send + Sized {
    /// Whether the parameters are updated.
    const UPDATES: bool;

    /// The sink for the first `strips` strips, and the one for the others.
    fn split_at(self, strips: usize) -> (Self, Self);

    /// The parameters. Those of a strip change only while its gradient is received.
    fn parameters(&self) -> &[Strip];
}

/// Stores the gradients.
pub(crate) struct StoreGradients<'a> {
    /// The parameters.
    pub parameters: &'a [Strip],
    /// Output, as many strips as `parameters`.
    pub gradients: &'a mut [Strip],
}

impl Sink for StoreGradients<'_> {
    const UPDATES: bool = false;

    fn split_at(self, strips: usize) -> (Self, Self) {
        let (parameters, other_parameters) = self.parameters.split_at(strips);
        let (gradients, other_gradients) = self.gradients.split_at_mut(strips);
        (Self { parameters, gradients }, Self { parameters: other_parameters, gradients: other_gradients })
    }

    fn parameters(&self) -> &[Strip] {
        self.parameters
    }
}

impl Receive for StoreGradients<'_> {
    #[inline(always)]
    fn receive<S: Simd>(&mut self, simd: S, strip: usize, gradient: S::f32s) {
        self.gradients.receive(simd, strip, gradient);
    }
}

impl Receive for &mut [Strip] {
    #[inline(always)]
    fn receive<S: Simd>(&mut self, _: S, strip: usize, gradient: S::f32s) {
        self[strip] = store::<S>(gradient);
    }
}

/// The backward pass through a layer.
pub(crate) struct Backward<'a, T> {
    /// The layer's inputs, (rows, strips).
    pub rows: &'a [&'a [Strip]],
    /// The gradient of its outputs, (rows, outputs).
    pub outputs_gradient: &'a [f32],
    /// Receives the gradient of the weights, (strips, outputs).
    pub sink: T,
    /// The gradient of the inputs; `None` if it is not needed.
    pub inputs_gradient: Option<InputsGradient<'a>>,
    /// The rows that are read after this pass. The pass prefetches as many of them as it has rows.
    pub next_rows: &'a [&'a [Strip]],
}

/// The gradient of a layer's inputs, and what it is computed from.
pub(crate) struct InputsGradient<'a> {
    /// The gradient of the outputs, (outputs, rows).
    pub transposed_gradient: &'a [f32],
    /// Output, (strips, rows).
    pub out: &'a mut [Strip],
}

impl<'a> InputsGradient<'a> {
    /// Splits `out` after `strips` strips.
    fn split_at(self, strips: usize) -> (Self, Self) {
        let Self { transposed_gradient, out } = self;
        let (out, other_out) = out.split_at_mut(strips);
        (Self { transposed_gradient, out }, Self { transposed_gradient, out: other_out })
    }
}

impl<T: Sink> Backward<'_, T> {
    /// Runs the pass. Each thread takes neighbouring strips of the inputs.
    pub fn run(self) {
        self.run_and_multiply_next(false);
    }

    /// Runs the pass, and if it can and `multiplies_next` also multiplies the next rows by the weights that the sink has
    /// updated, so that the threads need not wait for each other before the next rows' forward pass.
    ///
    /// The result is (groups, next rows, outputs), for [`add_groups`]. It is `None` if there are no next rows, the sink
    /// updates nothing, there is only one thread, or the threads' strips are not whole groups.
    pub fn run_and_multiply_next(self, multiplies_next: bool) -> Option<Vec<f32>> {
        let Self { rows, outputs_gradient, mut sink, mut inputs_gradient, next_rows } = self;
        let strips = rows.first().map_or(0, |row| row.len());
        let outputs = outputs_gradient.len() / rows.len().max(1);
        let threads = threads_for(strips * outputs_gradient.len());
        let share = strips.div_ceil(threads).max(1);
        let can_multiply_next = T::UPDATES && threads > 1 && share.is_multiple_of(GROUP_STRIPS);
        let groups = if multiplies_next && can_multiply_next { strips.div_ceil(GROUP_STRIPS) } else { 0 };
        let results = next_rows.len() * outputs;
        let mut next_sums = vec![0.0; groups * results];
        let mut next_sums_of_parts = next_sums.chunks_mut((share / GROUP_STRIPS * results).max(1));
        let mut parts = Vec::with_capacity(threads);
        for start in (0..strips).step_by(share) {
            let strips = start..strips.min(start + share);
            let (part_sink, other_sink) = sink.split_at(strips.len() * outputs);
            let (part_inputs, other_inputs) =
                inputs_gradient.map(|inputs| inputs.split_at(strips.len() * rows.len())).unzip();
            let pass = Backward { sink: part_sink, inputs_gradient: part_inputs, rows, outputs_gradient, next_rows };
            let next_sums = next_sums_of_parts.next().unwrap_or_default();
            parts.push(BackwardStrips { pass, strips, next_sums });
            (sink, inputs_gradient) = (other_sink, other_inputs);
        }
        team::for_each(threads, parts, dispatch);
        (!next_sums.is_empty()).then_some(next_sums)
    }
}

/// A backward pass for some strips of the inputs. Its sink and its gradient of the inputs begin at the first of them.
struct BackwardStrips<'a, T> {
    pass: Backward<'a, T>,
    strips: Range<usize>,
    /// Output: the product of the next rows, (groups, next rows, outputs); empty if it is not computed.
    next_sums: &'a mut [f32],
}

impl<T: Sink> WithSimd for BackwardStrips<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut pass, strips, next_sums } = self;
        let outputs = pass.outputs_gradient.len() / pass.rows.len();
        let next_rows = pass.next_rows;
        let mut next_sums = next_sums.chunks_exact_mut((next_rows.len() * outputs).max(1));
        for start in (0..strips.len()).step_by(GROUP_STRIPS) {
            let end = strips.len().min(start + GROUP_STRIPS);
            let mut done = start;
            // With two strips at a time each factor is used twice. Their sums need more than 16 registers.
            if S::REGISTER_COUNT >= 32 {
                while done + 2 <= end {
                    pass.run_block::<S, 2>(simd, strips.start + done, done);
                    done += 2;
                }
            }
            while done < end {
                pass.run_block::<S, 1>(simd, strips.start + done, done);
                done += 1;
            }
            // Now, while the group's weights are in the processor's cache.
            if let Some(sums) = next_sums.next() {
                let weights = &pass.sink.parameters()[start * outputs..end * outputs];
                let first_strip = strips.start + start;
                MatmulTransposed { rows: next_rows, first_strip, weights, outputs, sums }.with_simd(simd);
            }
        }
    }
}

impl<T: Sink> Backward<'_, T> {
    /// Runs the pass for `C` strips of the inputs, from number `strip` on; `done` strips of this thread come before them.
    #[inline(always)]
    fn run_block<S: Simd, const C: usize>(&mut self, simd: S, strip: usize, done: usize) {
        let Self { rows, outputs_gradient, sink, inputs_gradient, next_rows } = self;
        let outputs = outputs_gradient.len() / rows.len();
        // First the gradient of the inputs, since the sink may update the weights.
        if let Some(InputsGradient { transposed_gradient, out }) = inputs_gradient {
            let weights = &sink.parameters()[done * outputs..][..C * outputs];
            let strips = (0..outputs).map(|n| array::from_fn::<_, C, _>(|c| &weights[c * outputs + n]));
            matmul(simd, strips, transposed_gradient, rows.len(), out, done * rows.len(), |_| {});
        }
        let strips = rows.iter().map(|row| array::from_fn::<_, C, _>(|c| &row[strip + c]));
        // One row at a time: a burst of prefetches would delay the loads after it.
        let prefetch_next = |k: usize| {
            if let Some(next_row) = next_rows.get(k) {
                for c in 0..C {
                    prefetch(next_row.as_flattened(), (strip + c) * LANES);
                }
            }
        };
        matmul(simd, strips, outputs_gradient, outputs, sink, done * outputs, prefetch_next);
    }
}

/// `factorsᵀ · strips`: `Σ_i factors[i][n] strips[i][c]` for each of the `count` columns n of the factors and each of
/// the `C` strips c. The receiver gets the results as (C, count), numbered from `first_result` on. Meanwhile `prefetch`
/// is called once for each i.
#[inline(always)]
fn matmul<'a, S: Simd, const C: usize>(
    simd: S,
    strips: impl Iterator<Item = [&'a Strip; C]> + Clone,
    factors: &[f32],
    count: usize,
    receiver: &mut impl Receive,
    first_result: usize,
    prefetch: impl Fn(usize),
) {
    let width = even_width(count, if S::REGISTER_COUNT >= 32 { 10 } else { 5 });
    for start in (0..count).step_by(width) {
        let first_result = first_result + start;
        let panel = Panel { strips: strips.clone(), factors: &factors[start..], count, first_result };
        let prefetch = |k| {
            if start == 0 {
                prefetch(k);
            }
        };
        match width.min(count - start) {
            1 => panel.matmul::<S, 1>(simd, receiver, prefetch),
            2 => panel.matmul::<S, 2>(simd, receiver, prefetch),
            3 => panel.matmul::<S, 3>(simd, receiver, prefetch),
            4 => panel.matmul::<S, 4>(simd, receiver, prefetch),
            5 => panel.matmul::<S, 5>(simd, receiver, prefetch),
            6 => panel.matmul::<S, 6>(simd, receiver, prefetch),
            7 => panel.matmul::<S, 7>(simd, receiver, prefetch),
            8 => panel.matmul::<S, 8>(simd, receiver, prefetch),
            9 => panel.matmul::<S, 9>(simd, receiver, prefetch),
            _ => panel.matmul::<S, 10>(simd, receiver, prefetch),
        }
    }
}

/// Neighbouring columns of the factors of [`matmul`]. `factors` begins at the first of them.
struct Panel<'a, I, const C: usize> {
    strips: I,
    factors: &'a [f32],
    count: usize,
    first_result: usize,
}

impl<'a, I: Iterator<Item = [&'a Strip; C]>, const C: usize> Panel<'_, I, C> {
    /// The product for `N` columns. Its sums stay in registers.
    #[allow(clippy::needless_range_loop, reason = "index loops over the registers, as in the other kernels")]
    #[inline(always)]
    fn matmul<S: Simd, const N: usize>(self, simd: S, receiver: &mut impl Receive, prefetch: impl Fn(usize)) {
        let mut sums = [[simd.splat_f32s(0.0); N]; C];
        for (k, (strips, factors)) in self.strips.zip(self.factors.chunks(self.count)).enumerate() {
            prefetch(k);
            let strips = strips.map(load::<S>);
            let factors: &[f32; N] = factors.first_chunk().expect("each strip has N more factors");
            for n in 0..N {
                let factor = simd.splat_f32s(factors[n]);
                for c in 0..C {
                    sums[c][n] = simd.mul_add_f32s(factor, strips[c], sums[c][n]);
                }
            }
        }
        for c in 0..C {
            for n in 0..N {
                receiver.receive(simd, self.first_result + c * self.count + n, sums[c][n]);
            }
        }
    }
}

/// The width of panels, at most `max`, so that as few as possible cover `count` columns and their widths differ little.
fn even_width(count: usize, max: usize) -> usize {
    count.div_ceil(count.div_ceil(max).max(1))
}

/// Prefetches the cache line of `row[value]`, which may lie beyond the row's end.
#[inline(always)]
fn prefetch(row: &[f32], value: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, whatever the address.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(row.as_ptr().wrapping_add(value).cast());
        }
    }
}

/// Passes the gradients of a whole tensor to its sink, strip by strip.
pub(crate) fn send_all<T: Sink>(sink: T, gradients: &[Strip]) {
    dispatch(SendAll { sink, gradients });
}

struct SendAll<'a, T> {
    sink: T,
    gradients: &'a [Strip],
}

impl<T: Sink> WithSimd for SendAll<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for (k, gradient) in self.gradients.iter().enumerate() {
            self.sink.receive(simd, k, load::<S>(gradient));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{copy_rows, strip_count, with_shorter_vectors};
    use crate::team::with_threads;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|k| ((k * 37 + seed * 101) % 29) as f32 / 7.0 - 2.0).collect()
    }

    /// A matrix of this many columns, (rows, columns), by strips of its columns, (strips, rows).
    fn by_strip(matrix: &[f32], columns: usize) -> Vec<Strip> {
        let rows = matrix.len() / columns;
        let mut by_strip = vec![[0.0; LANES]; strip_count(columns) * rows];
        for (k, &value) in matrix.iter().enumerate() {
            by_strip[k % columns / LANES * rows + k / columns][k % columns % LANES] = value;
        }
        by_strip
    }

    const SHAPES: [(usize, usize, usize); 8] =
        [(1, 1, 1), (2, 3, 7), (3, 12, 16), (5, 2, 100), (4, 11, 48), (32, 10, 2048), (9, 40, 600), (33, 23, 1100)];

    /// A layer, its input rows and the gradient of its outputs.
    struct Case {
        shape: (usize, usize, usize),
        /// (rows, inputs)
        rows: Vec<f32>,
        /// (outputs, inputs)
        weights: Vec<f32>,
        /// (rows, outputs)
        outputs_gradient: Vec<f32>,
    }

    /// What the kernels compute.
    #[derive(PartialEq)]
    struct Results {
        /// (rows, outputs)
        sums: Vec<f32>,
        /// Of the weights, (strips, outputs).
        gradients: Vec<Strip>,
        /// (strips, rows)
        inputs_gradient: Vec<Strip>,
    }

    impl Case {
        fn new(shape: (usize, usize, usize)) -> Self {
            let (rows, outputs, inputs) = shape;
            let outputs_gradient = values(rows * outputs, 3);
            Self { shape, rows: values(rows * inputs, 1), weights: values(outputs * inputs, 2), outputs_gradient }
        }

        fn compute(
            &self,
            forward: impl FnOnce(&[&[Strip]], &[Strip], &mut Vec<f32>),
            backward: impl FnOnce(Backward<'_, StoreGradients<'_>>),
        ) -> Results {
            let (rows, outputs, inputs) = self.shape;
            let weights = by_strip(&self.weights, inputs);
            let slices: Vec<&[f32]> = self.rows.chunks_exact(inputs).collect();
            let mut copies = Vec::new();
            copy_rows(&slices, &mut copies);
            let strip_rows: Vec<&[Strip]> = copies.chunks_exact(strip_count(inputs)).collect();
            let mut sums = Vec::new();
            forward(&strip_rows, &weights, &mut sums);

            let mut gradients = vec![[f32::NAN; LANES]; weights.len()];
            let mut inputs_gradient = vec![[f32::NAN; LANES]; strip_count(inputs) * rows];
            let by_output: Vec<f32> =
                (0..rows * outputs).map(|k| self.outputs_gradient[k % rows * outputs + k / rows]).collect();
            backward(Backward {
                rows: &strip_rows,
                outputs_gradient: &self.outputs_gradient,
                sink: StoreGradients { parameters: &weights, gradients: &mut gradients },
                inputs_gradient: Some(InputsGradient { transposed_gradient: &by_output, out: &mut inputs_gradient }),
                next_rows: &strip_rows,
            });
            Results { sums, gradients, inputs_gradient }
        }

        fn run(&self) -> Results {
            let outputs = self.shape.1;
            self.compute(|rows, weights, sums| matmul_transposed(rows, weights, outputs, sums), |pass| pass.run())
        }
    }

    /// The kernels with the vectors of `simd`.
    impl WithSimd for &Case {
        type Output = Results;

        fn with_simd<S: Simd>(self, simd: S) -> Results {
            let (rows, outputs, inputs) = self.shape;
            let forward = |strip_rows: &[&[Strip]], weights: &[Strip], sums: &mut Vec<f32>| {
                sums.resize(rows * outputs, f32::NAN);
                MatmulTransposed { rows: strip_rows, first_strip: 0, weights, outputs, sums }.with_simd(simd);
            };
            self.compute(forward, |pass| {
                BackwardStrips { pass, strips: 0..strip_count(inputs), next_sums: &mut [] }.with_simd(simd);
            })
        }
    }

    #[test]
    fn every_shape_agrees_with_float64_sums() {
        for shape in SHAPES {
            let case = Case::new(shape);
            let (rows, outputs, inputs) = shape;
            let Results { sums, gradients, inputs_gradient } = case.run();
            let near = |found: f32, exact: f64| (f64::from(found) - exact).abs() < 1e-5 * (inputs * outputs) as f64;
            let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
            for r in 0..rows {
                for n in 0..outputs {
                    let terms = (0..inputs).map(|k| product(case.rows[r * inputs + k], case.weights[n * inputs + k]));
                    assert!(near(sums[r * outputs + n], terms.sum()), "{shape:?} output {n} of row {r}");
                }
            }
            for k in 0..inputs {
                for n in 0..outputs {
                    let term = |r| product(case.outputs_gradient[r * outputs + n], case.rows[r * inputs + k]);
                    let found = gradients[k / LANES * outputs + n][k % LANES];
                    assert!(near(found, (0..rows).map(term).sum()), "{shape:?} weight {k} of output {n}");
                }
                for r in 0..rows {
                    let term = |n| product(case.outputs_gradient[r * outputs + n], case.weights[n * inputs + k]);
                    let found = inputs_gradient[k / LANES * rows + r][k % LANES];
                    assert!(near(found, (0..outputs).map(term).sum()), "{shape:?} input {k} of row {r}");
                }
            }
        }
    }

    #[test]
    fn results_are_bit_identical_on_any_number_of_threads() {
        for shape in SHAPES {
            let case = Case::new(shape);
            let alone = case.run();
            for threads in [2, 3, 8] {
                with_threads(threads, || {
                    // Often enough that helpers take part.
                    for _ in 0..50 {
                        assert!(case.run() == alone, "{shape:?} on {threads} threads");
                    }
                });
            }
        }
    }

    /// Adds the gradients to the parameters.
    struct AddGradients<'a>(&'a mut [Strip]);

    impl Sink for AddGradients<'_> {
        const UPDATES: bool = true;

        fn split_at(self, strips: usize) -> (Self, Self) {
            let (parameters, others) = self.0.split_at_mut(strips);
            (Self(parameters), Self(others))
        }

        fn parameters(&self) -> &[Strip] {
            self.0
        }
    }

    impl Receive for AddGradients<'_> {
        fn receive<S: Simd>(&mut self, simd: S, strip: usize, gradient: S::f32s) {
            self.0[strip] = store::<S>(simd.add_f32s(load::<S>(&self.0[strip]), gradient));
        }
    }

    #[test]
    fn next_rows_are_multiplied_by_the_updated_weights_where_threads_have_whole_groups() {
        let (rows, outputs) = (32, 10);
        for (threads, inputs, next_count, is_expected) in [
            (1, 1024, 32, false),
            (2, 1024, 32, true),
            (2, 1024, 0, false),
            // The last group is not a whole one.
            (2, 1008, 5, true),
            (2, 2032, 40, true),
            (2, 1536, 32, false),
            (3, 1536, 7, true),
            (3, 2048, 32, false),
            (4, 2048, 1, true),
        ] {
            let case = Case::new((rows, outputs, inputs));
            let next_values = values(next_count * inputs, 9);
            let (row_strips, next_strips) = (case.rows.as_chunks().0, next_values.as_chunks().0);
            let next_rows: Vec<&[Strip]> = next_strips.chunks_exact(inputs / LANES).collect();
            let mut weights = by_strip(&case.weights, inputs);
            let mut run = |multiplies_next| {
                let pass = Backward {
                    rows: &row_strips.chunks_exact(inputs / LANES).collect::<Vec<_>>(),
                    outputs_gradient: &case.outputs_gradient,
                    sink: AddGradients(&mut weights),
                    inputs_gradient: None,
                    next_rows: &next_rows,
                };
                with_threads(threads, || pass.run_and_multiply_next(multiplies_next))
            };
            assert_eq!(run(false), None);
            let product = run(true).map(|mut sums| {
                add_groups(&mut sums, next_count * outputs);
                sums
            });
            let mut expected = Vec::new();
            matmul_transposed(&next_rows, &weights, outputs, &mut expected);
            assert!(product == is_expected.then_some(expected), "{threads} threads, {inputs} inputs");
        }
    }

    #[test]
    fn results_are_bit_identical_with_vectors_of_any_length() {
        for shape in SHAPES {
            let case = Case::new(shape);
            let longest = dispatch(&case);
            for found in with_shorter_vectors(|| &case) {
                assert!(found == longest, "{shape:?}");
            }
        }
    }
}
