//! The trait that a backend implements: the layers that networks are made of.

use crate::network::NetworkError;

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The identity.
    Linear,
    /// `max(x, 0)`.
    Relu,
}

/// The shape of feature maps, NHWC: (pictures, side, side, channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub pictures: usize,
    /// Width and height in pixels.
    pub side: usize,
    pub channels: usize,
}

impl Shape {
    /// The number of values of one picture.
    pub(crate) fn picture_len(self) -> usize {
        self.side * self.side * self.channels
    }
}

/// The kernel and the bias of a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvWeights {
    /// Width and height of the kernel.
    pub side: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output; for a depthwise kernel equal to `inputs`.
    pub outputs: usize,
    /// (side, side, inputs, outputs), Keras's HWIO; a depthwise kernel is (side, side, inputs).
    pub kernel: Vec<f32>,
    /// (outputs,); empty for a depthwise kernel, which has no bias.
    pub bias: Vec<f32>,
}

/// A convolution without padding, Keras's `Conv2D(padding="valid")`, and its activation.
#[derive(Debug, Clone)]
pub struct Conv2dParams {
    /// Keras's name of the layer, or `blockN_residual` where Keras has none.
    pub name: String,
    /// The kernel and the bias.
    pub weights: ConvWeights,
    /// The stride in pixels, the same in both directions.
    pub stride: usize,
    /// Applied to the output.
    pub activation: Activation,
}

/// Keras's `SeparableConv2D(padding="same")`: a depthwise 3x3 convolution that keeps the side, then a pointwise one.
/// Neither bias nor activation is between them.
#[derive(Debug, Clone)]
pub struct SeparableConv2dParams {
    /// Keras's name of the layer.
    pub name: String,
    /// Applied to the input.
    pub input_activation: Activation,
    /// The 3x3 convolution of each channel.
    pub depthwise: ConvWeights,
    /// The 1x1 convolution over all channels.
    pub pointwise: ConvWeights,
    /// Applied to the output.
    pub activation: Activation,
}

/// Width and height of the output of a convolution without padding.
pub(crate) fn output_side(side: usize, kernel_size: usize, stride: usize) -> usize {
    (side - kernel_size) / stride + 1
}

/// Xception's input is `pixel / HALF_RANGE - 1`, from -1 to 1 (`preprocess_input` in
/// keras/src/applications/imagenet_utils.py, mode "tf").
pub const HALF_RANGE: f32 = 127.5;

/// Runs layers on one device, in one precision. Each thread uses its own clone.
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

    /// The name of the kernels, as in `icebox's own (AVX2, vectors of 8 floats, tiles of 6 pixels x 2 vectors)`.
    fn describe(&self) -> String;

    /// Prepares a convolution for inputs of this shape: packs its weights.
    fn prepare_conv2d(&self, params: &Conv2dParams, input: Shape) -> Result<Self::Conv2d, NetworkError>;

    /// Prepares a separable convolution for inputs of this shape: packs its weights.
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

    /// `sum + conv2d(layer, x)`; only for layers whose output activation is linear.
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

    /// `sum + separable_conv2d(layer, x)`; only for layers whose output activation is linear.
    fn separable_conv2d_accumulate(
        &self,
        layer: &Self::SeparableConv2d,
        x: &Self::FeatureMaps,
        sum: Self::FeatureMaps,
    ) -> Result<Self::FeatureMaps, NetworkError>;

    /// Max pooling 3x3 with stride 2 and TensorFlow's 'same' padding: an even side is padded only right and below.
    fn max_pool(&self, x: &Self::FeatureMaps) -> Result<Self::FeatureMaps, NetworkError>;

    /// Concatenates the parts along the pictures. There is at least one part; all have the same side and channels.
    fn concat(&self, parts: Vec<Self::FeatureMaps>) -> Result<Self::FeatureMaps, NetworkError>;

    /// The mean of each channel: (pictures, channels).
    fn global_average_pool(&self, x: &Self::FeatureMaps) -> Result<Vec<f32>, NetworkError>;

    /// Runs `work` with the calling thread set up for this backend.
    fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}
