//! Xception without its top, as Keras defines it (keras/src/applications/xception.py; Chollet 2017, arXiv 1610.02357).
//!
//! For inference only: every batch norm is folded into the convolution before it. Tensors are channels_last
//! throughout, which to libtorch is an NHWC buffer seen through a permutation.

mod convolution;
mod fold;
mod onednn;

use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor, no_grad};

use self::convolution::{Activation, Convolution, Geometry};
use self::fold::Layers;
use crate::arithmetic::Arithmetic;
use crate::pipeline::{Network, NetworkError};
use crate::weights::{Layer, LayerKind, Weights, layers};

/// Features a picture: the channels of the last block.
pub const COLUMNS: usize = 2048;

/// Blocks of layers, as Keras's names number them from 1.
pub const BLOCKS: usize = 14;

/// The smallest input that leaves something to pool, as in Keras.
pub const SMALLEST_SIDE: u32 = 71;

/// The network for batches of one shape.
#[derive(Debug)]
pub struct Xception {
    side: i64,
    batch: i64,
    arithmetic: Arithmetic,
    stem: [Convolution; 2],
    entry: [Downsampling; 3],
    middle: [Middle; 8],
    exit: Downsampling,
    tail: [Separable; 2],
}

/// A depthwise 3x3 convolution, then a pointwise one; nothing between.
#[derive(Debug)]
struct Separable {
    depthwise: Convolution,
    pointwise: Convolution,
}

/// Blocks 2, 3, 4 and 13: two separable convolutions and a pooling that halves the side, beside a strided pointwise
/// convolution of the same input.
#[derive(Debug)]
struct Downsampling {
    starts_with_relu: bool,
    separable: [Separable; 2],
    residual: Convolution,
}

/// Blocks 5 to 12: three separable convolutions, and their input added.
#[derive(Debug)]
struct Middle([Separable; 3]);

impl Xception {
    /// Prepares the network for batches of `batch` pictures of `side` x `side` pixels.
    ///
    /// # Errors
    /// When libtorch cannot run it there.
    pub fn new(weights: &Weights, side: u32, batch: usize, arithmetic: Arithmetic) -> Result<Self, NetworkError> {
        let _guard = tch::no_grad_guard();
        let mut layers = Layers::new(weights, arithmetic, batch as i64, i64::from(side));
        let stem = [layers.convolution("block1_conv1", 2)?, layers.convolution("block1_conv2", 1)?];
        let entry = [
            Downsampling::new(&mut layers, 2, false)?,
            Downsampling::new(&mut layers, 3, true)?,
            Downsampling::new(&mut layers, 4, true)?,
        ];
        let mut middle = |block| Middle::new(&mut layers, block);
        let middle =
            [middle(5)?, middle(6)?, middle(7)?, middle(8)?, middle(9)?, middle(10)?, middle(11)?, middle(12)?];
        let exit = Downsampling::new(&mut layers, 13, true)?;
        let tail = [
            layers.separable("block14_sepconv1", Activation::Relu)?,
            layers.separable("block14_sepconv2", Activation::Relu)?,
        ];
        Ok(Self { side: i64::from(side), batch: batch as i64, arithmetic, stem, entry, middle, exit, tail })
    }

    /// How long each block takes with a batch, the pooling of the last included. On a GPU, which works while others
    /// wait, this says nothing.
    ///
    /// # Errors
    /// When libtorch cannot run it.
    pub fn block_times(&self, pixels: &[f32]) -> Result<[Duration; BLOCKS], NetworkError> {
        let mut times = [Duration::ZERO; BLOCKS];
        let mut last = Instant::now();
        self.run(pixels, |block| {
            times[block - 1] = last.elapsed();
            last = Instant::now();
        })?;
        Ok(times)
    }

    /// On the CPU on one core.
    fn run(&self, pixels: &[f32], done: impl FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        if self.arithmetic.device() == Device::Cpu {
            // OpenMP keeps this per thread, and each worker is one.
            tch::set_num_threads(1);
        }
        no_grad(|| self.forward(pixels, done)).map_err(NetworkError::from)
    }

    /// `done` gets the number of each block after it.
    fn forward(&self, pixels: &[f32], mut done: impl FnMut(usize)) -> Result<Vec<f32>, TchError> {
        let mut x = Tensor::f_from_slice(pixels)?
            .f_view([self.batch, self.side, self.side, 3])?
            .f_to_device(self.arithmetic.device())?
            .f_to_kind(self.arithmetic.kind())?
            .f_permute([0, 3, 1, 2])?;
        for convolution in &self.stem {
            x = convolution.forward(&x)?;
        }
        done(1);
        for (block, number) in self.entry.iter().zip(2..) {
            x = block.forward(&x)?;
            done(number);
        }
        for (block, number) in self.middle.iter().zip(5..) {
            x = block.forward(x)?;
            done(number);
        }
        x = self.exit.forward(&x)?;
        done(13);
        for separable in &self.tail {
            x = separable.forward(&x)?;
        }
        let rows = x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        let rows = Vec::try_from(rows.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
        done(14);
        Ok(rows)
    }
}

impl Network for Xception {
    fn batch(&self) -> usize {
        self.batch as usize
    }

    /// Rows of [`COLUMNS`] features. On the CPU each call uses one core: several run side by side.
    fn rows(&self, pixels: &[f32]) -> Result<Vec<f32>, NetworkError> {
        self.run(pixels, |_| {})
    }

    fn share(&self) -> Self {
        Self {
            stem: self.stem.each_ref().map(Convolution::share),
            entry: self.entry.each_ref().map(Downsampling::share),
            middle: self.middle.each_ref().map(Middle::share),
            exit: self.exit.share(),
            tail: self.tail.each_ref().map(Separable::share),
            ..*self
        }
    }
}

/// The first line: libtorch goes on with where in its own code it happened.
impl From<TchError> for NetworkError {
    fn from(error: TchError) -> Self {
        Self(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}

impl Separable {
    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.pointwise.forward(&self.depthwise.forward(x)?)
    }

    /// The result added to `sum`.
    fn forward_onto(&self, x: &Tensor, sum: Tensor) -> Result<Tensor, TchError> {
        self.pointwise.forward_onto(&self.depthwise.forward(x)?, sum)
    }

    fn share(&self) -> Self {
        Self { depthwise: self.depthwise.share(), pointwise: self.pointwise.share() }
    }
}

impl Downsampling {
    fn new(layers: &mut Layers<'_>, block: usize, starts_with_relu: bool) -> Result<Self, TchError> {
        let residual = layers.residual(&format!("block{block}_residual"))?;
        let separable = [
            layers.separable(&format!("block{block}_sepconv1"), Activation::Relu)?,
            layers.separable(&format!("block{block}_sepconv2"), Activation::None)?,
        ];
        layers.halve();
        Ok(Self { starts_with_relu, separable, residual })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let [first, second] = &self.separable;
        let y = match self.starts_with_relu {
            true => first.forward(&x.f_relu()?)?,
            false => first.forward(x)?,
        };
        self.residual.forward_onto(x, halve(&second.forward(&y)?)?)
    }

    fn share(&self) -> Self {
        Self { separable: self.separable.each_ref().map(Separable::share), residual: self.residual.share(), ..*self }
    }
}

impl Middle {
    fn new(layers: &mut Layers<'_>, block: usize) -> Result<Self, TchError> {
        let mut separable = |n, activation| layers.separable(&format!("block{block}_sepconv{n}"), activation);
        Ok(Self([separable(1, Activation::Relu)?, separable(2, Activation::Relu)?, separable(3, Activation::None)?]))
    }

    fn forward(&self, x: Tensor) -> Result<Tensor, TchError> {
        let [first, second, third] = &self.0;
        let y = second.forward(&first.forward(&x.f_relu()?)?)?;
        third.forward_onto(&y, x)
    }

    fn share(&self) -> Self {
        Self(self.0.each_ref().map(Separable::share))
    }
}

/// Max pooling 3x3 with stride 2 and TensorFlow's 'same' padding: an even side is padded only right and below.
fn halve(x: &Tensor) -> Result<Tensor, TchError> {
    let even = x.size().last().is_some_and(|side| side % 2 == 0);
    let padding = i64::from(!even);
    x.f_max_pool2d([3, 3], [2, 2], [padding, padding], [1, 1], even)
}

/// The residual convolutions: pointwise, stride 2.
const RESIDUAL: Geometry = Geometry { stride: 2, ..Geometry::POINTWISE };

/// Multiplications with an addition that each block takes for a picture of `side` x `side` pixels.
pub fn multiply_adds(side: u32) -> [u64; BLOCKS] {
    let mut side = side as usize;
    let mut blocks = [0; BLOCKS];
    for Layer { name, block, kind } in layers() {
        let (leaving, of_a_pixel) = match kind {
            LayerKind::Norm { .. } => continue,
            LayerKind::Separable { inputs, outputs } => (side, inputs * (9 + outputs)),
            LayerKind::Convolution { side: window, inputs, outputs } => {
                let stride = if name == "block1_conv2" { 1 } else { 2 };
                ((side - window) / stride + 1, window * window * inputs * outputs)
            }
        };
        blocks[block - 1] += (leaving * leaving * of_a_pixel) as u64;
        side = leaving;
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
