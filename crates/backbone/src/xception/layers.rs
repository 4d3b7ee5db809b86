//! The layers of Xception in their order, in whatever carries them out.
//!
//! As Keras defines them (keras/src/applications/xception.py; Chollet 2017, arXiv 1610.02357), for inference only: every
//! batch norm is folded into the convolution before it.

use super::kernel::{Kernel, Kernels};
use crate::network::NetworkError;
use crate::weights::Weights;

/// What happens to a value on its way into a layer, or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Relu,
}

/// The feature maps that reach a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub pictures: usize,
    pub side: usize,
    pub channels: usize,
}

/// The side of what a convolution without padding leaves.
pub(super) fn leaving(side: usize, window: usize, stride: usize) -> usize {
    (side - window) / stride + 1
}

/// What a pixel's value is divided by, before 1 is subtracted, to get Xception's input (`preprocess_input` in
/// keras/src/applications/imagenet_utils.py, mode "tf").
pub(super) const HALF_RANGE: f32 = 127.5;

/// What carries out the layers.
pub(super) trait Backend: Clone {
    /// Feature maps of a batch of pictures.
    type Maps;
    type Convolution: Layer<Self::Maps> + Clone;
    type Separable: Layer<Self::Maps> + Clone;

    /// Pictures that go through the entry flow at a time, at most: its maps are the largest, its weights the smallest.
    const ENTERING: usize;

    /// A convolution without padding, for inputs of this shape.
    fn convolution(
        &self,
        kernel: Kernel,
        stride: usize,
        after: Activation,
        input: Shape,
    ) -> Result<Self::Convolution, NetworkError>;

    /// A depthwise 3x3 convolution that keeps the side, then a pointwise one; nothing between.
    fn separable(
        &self,
        before: Activation,
        kernels: [Kernel; 2],
        after: Activation,
        input: Shape,
    ) -> Result<Self::Separable, NetworkError>;

    /// NHWC pixels of three channels, brought to the range from -1 to 1 ([`HALF_RANGE`]).
    fn input(&self, pixels: &[u8], shape: Shape) -> Result<Self::Maps, NetworkError>;

    /// The maps of so many pictures, which come in parts of one shape, one behind the other.
    fn stack(
        &self,
        parts: impl Iterator<Item = Result<Self::Maps, NetworkError>>,
        pictures: usize,
    ) -> Result<Self::Maps, NetworkError>;

    /// Max pooling 3x3 with stride 2 and TensorFlow's 'same' padding: an even side is padded only right and below.
    fn halve(x: &Self::Maps) -> Result<Self::Maps, NetworkError>;

    /// The mean of each channel: (pictures, channels).
    fn mean(x: &Self::Maps) -> Result<Vec<f32>, NetworkError>;
}

/// One step of the network.
pub(super) trait Layer<Maps> {
    fn forward(&self, x: &Maps) -> Result<Maps, NetworkError>;

    /// The result added to `sum`; for layers with no activation after them.
    fn forward_onto(&self, x: &Maps, sum: Maps) -> Result<Maps, NetworkError>;
}

/// All of them, for batches of one shape. A clone is for another thread; the weights are shared.
#[derive(Clone)]
pub(super) struct Layers<B: Backend> {
    backend: B,
    input: Shape,
    stem: [B::Convolution; 2],
    entry: [Downsampling<B>; 3],
    middle: [[B::Separable; 3]; 8],
    exit: Downsampling<B>,
    tail: [B::Separable; 2],
}

/// Blocks 2, 3, 4 and 13: two separable convolutions and a pooling that halves the side, beside a strided pointwise
/// convolution of the same input.
#[derive(Clone)]
struct Downsampling<B: Backend> {
    separable: [B::Separable; 2],
    residual: B::Convolution,
}

impl<B: Backend> Layers<B> {
    /// Prepares them for batches of this shape.
    pub(super) fn new(backend: B, weights: &Weights, input: Shape) -> Result<Self, NetworkError> {
        use Activation::{None, Relu};
        let mut build = Builder { backend: &backend, kernels: Kernels::of(weights), reaching: input };
        let stem = [build.convolution("block1_conv1", 2)?, build.convolution("block1_conv2", 1)?];
        let entry = [build.downsampling(2, None)?, build.downsampling(3, Relu)?, build.downsampling(4, Relu)?];
        let mut middle = |block| build.middle(block);
        let middle =
            [middle(5)?, middle(6)?, middle(7)?, middle(8)?, middle(9)?, middle(10)?, middle(11)?, middle(12)?];
        let exit = build.downsampling(13, Relu)?;
        let tail = [build.separable(None, "block14_sepconv1", Relu)?, build.separable(None, "block14_sepconv2", Relu)?];
        Ok(Self { backend, input, stem, entry, middle, exit, tail })
    }

    /// Pictures of a batch.
    pub(super) fn pictures(&self) -> usize {
        self.input.pictures
    }

    /// Pixel values of a batch.
    pub(super) fn values(&self) -> usize {
        let Shape { pictures, side, channels } = self.input;
        pictures * side * side * channels
    }

    /// One row of features per picture: NHWC pixels. `done` gets the number of a block after some pictures, or
    /// all, went through it.
    pub(super) fn forward(&self, pixels: &[u8], mut done: impl FnMut(usize)) -> Result<Vec<f32>, NetworkError> {
        let Shape { pictures, side, channels } = self.input;
        let values = side * side * channels;
        if pixels.len() != pictures * values {
            let (found, wanted) = (pixels.len(), pictures * values);
            return Err(NetworkError(format!("a batch of {found} values, where {pictures} pictures have {wanted}")));
        }
        let together = B::ENTERING.min(pictures);
        let parts = pixels.chunks((together * values).max(1)).map(|pixels| self.enter(pixels, together, &mut done));
        let mut x = self.backend.stack(parts, pictures)?;
        for ([first, second, third], block) in self.middle.iter().zip(5..) {
            let y = second.forward(&first.forward(&x)?)?;
            x = third.forward_onto(&y, x)?;
            done(block);
        }
        x = self.exit.forward(&x)?;
        done(13);
        for separable in &self.tail {
            x = separable.forward(&x)?;
        }
        let rows = B::mean(&x)?;
        done(14);
        Ok(rows)
    }

    /// The stem and the entry flow.
    fn enter(&self, pixels: &[u8], pictures: usize, done: &mut impl FnMut(usize)) -> Result<B::Maps, NetworkError> {
        let mut x = self.backend.input(pixels, Shape { pictures, ..self.input })?;
        for convolution in &self.stem {
            x = convolution.forward(&x)?;
        }
        done(1);
        for (block, number) in self.entry.iter().zip(2..) {
            x = block.forward(&x)?;
            done(number);
        }
        Ok(x)
    }
}

impl<B: Backend> Downsampling<B> {
    fn forward(&self, x: &B::Maps) -> Result<B::Maps, NetworkError> {
        let [first, second] = &self.separable;
        let halved = B::halve(&second.forward(&first.forward(x)?)?)?;
        self.residual.forward_onto(x, halved)
    }
}

/// Takes the layers in the order of the network, knowing the shape of what reaches each.
struct Builder<'a, B> {
    backend: &'a B,
    kernels: Kernels<'a>,
    reaching: Shape,
}

impl<B: Backend> Builder<'_, B> {
    /// A 3x3 convolution and its ReLU.
    fn convolution(&mut self, name: &str, stride: usize) -> Result<B::Convolution, NetworkError> {
        let kernel = self.kernels.folded(name, "kernel")?;
        let left =
            Shape { side: leaving(self.reaching.side, kernel.side, stride), channels: kernel.outputs, ..self.reaching };
        let convolution = self.backend.convolution(kernel, stride, Activation::Relu, self.reaching)?;
        self.reaching = left;
        Ok(convolution)
    }

    fn separable(&mut self, before: Activation, name: &str, after: Activation) -> Result<B::Separable, NetworkError> {
        let kernels = [self.kernels.depthwise(name)?, self.kernels.folded(name, "pointwise")?];
        let channels = kernels[1].outputs;
        let separable = self.backend.separable(before, kernels, after, self.reaching)?;
        self.reaching.channels = channels;
        Ok(separable)
    }

    fn downsampling(&mut self, block: usize, before: Activation) -> Result<Downsampling<B>, NetworkError> {
        let residual = self.kernels.folded(&format!("block{block}_residual"), "kernel")?;
        let residual = self.backend.convolution(residual, 2, Activation::None, self.reaching)?;
        let separable = [
            self.separable(before, &format!("block{block}_sepconv1"), Activation::Relu)?,
            self.separable(Activation::None, &format!("block{block}_sepconv2"), Activation::None)?,
        ];
        self.reaching.side = self.reaching.side.div_ceil(2);
        Ok(Downsampling { separable, residual })
    }

    /// Blocks 5 to 12: three separable convolutions, and their input added.
    fn middle(&mut self, block: usize) -> Result<[B::Separable; 3], NetworkError> {
        use Activation::{None, Relu};
        let mut separable = |before, n, after| self.separable(before, &format!("block{block}_sepconv{n}"), after);
        Ok([separable(Relu, 1, Relu)?, separable(None, 2, Relu)?, separable(None, 3, None)?])
    }
}
