//! What happens to the sums of a product on their way from the registers to the feature maps: bias, ReLU, addition to what
//! is there.

use std::ops::Range;

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, NR_VECTORS, Vector};
use crate::xception::backend::Activation;

/// A layer's bias and activation.
#[derive(Debug)]
pub(super) struct Epilogue {
    /// Channels of the result.
    pub outputs: usize,
    /// One for each output, zeros up to a whole group.
    bias: Vec<f32>,
    activation: Activation,
}

impl Epilogue {
    /// `bias` has one value for each output.
    pub(super) fn new(bias: &[f32], activation: Activation) -> Self {
        let mut padded = bias.to_vec();
        padded.resize(bias.len().next_multiple_of(GROUP), 0.0);
        Self { outputs: bias.len(), bias: padded, activation }
    }

    /// Outputs in whole groups.
    pub(super) fn padded_outputs(&self) -> usize {
        self.bias.len()
    }
}

/// Where sums go.
pub(super) struct Target<'a> {
    epilogue: &'a Epilogue,
    values: &'a mut [f32],
    /// Values of a group in one picture. Asking the maps for it at each pixel would take a tenth of block 2's time.
    plane_len: usize,
    accumulate: bool,
    last: bool,
}

impl<'a> Target<'a> {
    /// Writes to `out`, or adds to what is there if `accumulate` says so. `last` says whether these sums complete the
    /// product: then the epilogue follows.
    pub(super) fn new(epilogue: &'a Epilogue, out: &'a mut FeatureMaps, accumulate: bool, last: bool) -> Self {
        let plane_len = out.plane_len();
        Self { epilogue, values: &mut out.values, plane_len, accumulate, last }
    }

    /// Outputs in whole groups.
    pub(super) fn padded_outputs(&self) -> usize {
        self.epilogue.padded_outputs()
    }

    /// Stores a pixel's sums for the outputs from `outputs.start` on, as far as there are outputs. `index` is where the
    /// pixel's first group is ([`FeatureMaps::index`]).
    #[inline(always)]
    pub(super) fn store<K: Microkernel>(
        &mut self,
        kernel: K,
        index: usize,
        outputs: Range<usize>,
        sums: [Vector<K>; NR_VECTORS],
    ) {
        for (n, mut sum) in sums.into_iter().enumerate() {
            let output = outputs.start + n * K::LANES;
            if output >= outputs.end {
                return;
            }
            let place = &mut self.values[index + output / GROUP * self.plane_len + output % GROUP..];
            if self.accumulate {
                sum = kernel.add(sum, kernel.load(place));
            }
            if self.last {
                sum = kernel.add(sum, kernel.load(&self.epilogue.bias[output..]));
                if self.epilogue.activation == Activation::Relu {
                    sum = kernel.relu(sum);
                }
            }
            kernel.store(sum, place);
        }
    }
}
