//! A Keras model as one graph of layers, whatever models are nested in it.
//!
//! A layer takes the outputs of layers that come before it, so there are no cycles. A nested model is replaced by its
//! layers: its input layer takes what the model is given.

use std::collections::HashMap;

use backbone::weights::LayerPath;
use serde_json::{Map, Value};

use super::error::{LayerName, ModelProblem, Refusal};

/// The layers of a model, each after those whose outputs it takes.
#[derive(Debug)]
pub(super) struct Graph {
    layers: Vec<Layer>,
    /// The layer whose output is the model's.
    pub(super) output: LayerId,
}

/// A layer's place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LayerId(usize);

/// A layer that is not itself a model.
#[derive(Debug)]
pub(super) struct Layer {
    /// Keras's class.
    pub(super) class: String,
    /// Its settings.
    pub(super) config: Map<String, Value>,
    /// The layers whose outputs it takes; empty for the model's input layer.
    pub(super) inputs: Vec<LayerId>,
    /// The number that is its second argument, as the 2 of `x / 2`.
    pub(super) operand: Option<f64>,
    /// Where the file has its variables.
    pub(super) path: LayerPath,
}

impl Layer {
    pub(super) fn name(&self) -> LayerName {
        LayerName { name: self.path.names.join("/"), class: self.class.clone() }
    }

    /// The error that refuses the layer.
    pub(super) fn refused(&self, why: Refusal) -> ModelProblem {
        ModelProblem::Refused { layer: self.name(), why }
    }

    /// The only layer whose output it takes.
    pub(super) fn input(&self) -> Result<LayerId, ModelProblem> {
        match self.inputs[..] {
            [input] => Ok(input),
            _ => Err(self.refused(Refusal::Inputs { found: self.inputs.len() })),
        }
    }

    /// A setting's value; null if the layer does not have it.
    pub(super) fn setting(&self, name: &str) -> &Value {
        self.config.get(name).unwrap_or(&Value::Null)
    }

    /// Checks that a setting has the only value that is supported.
    pub(super) fn require(&self, setting: &'static str, expected: Value) -> Result<(), ModelProblem> {
        let found = self.setting(setting);
        if *found == expected {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(self.refused(Refusal::Setting { setting, found, expected }))
    }
}

impl Graph {
    /// The graph of a model's configuration, `{"class_name": …, "config": …}`.
    pub(super) fn of_model(config: &Value) -> Result<Self, ModelProblem> {
        let mut layers = Vec::new();
        let output = add_model(&Entry::read(config)?, &LayerPath::default(), None, &mut layers)?;
        Ok(Self { layers, output })
    }

    pub(super) fn layer(&self, id: LayerId) -> &Layer {
        &self.layers[id.0]
    }
}

/// A layer or a model in a configuration, before it is known which.
struct Entry<'a> {
    name: &'a str,
    class: &'a str,
    config: &'a Map<String, Value>,
    /// Its inbound nodes: how it is connected; null in a Sequential.
    nodes: &'a Value,
}

impl<'a> Entry<'a> {
    fn read(entry: &'a Value) -> Result<Self, ModelProblem> {
        let config = |of: &str, expected| ModelProblem::Config { of: of.to_owned(), expected };
        let class = entry["class_name"].as_str().ok_or_else(|| config("a layer", "class_name"))?;
        let settings = entry["config"].as_object().ok_or_else(|| config(class, "config"))?;
        let name = settings.get("name").or(entry.get("name")).and_then(Value::as_str);
        let name = name.ok_or_else(|| config(class, "name"))?;
        Ok(Self { name, class, config: settings, nodes: &entry["inbound_nodes"] })
    }

    fn is_model(&self) -> bool {
        matches!(self.class, "Functional" | "Model" | "Sequential")
    }

    /// The layers of a model.
    fn layers(&self) -> Result<Vec<Entry<'a>>, ModelProblem> {
        let layers = self.config.get("layers").and_then(Value::as_array);
        let missing = || ModelProblem::Config { of: self.name.to_owned(), expected: "layers" };
        layers.ok_or_else(missing)?.iter().map(Entry::read).collect()
    }

    fn refused(&self, path: &LayerPath, why: Refusal) -> ModelProblem {
        let layer = LayerName { name: path.names.join("/"), class: self.class.to_owned() };
        ModelProblem::Refused { layer, why }
    }
}

/// Adds the layers of a model to `layers`, and returns the one whose output is the model's. `path` is the model's;
/// `input` is the layer whose output a nested model takes, `None` for the whole model.
fn add_model(
    model: &Entry<'_>,
    path: &LayerPath,
    input: Option<LayerId>,
    layers: &mut Vec<Layer>,
) -> Result<LayerId, ModelProblem> {
    let ends = |what, found| ModelProblem::Ends { model: model.name.to_owned(), what, found };
    let sequential = model.class == "Sequential";
    if !sequential {
        let inputs = references(model.config.get("input_layers").unwrap_or(&Value::Null)).len();
        if inputs != 1 {
            return Err(ends("inputs", inputs));
        }
    }

    let mut numbers: HashMap<String, usize> = HashMap::new();
    // The layer that gives the output of each name.
    let mut outputs: HashMap<&str, LayerId> = HashMap::new();
    let mut last = input;
    for entry in model.layers()? {
        let mut names = path.names.clone();
        names.push(entry.name.to_owned());
        let mut numbered = path.numbered.clone();
        let class = snake_case(entry.class);
        let number = numbers.entry(class.clone()).or_default();
        numbered.push(if *number == 0 { class } else { format!("{class}_{number}") });
        *number += 1;
        let path = LayerPath { names, numbered };

        let call = if entry.class == "InputLayer" {
            Call { inputs: input.into_iter().collect(), operand: None }
        } else if sequential {
            Call { inputs: last.into_iter().collect(), operand: None }
        } else {
            Call::read(&entry, &path, &outputs)?
        };
        let output = if entry.is_model() {
            if call.inputs.len() > 1 {
                return Err(entry.refused(&path, Refusal::Inputs { found: call.inputs.len() }));
            }
            add_model(&entry, &path, call.inputs.first().copied(), layers)?
        } else {
            let Call { inputs, operand } = call;
            layers.push(Layer { class: entry.class.to_owned(), config: entry.config.clone(), inputs, operand, path });
            LayerId(layers.len() - 1)
        };
        outputs.insert(entry.name, output);
        last = Some(output);
    }

    if sequential {
        return last.ok_or_else(|| ends("outputs", 0));
    }
    match references(model.config.get("output_layers").unwrap_or(&Value::Null))[..] {
        [Reference { layer, .. }] => outputs.get(layer).copied().ok_or_else(|| ends("outputs", 0)),
        ref several => Err(ends("outputs", several.len())),
    }
}

/// The arguments that a layer is called with.
struct Call {
    inputs: Vec<LayerId>,
    operand: Option<f64>,
}

impl Call {
    /// Reads the layer's only inbound node: `{"args": …, "kwargs": …}` in Keras 3; in Keras 2 a list of
    /// `[layer, node, tensor, kwargs]`, or one such item.
    fn read(entry: &Entry<'_>, path: &LayerPath, outputs: &HashMap<&str, LayerId>) -> Result<Self, ModelProblem> {
        let nodes = entry.nodes.as_array().map(Vec::as_slice).unwrap_or_default();
        let [node] = nodes else {
            return Err(entry.refused(path, Refusal::Shared { times: nodes.len() }));
        };
        let mut inputs = Vec::new();
        for Reference { layer, tensor } in references(node) {
            match outputs.get(layer) {
                Some(&output) if tensor == 0 => inputs.push(output),
                _ => return Err(entry.refused(path, Refusal::Unknown { of: layer.to_owned() })),
            }
        }
        // `x / 2`: the second positional argument in Keras 3, `y` in Keras 2.
        let operand = node["args"][1].as_f64().or(node[3]["y"].as_f64());
        Ok(Self { inputs, operand })
    }
}

/// An output of a layer, as a configuration refers to it.
struct Reference<'a> {
    layer: &'a str,
    tensor: u64,
}

/// The layer outputs that a part of a configuration refers to, in their order: `["dense", 0, 0]` in lists of any depth,
/// or Keras 3's `__keras_tensor__` objects, also among keyword arguments.
fn references(value: &Value) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    collect_references(value, &mut found);
    found
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<Reference<'a>>) {
    match value {
        Value::Array(items) => match &items[..] {
            [Value::String(layer), Value::Number(_node), Value::Number(tensor), ..] => {
                found.push(Reference { layer, tensor: tensor.as_u64().unwrap_or(u64::MAX) });
            }
            _ => items.iter().for_each(|item| collect_references(item, found)),
        },
        Value::Object(fields) if fields.get("class_name").is_some_and(|class| class == "__keras_tensor__") => {
            collect_references(&value["config"]["keras_history"], found);
        }
        // A node, whose "args" come before its "kwargs", or keyword arguments by name.
        Value::Object(fields) => fields.values().for_each(|field| collect_references(field, found)),
        _ => {}
    }
}

/// A class's name in snake case, as Keras writes it in files: `global_average_pooling2d` (keras/src/utils/naming.py,
/// `to_snake_case`).
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut name = String::new();
    for (k, letter) in letters.iter().enumerate() {
        let after_lower = k > 0 && letters[k - 1].is_lowercase();
        let before_lower = k > 0 && letters.get(k + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_lower || before_lower) {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_matches_keras() {
        let classes = [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ReLU", "re_lu"),
            ("InputLayer", "input_layer"),
        ];
        for (class, expected) in classes {
            assert_eq!(snake_case(class), expected);
        }
    }
}
