//! A convolution's weights as a matrix (inputs, outputs), and as blocks of inputs that fit into a panel.

use std::ops::Range;

use super::feature_maps::{GROUP, group_width};
use super::microkernel::Microkernel;
use crate::backend::interface::ConvWeights;

/// The matrix. Its rows are in the order in which `PackPixels` packs a pixel's inputs: rows of the kernel, in each row
/// groups of channels, in each group pixels.
pub(super) struct WeightMatrix<'a> {
    /// The weights of each input for all outputs; empty where a channel is padding.
    rows: Vec<&'a [f32]>,
    /// Columns.
    pub outputs: usize,
}

impl<'a> WeightMatrix<'a> {
    pub(super) fn new(weights: &'a ConvWeights) -> Self {
        let &ConvWeights { side, inputs, outputs, ref kernel, .. } = weights;
        let group = group_width(inputs);
        let mut rows: Vec<&[f32]> = Vec::new();
        for row in 0..side {
            for first_channel in (0..inputs).step_by(group) {
                for column in 0..side {
                    for channel in first_channel..first_channel + group {
                        let start = ((row * side + column) * inputs + channel) * outputs;
                        rows.push(if channel < inputs { &kernel[start..start + outputs] } else { &[] });
                    }
                }
            }
        }
        Self { rows, outputs }
    }

    /// Rows, including those of channels that are padding.
    pub(super) fn inputs(&self) -> usize {
        self.rows.len()
    }

    /// The weights of an input for these outputs, without those that are outside the matrix.
    pub(super) fn of_input(&self, input: usize, outputs: Range<usize>) -> &'a [f32] {
        let row = self.rows.get(input).copied().unwrap_or_default();
        &row[outputs.start.min(row.len())..outputs.end.min(row.len())]
    }
}

/// A weight of [`WeightMatrix::of_input`]; zero outside the matrix.
pub(super) fn weight_at(weights: &[f32], output: usize) -> f32 {
    weights.get(output).copied().unwrap_or(0.0)
}

/// Cuts inputs into as few blocks of at most [`Microkernel::KC`] as possible. All but the last have the same length, a
/// multiple of [`GROUP`].
pub(super) fn blocks<K: Microkernel>(inputs: usize) -> impl Iterator<Item = Range<usize>> {
    let length = inputs.div_ceil(inputs.div_ceil(K::KC)).next_multiple_of(GROUP);
    (0..inputs).step_by(length).map(move |start| start..inputs.min(start + length))
}
