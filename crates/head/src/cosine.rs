//! Cosine similarity: unit vectors, and the dot products of rows with many vectors.

use rayon::prelude::*;

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
        let vectors: Vec<&[f32]> = parts.iter().flat_map(|part| part.as_ref().chunks_exact(length)).collect();
        let count = vectors.len();
        let mut strips = vec![[0.0; LANES]; strip_count(columns) * count];
        strips.par_chunks_exact_mut(count.max(1)).enumerate().for_each(|(number, strips)| {
            for (strip, vector) in strips.iter_mut().zip(&vectors) {
                let values = &vector[number * LANES..columns.min((number + 1) * LANES)];
                strip[..values.len()].copy_from_slice(values);
            }
        });
        Self { strips, count, columns }
    }

    /// The strips of vector number `vector`, whose last one may be padded.
    pub fn vector(&self, vector: usize) -> impl Iterator<Item = &Strip> {
        (0..strip_count(self.columns)).map(move |strip| &self.strips[strip * self.count + vector])
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
