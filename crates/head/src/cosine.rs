//! Rows by their direction: what the cosine of the angle between two of them is made of.

use crate::kernels::{Cores, dots};

/// One over the row's Euclidean length; 0 for a row of zeros, which is similar to none.
pub(crate) fn inverse_length(row: &[f32]) -> f32 {
    let mut square = [0.0];
    dots(Cores::One, &[row], row, &mut square);
    let length = square[0].sqrt();
    if length > 0.0 { 1.0 / length } else { 0.0 }
}

/// The row at length 1.
pub(crate) fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let scale = inverse_length(row);
    row.iter().map(move |value| value * scale)
}
