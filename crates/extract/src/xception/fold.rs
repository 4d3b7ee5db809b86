//! From Keras's tensors to convolutions: kernels transposed, batch norms folded in, shapes followed through the network.

use std::collections::HashMap;

use tch::{Kind, TchError, Tensor};

use super::RESIDUAL;
use super::convolution::{Activation, Convolution, Geometry};
use crate::arithmetic::Arithmetic;
use crate::weights::{Weights, tensors};

/// Keras's `BatchNormalization` in Xception.
const EPSILON: f64 = 1e-3;

/// Takes the layers in the order of the network, knowing the shape of what reaches each.
pub(super) struct Layers<'a> {
    weights: &'a Weights,
    shapes: HashMap<String, Vec<i64>>,
    arithmetic: Arithmetic,
    batch: i64,
    channels: i64,
    side: i64,
}

impl<'a> Layers<'a> {
    pub(super) fn new(weights: &'a Weights, arithmetic: Arithmetic, batch: i64, side: i64) -> Self {
        let shape = |shape: Vec<usize>| shape.into_iter().map(|length| length as i64).collect();
        let shapes = tensors().into_iter().map(|spec| (spec.name, shape(spec.shape))).collect();
        Self { weights, shapes, arithmetic, batch, channels: 3, side }
    }

    /// A 3x3 convolution without padding, its batch norm and ReLU.
    pub(super) fn convolution(&mut self, name: &str, stride: i64) -> Result<Convolution, TchError> {
        let geometry = Geometry { stride, padding: 0, groups: 1 };
        let folded = self.folded(name, "kernel", geometry, Activation::Relu)?;
        self.channels = self.outputs(&format!("{name}.kernel"));
        self.side = (self.side - 3) / stride + 1;
        Ok(folded)
    }

    /// A separable convolution that keeps the side, and its batch norm.
    pub(super) fn separable(&mut self, name: &str, activation: Activation) -> Result<super::Separable, TchError> {
        let geometry = Geometry { stride: 1, padding: 1, groups: self.channels };
        // (3, 3, channels, 1) to (channels, 1, 3, 3)
        let kernel = self.keras(&format!("{name}.depthwise"))?.f_permute([2, 3, 0, 1])?.f_contiguous()?;
        let kernel = self.to_run(kernel)?;
        let depthwise = Convolution::new(kernel, None, geometry, Activation::None, self.shape())?;
        let pointwise = self.folded(name, "pointwise", Geometry::POINTWISE, activation)?;
        self.channels = self.outputs(&format!("{name}.pointwise"));
        Ok(super::Separable { depthwise, pointwise })
    }

    /// The pointwise convolution beside a block, and its batch norm; to be asked for before the block's own layers.
    pub(super) fn residual(&self, name: &str) -> Result<Convolution, TchError> {
        self.folded(name, "kernel", RESIDUAL, Activation::None)
    }

    /// A pooling with stride 2.
    pub(super) fn halve(&mut self) {
        self.side = (self.side + 1) / 2;
    }

    /// `gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta` as one convolution with a bias.
    fn folded(
        &self,
        name: &str,
        kernel: &str,
        geometry: Geometry,
        activation: Activation,
    ) -> Result<Convolution, TchError> {
        let norm = |part| self.keras(&format!("{name}_bn.{part}"));
        let scale = norm("gamma")? / (norm("variance")? + EPSILON).f_sqrt()?;
        let bias = norm("beta")? - norm("mean")? * &scale;
        // HWIO times a scale per output channel, to OIHW
        let kernel = (self.keras(&format!("{name}.{kernel}"))? * scale).f_permute([3, 2, 0, 1])?.f_contiguous()?;
        Convolution::new(self.to_run(kernel)?, Some(self.to_run(bias)?), geometry, activation, self.shape())
    }

    fn to_run(&self, folded: Tensor) -> Result<Tensor, TchError> {
        folded.f_to_kind(self.arithmetic.kind())?.f_to_device(self.arithmetic.device())
    }

    /// A tensor in Keras's layout, in double precision: folding rounds once, at its end.
    fn keras(&self, name: &str) -> Result<Tensor, TchError> {
        let missing = || TchError::Torch(format!("the weights have no tensor {name}"));
        let shape = self.shapes.get(name).ok_or_else(missing)?;
        let values = self.weights.values(name).ok_or_else(missing)?;
        Tensor::f_from_slice(values)?.f_view(shape.as_slice())?.f_to_kind(Kind::Double)
    }

    /// The channels that a kernel gives.
    fn outputs(&self, kernel: &str) -> i64 {
        self.shapes.get(kernel).and_then(|shape| shape.last()).copied().unwrap_or_default()
    }

    fn shape(&self) -> [i64; 4] {
        [self.batch, self.channels, self.side, self.side]
    }
}
