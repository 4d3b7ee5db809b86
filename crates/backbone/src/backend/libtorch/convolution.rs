//! One convolution with everything that follows it in the same step: bias, ReLU, addition.
//!
//! On the CPU that is one call of oneDNN with weights packed once for their input's shape. libtorch exports it for its
//! own compiler (torch/csrc/inductor/aoti_torch/c/shim_cpu.h); its plain convolution packs the weights at every call
//! and goes over the output once more for each of the other steps.

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
    /// `weight` is OIHW, on the device that it will run on. With the shape of its inputs in `packed_for`, it is packed
    /// for oneDNN.
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
        let mut y = self.plain(x)?;
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
        sum.f_add_(&self.plain(x)?)
    }

    /// `conv2d`, except that f32 means f32: cuDNN would otherwise round the factors to 10 bits (TF32). And cuDNN has to
    /// choose a deterministic algorithm.
    fn plain(&self, x: &Tensor) -> Result<Tensor, TchError> {
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

/// For another thread; the weights are shared.
impl Clone for Convolution {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.as_ref().map(Tensor::shallow_clone), ..*self }
    }
}

/// Weights are packed for at least this many pictures. The layout is asked for without the fused steps; for fewer
/// pictures oneDNN may then run with another layout and convert the weights at every call, which takes 20 times as long
/// for a single picture of 150x150 pixels.
const MIN_PACKED_PICTURES: usize = 4;

/// oneDNN's own layout for this weight and input.
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
