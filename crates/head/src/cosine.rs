//! Rows by their direction: what the cosine of the angle between two of them is made of.

use crate::kernels::{Cores, dots};
use crate::simd::{LANES, Strip, copy_rows, cut, dispatch, strips};

/// Vectors that rows are multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vectors {
    /// (strips of columns, vectors)
    strips: Vec<Strip>,
    count: usize,
    columns: usize,
}

impl Vectors {
    /// Vectors of `columns` values from any number of parts, each (vectors, columns) row-major.
    pub fn new(columns: usize, parts: &[impl AsRef<[f32]>]) -> Self {
        let length = columns.max(1);
        let count: usize = parts.iter().map(|part| part.as_ref().len() / length).sum();
        let mut by_strip = vec![[0.0; LANES]; strips(columns) * count];
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
            for strip in 0..strips(self.columns) {
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

    /// The length of each.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Computes the products of each row with each vector, (rows, vectors), on the caller's core.
    pub fn products(&self, rows: &[&[f32]], products: &mut Vec<f32>) {
        if self.columns.is_multiple_of(LANES) {
            return dots(Cores::One, &cut(rows), &self.strips, self.count, products);
        }
        let mut copies = Vec::new();
        copy_rows(rows, &mut copies);
        let rows: Vec<&[Strip]> = copies.chunks_exact(strips(self.columns)).collect();
        dots(Cores::One, &rows, &self.strips, self.count, products);
    }
}

/// One over the row's Euclidean length; 0 for a row of zeros, which is similar to none.
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

/// The row at length 1.
pub(crate) fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let scale = inverse_length(row);
    row.iter().map(move |value| value * scale)
}
