//! What happens to accumulators on their way from the registers to the feature maps: they are stored, or added to what is
//! there; after the last block of inputs, bias and activation are applied.

use std::ops::Range;

use super::feature_maps::{FeatureMaps, GROUP};
use super::microkernel::{Microkernel, Vector};
use crate::backend::interface::Activation;

/// A layer's bias and activation.
#[derive(Debug)]
pub(super) struct Epilogue {
    /// Channels of the output.
    pub outputs: usize,
    /// One for each output, padded with zeros to whole groups.
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

    /// Number of outputs, rounded up to whole groups.
    pub(super) fn padded_outputs(&self) -> usize {
        self.bias.len()
    }
}

/// Where a layer's output is written, with its bias and activation.
pub(super) struct Output<'a> {
    pub epilogue: &'a Epilogue,
    /// The feature maps that the output is written to.
    pub maps: &'a mut FeatureMaps,
    /// Whether the output is added to what `maps` holds; otherwise it replaces that.
    pub accumulate: bool,
}

/// Where accumulators go after one block of inputs.
pub(super) struct Target<'a, E> {
    epilogue: &'a Epilogue,
    elements: &'a mut [E],
    /// Values of a group in one picture. Asking the maps for it at each pixel would take a tenth of the time of Xception's
    /// block 2.
    plane_len: usize,
    accumulate: bool,
    last: bool,
}

impl Output<'_> {
    /// The target of one block of inputs. Accumulators of the first block are stored, or added if the output says so.
    /// Those of later blocks are added. After the last block the values are complete, and bias and activation are
    /// applied.
    pub(super) fn target<K: Microkernel>(&mut self, first: bool, last: bool) -> Target<'_, K::Element> {
        let plane_len = self.maps.plane_len();
        let accumulate = self.accumulate || !first;
        Target { epilogue: self.epilogue, elements: self.maps.elements_mut::<K>(), plane_len, accumulate, last }
    }
}

impl<E> Target<'_, E> {
    /// Number of outputs, rounded up to whole groups.
    pub(super) fn padded_outputs(&self) -> usize {
        self.epilogue.padded_outputs()
    }

    /// Stores the accumulators of some pixels: `VECTORS` vectors of outputs from `outputs.start` on. Those from
    /// `outputs.end` on are padding and are not stored. Each pixel comes with the index of its first element in group 0
    /// ([`FeatureMaps::index`]).
    #[inline(always)]
    pub(super) fn store<'t, K: Microkernel<Element = E>, const VECTORS: usize>(
        &mut self,
        kernel: K,
        outputs: Range<usize>,
        pixels: impl Iterator<Item = (usize, &'t [Vector<K>; VECTORS])> + Clone,
    ) {
        let (accumulate, last) = (self.accumulate, self.last);
        let relu = self.epilogue.activation == Activation::Relu;
        for (n, output) in outputs.step_by(K::LANES).take(VECTORS).enumerate() {
            let bias = kernel.load_f32(&self.epilogue.bias[output..]);
            let elements = &mut self.elements[output / GROUP * self.plane_len + output % GROUP..];
            for (index, accumulators) in pixels.clone() {
                let out = &mut elements[index..];
                let mut value = accumulators[n];
                if accumulate {
                    value = kernel.add(value, kernel.load(out));
                }
                if last {
                    value = kernel.add(value, bias);
                    if relu {
                        value = kernel.relu(value);
                    }
                }
                kernel.store(value, out);
            }
        }
    }
}
