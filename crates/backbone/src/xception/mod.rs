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
pub use crate::backend::interface::{Activation, Conv2dParams, ConvWeights, HALF_RANGE, SeparableConv2dParams};
use crate::backend::interface::{Backend, Shape, output_side};
pub use crate::backend::recorder::Operation;
use crate::backend::recorder::Recorder;
use crate::backend::{WithBackend, with_backend};
use crate::compute::Engine;
use crate::network::{Network, NetworkError};
use crate::weights::{Layer, LayerKind, Weights, layers};

/// The fingerprint's name of the network and of the layer whose output is pooled.
pub(crate) const NAME: &str = "Xception without top (Keras), block14_sepconv2_act";

/// The fingerprint's text for the scaling of the input, Keras's `preprocess_input`.
pub(crate) const SCALING: &str = "x / 127.5 - 1";

/// The fingerprint's text for how the last feature maps become a row.
pub(crate) const POOLING: &str = "global average";

/// The smallest width and height that Keras accepts, in pixels.
pub const MIN_SIDE: u32 = 71;

/// The largest width and height in pixels, which takes 700 times the multiply-adds of the smallest.
pub const MAX_SIDE: u32 = 2048;

/// The network for batches of square pictures of a fixed size.
pub struct Xception {
    network: Box<dyn AnyArchitecture>,
    batch_size: usize,
}

impl Xception {
    /// Prepares the network for batches of up to `batch_size` pictures of `side` x `side` pixels.
    ///
    /// # Errors
    /// When the side is not from [`MIN_SIDE`] to [`MAX_SIDE`], or libtorch cannot prepare the layers.
    pub fn new(weights: &Weights, side: u32, batch_size: usize, engine: Engine) -> Result<Self, NetworkError> {
        check_side(side)?;
        let input = Shape { pictures: batch_size, side: side as usize, channels: 3 };
        let network = with_backend(engine, BuildArchitecture { weights, input })?;
        Ok(Self { network, batch_size })
    }

    /// The kernels that run the layers, as in `icebox's own (AVX2, vectors of 8 floats, tiles of 6 pixels x 2
    /// vectors)`.
    pub fn kernels(&self) -> String {
        self.network.describe()
    }

    /// The time that each block takes for a batch; that of the last block includes the pooling. Meaningless on a GPU,
    /// which runs asynchronously.
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

    /// Rows of [`COLUMNS`] features. On the CPU each call uses one core; several can run in parallel.
    fn forward(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError> {
        self.network.forward(pixels, &mut |_| {})
    }

    fn clone_for_thread(&self) -> Self {
        Self { network: self.network.clone_for_thread(), batch_size: self.batch_size }
    }
}

/// The operations of the network for a picture of `side` x `side` pixels, each after those whose results it takes. The
/// last one gives the row. For programs that write the network in another format.
///
/// # Errors
/// When the side is not from [`MIN_SIDE`] to [`MAX_SIDE`].
pub fn operations(weights: &Weights, side: u32) -> Result<Vec<Operation>, NetworkError> {
    check_side(side)?;
    let input = Shape { pictures: 1, side: side as usize, channels: 3 };
    let recorder = Recorder::default();
    let network = Architecture::new(recorder.clone(), weights, input, 1)?;
    network.forward(&vec![0; input.picture_len()], &mut |_| {})?;
    Ok(recorder.take())
}

fn check_side(side: u32) -> Result<(), NetworkError> {
    if (MIN_SIDE..=MAX_SIDE).contains(&side) {
        Ok(())
    } else {
        Err(NetworkError::Side { side, min_side: MIN_SIDE, max_side: MAX_SIDE })
    }
}

/// An [`Architecture`] in any backend.
trait AnyArchitecture: Send {
    /// [`Architecture::forward`]
    fn forward(&self, pixels: &[u8], on_block: &mut dyn FnMut(usize)) -> Result<Vec<f32>, NetworkError>;

    /// A copy for another thread; it shares the weights.
    fn clone_for_thread(&self) -> Box<dyn AnyArchitecture>;

    /// The name of the kernels.
    fn describe(&self) -> String;
}

impl<B: Backend> AnyArchitecture for Architecture<B> {
    fn forward(&self, pixels: &[u8], on_block: &mut dyn FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        self.forward(pixels, on_block)
    }

    fn clone_for_thread(&self) -> Box<dyn AnyArchitecture> {
        Box::new(self.clone())
    }

    fn describe(&self) -> String {
        self.backend().describe()
    }
}

/// Builds an [`Architecture`] in a backend.
struct BuildArchitecture<'a> {
    weights: &'a Weights,
    input: Shape,
}

impl WithBackend for BuildArchitecture<'_> {
    type Output = Result<Box<dyn AnyArchitecture>, NetworkError>;

    fn run<B: Backend>(self, backend: B) -> Self::Output {
        Ok(Box::new(Architecture::new(backend, self.weights, self.input, B::ENTRY_PICTURES)?))
    }
}

/// The number of multiply-adds of each block, for a picture of `side` x `side` pixels.
pub fn multiply_adds(side: u32) -> [u64; BLOCKS] {
    let mut side = side as usize;
    let mut blocks = [0; BLOCKS];
    for Layer { name, block, kind } in layers() {
        let (out_side, per_pixel) = match kind {
            LayerKind::Norm { .. } => continue,
            LayerKind::Separable { inputs, outputs } => (side, inputs * (9 + outputs)),
            LayerKind::Convolution { side: kernel_size, inputs, outputs } => {
                let stride = if name == "block1_conv2" { 1 } else { 2 };
                (output_side(side, kernel_size, stride), kernel_size * kernel_size * inputs * outputs)
            }
        };
        blocks[block - 1] += (out_side * out_side * per_pixel) as u64;
        // A block's 1x1 residual has stride 2 and comes last, so it halves the side as the pooling does.
        side = out_side;
    }
    blocks
}
