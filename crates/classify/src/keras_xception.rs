//! Xception without its top as Keras defines it (keras/src/applications/xception.py): its layers with their settings
//! and connections, for reading models and for writing them.

use backbone::weights::{Layer, LayerKind, layers};
use serde_json::{Value, json};

/// A layer of Keras's Xception.
pub(crate) struct KerasLayer {
    /// Keras's class.
    pub class: &'static str,
    /// Keras's name. Keras does not name the layers of a residual; here their names begin with `blockN_`.
    pub name: String,
    /// The settings that its output depends on.
    pub settings: Vec<(&'static str, Value)>,
    /// The layers whose outputs it takes, as indices into the list; empty for the first layer, which takes the
    /// network's input.
    pub inputs: Vec<usize>,
    /// Its index among the layers with weights; `None` for a layer without.
    pub weights: Option<usize>,
}

/// The layers of the network, each after those whose outputs it takes.
pub(crate) fn keras_layers() -> Vec<KerasLayer> {
    let mut network = Network { layers: Vec::new(), known_layers: layers() };
    let mut x = None;
    for name in ["block1_conv1", "block1_conv2"] {
        x = Some(network.with_norm(name, x));
        x = Some(network.relu(name, x));
    }
    for block in 2..=14 {
        let block_input = x;
        let convolutions = match block {
            5..=12 => 3,
            _ => 2,
        };
        for n in 1..=convolutions {
            let name = format!("block{block}_sepconv{n}");
            // Block 2 begins without an activation; in block 14 each activation follows its convolution.
            if block != 14 && !(block == 2 && n == 1) {
                x = Some(network.relu(&name, x));
            }
            x = Some(network.with_norm(&name, x));
            if block == 14 {
                x = Some(network.relu(&name, x));
            }
        }
        match block {
            14 => {}
            5..=12 => x = Some(network.add(block, x, block_input)),
            _ => {
                x = Some(network.max_pool(block, x));
                let residual = Some(network.with_norm(&format!("block{block}_residual"), block_input));
                x = Some(network.add(block, x, residual));
            }
        }
    }
    network.layers
}

/// The network while its layers are added.
struct Network {
    layers: Vec<KerasLayer>,
    /// The layers with weights, in the order of [`KerasLayer::weights`].
    known_layers: Vec<Layer>,
}

impl Network {
    /// A convolution and its batch norm.
    fn with_norm(&mut self, name: &str, input: Option<usize>) -> usize {
        let convolution = self.add_with_weights(name, input);
        self.add_with_weights(&format!("{name}_bn"), Some(convolution))
    }

    /// Adds the layer with weights of this name, with its settings. Returns its index in the list.
    fn add_with_weights(&mut self, name: &str, input: Option<usize>) -> usize {
        let place = self.known_layers.iter().position(|layer| layer.name == name).expect("a layer of the network");
        let kind = self.known_layers[place].kind;
        let convolution = |filters: usize, side: usize, stride: usize, padding: &str| {
            vec![
                ("filters", json!(filters)),
                ("kernel_size", json!([side, side])),
                ("strides", json!([stride, stride])),
                ("padding", json!(padding)),
                ("dilation_rate", json!([1, 1])),
                ("data_format", json!("channels_last")),
                ("activation", json!("linear")),
                ("use_bias", json!(false)),
            ]
        };
        let (class, settings) = match kind {
            LayerKind::Convolution { side, outputs, .. } => {
                let stride = if name == "block1_conv2" { 1 } else { 2 };
                let padding = if side == 1 { "same" } else { "valid" };
                let mut settings = convolution(outputs, side, stride, padding);
                settings.push(("groups", json!(1)));
                ("Conv2D", settings)
            }
            LayerKind::Separable { outputs, .. } => {
                let mut settings = convolution(outputs, 3, 1, "same");
                settings.push(("depth_multiplier", json!(1)));
                ("SeparableConv2D", settings)
            }
            LayerKind::Norm { .. } => {
                let settings = vec![
                    ("axis", json!(-1)),
                    ("epsilon", json!(0.001)),
                    ("center", json!(true)),
                    ("scale", json!(true)),
                ];
                ("BatchNormalization", settings)
            }
        };
        self.push(class, name, settings, input, Some(place))
    }

    /// The ReLU of the convolution `of`: before it, or after its batch norm.
    fn relu(&mut self, of: &str, input: Option<usize>) -> usize {
        self.push("Activation", &format!("{of}_act"), vec![("activation", json!("relu"))], input, None)
    }

    fn max_pool(&mut self, block: usize, input: Option<usize>) -> usize {
        let settings = vec![
            ("pool_size", json!([3, 3])),
            ("strides", json!([2, 2])),
            ("padding", json!("same")),
            ("data_format", json!("channels_last")),
        ];
        self.push("MaxPooling2D", &format!("block{block}_pool"), settings, input, None)
    }

    /// The sum of a block's convolutions and its residual.
    fn add(&mut self, block: usize, x: Option<usize>, residual: Option<usize>) -> usize {
        let sum = self.push("Add", &format!("block{block}_add"), Vec::new(), x, None);
        self.layers[sum].inputs.extend(residual);
        sum
    }

    fn push(
        &mut self,
        class: &'static str,
        name: &str,
        settings: Vec<(&'static str, Value)>,
        input: Option<usize>,
        weights: Option<usize>,
    ) -> usize {
        let inputs = input.into_iter().collect();
        self.layers.push(KerasLayer { class, name: name.to_owned(), settings, inputs, weights });
        self.layers.len() - 1
    }
}
