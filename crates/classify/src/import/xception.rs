//! Finding Xception without its top in a model: the layers that feed the pooling must be those of
//! keras/src/applications/xception.py, each with its settings, connected in the same way.

use backbone::weights::{Layer as NetworkLayer, LayerKind, layers};
use serde_json::{Value, json};

use super::error::{ModelProblem, Refusal};
use super::graph::{Graph, Layer, LayerId};

/// A layer of Keras's Xception.
struct Expected {
    /// Keras's class.
    class: &'static str,
    /// As Keras names it, or for a layer that Keras leaves unnamed, as `backbone` does.
    name: String,
    /// The settings that its output depends on.
    settings: Vec<(&'static str, Value)>,
    /// The layers whose outputs it takes, as places in the list; none takes the network's input.
    inputs: Vec<usize>,
    /// Its place among the layers with weights.
    weights: Option<usize>,
}

/// Checks that the layers behind `output` are those of Xception, and gives the layer whose output is the network's input.
///
/// # Errors
/// The last layer, in the order of the network, that is another one.
pub(super) fn input_of_network(graph: &Graph, output: LayerId) -> Result<LayerId, ModelProblem> {
    let network = architecture();
    let mut found: Vec<Option<LayerId>> = vec![None; network.len()];
    let mut input = None;
    *found.last_mut().expect("the network has layers") = Some(output);
    // Backwards: each layer is the input of a later one, so it is found before it is its turn.
    for k in (0..network.len()).rev() {
        let (expected, id) = (&network[k], found[k].expect("each layer but the last is the input of a later one"));
        let layer = graph.layer(id);
        check(layer, expected)?;
        if expected.inputs.is_empty() {
            input = Some(layer.input()?);
            continue;
        }
        if layer.inputs.len() != expected.inputs.len() {
            return Err(layer.refused(Refusal::Inputs { found: layer.inputs.len() }));
        }
        // A block's input is read by two layers, which must mean the same one.
        for (&place, &id) in expected.inputs.iter().zip(&layer.inputs) {
            match found[place] {
                Some(other) if other != id => return Err(layer.refused(Refusal::Wiring)),
                _ => found[place] = Some(id),
            }
        }
    }
    check_order(graph, &network, &found)?;
    Ok(input.expect("the first layer takes the network's input"))
}

/// Checks that the file numbers the layers with weights in the network's order, class by class: `backbone` reads them so.
fn check_order(graph: &Graph, network: &[Expected], found: &[Option<LayerId>]) -> Result<(), ModelProblem> {
    let mut in_order: Vec<(usize, LayerId, &'static str)> = Vec::new();
    for (expected, id) in network.iter().zip(found) {
        if let (Some(place), Some(id)) = (expected.weights, id) {
            in_order.push((place, *id, expected.class));
        }
    }
    in_order.sort_unstable_by_key(|&(place, ..)| place);
    for (k, &(_, id, class)) in in_order.iter().enumerate() {
        let later = in_order[k + 1..].iter().find(|&&(_, _, other)| other == class);
        if later.is_some_and(|&(_, other, _)| other < id) {
            return Err(graph.layer(id).refused(Refusal::Wiring));
        }
    }
    Ok(())
}

fn check(layer: &Layer, expected: &Expected) -> Result<(), ModelProblem> {
    if layer.class != expected.class {
        let expected = format!("{} ({})", expected.name, expected.class);
        return Err(layer.refused(Refusal::NotXception { expected }));
    }
    for (setting, value) in &expected.settings {
        // Older versions of Keras did not have it, and wrote the axis as a list.
        let written = match *setting {
            "groups" if layer.setting(setting).is_null() => continue,
            "axis" => [json!(-1), json!(3), json!([3])].contains(layer.setting(setting)),
            _ => false,
        };
        if !written {
            layer.require(setting, value.clone())?;
        }
    }
    Ok(())
}

/// The layers of the network, each after those whose outputs it takes.
fn architecture() -> Vec<Expected> {
    let mut network = Network { layers: Vec::new(), with_weights: layers() };
    let mut x = None;
    for name in ["block1_conv1", "block1_conv2"] {
        x = Some(network.with_norm(name, x));
        x = Some(network.relu(x));
    }
    for block in 2..=14 {
        let entry = x;
        let last = match block {
            5..=12 => 3,
            _ => 2,
        };
        for n in 1..=last {
            // Block 2 does not begin with an activation, and block 14 has each behind its convolution.
            if block != 14 && !(block == 2 && n == 1) {
                x = Some(network.relu(x));
            }
            x = Some(network.with_norm(&format!("block{block}_sepconv{n}"), x));
            if block == 14 {
                x = Some(network.relu(x));
            }
        }
        match block {
            14 => {}
            5..=12 => x = Some(network.add(x, entry)),
            _ => {
                x = Some(network.max_pool(x));
                let residual = Some(network.with_norm(&format!("block{block}_residual"), entry));
                x = Some(network.add(x, residual));
            }
        }
    }
    network.layers
}

/// The network as it is put together.
struct Network {
    layers: Vec<Expected>,
    with_weights: Vec<NetworkLayer>,
}

impl Network {
    /// A convolution and its batch norm.
    fn with_norm(&mut self, name: &str, input: Option<usize>) -> usize {
        let convolution = self.with_weights(name, input);
        self.with_weights(&format!("{name}_bn"), Some(convolution))
    }

    fn with_weights(&mut self, name: &str, input: Option<usize>) -> usize {
        let place = self.with_weights.iter().position(|layer| layer.name == name).expect("a layer of the network");
        let kind = self.with_weights[place].kind;
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

    fn relu(&mut self, input: Option<usize>) -> usize {
        self.push("Activation", "relu", vec![("activation", json!("relu"))], input, None)
    }

    fn max_pool(&mut self, input: Option<usize>) -> usize {
        let settings = vec![
            ("pool_size", json!([3, 3])),
            ("strides", json!([2, 2])),
            ("padding", json!("same")),
            ("data_format", json!("channels_last")),
        ];
        self.push("MaxPooling2D", "max pool", settings, input, None)
    }

    /// The sum of a block's way and its residual.
    fn add(&mut self, x: Option<usize>, residual: Option<usize>) -> usize {
        let sum = self.push("Add", "sum with the residual", Vec::new(), x, None);
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
        self.layers.push(Expected { class, name: name.to_owned(), settings, inputs, weights });
        self.layers.len() - 1
    }
}
