//! The layers in libtorch: on GPUs, in bf16 and f16, and in f32 where our own kernels do not suit the processor.
//!
//! Tensors are channels_last throughout, which to libtorch is an NHWC buffer seen through a permutation.

mod convolution;
mod onednn;
#[cfg(test)]
mod tests;

use tch::{Device, Kind, TchError, Tensor};

use self::convolution::{Convolution, Geometry};
use super::kernel::Kernel;
use super::layers::{Activation, Backend, HALF_RANGE, Layer, Shape};
use crate::compute::{self, Precision};
use crate::network::NetworkError;

/// A device of libtorch and the numbers that it calculates with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Libtorch {
    device: Device,
    kind: Kind,
    /// Whether oneDNN does a convolution and what follows it in one step.
    fused: bool,
}

/// A depthwise 3x3 convolution, then a pointwise one.
#[derive(Debug, Clone)]
pub(super) struct Separable {
    before: Activation,
    depthwise: Convolution,
    pointwise: Convolution,
}

impl Backend for Libtorch {
    /// NCHW by name, NHWC in memory.
    type Maps = Tensor;
    type Convolution = Convolution;
    type Separable = Separable;
    const ENTERING: usize = usize::MAX;

    fn convolution(
        &self,
        kernel: Kernel,
        stride: usize,
        after: Activation,
        input: Shape,
    ) -> Result<Convolution, NetworkError> {
        let geometry = Geometry { stride: stride as i64, padding: 0, groups: 1 };
        let weight = Self::tensor(&kernel)?.f_permute([3, 2, 0, 1])?;
        let bias = Tensor::f_from_slice(&kernel.bias)?;
        Ok(Convolution::new(self.to_run(&weight)?, Some(self.to_run(&bias)?), geometry, after, self.packed_for(input))?)
    }

    fn separable(
        &self,
        before: Activation,
        [depthwise, pointwise]: [Kernel; 2],
        after: Activation,
        input: Shape,
    ) -> Result<Separable, NetworkError> {
        let geometry = Geometry { stride: 1, padding: 1, groups: input.channels as i64 };
        let weight = self.to_run(&Self::tensor(&depthwise)?.f_permute([2, 3, 0, 1])?)?;
        Ok(Separable {
            before,
            depthwise: Convolution::new(weight, None, geometry, Activation::None, self.packed_for(input))?,
            pointwise: self.convolution(pointwise, 1, after, input)?,
        })
    }

    fn input(&self, pixels: &[u8], Shape { pictures, side, channels }: Shape) -> Result<Tensor, NetworkError> {
        if self.device == Device::Cpu {
            // OpenMP keeps this per thread, and each worker is one.
            tch::set_num_threads(1);
        }
        let pixels = self.sent(Tensor::f_from_slice(pixels)?)?;
        // CUDA divides by multiplying with the reciprocal: the last bit may differ there.
        let scaled = pixels.f_to_kind(Kind::Float)?.f_div_scalar_(f64::from(HALF_RANGE))?.f_sub_scalar_(1.0)?;
        let nhwc = [pictures, side, side, channels].map(|length| length as i64);
        Ok(scaled.f_to_kind(self.kind)?.f_view(nhwc)?.f_permute([0, 3, 1, 2])?)
    }

    fn stack(
        &self,
        mut parts: impl Iterator<Item = Result<Tensor, NetworkError>>,
        _: usize,
    ) -> Result<Tensor, NetworkError> {
        // All pictures enter together.
        parts.next().unwrap_or_else(|| Err(NetworkError("a batch without pictures".to_owned())))
    }

    fn halve(x: &Tensor) -> Result<Tensor, NetworkError> {
        let even = x.size().last().is_some_and(|side| side % 2 == 0);
        let padding = i64::from(!even);
        Ok(x.f_max_pool2d([3, 3], [2, 2], [padding, padding], [1, 1], even)?)
    }

    fn mean(x: &Tensor) -> Result<Vec<f32>, NetworkError> {
        let rows = x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        Ok(Vec::try_from(rows.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?)
    }
}

impl Libtorch {
    pub(super) fn new(device: compute::Device, precision: Precision) -> Self {
        let device = match device {
            compute::Device::Cpu => Device::Cpu,
            compute::Device::Cuda(number) => Device::Cuda(number),
        };
        let kind = match precision {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::F16 => Kind::Half,
        };
        Self { device, kind, fused: onednn::AVAILABLE && device == Device::Cpu }
    }

    fn packed_for(self, input: Shape) -> Option<Shape> {
        self.fused.then_some(input)
    }

    /// Pixels on the device: as bytes, so that few have to get there. A GPU fetches them itself, from memory that stays in
    /// place (pinned), while its kernels are still being called.
    fn sent(self, pixels: Tensor) -> Result<Tensor, TchError> {
        match self.device {
            Device::Cpu => Ok(pixels),
            // `pin_memory` itself would print that its argument is deprecated.
            gpu => pixels.f_internal_pin_memory(gpu)?.f_to_device_(gpu, pixels.kind(), true, false),
        }
    }

    /// HWIO.
    fn tensor(kernel: &Kernel) -> Result<Tensor, TchError> {
        let &Kernel { side, inputs, ref values, .. } = kernel;
        Tensor::f_from_slice(values)?.f_view([side as i64, side as i64, inputs as i64, -1])
    }

    fn to_run(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        tensor.f_contiguous()?.f_to_kind(self.kind)?.f_to_device(self.device)
    }
}

impl Layer<Tensor> for Convolution {
    fn forward(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(self.of(x)?)
    }

    fn forward_onto(&self, x: &Tensor, sum: Tensor) -> Result<Tensor, NetworkError> {
        Ok(self.added(x, sum)?)
    }
}

impl Layer<Tensor> for Separable {
    fn forward(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(self.pointwise.of(&self.windows(x)?)?)
    }

    fn forward_onto(&self, x: &Tensor, sum: Tensor) -> Result<Tensor, NetworkError> {
        Ok(self.pointwise.added(&self.windows(x)?, sum)?)
    }
}

impl Separable {
    fn windows(&self, x: &Tensor) -> Result<Tensor, TchError> {
        match self.before {
            Activation::None => self.depthwise.of(x),
            Activation::Relu => self.depthwise.of(&x.f_relu()?),
        }
    }
}

/// The first line: libtorch goes on with where in its own code it happened.
impl From<TchError> for NetworkError {
    fn from(error: TchError) -> Self {
        Self(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
