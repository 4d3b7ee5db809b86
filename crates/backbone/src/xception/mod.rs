//! Xception without its top, as Keras defines it (keras/src/applications/xception.py; Chollet 2017, arXiv 1610.02357).
//!
//! ```text
//! weights ─ folding (batch norms) ─ architecture (the layers in their order, run by a backend)
//! ```

mod folding;
mod architecture;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::architecture::Architecture;
pub use self::architecture::{BLOCKS, COLUMNS};
use crate::backend::interface::{Backend, Shape, output_side};
use crate::backend::{WithBackend, with_backend};
use crate::compute::Engine;
use crate::network::{Network, NetworkError};
use crate::weights::{Layer, LayerKind, Weights, layers};

/// The smallest width and height of pictures that leave something to pool, as in Keras.
pub const MIN_SIDE: u32 = 71;

/// The network for batches of pictures of one side.
pub struct Xception {
    network: Box<dyn AnyArchitecture>,
    batch_size: usize,
}

impl Xception {
    /// Prepares the network for batches of up to `batch_size` pictures of `side` x `side` pixels.
    ///
    /// # Errors
    /// When the side is less than [`MIN_SIDE`], or libtorch cannot prepare the layers.
    pub fn new(weights: &Weights, side: u32, batch_size: usize, engine: Engine) -> Result<Self, NetworkError> {
        if side < MIN_SIDE {
            return Err(NetworkError::TooSmall { side, min_side: MIN_SIDE });
        }
        let input = Shape { pictures: batch_size, side: side as usize, channels: 3 };
        let network = with_backend(engine, Prepare { weights, input })?;
        Ok(Self { network, batch_size })
    }

    /// Whose kernels run the layers, as in `our own (AVX-512, vectors of 16 floats)`.
    pub fn kernels(&self) -> String {
        self.network.describe()
    }

    /// How long each block takes with a batch, the pooling of the last included. On a GPU, which works while others
    /// wait, this says nothing.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn block_times(&self, pixels: &[u8]) -> Result<[Duration; BLOCKS], NetworkError> {
        let mut times = [Duration::ZERO; BLOCKS];
        let mut last = Instant::now();
        self.network.forward(pixels, &mut |block| {
            times[block - 1] += last.elapsed();
            last = Instant::now();
        })?;
        Ok(times)
    }
}

impl Network for Xception {
    fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Rows of [`COLUMNS`] features. On the CPU each call uses one core: several run side by side.
    fn forward(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError> {
        self.network.forward(pixels, &mut |_| {})
    }

    fn share(&self) -> Self {
        Self { network: self.network.share(), batch_size: self.batch_size }
    }
}

/// The layers in whichever backend runs them.
trait AnyArchitecture: Send {
    /// As [`Architecture::forward`].
    fn forward(&self, pixels: &[u8], finished: &mut dyn FnMut(usize)) -> Result<Vec<f32>, NetworkError>;

    /// The same for another thread.
    fn share(&self) -> Box<dyn AnyArchitecture>;

    /// What runs it.
    fn describe(&self) -> String;
}

impl<B: Backend> AnyArchitecture for Architecture<B> {
    fn forward(&self, pixels: &[u8], finished: &mut dyn FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        self.forward(pixels, finished)
    }

    fn share(&self) -> Box<dyn AnyArchitecture> {
        Box::new(self.clone())
    }

    fn describe(&self) -> String {
        self.backend().describe()
    }
}

/// Prepares the layers.
struct Prepare<'a> {
    weights: &'a Weights,
    input: Shape,
}

impl WithBackend for Prepare<'_> {
    type Output = Result<Box<dyn AnyArchitecture>, NetworkError>;

    fn run<B: Backend>(self, backend: B) -> Self::Output {
        Ok(Box::new(Architecture::new(backend, self.weights, self.input, B::ENTRY_PICTURES)?))
    }
}

/// Multiplications with an addition that each block takes for a picture of `side` x `side` pixels.
pub fn multiply_adds(side: u32) -> [u64; BLOCKS] {
    let mut side = side as usize;
    let mut blocks = [0; BLOCKS];
    for Layer { name, block, kind } in layers() {
        let (left, of_a_pixel) = match kind {
            LayerKind::Norm { .. } => continue,
            LayerKind::Separable { inputs, outputs } => (side, inputs * (9 + outputs)),
            LayerKind::Convolution { side: window, inputs, outputs } => {
                let stride = if name == "block1_conv2" { 1 } else { 2 };
                (output_side(side, window, stride), window * window * inputs * outputs)
            }
        };
        blocks[block - 1] += (left * left * of_a_pixel) as u64;
        side = left;
    }
    blocks
}
