//! Cosine similarity: unit vectors, and the dot products of rows with many vectors.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::kernels::matmul_transposed;
use crate::simd::{LANES, Strip, as_strips, copy_rows, dispatch, load, strip_count};
use crate::team;

/// Strips of each vector that a thread fills at a time.
const STRIPS_PER_TASK: usize = 8;

/// A matrix of vectors, stored for products with rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vectors {
    /// (strips of columns, vectors)
    strips: Vec<Strip>,
    count: usize,
    columns: usize,
}

impl Vectors {
    /// `count` vectors of `columns` values. `fill(vector, range, values)` writes the values of a vector that are in this
    /// range of columns.
    pub fn from_fn(columns: usize, count: usize, fill: impl Fn(usize, Range<usize>, &mut [f32]) + Sync) -> Self {
        const VALUES_PER_TASK: usize = STRIPS_PER_TASK * LANES;
        let mut strips = vec![[0.0; LANES]; strip_count(columns) * count];
        let tasks = strips.chunks_mut((STRIPS_PER_TASK * count).max(1)).enumerate().collect();
        team::for_each(team::threads(), tasks, |(task, strips): (usize, &mut [Strip])| {
            let range = task * VALUES_PER_TASK..columns.min((task + 1) * VALUES_PER_TASK);
            let mut values = [0.0; VALUES_PER_TASK];
            for vector in 0..count {
                fill(vector, range.clone(), &mut values[..range.len()]);
                for (strips, strip) in strips.chunks_exact_mut(count).zip(values.as_chunks().0) {
                    strips[vector] = *strip;
                }
            }
        });
        Self { strips, count, columns }
    }

    /// These rows, scaled to length 1. A row of zeros stays as it is.
    pub fn units(rows: &[&[f32]]) -> Self {
        let scales: Vec<f32> = rows.iter().map(|row| inverse_length(row)).collect();
        let columns = rows.first().map_or(0, |row| row.len());
        Self::from_fn(columns, rows.len(), |row, range, values| {
            for (unit, value) in values.iter_mut().zip(&rows[row][range]) {
                *unit = value * scales[row];
            }
        })
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The length of a vector.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Computes the dot product of each row and each vector, (rows, vectors).
    pub fn products(&self, rows: &[&[f32]], products: &mut Vec<f32>) {
        if self.columns.is_multiple_of(LANES) {
            return matmul_transposed(&as_strips(rows), &self.strips, self.count, products);
        }
        let mut copies = Vec::new();
        copy_rows(rows, &mut copies);
        let rows: Vec<&[Strip]> = copies.chunks_exact(strip_count(self.columns)).collect();
        matmul_transposed(&rows, &self.strips, self.count, products);
    }
}

/// 1 / the row's Euclidean length; 0 for a row of zeros, whose similarity to any row is then 0.
pub(crate) fn inverse_length(row: &[f32]) -> f32 {
    let length = dispatch(SumOfSquares { row }).sqrt();
    if length > 0.0 { 1.0 / length } else { 0.0 }
}

/// The sum of a row's squares.
struct SumOfSquares<'a> {
    row: &'a [f32],
}

impl WithSimd for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (strips, rest) = self.row.as_chunks();
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        // Several sums, so that an addition need not wait for the one before.
        let mut sums = [simd.splat_f32s(0.0); 4];
        for strips in strips.chunks(sums.len()) {
            for (sum, strip) in sums.iter_mut().zip(strips) {
                let values = load::<S>(strip);
                *sum = simd.mul_add_f32s(values, values, *sum);
            }
        }
        let last = load::<S>(&last);
        let total = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
        simd.reduce_sum_f32s(simd.mul_add_f32s(last, last, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::with_shorter_vectors;

    fn row(length: usize, seed: usize) -> Vec<f32> {
        (0..length).map(|k| ((k * 37 + seed * 11) % 29) as f32 / 7.0 - 2.0).collect()
    }

    #[test]
    fn lengths_agree_with_float64_and_with_vectors_of_any_length() {
        for length in [0, 1, 15, 16, 17, 64, 65, 200] {
            let row = row(length, 1);
            let exact = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            let expected = if exact > 0.0 { 1.0 / exact } else { 0.0 };
            assert!((f64::from(inverse_length(&row)) - expected).abs() <= 1e-6 * expected, "{length}");
            let squares = dispatch(SumOfSquares { row: &row });
            for found in with_shorter_vectors(|| SumOfSquares { row: &row }) {
                assert_eq!(found, squares);
            }
        }
    }

    #[test]
    fn products_are_cosines_for_any_number_of_columns() {
        // A thread fills 128 columns at a time.
        for columns in [1, 16, 127, 128, 129, 300] {
            let rows: Vec<Vec<f32>> = (0..5).map(|seed| row(columns, seed + 1)).collect();
            let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            let mut products = Vec::new();
            Vectors::units(&rows).products(&rows, &mut products);
            for a in 0..5 {
                for b in 0..5 {
                    let dot: f64 = rows[a].iter().zip(rows[b]).map(|(x, y)| f64::from(x * y)).sum();
                    let expected = dot * f64::from(inverse_length(rows[b]));
                    let found = f64::from(products[a * 5 + b]);
                    assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{columns} {a} {b}");
                }
            }
        }
    }
}
