//! The layers on the CPU, in our own kernels.
//!
//! ```text
//! feature maps ─ pack (im2col, or a depthwise convolution) ─▶ panel ─ matrix product ─ epilogue ─▶ feature maps
//! ```
//!
//! A layer computes its output in bands of pixels: it packs the inputs of a band into a panel and multiplies them
//! there. So a depthwise convolution's output never goes through memory, and every convolution but one (winograd) is
//! the same matrix product (direct, strassen). A call uses one core.
//!
//! oneDNN, libtorch's kernels on the CPU, runs each layer for the whole batch. In large layers it does eight
//! multiplications where Strassen's algorithm does seven, and in block 1's second convolution 36 where Winograd's does
//! 16. We add in one fixed order with fused multiply-adds, so a row has the same bits in any batch and with any vector
//! length.
//!
//! Only the microkernel depends on number format and vector length: f32_microkernel or bf16_microkernel.

mod buffers;
mod microkernel;
mod feature_maps;
mod f32_microkernel;
#[cfg(target_arch = "x86_64")]
mod bf16_microkernel;
mod weight_matrix;
mod epilogue;
mod pack;
mod im2col;
mod depthwise;
mod direct;
mod strassen;
mod product;
mod winograd;
mod pool;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytemuck::cast_slice_mut;

use self::buffers::{Buffer, Buffers};
use self::depthwise::Depthwise;
use self::epilogue::{Epilogue, Output};
use self::feature_maps::{FeatureMaps, GROUP};
use self::im2col::Im2col;
use self::microkernel::{MR, Microkernel, NR_VECTORS, Task};
use self::pack::PackPixels;
use self::pool::{GlobalAveragePool, MaxPool};
use self::product::PackedMatrix;
use self::winograd::Winograd;
use crate::backend::interface::{
    Activation, Backend, Conv2dParams, ConvWeights, HALF_RANGE, SeparableConv2dParams, Shape, output_side,
};
use crate::network::NetworkError;
use crate::processor::Instructions;

/// Our own kernels on one core, with a pool of buffers. A clone has a pool of its own.
#[derive(Debug, Clone)]
pub(crate) struct Cpu {
    instructions: Instructions,
    buffers: Buffers,
}

/// A convolution without padding.
#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    /// Width and height of the kernel.
    kernel_size: usize,
    stride: usize,
    weights: Arc<PackedConv2d>,
    epilogue: Arc<Epilogue>,
}

/// A convolution's weights, packed for the algorithm that computes it.
#[derive(Debug)]
enum PackedConv2d {
    Product(PackedMatrix),
    Winograd(Winograd),
}

/// A depthwise 3x3 convolution, then a pointwise one.
#[derive(Debug, Clone)]
pub(crate) struct SeparableConv2d {
    input_activation: Activation,
    /// (9, channels), padded with zeros to whole groups.
    depthwise: Arc<[f32]>,
    pointwise: Arc<PackedMatrix>,
    epilogue: Arc<Epilogue>,
}

impl Cpu {
    /// Runs with these instructions.
    pub(crate) fn new(instructions: Instructions) -> Self {
        Self { instructions, buffers: Buffers::default() }
    }

    /// Runs a task in the microkernel of these instructions.
    fn run<T: Task>(&self, task: T) -> T::Output {
        match self.instructions {
            Instructions::F32(simd) => f32_microkernel::run(simd, task),
            #[cfg(target_arch = "x86_64")]
            Instructions::Bf16(simd) => bf16_microkernel::run(simd, task),
        }
    }

    /// The convolution of `x`, in `out` or added to what is there.
    fn run_conv2d(&self, layer: &Conv2d, x: &FeatureMaps, mut out: FeatureMaps, accumulate: bool) -> FeatureMaps {
        let output = Output { epilogue: &layer.epilogue, maps: &mut out, accumulate };
        match &*layer.weights {
            PackedConv2d::Product(weights) => {
                let pixels = Im2col { x, kernel_size: layer.kernel_size, stride: layer.stride };
                self.run(RunProduct { weights, pixels, output });
            }
            PackedConv2d::Winograd(weights) => self.run(RunWinograd { weights, x, output }),
        }
        out
    }

    /// The separable convolution of `x`, in `out` or added to what is there.
    fn run_separable_conv2d(
        &self,
        layer: &SeparableConv2d,
        x: &FeatureMaps,
        mut out: FeatureMaps,
        accumulate: bool,
    ) -> FeatureMaps {
        let pixels = Depthwise { x, activation: layer.input_activation, taps: &layer.depthwise };
        let output = Output { epilogue: &layer.epilogue, maps: &mut out, accumulate };
        self.run(RunProduct { weights: &layer.pointwise, pixels, output });
        out
    }
}

impl Backend for Cpu {
    type FeatureMaps = FeatureMaps;
    type Conv2d = Conv2d;
    type SeparableConv2d = SeparableConv2d;
    const ENTRY_PICTURES: usize = 1;

    fn describe(&self) -> String {
        format!("icebox's own ({}, tiles of {MR} pixels x {NR_VECTORS} vectors)", self.instructions)
    }

    fn prepare_conv2d(&self, params: &Conv2dParams, _: Shape) -> Result<Conv2d, NetworkError> {
        let &Conv2dParams { ref weights, stride, activation, .. } = params;
        let packed = self.run(PackConv2d { weights, stride });
        let epilogue = Arc::new(Epilogue::new(&weights.bias, activation));
        Ok(Conv2d { kernel_size: weights.side, stride, weights: Arc::new(packed), epilogue })
    }

    fn prepare_separable_conv2d(
        &self,
        params: &SeparableConv2dParams,
        _: Shape,
    ) -> Result<SeparableConv2d, NetworkError> {
        let SeparableConv2dParams { depthwise, pointwise, .. } = params;
        // Each tap's channels are padded to whole groups.
        let mut taps = Vec::new();
        for channels in depthwise.kernel.chunks_exact(depthwise.inputs) {
            taps.extend_from_slice(channels);
            taps.resize(taps.len().next_multiple_of(GROUP), 0.0);
        }
        Ok(SeparableConv2d {
            input_activation: params.input_activation,
            depthwise: taps.into(),
            pointwise: Arc::new(self.run(PackPointwise(pointwise))),
            epilogue: Arc::new(Epilogue::new(&pointwise.bias, params.activation)),
        })
    }

    /// Rows do not depend on the batch: a smaller one costs only its own pictures.
    fn input(&self, pixels: &[u8], shape: Shape) -> Result<FeatureMaps, NetworkError> {
        let bytes = self.run(ScalePixels { pixels, buffers: &self.buffers });
        let pictures = pixels.len() / shape.picture_len();
        Ok(FeatureMaps { pictures, side: shape.side, channels: shape.channels, bytes })
    }

    fn conv2d(&self, layer: &Conv2d, x: &FeatureMaps) -> Result<FeatureMaps, NetworkError> {
        let out = x.new_like(output_side(x.side, layer.kernel_size, layer.stride), layer.epilogue.outputs);
        Ok(self.run_conv2d(layer, x, out, false))
    }

    fn conv2d_accumulate(
        &self,
        layer: &Conv2d,
        x: &FeatureMaps,
        sum: FeatureMaps,
    ) -> Result<FeatureMaps, NetworkError> {
        Ok(self.run_conv2d(layer, x, sum, true))
    }

    fn separable_conv2d(&self, layer: &SeparableConv2d, x: &FeatureMaps) -> Result<FeatureMaps, NetworkError> {
        let out = x.new_like(x.side, layer.epilogue.outputs);
        Ok(self.run_separable_conv2d(layer, x, out, false))
    }

    fn separable_conv2d_accumulate(
        &self,
        layer: &SeparableConv2d,
        x: &FeatureMaps,
        sum: FeatureMaps,
    ) -> Result<FeatureMaps, NetworkError> {
        Ok(self.run_separable_conv2d(layer, x, sum, true))
    }

    fn max_pool(&self, x: &FeatureMaps) -> Result<FeatureMaps, NetworkError> {
        let mut out = x.new_like(x.side.div_ceil(2), x.channels);
        self.run(MaxPool { x, out: &mut out });
        Ok(out)
    }

    fn concat(&self, mut parts: Vec<FeatureMaps>) -> Result<FeatureMaps, NetworkError> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let pictures = parts.iter().map(|part| part.pictures).sum();
        let length = parts.iter().map(|part| part.bytes.len()).sum();
        let mut bytes = self.buffers.take::<u8>(length);
        let mut start = 0;
        for part in &parts {
            let end = start + part.bytes.len();
            bytes[start..end].copy_from_slice(&part.bytes);
            start = end;
        }
        let first = parts.first().expect("there is at least one part");
        Ok(FeatureMaps { pictures, side: first.side, channels: first.channels, bytes })
    }

    fn global_average_pool(&self, x: &FeatureMaps) -> Result<Vec<f32>, NetworkError> {
        Ok(self.run(GlobalAveragePool { x }))
    }
}

/// The network's input from pixels, each brought to the range from -1 to 1.
struct ScalePixels<'a> {
    pixels: &'a [u8],
    buffers: &'a Buffers,
}

impl Task for ScalePixels<'_> {
    type Output = Buffer<u8>;

    #[inline(always)]
    fn run<K: Microkernel>(self, _: K) -> Buffer<u8> {
        let element = |pixel| K::element(f32::from(pixel) / HALF_RANGE - 1.0);
        let of_pixel: [K::Element; 256] = std::array::from_fn(|pixel| element(pixel as u8));
        let mut bytes = self.buffers.take(self.pixels.len() * size_of::<K::Element>());
        let elements: &mut [K::Element] = cast_slice_mut(&mut bytes);
        for (element, &pixel) in elements.iter_mut().zip(self.pixels) {
            *element = of_pixel[usize::from(pixel)];
        }
        bytes
    }
}

/// Packs the weights of a convolution.
struct PackConv2d<'a> {
    weights: &'a ConvWeights,
    stride: usize,
}

impl Task for PackConv2d<'_> {
    type Output = PackedConv2d;

    #[inline(always)]
    fn run<K: Microkernel>(self, _: K) -> PackedConv2d {
        if K::SUMS_FIT_ELEMENTS && Winograd::applies_to(self.weights, self.stride) {
            PackedConv2d::Winograd(Winograd::pack::<K>(self.weights))
        } else {
            PackedConv2d::Product(PackedMatrix::pack::<K>(self.weights))
        }
    }
}

/// Packs the weights of a pointwise convolution.
struct PackPointwise<'a>(&'a ConvWeights);

impl Task for PackPointwise<'_> {
    type Output = PackedMatrix;

    #[inline(always)]
    fn run<K: Microkernel>(self, _: K) -> PackedMatrix {
        PackedMatrix::pack::<K>(self.0)
    }
}

/// Runs [`PackedMatrix::run`].
struct RunProduct<'a, P> {
    weights: &'a PackedMatrix,
    pixels: P,
    output: Output<'a>,
}

impl<P: PackPixels> Task for RunProduct<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<K: Microkernel>(self, kernel: K) {
        self.weights.run(kernel, &self.pixels, self.output);
    }
}

/// Runs [`Winograd::run`].
struct RunWinograd<'a> {
    weights: &'a Winograd,
    x: &'a FeatureMaps,
    output: Output<'a>,
}

impl Task for RunWinograd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Microkernel>(self, kernel: K) {
        self.weights.run(kernel, self.x, self.output);
    }
}
