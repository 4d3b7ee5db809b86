//! A convolution fused with what follows it: bias, ReLU, addition.
//!
//! On the CPU this is one call of oneDNN, with weights that were packed once for their input's shape. libtorch exports
//! the call for its own compiler (torch/csrc/inductor/aoti_torch/c/shim_cpu.h). Its plain convolution packs the weights
//! at every call, and each of the other steps is another pass over the output.

use tch::{TchError, Tensor};

use super::geometry::Geometry;
use super::onednn;
use crate::backend::interface::{Activation, Shape};

/// A convolution over channels_last tensors.
#[derive(Debug)]
pub(crate) struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Geometry,
    activation: Activation,
    packed: bool,
}

impl Convolution {
    /// `weight` is OIHW, on the device that computes. It is packed for oneDNN if `packed_for` has the shape of its
    /// inputs.
    pub(super) fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        geometry: Geometry,
        activation: Activation,
        packed_for: Option<Shape>,
    ) -> Result<Self, TchError> {
        let weight = match packed_for {
            Some(input) => pack(&weight, geometry, input)?,
            None => weight,
        };
        Ok(Self { weight, bias, geometry, activation, packed: packed_for.is_some() })
    }

    /// The convolution of `x`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        if self.packed {
            return onednn::convolution(x, &self.weight, self.bias.as_ref(), self.geometry, self.activation);
        }
        let mut y = self.forward_unfused(x)?;
        match self.activation {
            Activation::Linear => Ok(y),
            Activation::Relu => y.f_relu_(),
        }
    }

    /// The convolution of `x`, added to `sum`.
    pub(super) fn accumulate(&self, x: &Tensor, mut sum: Tensor) -> Result<Tensor, TchError> {
        if self.packed {
            return onednn::convolution_accumulate(x, sum, &self.weight, self.bias.as_ref(), self.geometry);
        }
        sum.f_add_(&self.forward_unfused(x)?)
    }

    /// The convolution with its bias, as PyTorch's `conv2d`, without TF32 (cuDNN would round f32 factors to 10 bits)
    /// and with a deterministic algorithm of cuDNN.
    fn forward_unfused(&self, x: &Tensor) -> Result<Tensor, TchError> {
        const TRANSPOSED: bool = false;
        const BENCHMARK: bool = false;
        const DETERMINISTIC: bool = true;
        const CUDNN: bool = true;
        const TF32: bool = false;
        let Geometry { stride, padding, groups } = self.geometry;
        x.f_internal_convolution(
            &self.weight,
            self.bias.as_ref(),
            [stride, stride],
            [padding, padding],
            [1, 1],
            TRANSPOSED,
            [0, 0],
            groups,
            BENCHMARK,
            DETERMINISTIC,
            CUDNN,
            TF32,
        )
    }
}

/// A clone shares the weights.
impl Clone for Convolution {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.as_ref().map(Tensor::shallow_clone), ..*self }
    }
}

/// Weights are packed for at least this many pictures. oneDNN chooses the layout without knowing of the fused steps;
/// for fewer pictures the fused call may need another layout and convert the weights every time, which takes 20 times
/// as long for a single picture of 150x150 pixels.
const MIN_PACKED_PICTURES: usize = 4;

/// The weight in the layout that oneDNN chooses for this shape of input.
fn pack(weight: &Tensor, geometry: Geometry, input: Shape) -> Result<Tensor, TchError> {
    let Geometry { stride, padding, groups } = geometry;
    let Shape { pictures, side, channels } = input;
    weight.f_to_mkldnn(weight.kind())?.f_mkldnn_reorder_conv2d_weight(
        [padding, padding],
        [stride, stride],
        [1, 1],
        groups,
        [pictures.max(MIN_PACKED_PICTURES), channels, side, side].map(|length| length as i64).as_slice(),
    )
}
