//! The two products that all of training is made of, along contiguous rows.
//!
//! A layer keeps its kernel transposed, (outputs, inputs). Then its outputs are dot products of rows with rows
//! ([`dots`]), the kernel's gradient is a combination of the input rows, and the gradient of the inputs a combination of
//! the kernel's rows ([`combine`]). Blocks of results stay in registers; the order of summation is fixed, so the same
//! machine gives the same bits, on however many cores and whatever else it is doing.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::simd::dispatch;

/// Rows that [`dots`] takes at a time.
const MR: usize = 2;
/// Outputs at a time: with [`MR`] rows their sums fit into the registers.
const NR: usize = 5;
/// Columns that [`combine`] makes at a time: those of a batch's rows stay in the first-level cache.
const STRIP: usize = 64;

/// The cores that the work of one step is spread over. The results are the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// The caller's own: for where every core trains a head of its own.
    One,
    /// All threads of the rayon pool, the caller being one of them.
    All,
}

impl Cores {
    /// How many of `items` each core takes, a multiple of `unit`.
    pub(crate) fn share(self, items: usize, unit: usize) -> usize {
        match self {
            Self::One => items.max(1),
            Self::All => items.div_ceil(rayon::current_num_threads()).next_multiple_of(unit),
        }
    }
}

/// `out[r][n] = a[r] · b[n]`: `a` is (rows, length), `b` (outputs, length), `out` (rows, outputs).
pub fn dots(cores: Cores, a: &[&[f32]], b: &[f32], out: &mut [f32]) {
    let share = cores.share(a.len(), MR);
    if share >= a.len() {
        return dispatch(Dots { a, b, out });
    }
    let outputs = out.len() / a.len();
    let parts = a.par_chunks(share).zip(out.par_chunks_mut((share * outputs).max(1)));
    parts.for_each(|(a, out)| dispatch(Dots { a, b, out }));
}

/// `out[n] = Σ_r coefficient(r, n) rows[r]`: `rows` is (rows, length), `out` (outputs, length).
pub fn combine(cores: Cores, rows: &[&[f32]], coefficients: Coefficients<'_>, out: &mut [f32]) {
    let Some(length) = rows.first().map(|row| row.len()).filter(|&length| length > 0) else { return };
    let share = cores.share(out.len() / length, 1);
    if share * length >= out.len() {
        return dispatch(Combine { rows, coefficients, out });
    }
    out.par_chunks_mut(share * length).enumerate().for_each(|(part, out)| {
        let values = &coefficients.values[part * share * coefficients.per_output..];
        dispatch(Combine { rows, coefficients: Coefficients { values, ..coefficients }, out });
    });
}

/// A matrix of the coefficients of [`combine`]: that of input row `r` in output row `n` is
/// `values[r * per_row + n * per_output]`.
#[derive(Debug, Clone, Copy)]
pub struct Coefficients<'a> {
    /// The matrix, in either order.
    pub values: &'a [f32],
    /// The distance from one input row to the next.
    pub per_row: usize,
    /// The distance from one output row to the next.
    pub per_output: usize,
}

struct Dots<'a> {
    a: &'a [&'a [f32]],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, out } = self;
        let Some(length) = a.first().map(|row| row.len()).filter(|&length| length > 0) else { return };
        let outputs = b.len() / length;
        let mut n = 0;
        while n < outputs {
            // A full block of outputs or what is left of them, each width compiled for itself.
            let width = (outputs - n).min(NR);
            let b = &b[n * length..][..width * length];
            for (r, a) in a.chunks(MR).enumerate() {
                let out = &mut out[MR * r * outputs + n..];
                match (a, width) {
                    (&[x, y], NR) => dots_block::<S, 2, NR>(simd, [x, y], b, outputs, out),
                    (&[x, y], 4) => dots_block::<S, 2, 4>(simd, [x, y], b, outputs, out),
                    (&[x, y], 3) => dots_block::<S, 2, 3>(simd, [x, y], b, outputs, out),
                    (&[x, y], 2) => dots_block::<S, 2, 2>(simd, [x, y], b, outputs, out),
                    (&[x, y], _) => dots_block::<S, 2, 1>(simd, [x, y], b, outputs, out),
                    (&[x], NR) => dots_block::<S, 1, NR>(simd, [x], b, outputs, out),
                    (&[x], 4) => dots_block::<S, 1, 4>(simd, [x], b, outputs, out),
                    (&[x], 3) => dots_block::<S, 1, 3>(simd, [x], b, outputs, out),
                    (&[x], 2) => dots_block::<S, 1, 2>(simd, [x], b, outputs, out),
                    (&[x], _) => dots_block::<S, 1, 1>(simd, [x], b, outputs, out),
                    _ => {}
                }
            }
            n += width;
        }
    }
}

/// The dot products of `R` rows with `N` rows of `b`: `out` is (R, outputs), of which the first `N` columns are written.
#[inline(always)]
fn dots_block<S: Simd, const R: usize, const N: usize>(
    simd: S,
    a: [&[f32]; R],
    b: &[f32],
    outputs: usize,
    out: &mut [f32],
) {
    let length = a[0].len();
    let whole = length / S::F32_LANES;
    let a_simd = a.map(|row| &S::as_simd_f32s(row).0[..whole]);
    let b = std::array::from_fn::<_, N, _>(|n| &b[n * length..][..length]);
    let b_simd = b.map(|row| &S::as_simd_f32s(row).0[..whole]);
    // One vector of sums for each result, over the whole vectors of the rows.
    let mut sums = [[simd.splat_f32s(0.0); N]; R];
    for k in 0..whole {
        let row = a_simd.map(|row| row[k]);
        for n in 0..N {
            let column = b_simd[n][k];
            for r in 0..R {
                sums[r][n] = simd.mul_add_f32s(row[r], column, sums[r][n]);
            }
        }
    }
    // The lanes of each, and the products of what is left of the rows.
    for r in 0..R {
        for n in 0..N {
            // By iterators: indices here take registers from the loop above, which then has a tenth more instructions.
            let (a, b) = (&a[r][whole * S::F32_LANES..], &b[n][whole * S::F32_LANES..]);
            let rest: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            out[r * outputs + n] = simd.reduce_sum_f32s(sums[r][n]) + rest;
        }
    }
}

struct Combine<'a> {
    rows: &'a [&'a [f32]],
    coefficients: Coefficients<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, coefficients, out } = self;
        let Some(length) = rows.first().map(|row| row.len()).filter(|&length| length > 0) else { return };
        let outputs = out.len() / length;
        let panels = coefficients.by_panel(rows.len(), outputs);
        for start in (0..length).step_by(STRIP) {
            let columns = start..length.min(start + STRIP);
            for (panel, factors) in panels.chunks_exact(rows.len()).enumerate() {
                let n = panel * NR;
                let out = &mut out[n * length..];
                match outputs - n {
                    1 => combine_block::<S, 1>(simd, rows, factors, columns.clone(), out),
                    2 => combine_block::<S, 2>(simd, rows, factors, columns.clone(), out),
                    3 => combine_block::<S, 3>(simd, rows, factors, columns.clone(), out),
                    4 => combine_block::<S, 4>(simd, rows, factors, columns.clone(), out),
                    _ => combine_block::<S, NR>(simd, rows, factors, columns.clone(), out),
                }
            }
        }
    }
}

impl Coefficients<'_> {
    /// Panel by panel of [`NR`] output rows, and in each by input row: the coefficients side by side, 0 beyond the last
    /// output.
    fn by_panel(&self, rows: usize, outputs: usize) -> Vec<[f32; NR]> {
        let mut panels = Vec::with_capacity(outputs.div_ceil(NR) * rows);
        for first in (0..outputs).step_by(NR) {
            for r in 0..rows {
                let mut factors = [0.0; NR];
                for n in first..outputs.min(first + NR) {
                    factors[n - first] = self.values[r * self.per_row + n * self.per_output];
                }
                panels.push(factors);
            }
        }
        panels
    }
}

/// `N` output rows, in these columns: `factors` holds the coefficients of each input row.
#[inline(always)]
fn combine_block<S: Simd, const N: usize>(
    simd: S,
    rows: &[&[f32]],
    factors: &[[f32; NR]],
    columns: Range<usize>,
    out: &mut [f32],
) {
    let length = rows[0].len();
    let step = 2 * S::F32_LANES;
    let whole = columns.start + columns.len() / step * step;
    // Two vectors of columns at a time, of all N output rows.
    for start in (columns.start..whole).step_by(step) {
        let mut sums = [[simd.splat_f32s(0.0); 2]; N];
        for (row, factors) in rows.iter().zip(factors) {
            let row = S::as_simd_f32s(&row[start..start + step]).0;
            let row = [row[0], row[1]];
            for (sum, &factor) in sums.iter_mut().zip(factors) {
                let factor = simd.splat_f32s(factor);
                *sum = [simd.mul_add_f32s(factor, row[0], sum[0]), simd.mul_add_f32s(factor, row[1], sum[1])];
            }
        }
        for (out, sums) in out.chunks_exact_mut(length).zip(&sums) {
            S::as_mut_simd_f32s(&mut out[start..start + step]).0.copy_from_slice(sums);
        }
    }
    // The columns that are left, one at a time.
    for k in whole..columns.end {
        for n in 0..N {
            let mut sum = 0.0;
            for (row, factors) in rows.iter().zip(factors) {
                sum += factors[n] * row[k];
            }
            out[n * length + k] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|k| ((k * 37 + seed * 101) % 29) as f32 / 7.0 - 2.0).collect()
    }

    #[test]
    fn every_block_shape_agrees_with_the_plain_sums() {
        for rows in [1, 2, 3, 8] {
            for outputs in 1..12 {
                for length in [1, 7, 8, 16, 48, 100] {
                    let (a, b) = (values(rows * length, 1), values(outputs * length, 2));
                    let a: Vec<&[f32]> = a.chunks_exact(length).collect();
                    let mut out = vec![f32::NAN; rows * outputs];
                    dots(Cores::One, &a, &b, &mut out);
                    for (r, row) in a.iter().enumerate() {
                        for n in 0..outputs {
                            let exact: f64 =
                                row.iter().zip(&b[n * length..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                            assert!(
                                (f64::from(out[r * outputs + n]) - exact).abs() < 1e-3,
                                "{rows} {outputs} {length}"
                            );
                        }
                    }

                    let factors = values(rows * outputs, 3);
                    let coefficients = Coefficients { values: &factors, per_row: outputs, per_output: 1 };
                    let mut out = vec![f32::NAN; outputs * length];
                    combine(Cores::One, &a, coefficients, &mut out);
                    for n in 0..outputs {
                        for k in 0..length {
                            let terms = a.iter().enumerate().map(|(r, row)| factors[r * outputs + n] * row[k]);
                            let exact: f64 = terms.map(f64::from).sum();
                            assert!((f64::from(out[n * length + k]) - exact).abs() < 1e-3, "{rows} {outputs} {length}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn any_number_of_cores_gives_the_same_bits() {
        for cores in [2, 3, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build().unwrap();
            for (rows, outputs, length) in [(1, 1, 100), (5, 3, 100), (32, 10, 333), (8, 40, 17)] {
                let (a, b) = (values(rows * length, 1), values(outputs * length, 2));
                let a: Vec<&[f32]> = a.chunks_exact(length).collect();
                let dots = |cores| {
                    let mut out = vec![f32::NAN; rows * outputs];
                    dots(cores, &a, &b, &mut out);
                    out
                };
                assert_eq!(pool.install(|| dots(Cores::All)), dots(Cores::One), "{cores} {rows} {outputs} {length}");

                let factors = values(rows * outputs, 3);
                for (per_row, per_output) in [(outputs, 1), (1, rows)] {
                    let coefficients = Coefficients { values: &factors, per_row, per_output };
                    let combine = |cores| {
                        let mut out = vec![f32::NAN; outputs * length];
                        combine(cores, &a, coefficients, &mut out);
                        out
                    };
                    assert_eq!(pool.install(|| combine(Cores::All)), combine(Cores::One), "{cores} {rows} {outputs}");
                }
            }
        }
    }
}
