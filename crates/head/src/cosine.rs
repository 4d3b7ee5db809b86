//! Cosine similarity: unit vectors, and the dot products of rows with many vectors.

use crate::kernels::{Cores, matmul_transposed};
use crate::simd::{LANES, Strip, as_strips, copy_rows, dispatch, strip_count};

/// A matrix of vectors, stored for products with rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vectors {
    /// (strips of columns, vectors)
    strips: Vec<Strip>,
    count: usize,
    columns: usize,
}

impl Vectors {
    /// The vectors of all parts, one after the other. Each part is (vectors, columns) row-major.
    pub fn new(columns: usize, parts: &[impl AsRef<[f32]>]) -> Self {
        let length = columns.max(1);
        let count: usize = parts.iter().map(|part| part.as_ref().len() / length).sum();
        let mut by_strip = vec![[0.0; LANES]; strip_count(columns) * count];
        let mut place = 0;
        for part in parts {
            for vector in part.as_ref().chunks_exact(length) {
                for (strip, values) in vector.chunks(LANES).enumerate() {
                    by_strip[strip * count + place][..values.len()].copy_from_slice(values);
                }
                place += 1;
            }
        }
        Self { strips: by_strip, count, columns }
    }

    /// The values, (vectors, columns) row-major.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.count * self.columns);
        for vector in 0..self.count {
            let end = values.len() + self.columns;
            for strip in 0..strip_count(self.columns) {
                values.extend_from_slice(&self.strips[strip * self.count + vector]);
            }
            // The last strip's padding.
            values.truncate(end);
        }
        values
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The length of a vector.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Computes the dot product of each row and each vector, (rows, vectors), on the caller's core.
    pub fn products(&self, rows: &[&[f32]], products: &mut Vec<f32>) {
        if self.columns.is_multiple_of(LANES) {
            return matmul_transposed(Cores::One, &as_strips(rows), &self.strips, self.count, products);
        }
        let mut copies = Vec::new();
        copy_rows(rows, &mut copies);
        let rows: Vec<&[Strip]> = copies.chunks_exact(strip_count(self.columns)).collect();
        matmul_transposed(Cores::One, &rows, &self.strips, self.count, products);
    }
}

/// 1 / the row's Euclidean length; 0 for a row of zeros, whose similarity to any row is then 0.
pub(crate) fn inverse_length(row: &[f32]) -> f32 {
    let squares = dispatch(|| {
        let mut squares = [0.0; LANES];
        for values in row.chunks(LANES) {
            for (square, value) in squares.iter_mut().zip(values) {
                *square += value * value;
            }
        }
        squares
    });
    let length = squares.iter().sum::<f32>().sqrt();
    if length > 0.0 { 1.0 / length } else { 0.0 }
}

/// The row scaled to length 1.
pub(crate) fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let scale = inverse_length(row);
    row.iter().map(move |value| value * scale)
}
