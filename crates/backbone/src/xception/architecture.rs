//! Xception without its top, as in figure 5 of Chollet 2017 (arXiv 1610.02357), by the names of Keras's layers
//! (keras/src/applications/xception.py).
//!
//! ```text
//! entry flow    block1_conv1              32, 3x3, stride 2
//!               block1_conv2              64, 3x3
//!               block2_sepconv1, 2       128, max pool     + residual 1x1, stride 2
//!               block3_sepconv1, 2       256, max pool     + residual 1x1, stride 2
//!               block4_sepconv1, 2       728, max pool     + residual 1x1, stride 2
//!
//! middle flow   block5_sepconv1, 2, 3    728               + the block's input
//!               … to block12
//!
//! exit flow     block13_sepconv1, 2      728, 1024, max pool + residual 1x1, stride 2
//!               block14_sepconv1        1536
//!               block14_sepconv2        2048
//!               global average pool     2048 features
//! ```
//!
//! Every batch norm is folded into the convolution before it. A ReLU is applied to a layer's output, unless the block's
//! residual reads that output too: then, at the start of blocks 3 to 13, it is applied to the next layer's input.

use super::folding::FoldedWeights;
use crate::backend::interface::{Activation, Backend, Conv2dParams, SeparableConv2dParams, Shape, output_side};
use crate::network::NetworkError;
use crate::weights::Weights;

/// The number of features of a picture: the channels of the last block.
pub const COLUMNS: usize = 2048;

/// The number of blocks of layers; Keras's names number them from 1.
pub const BLOCKS: usize = 14;

/// The network in one backend, for batches of up to `input.pictures` pictures. A clone shares the weights; each thread
/// has its own.
#[derive(Clone)]
pub(super) struct Architecture<B: Backend> {
    backend: B,
    /// The shape of a whole batch.
    input: Shape,
    /// How many pictures go through the entry flow at a time.
    entry_pictures: usize,
    block1_conv1: B::Conv2d,
    block1_conv2: B::Conv2d,
    block2: DownsamplingBlock<B>,
    block3: DownsamplingBlock<B>,
    block4: DownsamplingBlock<B>,
    /// Blocks 5 to 12.
    middle_flow: Vec<MiddleBlock<B>>,
    block13: DownsamplingBlock<B>,
    block14_sepconv1: B::SeparableConv2d,
    block14_sepconv2: B::SeparableConv2d,
}

/// Blocks 2, 3, 4 and 13: two separable convolutions and a pooling that halves the side, plus a strided 1x1 convolution
/// of the block's input.
#[derive(Clone)]
struct DownsamplingBlock<B: Backend> {
    sepconv1: B::SeparableConv2d,
    sepconv2: B::SeparableConv2d,
    residual: B::Conv2d,
}

/// Blocks 5 to 12: three separable convolutions, plus the block's input.
#[derive(Clone)]
struct MiddleBlock<B: Backend> {
    sepconv1: B::SeparableConv2d,
    sepconv2: B::SeparableConv2d,
    sepconv3: B::SeparableConv2d,
}

impl<B: Backend> Architecture<B> {
    /// Prepares the layers for batches of the shape `input`. Pictures go through the entry flow `entry_pictures` at a
    /// time.
    pub(super) fn new(
        backend: B,
        weights: &Weights,
        input: Shape,
        entry_pictures: usize,
    ) -> Result<Self, NetworkError> {
        let entry_pictures = entry_pictures.min(input.pictures).max(1);
        let mut builder = LayerBuilder {
            backend: &backend,
            weights: FoldedWeights::new(weights),
            input: Shape { pictures: entry_pictures, ..input },
        };
        // Entry flow.
        let block1_conv1 = builder.conv2d("block1_conv1", 2)?;
        let block1_conv2 = builder.conv2d("block1_conv2", 1)?;
        let block2 = builder.downsampling_block(2, Activation::Linear)?;
        let block3 = builder.downsampling_block(3, Activation::Relu)?;
        let block4 = builder.downsampling_block(4, Activation::Relu)?;
        // Middle flow: all pictures together.
        builder.input.pictures = input.pictures;
        let mut middle_flow = Vec::new();
        for block in 5..=12 {
            middle_flow.push(builder.middle_block(block)?);
        }
        // Exit flow.
        let block13 = builder.downsampling_block(13, Activation::Relu)?;
        let block14_sepconv1 = builder.separable_conv2d(Activation::Linear, "block14_sepconv1", Activation::Relu)?;
        let block14_sepconv2 = builder.separable_conv2d(Activation::Linear, "block14_sepconv2", Activation::Relu)?;
        Ok(Self {
            backend,
            input,
            entry_pictures,
            block1_conv1,
            block1_conv2,
            block2,
            block3,
            block4,
            middle_flow,
            block13,
            block14_sepconv1,
            block14_sepconv2,
        })
    }

    /// Features of 1 to `input.pictures` pictures, (pictures, [`COLUMNS`]), from their pixels (NHWC, RGB from 0 to
    /// 255). Calls `on_block(n)` after block n, for blocks of the entry flow once for each part of the batch.
    pub(super) fn forward(&self, pixels: &[u8], on_block: &mut dyn FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        let picture_len = self.input.picture_len();
        let pictures = pixels.len() / picture_len;
        if !pixels.len().is_multiple_of(picture_len) || !(1..=self.input.pictures).contains(&pictures) {
            let found = pixels.len();
            return Err(NetworkError::Pixels { batch_size: self.input.pictures, picture_len, found });
        }
        self.backend.scope(|| {
            let mut parts = Vec::new();
            for pixels in pixels.chunks(self.entry_pictures * picture_len) {
                parts.push(self.entry_flow(pixels, on_block)?);
            }
            let x = self.backend.concat(parts)?;
            let x = self.middle_flow(x, on_block)?;
            let mut rows = self.exit_flow(x, on_block)?;
            // The backend may have added black pictures at the end.
            rows.truncate(pictures * COLUMNS);
            Ok(rows)
        })
    }

    fn entry_flow(&self, pixels: &[u8], on_block: &mut dyn FnMut(usize)) -> Result<B::FeatureMaps, NetworkError> {
        let backend = &self.backend;
        // Assigning to one variable frees each layer's input as soon as its output is computed.
        let mut x = backend.input(pixels, Shape { pictures: self.entry_pictures, ..self.input })?;
        x = backend.conv2d(&self.block1_conv1, &x)?;
        x = backend.conv2d(&self.block1_conv2, &x)?;
        on_block(1);
        x = self.block2.forward(backend, &x)?;
        on_block(2);
        x = self.block3.forward(backend, &x)?;
        on_block(3);
        x = self.block4.forward(backend, &x)?;
        on_block(4);
        Ok(x)
    }

    fn middle_flow(
        &self,
        mut x: B::FeatureMaps,
        on_block: &mut dyn FnMut(usize),
    ) -> Result<B::FeatureMaps, NetworkError> {
        for (block, number) in self.middle_flow.iter().zip(5..) {
            x = block.forward(&self.backend, x)?;
            on_block(number);
        }
        Ok(x)
    }

    fn exit_flow(&self, mut x: B::FeatureMaps, on_block: &mut dyn FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        let backend = &self.backend;
        x = self.block13.forward(backend, &x)?;
        on_block(13);
        x = backend.separable_conv2d(&self.block14_sepconv1, &x)?;
        x = backend.separable_conv2d(&self.block14_sepconv2, &x)?;
        let rows = backend.global_average_pool(&x)?;
        on_block(14);
        Ok(rows)
    }

    /// The backend that runs the layers.
    pub(super) fn backend(&self) -> &B {
        &self.backend
    }
}

impl<B: Backend> DownsamplingBlock<B> {
    fn forward(&self, backend: &B, x: &B::FeatureMaps) -> Result<B::FeatureMaps, NetworkError> {
        let mut y = backend.separable_conv2d(&self.sepconv1, x)?;
        y = backend.separable_conv2d(&self.sepconv2, &y)?;
        y = backend.max_pool(&y)?;
        backend.conv2d_accumulate(&self.residual, x, y)
    }
}

impl<B: Backend> MiddleBlock<B> {
    fn forward(&self, backend: &B, x: B::FeatureMaps) -> Result<B::FeatureMaps, NetworkError> {
        let mut y = backend.separable_conv2d(&self.sepconv1, &x)?;
        y = backend.separable_conv2d(&self.sepconv2, &y)?;
        backend.separable_conv2d_accumulate(&self.sepconv3, &y, x)
    }
}

/// Prepares the layers in the order of the network, and keeps track of the shape of the next one's input.
struct LayerBuilder<'a, B> {
    backend: &'a B,
    weights: FoldedWeights<'a>,
    /// The shape of the next layer's input.
    input: Shape,
}

impl<B: Backend> LayerBuilder<'_, B> {
    /// A convolution with ReLU.
    fn conv2d(&mut self, layer: &str, stride: usize) -> Result<B::Conv2d, NetworkError> {
        let (name, weights) = (layer.to_owned(), self.weights.conv2d(layer));
        let params = Conv2dParams { name, weights, stride, activation: Activation::Relu };
        let prepared = self.backend.prepare_conv2d(&params, self.input)?;
        self.input.side = output_side(self.input.side, params.weights.side, stride);
        self.input.channels = params.weights.outputs;
        Ok(prepared)
    }

    /// The 1x1 residual convolution with stride 2. It reads the block's input, so it does not change `self.input`.
    fn residual(&self, block: usize) -> Result<B::Conv2d, NetworkError> {
        let name = format!("block{block}_residual");
        let weights = self.weights.conv2d(&name);
        let params = Conv2dParams { name, weights, stride: 2, activation: Activation::Linear };
        self.backend.prepare_conv2d(&params, self.input)
    }

    /// A separable convolution with activations of its input and output.
    fn separable_conv2d(
        &mut self,
        input_activation: Activation,
        layer: &str,
        activation: Activation,
    ) -> Result<B::SeparableConv2d, NetworkError> {
        let (depthwise, pointwise) = (self.weights.depthwise(layer), self.weights.pointwise(layer));
        let name = layer.to_owned();
        let params = SeparableConv2dParams { name, input_activation, depthwise, pointwise, activation };
        let prepared = self.backend.prepare_separable_conv2d(&params, self.input)?;
        self.input.channels = params.pointwise.outputs;
        Ok(prepared)
    }

    fn downsampling_block(
        &mut self,
        block: usize,
        input_activation: Activation,
    ) -> Result<DownsamplingBlock<B>, NetworkError> {
        let residual = self.residual(block)?;
        let sepconv1 = self.separable_conv2d(input_activation, &format!("block{block}_sepconv1"), Activation::Relu)?;
        let sepconv2 =
            self.separable_conv2d(Activation::Linear, &format!("block{block}_sepconv2"), Activation::Linear)?;
        self.input.side = self.input.side.div_ceil(2);
        Ok(DownsamplingBlock { sepconv1, sepconv2, residual })
    }

    fn middle_block(&mut self, block: usize) -> Result<MiddleBlock<B>, NetworkError> {
        use Activation::{Linear, Relu};
        Ok(MiddleBlock {
            sepconv1: self.separable_conv2d(Relu, &format!("block{block}_sepconv1"), Relu)?,
            sepconv2: self.separable_conv2d(Linear, &format!("block{block}_sepconv2"), Relu)?,
            sepconv3: self.separable_conv2d(Linear, &format!("block{block}_sepconv3"), Linear)?,
        })
    }
}
