//! Xception without its top, as Keras defines it (keras/src/applications/xception.py; Chollet 2017, arXiv 1610.02357).
//!
//! ```text
//! weights ─ kernel (batch norms folded in) ─ layers (their order) ─┬─ cpu (our own kernels: f32 on AVX2)
//!                                                                  └─ libtorch (GPUs, bf16, f16, other processors)
//! ```

mod cpu;
mod kernel;
mod layers;
#[cfg(feature = "libtorch")]
mod libtorch;

use std::time::{Duration, Instant};

#[cfg(feature = "libtorch")]
use tch::no_grad;

use self::cpu::Cpu;
use self::layers::{Layers, Shape, leaving};
#[cfg(feature = "libtorch")]
use self::libtorch::Libtorch;
use crate::compute::Engine;
use crate::network::{Network, NetworkError};
use crate::weights::{Layer, LayerKind, Weights, layers as all_layers};

/// Features a picture: the channels of the last block.
pub const COLUMNS: usize = 2048;

/// Blocks of layers, as Keras's names number them from 1.
pub const BLOCKS: usize = 14;

/// The smallest input that leaves something to pool, as in Keras.
pub const MIN_SIDE: u32 = 71;

/// The network for batches of pictures of one side.
pub struct Xception {
    layers: AnyLayers,
}

/// The layers, in what runs them.
enum AnyLayers {
    Own(Box<Layers<Cpu>>),
    #[cfg(feature = "libtorch")]
    Libtorch(Box<Layers<Libtorch>>),
}

impl Xception {
    /// Prepares the network for batches of up to `batch` pictures of `side` x `side` pixels.
    ///
    /// # Errors
    /// When libtorch cannot run it there, or the weights lack a tensor.
    pub fn new(weights: &Weights, side: u32, batch: usize, engine: Engine) -> Result<Self, NetworkError> {
        let input = Shape { pictures: batch, side: side as usize, channels: 3 };
        let layers = match engine {
            Engine::Own(_) => AnyLayers::Own(Box::new(Layers::new(Cpu::default(), weights, input)?)),
            #[cfg(feature = "libtorch")]
            Engine::Libtorch(device, precision) => {
                let layers = no_grad(|| Layers::new(Libtorch::new(device, precision), weights, input))?;
                AnyLayers::Libtorch(Box::new(layers))
            }
        };
        Ok(Self { layers })
    }

    /// Whose kernels run the layers.
    pub fn kernels(&self) -> String {
        match &self.layers {
            AnyLayers::Own(_) => "our own".to_owned(),
            #[cfg(feature = "libtorch")]
            AnyLayers::Libtorch(_) => "libtorch's".to_owned(),
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
        self.run(pixels, |block| {
            times[block - 1] += last.elapsed();
            last = Instant::now();
        })?;
        Ok(times)
    }

    /// `done` gets the number of a block each time that some pictures went through it.
    fn run(&self, pixels: &[u8], done: impl FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        match &self.layers {
            AnyLayers::Own(layers) => layers.forward(pixels, done),
            #[cfg(feature = "libtorch")]
            AnyLayers::Libtorch(layers) => no_grad(|| layers.forward(pixels, done)),
        }
    }
}

impl Network for Xception {
    fn batch_size(&self) -> usize {
        match &self.layers {
            AnyLayers::Own(layers) => layers.pictures(),
            #[cfg(feature = "libtorch")]
            AnyLayers::Libtorch(layers) => layers.pictures(),
        }
    }

    /// Rows of [`COLUMNS`] features. On the CPU each call uses one core: several run side by side.
    fn forward(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError> {
        let batch = match &self.layers {
            AnyLayers::Own(layers) => layers.values(),
            #[cfg(feature = "libtorch")]
            AnyLayers::Libtorch(layers) => layers.values(),
        };
        if pixels.is_empty() || pixels.len() >= batch {
            return self.run(pixels, |_| {});
        }
        let mut padded = pixels.to_vec();
        padded.resize(batch, 0);
        let mut rows = self.run(&padded, |_| {})?;
        rows.truncate(pixels.len() * self.batch_size() / batch * COLUMNS);
        Ok(rows)
    }

    fn share(&self) -> Self {
        let layers = match &self.layers {
            AnyLayers::Own(layers) => AnyLayers::Own(layers.clone()),
            #[cfg(feature = "libtorch")]
            AnyLayers::Libtorch(layers) => AnyLayers::Libtorch(layers.clone()),
        };
        Self { layers }
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
