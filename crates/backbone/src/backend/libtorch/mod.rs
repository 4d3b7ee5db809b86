//! The libtorch backend: f32, bf16 and f16 on GPUs; on CPUs f32 and bf16, where our own kernels are slower or the user
//! chooses libtorch's.
//!
//! Feature maps are channels_last tensors: their shape is NCHW, their memory NHWC.

mod geometry;
mod onednn;
mod convolution;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use tch::{Device, Kind, TchError, Tensor, no_grad};

use self::convolution::Convolution;
use self::geometry::Geometry;
use crate::backend::interface::{
    Activation, Backend, Conv2dParams, ConvWeights, HALF_RANGE, SeparableConv2dParams, Shape,
};
use crate::compute;
use crate::network::NetworkError;
use crate::precision::NumberFormat;

/// A device of libtorch and the number format that it computes in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Libtorch {
    device: Device,
    kind: Kind,
    /// Whether oneDNN runs a convolution, its activation and addition in one fused step.
    fused: bool,
}

/// A depthwise 3x3 convolution, then a pointwise one.
#[derive(Debug, Clone)]
pub(crate) struct SeparableConv2d {
    input_activation: Activation,
    depthwise: Convolution,
    pointwise: Convolution,
}

impl Backend for Libtorch {
    /// Shape NCHW, memory NHWC.
    type FeatureMaps = Tensor;
    type Conv2d = Convolution;
    type SeparableConv2d = SeparableConv2d;
    const ENTRY_PICTURES: usize = usize::MAX;

    fn describe(&self) -> String {
        match self.kind {
            Kind::BFloat16 => "libtorch's (bf16)".to_owned(),
            Kind::Half => "libtorch's (f16)".to_owned(),
            _ => "libtorch's".to_owned(),
        }
    }

    fn prepare_conv2d(&self, params: &Conv2dParams, input: Shape) -> Result<Convolution, NetworkError> {
        Ok(self.convolution(&params.weights, params.stride, params.activation, input)?)
    }

    fn prepare_separable_conv2d(
        &self,
        params: &SeparableConv2dParams,
        input: Shape,
    ) -> Result<SeparableConv2d, NetworkError> {
        let geometry = Geometry { stride: 1, padding: 1, groups: input.channels as i64 };
        let depthwise = self.prepare_weight(&hwio(&params.depthwise)?.f_permute([2, 3, 0, 1])?)?;
        Ok(SeparableConv2d {
            input_activation: params.input_activation,
            depthwise: Convolution::new(depthwise, None, geometry, Activation::Linear, self.packed_for(input))?,
            pointwise: self.convolution(&params.pointwise, 1, params.activation, input)?,
        })
    }

    /// Always a batch of `shape.pictures`: black pictures are added at the end. Weights are packed for this batch size,
    /// and on a GPU the rounding of rows depends on it.
    fn input(&self, pixels: &[u8], shape: Shape) -> Result<Tensor, NetworkError> {
        let Shape { pictures, side, channels } = shape;
        let mut pixels = Cow::Borrowed(pixels);
        if pixels.len() < pictures * shape.picture_len() {
            pixels.to_mut().resize(pictures * shape.picture_len(), 0);
        }
        let pixels = self.send_to_device(Tensor::f_from_slice(&pixels)?)?;
        // CUDA divides by multiplying with the reciprocal: the last bit may differ there.
        let scaled = pixels.f_to_kind(Kind::Float)?.f_div_scalar_(f64::from(HALF_RANGE))?.f_sub_scalar_(1.0)?;
        let nhwc = [pictures, side, side, channels].map(|length| length as i64);
        Ok(scaled.f_to_kind(self.kind)?.f_view(nhwc)?.f_permute([0, 3, 1, 2])?)
    }

    fn conv2d(&self, layer: &Convolution, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(layer.forward(x)?)
    }

    fn conv2d_accumulate(&self, layer: &Convolution, x: &Tensor, sum: Tensor) -> Result<Tensor, NetworkError> {
        Ok(layer.accumulate(x, sum)?)
    }

    fn separable_conv2d(&self, layer: &SeparableConv2d, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(layer.pointwise.forward(&layer.depthwise(x)?)?)
    }

    fn separable_conv2d_accumulate(
        &self,
        layer: &SeparableConv2d,
        x: &Tensor,
        sum: Tensor,
    ) -> Result<Tensor, NetworkError> {
        Ok(layer.pointwise.accumulate(&layer.depthwise(x)?, sum)?)
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        // TensorFlow's 'same' padding: an odd side is padded at both ends, an even one only at the far end, as ceil_mode
        // does.
        let ceil_mode = x.size().last().is_some_and(|side| side % 2 == 0);
        let padding = i64::from(!ceil_mode);
        Ok(x.f_max_pool2d([3, 3], [2, 2], [padding, padding], [1, 1], ceil_mode)?)
    }

    fn concat(&self, mut parts: Vec<Tensor>) -> Result<Tensor, NetworkError> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    fn global_average_pool(&self, x: &Tensor) -> Result<Vec<f32>, NetworkError> {
        let rows = x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        Ok(Vec::try_from(rows.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?)
    }

    fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.device == Device::Cpu {
            // OpenMP has this setting per thread; each worker is a thread of its own.
            tch::set_num_threads(1);
        }
        no_grad(work)
    }
}

impl Libtorch {
    pub(crate) fn new(device: compute::Device, format: NumberFormat) -> Self {
        let device = match device {
            compute::Device::Cpu => Device::Cpu,
            compute::Device::Cuda(number) => Device::Cuda(number),
        };
        let kind = match format {
            NumberFormat::F32 => Kind::Float,
            NumberFormat::Bf16 => Kind::BFloat16,
            NumberFormat::F16 => Kind::Half,
        };
        Self { device, kind, fused: onednn::AVAILABLE && device == Device::Cpu }
    }

    /// This backend with unfused convolutions on the CPU, as on a GPU.
    #[cfg(test)]
    pub(crate) fn without_onednn(self) -> Self {
        Self { fused: false, ..self }
    }

    /// A convolution without padding.
    fn convolution(
        self,
        weights: &ConvWeights,
        stride: usize,
        activation: Activation,
        input: Shape,
    ) -> Result<Convolution, TchError> {
        let geometry = Geometry { stride: stride as i64, padding: 0, groups: 1 };
        let weight = self.prepare_weight(&hwio(weights)?.f_permute([3, 2, 0, 1])?)?;
        let bias = self.prepare_weight(&Tensor::f_from_slice(&weights.bias)?)?;
        Convolution::new(weight, Some(bias), geometry, activation, self.packed_for(input))
    }

    /// The shape to pack weights for; `None` without oneDNN.
    fn packed_for(self, input: Shape) -> Option<Shape> {
        self.fused.then_some(input)
    }

    /// Copies pixels to the device as bytes, a quarter of the size of f32; to a GPU asynchronously, from pinned memory.
    fn send_to_device(self, pixels: Tensor) -> Result<Tensor, TchError> {
        match self.device {
            Device::Cpu => Ok(pixels),
            // `pin_memory` itself would print that its argument is deprecated.
            gpu => pixels.f_internal_pin_memory(gpu)?.f_to_device_(gpu, pixels.kind(), true, false),
        }
    }

    /// A weight, contiguous, in the backend's precision and on its device.
    fn prepare_weight(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        tensor.f_contiguous()?.f_to_kind(self.kind)?.f_to_device(self.device)
    }
}

/// A kernel as a tensor in Keras's layout.
fn hwio(weights: &ConvWeights) -> Result<Tensor, TchError> {
    let &ConvWeights { side, inputs, ref kernel, .. } = weights;
    Tensor::f_from_slice(kernel)?.f_view([side as i64, side as i64, inputs as i64, -1])
}

impl SeparableConv2d {
    /// The depthwise convolution of `x`.
    fn depthwise(&self, x: &Tensor) -> Result<Tensor, TchError> {
        match self.input_activation {
            Activation::Linear => self.depthwise.forward(x),
            Activation::Relu => self.depthwise.forward(&x.f_relu()?),
        }
    }
}

/// Keeps only the first line, since libtorch's backtrace follows it.
impl From<TchError> for NetworkError {
    fn from(error: TchError) -> Self {
        Self::Backend(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
