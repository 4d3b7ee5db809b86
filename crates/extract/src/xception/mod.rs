//! Xception without its top, as Keras defines it (keras/src/applications/xception.py; Chollet 2017, arXiv 1610.02357).
//!
//! ```text
//! weights ─ kernel (batch norms folded in) ─ layers (their order) ─┬─ cpu (our own kernels: f32 on AVX2)
//!                                                                  └─ libtorch (GPUs, bf16, f16, other processors)
//! ```

mod cpu;
mod kernel;
mod layers;
mod libtorch;

use std::time::{Duration, Instant};

use tch::{Device, no_grad};

use self::cpu::Cpu;
use self::layers::{Layers, Shape, leaving};
use self::libtorch::Libtorch;
use crate::arithmetic::{Arithmetic, Kernels, Precision};
use crate::pipeline::{Network, NetworkError};
use crate::weights::{Layer, LayerKind, Weights, layers as all_layers};

/// Features a picture: the channels of the last block.
pub const COLUMNS: usize = 2048;

/// Blocks of layers, as Keras's names number them from 1.
pub const BLOCKS: usize = 14;

/// The smallest input that leaves something to pool, as in Keras.
pub const SMALLEST_SIDE: u32 = 71;

/// The network for batches of one shape.
pub struct Xception(Carried);

/// What carries out its layers.
enum Carried {
    ByCpu(Box<Layers<Cpu>>),
    ByLibtorch(Box<Layers<Libtorch>>),
}

impl Xception {
    /// Prepares the network for batches of `batch` pictures of `side` x `side` pixels.
    ///
    /// # Errors
    /// When libtorch cannot run it there, or the weights lack a tensor.
    pub fn new(weights: &Weights, side: u32, batch: usize, arithmetic: Arithmetic) -> Result<Self, NetworkError> {
        let own_are_faster =
            || (arithmetic.device(), arithmetic.precision()) == (Device::Cpu, Precision::F32) && Cpu::suits();
        match arithmetic.kernels() {
            Kernels::Own => Self::by_own_kernels(weights, side, batch),
            Kernels::Auto if own_are_faster() => Self::by_own_kernels(weights, side, batch),
            Kernels::Auto | Kernels::Libtorch => Self::by_libtorch(weights, side, batch, arithmetic),
        }
    }

    /// The network in f32 on the CPU, by the kernels of this crate.
    ///
    /// # Errors
    /// When the weights lack a tensor.
    pub fn by_own_kernels(weights: &Weights, side: u32, batch: usize) -> Result<Self, NetworkError> {
        Ok(Self(Carried::ByCpu(Box::new(Layers::new(Cpu::default(), weights, shape(side, batch))?))))
    }

    /// The network in libtorch.
    ///
    /// # Errors
    /// When libtorch cannot run it there, or the weights lack a tensor.
    pub fn by_libtorch(
        weights: &Weights,
        side: u32,
        batch: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self, NetworkError> {
        let layers = no_grad(|| Layers::new(Libtorch::new(arithmetic), weights, shape(side, batch)))?;
        Ok(Self(Carried::ByLibtorch(Box::new(layers))))
    }

    /// Whose code carries out the layers.
    pub fn kernels(&self) -> &'static str {
        match &self.0 {
            Carried::ByCpu(_) => "extract's own",
            Carried::ByLibtorch(_) => "libtorch's",
        }
    }

    /// How long each block takes with a batch, the pooling of the last included. On a GPU, which works while others
    /// wait, this says nothing.
    ///
    /// # Errors
    /// When libtorch cannot run it.
    pub fn block_times(&self, pixels: &[u8]) -> Result<[Duration; BLOCKS], NetworkError> {
        let mut times = [Duration::ZERO; BLOCKS];
        let mut last = Instant::now();
        self.forward(pixels, |block| {
            times[block - 1] += last.elapsed();
            last = Instant::now();
        })?;
        Ok(times)
    }

    /// `done` gets the number of a block each time that some pictures went through it.
    fn forward(&self, pixels: &[u8], done: impl FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        match &self.0 {
            Carried::ByCpu(layers) => layers.forward(pixels, done),
            Carried::ByLibtorch(layers) => no_grad(|| layers.forward(pixels, done)),
        }
    }
}

/// Of a batch of pictures.
fn shape(side: u32, batch: usize) -> Shape {
    Shape { pictures: batch, side: side as usize, channels: 3 }
}

impl Network for Xception {
    fn batch(&self) -> usize {
        match &self.0 {
            Carried::ByCpu(layers) => layers.pictures(),
            Carried::ByLibtorch(layers) => layers.pictures(),
        }
    }

    /// Rows of [`COLUMNS`] features. On the CPU each call uses one core: several run side by side.
    fn rows(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError> {
        self.forward(pixels, |_| {})
    }

    fn share(&self) -> Self {
        Self(match &self.0 {
            Carried::ByCpu(layers) => Carried::ByCpu(layers.clone()),
            Carried::ByLibtorch(layers) => Carried::ByLibtorch(layers.clone()),
        })
    }
}

/// Multiplications with an addition that each block takes for a picture of `side` x `side` pixels.
pub fn multiply_adds(side: u32) -> [u64; BLOCKS] {
    let mut side = side as usize;
    let mut blocks = [0; BLOCKS];
    for Layer { name, block, kind } in all_layers() {
        let (left, of_a_pixel) = match kind {
            LayerKind::Norm { .. } => continue,
            LayerKind::Separable { inputs, outputs } => (side, inputs * (9 + outputs)),
            LayerKind::Convolution { side: window, inputs, outputs } => {
                let stride = if name == "block1_conv2" { 1 } else { 2 };
                (leaving(side, window, stride), window * window * inputs * outputs)
            }
        };
        blocks[block - 1] += (left * left * of_a_pixel) as u64;
        side = left;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_takes_as_many_multiply_adds_as_keras_counts() {
        // Of Keras's model, summed over its layers.
        assert_eq!(multiply_adds(150).iter().sum::<u64>() / 1_000_000, 1924);
        assert_eq!(multiply_adds(299).iter().sum::<u64>() / 1_000_000, 8355);
        // 8 times 3 separable convolutions over 9x9 pixels.
        let middle = 3 * 81 * (728 * 728 + 9 * 728);
        assert_eq!(multiply_adds(150)[4..12], [middle; 8]);
    }
}
