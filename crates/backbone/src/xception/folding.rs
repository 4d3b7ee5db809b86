//! Folds each batch norm into the convolution before it.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::backend::interface::ConvWeights;
use crate::weights::{Weights, tensors};

/// Keras's `BatchNormalization(epsilon=…)` in Xception.
const EPSILON: f64 = 1e-3;

/// The network's weights with batch norms folded in.
pub(super) struct FoldedWeights<'a> {
    weights: &'a Weights,
    shapes: HashMap<String, Vec<usize>>,
}

/// The shape of a kernel in Keras's layout, (side, side, inputs, outputs).
struct KernelShape {
    side: usize,
    inputs: usize,
    outputs: usize,
}

impl<'a> FoldedWeights<'a> {
    pub(super) fn new(weights: &'a Weights) -> Self {
        Self { weights, shapes: tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect() }
    }

    /// The convolution of a `Conv2D` layer with its batch norm.
    pub(super) fn conv2d(&self, layer: &str) -> ConvWeights {
        self.folded(layer, "kernel")
    }

    /// The pointwise convolution of a `SeparableConv2D` layer with its batch norm.
    pub(super) fn pointwise(&self, layer: &str) -> ConvWeights {
        self.folded(layer, "pointwise")
    }

    /// The depthwise convolution of a `SeparableConv2D` layer, which has no batch norm.
    pub(super) fn depthwise(&self, layer: &str) -> ConvWeights {
        let KernelShape { side, inputs, .. } = self.shape(layer, "depthwise");
        let kernel = self.values(&format!("{layer}.depthwise")).to_vec();
        ConvWeights { side, inputs, outputs: inputs, kernel, bias: Vec::new() }
    }

    /// A layer's tensor and its batch norm, `gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta`, as one
    /// convolution with a bias. Computed in f64, then rounded to f32.
    fn folded(&self, layer: &str, tensor: &str) -> ConvWeights {
        let KernelShape { side, inputs, outputs } = self.shape(layer, tensor);
        let norm = |part| self.values(&format!("{layer}_bn.{part}"));
        let (gamma, beta, mean, variance) = (norm("gamma"), norm("beta"), norm("mean"), norm("variance"));
        let mut scale = Vec::with_capacity(outputs);
        let mut bias = Vec::with_capacity(outputs);
        for output in 0..outputs {
            let output_scale = f64::from(gamma[output]) / (f64::from(variance[output]) + EPSILON).sqrt();
            bias.push((f64::from(beta[output]) - f64::from(mean[output]) * output_scale) as f32);
            scale.push(output_scale);
        }
        let weights = self.values(&format!("{layer}.{tensor}"));
        let mut kernel = vec![0.0; weights.len()];
        kernel.par_chunks_exact_mut(outputs).zip(weights.par_chunks_exact(outputs)).for_each(|(folded, weights)| {
            for k in 0..outputs {
                folded[k] = (f64::from(weights[k]) * scale[k]) as f32;
            }
        });
        ConvWeights { side, inputs, outputs, kernel, bias }
    }

    /// The shape of a layer's tensor.
    fn shape(&self, layer: &str, tensor: &str) -> KernelShape {
        let shape = self.shapes.get(&format!("{layer}.{tensor}")).expect("every layer of the network has its tensors");
        KernelShape { side: shape[0], inputs: shape[2], outputs: shape[3] }
    }

    fn values(&self, tensor: &str) -> &'a [f32] {
        self.weights
            .values(tensor)
            .expect("weights have every tensor of the network: that is checked when they are read")
    }
}
