//! What happens to the sums of a product on their way from the registers to the feature maps: bias, ReLU, addition to what
//! is there.

use std::ops::Range;

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, NR_VECTORS, Vector};
use crate::backend::interface::Activation;

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

/// What becomes of a layer's results.
pub(super) struct Output<'a> {
    pub epilogue: &'a Epilogue,
    /// Where they are written.
    pub maps: &'a mut FeatureMaps,
    /// Whether they are added to what is there.
    pub accumulate: bool,
}

/// Where the sums over one block of inputs go.
pub(super) struct Target<'a> {
    epilogue: &'a Epilogue,
    values: &'a mut [f32],
    /// Values of a group in one picture. Asking the maps for it at each pixel would take a tenth of block 2's time.
    plane_len: usize,
    accumulate: bool,
    last: bool,
}

impl Output<'_> {
    /// For the sums over a block of inputs. Those of the first are written as the output says, those of others are added;
    /// those of the last complete the result, and the epilogue follows.
    pub(super) fn target(&mut self, first: bool, last: bool) -> Target<'_> {
        let plane_len = self.maps.plane_len();
        let accumulate = self.accumulate || !first;
        Target { epilogue: self.epilogue, values: &mut self.maps.values, plane_len, accumulate, last }
    }
}

impl Target<'_> {
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
