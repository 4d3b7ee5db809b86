//! The trait that a backend implements: the layers that networks are made of.

use crate::network::NetworkError;

/// The activation of a layer's input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Linear,
    /// Negative values become zero.
    Relu,
}

/// Shape of feature maps: pictures, side, side, channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub pictures: usize,
    /// Width and height in pixels.
    pub side: usize,
    pub channels: usize,
}

impl Shape {
    /// Values of one picture.
    pub(crate) fn picture_len(self) -> usize {
        self.side * self.side * self.channels
    }
}

/// What a convolution multiplies by and adds.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvWeights {
    /// Width and height of the kernel.
    pub side: usize,
    /// Channels of its input.
    pub inputs: usize,
    /// Channels of its output; of a depthwise kernel those of its input.
    pub outputs: usize,
    /// (side, side, inputs, outputs), Keras's HWIO; of a depthwise kernel (side, side, inputs).
    pub kernel: Vec<f32>,
    /// One for each output; empty in a depthwise kernel.
    pub bias: Vec<f32>,
}

/// A convolution without padding, Keras's `Conv2D(padding="valid")`, and its activation.
#[derive(Debug, Clone)]
pub struct Conv2dParams {
    /// Keras's name of the layer, or `blockN_residual` where Keras has none.
    pub name: String,
    /// The kernel and the bias.
    pub weights: ConvWeights,
    /// Pixels of the input from one of the output to the next, both ways.
    pub stride: usize,
    /// Of the output.
    pub activation: Activation,
}

/// Keras's `SeparableConv2D(padding="same")`: a depthwise 3x3 convolution that keeps the side, then a pointwise one,
/// with nothing between.
#[derive(Debug, Clone)]
pub struct SeparableConv2dParams {
    /// Keras's name of the layer.
    pub name: String,
    /// Of the input.
    pub input_activation: Activation,
    /// The 3x3 convolution of each channel by itself, without a bias.
    pub depthwise: ConvWeights,
    /// The 1x1 convolution.
    pub pointwise: ConvWeights,
    /// Of the output.
    pub activation: Activation,
}

/// Width and height of the output of a convolution without padding.
pub(crate) fn output_side(side: usize, kernel_size: usize, stride: usize) -> usize {
    (side - kernel_size) / stride + 1
}

/// Xception's input is `pixel / HALF_RANGE - 1`, from -1 to 1 (`preprocess_input` in
/// keras/src/applications/imagenet_utils.py, mode "tf").
pub const HALF_RANGE: f32 = 127.5;

/// Runs layers on one device, in one precision. A clone is for another thread.
pub(crate) trait Backend: Clone + Send + 'static {
    /// Feature maps of some pictures.
    type FeatureMaps;
    /// A prepared convolution. A clone shares the weights.
    type Conv2d: Clone + Send;
    /// A prepared separable convolution. A clone shares the weights.
    type SeparableConv2d: Clone + Send;

    /// Maximum number of pictures that go through the entry flow at a time. Its feature maps are the largest and its
    /// weights the smallest, so with few pictures the maps stay in the caches.
    const ENTRY_PICTURES: usize;

    /// Whose kernels, as in `icebox's own (AVX2, vectors of 8 floats)`.
    fn describe(&self) -> String;

    /// Packs a convolution for inputs of a shape.
    fn prepare_conv2d(&self, params: &Conv2dParams, input: Shape) -> Result<Self::Conv2d, NetworkError>;

    /// Packs a separable convolution for inputs of a shape.
    fn prepare_separable_conv2d(
        &self,
        params: &SeparableConv2dParams,
        input: Shape,
    ) -> Result<Self::SeparableConv2d, NetworkError>;

    /// The network's input from the pixels (NHWC, 0 to 255) of 1 to `shape.pictures` pictures. A backend whose layers
    /// need the full batch adds black pictures after them.
    fn input(&self, pixels: &[u8], shape: Shape) -> Result<Self::FeatureMaps, NetworkError>;

    /// The convolution of `x`.
    fn conv2d(&self, layer: &Self::Conv2d, x: &Self::FeatureMaps) -> Result<Self::FeatureMaps, NetworkError>;

    /// The convolution of `x`, added to `sum`; for layers without an activation of the output.
    fn conv2d_accumulate(
        &self,
        layer: &Self::Conv2d,
        x: &Self::FeatureMaps,
        sum: Self::FeatureMaps,
    ) -> Result<Self::FeatureMaps, NetworkError>;

    /// The separable convolution of `x`.
    fn separable_conv2d(
        &self,
        layer: &Self::SeparableConv2d,
        x: &Self::FeatureMaps,
    ) -> Result<Self::FeatureMaps, NetworkError>;

    /// The separable convolution of `x`, added to `sum`; for layers without an activation of the output.
    fn separable_conv2d_accumulate(
        &self,
        layer: &Self::SeparableConv2d,
        x: &Self::FeatureMaps,
        sum: Self::FeatureMaps,
    ) -> Result<Self::FeatureMaps, NetworkError>;

    /// Max pooling 3x3 with stride 2 and TensorFlow's 'same' padding: an even side is padded only right and below.
    fn max_pool(&self, x: &Self::FeatureMaps) -> Result<Self::FeatureMaps, NetworkError>;

    /// Concatenates the pictures of the parts. There is at least one part; all have the same side and channels.
    fn concat(&self, parts: Vec<Self::FeatureMaps>) -> Result<Self::FeatureMaps, NetworkError>;

    /// The mean of each channel: (pictures, channels).
    fn global_average_pool(&self, x: &Self::FeatureMaps) -> Result<Vec<f32>, NetworkError>;

    /// Runs `work` with the calling thread set up for this backend.
    fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}
