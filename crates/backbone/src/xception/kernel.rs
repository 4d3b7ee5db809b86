//! From Keras's tensors to the kernels that run: batch norms folded in.

use std::collections::HashMap;

use crate::network::NetworkError;
use crate::weights::{Weights, tensors};

/// Keras's `BatchNormalization` in Xception.
const EPSILON: f64 = 1e-3;

/// What a convolution multiplies and adds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kernel {
    /// Width and height.
    pub side: usize,
    /// Channels that it reads.
    pub inputs: usize,
    /// Channels that it gives; of a depthwise kernel one for each that it reads.
    pub outputs: usize,
    /// (side, side, inputs, outputs), Keras's HWIO; of a depthwise kernel (side, side, inputs).
    pub values: Vec<f32>,
    /// One for each output; none in a depthwise kernel.
    pub bias: Vec<f32>,
}

/// The kernels of the network's layers, by name.
pub(super) struct Kernels<'a> {
    weights: &'a Weights,
    shapes: HashMap<String, Vec<usize>>,
}

impl<'a> Kernels<'a> {
    pub(super) fn of(weights: &'a Weights) -> Self {
        Self { weights, shapes: tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect() }
    }

    /// A layer's depthwise kernel. (3, 3, channels, 1): there is nothing after it to fold in.
    pub(super) fn depthwise(&self, layer: &str) -> Result<Kernel, NetworkError> {
        let ([side, inputs, _], values) = self.tensor(&format!("{layer}.depthwise"))?;
        Ok(Kernel { side, inputs, outputs: inputs, values: values.to_vec(), bias: Vec::new() })
    }

    /// A layer's tensor `part` and its batch norm, `gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta`, as one
    /// convolution with a bias. Calculated in double precision, then rounded to f32.
    pub(super) fn folded(&self, layer: &str, part: &str) -> Result<Kernel, NetworkError> {
        let ([side, inputs, outputs], values) = self.tensor(&format!("{layer}.{part}"))?;
        let norm = |part| {
            let name = format!("{layer}_bn.{part}");
            let values = self.weights.values(&name).ok_or_else(|| missing(&name))?;
            Ok::<_, NetworkError>(values.iter().copied().map(f64::from))
        };
        let spread = norm("variance")?.map(|variance| (variance + EPSILON).sqrt());
        let scale: Vec<f64> = norm("gamma")?.zip(spread).map(|(gamma, spread)| gamma / spread).collect();
        let centre = norm("mean")?.zip(&scale).map(|(mean, scale)| mean * scale);
        let bias = norm("beta")?.zip(centre).map(|(beta, centre)| (beta - centre) as f32).collect();
        let mut folded = values.to_vec();
        for weights in folded.chunks_exact_mut(outputs) {
            weights.iter_mut().zip(&scale).for_each(|(weight, scale)| *weight = (f64::from(*weight) * scale) as f32);
        }
        Ok(Kernel { side, inputs, outputs, values: folded, bias })
    }

    /// The side, inputs and outputs that its shape says, and its values.
    fn tensor(&self, name: &str) -> Result<([usize; 3], &'a [f32]), NetworkError> {
        match (self.shapes.get(name).map(Vec::as_slice), self.weights.values(name)) {
            (Some(&[side, _, inputs, outputs]), Some(values)) => Ok(([side, inputs, outputs], values)),
            _ => Err(missing(name)),
        }
    }
}

fn missing(name: &str) -> NetworkError {
    NetworkError(format!("the weights have no tensor {name}"))
}
