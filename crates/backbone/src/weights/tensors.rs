//! The tensors of Xception without its top: names and shapes, in the order of Keras's model
//! (keras/src/applications/xception.py).
//!
//! Keras leaves the four residual convolutions unnamed; here they are `blockN_residual`. In the model's order, a
//! block's residual convolution comes after its separable convolutions.

/// A layer with weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Keras's name, or `blockN_residual[_bn]` where Keras has none.
    pub name: String,
    /// The number of its block, from 1.
    pub block: usize,
    /// Its kind and shape.
    pub kind: LayerKind,
}

/// The kinds of layers that have weights, with the sizes that determine the shapes of their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// `Conv2D` without bias.
    Convolution {
        /// Width and height of the kernel.
        side: usize,
        /// Channels in.
        inputs: usize,
        /// Channels out.
        outputs: usize,
    },
    /// `SeparableConv2D` 3x3 without bias.
    Separable {
        /// Channels in.
        inputs: usize,
        /// Channels out.
        outputs: usize,
    },
    /// `BatchNormalization`.
    Norm {
        /// Channels.
        channels: usize,
    },
}

/// A tensor's name and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// `LAYER.TENSOR`, as in `block1_conv1.kernel`.
    pub name: String,
    /// The shape in Keras's layout.
    pub shape: Vec<usize>,
}

/// The number of layers with weights.
pub const LAYERS: usize = 80;

impl LayerKind {
    /// Our names and the shapes of the layer's tensors, in Keras's order.
    pub fn tensors(self) -> Vec<(&'static str, Vec<usize>)> {
        match self {
            Self::Convolution { side, inputs, outputs } => vec![("kernel", vec![side, side, inputs, outputs])],
            Self::Separable { inputs, outputs } => {
                vec![("depthwise", vec![3, 3, inputs, 1]), ("pointwise", vec![1, 1, inputs, outputs])]
            }
            Self::Norm { channels } => {
                ["gamma", "beta", "mean", "variance"].map(|name| (name, vec![channels])).to_vec()
            }
        }
    }
}

/// The layers with weights, in the order of Keras's model.
pub fn layers() -> Vec<Layer> {
    let mut layers = Vec::with_capacity(LAYERS);
    // Each convolution is followed by a batch norm over its outputs.
    let mut add_with_norm = |block, name: &str, kind, channels| {
        let norm = Layer { name: format!("block{block}_{name}_bn"), block, kind: LayerKind::Norm { channels } };
        layers.extend([Layer { name: format!("block{block}_{name}"), block, kind }, norm]);
    };
    let convolution = |side, inputs, outputs| LayerKind::Convolution { side, inputs, outputs };
    add_with_norm(1, "conv1", convolution(3, 3, 32), 32);
    add_with_norm(1, "conv2", convolution(3, 32, 64), 64);
    let mut inputs = 64;
    for block in 2..=14 {
        let widths: &[usize] = match block {
            2 => &[128, 128],
            3 => &[256, 256],
            4 => &[728, 728],
            13 => &[728, 1024],
            14 => &[1536, 2048],
            _ => &[728, 728, 728],
        };
        let block_inputs = inputs;
        for (&outputs, n) in widths.iter().zip(1..) {
            add_with_norm(block, &format!("sepconv{n}"), LayerKind::Separable { inputs, outputs }, outputs);
            inputs = outputs;
        }
        if matches!(block, 2 | 3 | 4 | 13) {
            add_with_norm(block, "residual", convolution(1, block_inputs, inputs), inputs);
        }
    }
    layers
}

/// Every tensor of the network, layer after layer.
pub fn tensors() -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    for layer in layers() {
        for (tensor, shape) in layer.kind.tensors() {
            tensors.push(TensorSpec { name: format!("{}.{tensor}", layer.name), shape });
        }
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_as_many_parameters_as_keras_says() {
        assert_eq!(layers().len(), LAYERS);
        let parameters: usize = tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        assert_eq!(parameters, 20_861_480);
    }
}
