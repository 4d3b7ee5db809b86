//! The run's model as a `.keras` archive, as Keras 3 writes it: Xception as a layer of the model, frozen, then the
//! pooling and the head's dense layers with softmax.
//!
//! The archive has config.json (the layers and their settings), metadata.json and model.weights.h5, whose groups are
//! named after the classes of the layers, numbered in their order (keras/src/saving/saving_lib.py).

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use backbone::weights::layers;
use hdf5_pure::{FileBuilder, FinishedGroup, GroupBuilder};
use head::prediction::Predictor;
use head::run::{Origin, Run};
use serde_json::{Value, json};
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::ExportError;
use super::network::Network;
use crate::keras_xception::{KerasLayer, keras_layers};

/// The version in metadata.json; the format is that of every Keras 3.
const KERAS_VERSION: &str = "3.0.0";

/// The name of the input layer, of the model and of the network in it.
const INPUT: &str = "input_layer";

/// The name of the network in the model.
const XCEPTION: &str = "xception";

/// The bytes of the archive. The model takes (N, side, side, 3) from -1 to 1 and gives the run's probabilities: the
/// last layer's weights are divided by the temperature.
///
/// # Errors
/// When the HDF5 writer fails.
pub(super) fn archive(run: &Run, network: &Network<'_>) -> Result<Vec<u8>, ExportError> {
    let predictor = Predictor::new(run);
    let head = head_layers(run, &predictor);
    let metadata = json!({
        "keras_version": KERAS_VERSION,
        "class_names": predictor.classes().iter().collect::<Vec<_>>(),
        "fingerprint": run.config.fingerprint,
    });
    let weights = weights(network, &head)?;
    let entries = [
        ("metadata.json", metadata.to_string().into_bytes()),
        ("config.json", model_config(network.spec.side, &head).to_string().into_bytes()),
        ("model.weights.h5", weights),
    ];
    Ok(zip(&entries).expect("a zip archive can be written to memory"))
}

fn zip(entries: &[(&str, Vec<u8>)]) -> ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored))?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// A layer of the head.
struct HeadLayer {
    class: &'static str,
    name: String,
    settings: Value,
    /// Its weights, in Keras's order.
    variables: Vec<Variable>,
}

impl HeadLayer {
    /// A layer without weights; `name` is added to its settings.
    fn without_weights(class: &'static str, name: String, mut settings: Value) -> Self {
        settings["name"] = json!(name);
        Self { class, name, settings, variables: Vec::new() }
    }
}

/// A tensor of weights, row-major.
struct Variable {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The layers after the network.
fn head_layers(run: &Run, predictor: &Predictor) -> Vec<HeadLayer> {
    let dropout = match &run.config.origin {
        Origin::Trained(from) => from.config.fit.dropout.get(),
        // The run does not have its dropout rate.
        Origin::Imported(_) => 0.0,
    };
    let pooling = "global_average_pooling2d".to_owned();
    let mut head =
        vec![HeadLayer::without_weights("GlobalAveragePooling2D", pooling, json!({ "data_format": "channels_last" }))];
    let dense_layers = predictor.classifier().layers();
    for (k, dense) in dense_layers.iter().enumerate() {
        let is_last = k + 1 == dense_layers.len();
        let divisor = if is_last { predictor.temperature() } else { 1.0 };
        let divided = |values: &[f32]| values.iter().map(|value| value / divisor).collect();
        let activation = if is_last { "softmax" } else { "relu" };
        let name = numbered("dense", k);
        head.push(HeadLayer {
            class: "Dense",
            settings: json!({ "name": name, "units": dense.outputs(), "activation": activation, "use_bias": true }),
            name,
            variables: vec![
                Variable { shape: vec![dense.inputs(), dense.outputs()], values: divided(&dense.kernel()) },
                Variable { shape: vec![dense.outputs()], values: divided(dense.bias()) },
            ],
        });
        if !is_last && dropout > 0.0 {
            head.push(HeadLayer::without_weights("Dropout", numbered("dropout", k), json!({ "rate": dropout })));
        }
    }
    head
}

/// `dense`, `dense_1`, …, as Keras numbers layers.
fn numbered(name: &str, count: usize) -> String {
    if count == 0 { name.to_owned() } else { format!("{name}_{count}") }
}

/// config.json. Settings that are not written have Keras's defaults.
fn model_config(side: u32, head: &[HeadLayer]) -> Value {
    let mut layers = vec![input_layer(side)];
    let mut xception = layer_config("keras.src.models.functional", "Functional", xception_config(side));
    // Batch norms keep their means and variances, even when the network is fine-tuned.
    connect(&mut xception, XCEPTION, &[INPUT], &json!({ "training": false }));
    layers.push(xception);
    let mut last = XCEPTION;
    for HeadLayer { class, name, settings, .. } in head {
        let mut layer = layer_config("keras.layers", class, settings.clone());
        connect(&mut layer, name, &[last], &json!({}));
        layers.push(layer);
        last = name;
    }
    layer_config("keras.src.models.functional", "Functional", functional_config("icebox", true, &layers, last))
}

/// The network as a layer of the model.
fn xception_config(side: u32) -> Value {
    let network = keras_layers();
    let mut layers = vec![input_layer(side)];
    for KerasLayer { class, name, settings, inputs, .. } in &network {
        let mut config = json!({ "name": name, "trainable": false });
        for (setting, value) in settings {
            config[*setting] = value.clone();
        }
        let mut layer = layer_config("keras.layers", class, config);
        let names: Vec<&str> = inputs.iter().map(|&place| network[place].name.as_str()).collect();
        connect(&mut layer, name, if names.is_empty() { &[INPUT] } else { &names }, &json!({}));
        layers.push(layer);
    }
    let last = network.last().expect("the network has layers");
    functional_config(XCEPTION, false, &layers, &last.name)
}

/// The settings of a functional model with these layers.
fn functional_config(name: &str, trainable: bool, layers: &[Value], output: &str) -> Value {
    json!({
        "name": name,
        "trainable": trainable,
        "layers": layers,
        "input_layers": [[INPUT, 0, 0]],
        "output_layers": [[output, 0, 0]],
    })
}

fn input_layer(side: u32) -> Value {
    let settings = json!({ "name": INPUT, "batch_shape": [null, side, side, 3], "dtype": "float32" });
    let mut layer = layer_config("keras.layers", "InputLayer", settings);
    connect(&mut layer, INPUT, &[], &json!({}));
    layer
}

/// A layer as config.json has it.
fn layer_config(module: &str, class: &str, settings: Value) -> Value {
    json!({ "module": module, "class_name": class, "config": settings, "registered_name": null })
}

/// Sets a layer's name and the names of the layers whose outputs it takes. Only `Add` takes several, as a list.
fn connect(layer: &mut Value, name: &str, inputs: &[&str], options: &Value) {
    let mut tensors = Vec::new();
    for input in inputs {
        // Keras finds the tensor by its history and ignores the shape.
        let config = json!({ "shape": [null, null, null, null], "dtype": "float32", "keras_history": [input, 0, 0] });
        tensors.push(json!({ "class_name": "__keras_tensor__", "config": config }));
    }
    layer["name"] = json!(name);
    layer["inbound_nodes"] = match tensors.len() {
        0 => json!([]),
        1 => json!([{ "args": tensors, "kwargs": options }]),
        _ => json!([{ "args": [tensors], "kwargs": options }]),
    };
}

/// Numbers the groups of layers as Keras does: the class in snake case, with a number from the second on.
#[derive(Default)]
struct GroupNames(BTreeMap<String, usize>);

impl GroupNames {
    /// The name of the next layer of this class.
    fn next(&mut self, class: &str) -> String {
        let name = snake_case(class);
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        numbered(&name, *count - 1)
    }
}

/// `SeparableConv2D` becomes `separable_conv2d`.
fn snake_case(class: &str) -> String {
    let mut name = String::new();
    let mut after_lowercase = false;
    for letter in class.chars() {
        if letter.is_uppercase() && after_lowercase {
            name.push('_');
        }
        after_lowercase = letter.is_lowercase();
        name.extend(letter.to_lowercase());
    }
    name
}

/// The bytes of model.weights.h5.
fn weights(network: &Network<'_>, head: &[HeadLayer]) -> Result<Vec<u8>, ExportError> {
    let mut file = FileBuilder::new();
    let mut root = file.create_group("layers");

    let mut functional = root.create_group("functional");
    let mut inner = functional.create_group("layers");
    let with_weights = layers();
    let mut names = GroupNames::default();
    for layer in keras_layers() {
        let Some(place) = layer.weights else { continue };
        let mut variables = Vec::new();
        for (tensor, shape) in with_weights[place].kind.tensors() {
            let name = format!("{}.{tensor}", with_weights[place].name);
            let values = network.weights.values(&name).expect("weights have every tensor").to_vec();
            variables.push(Variable { shape, values });
        }
        let group = inner.create_group(&names.next(layer.class));
        inner.add_group(with_variables(group, &variables));
    }
    functional.add_group(inner.finish());
    root.add_group(functional.finish());

    let mut names = GroupNames::default();
    for layer in head.iter().filter(|layer| !layer.variables.is_empty()) {
        let group = root.create_group(&names.next(layer.class));
        root.add_group(with_variables(group, &layer.variables));
    }
    file.add_group(root.finish());
    file.finish().map_err(|error| ExportError::Hdf5(error.to_string()))
}

/// A layer's group with its variables: vars/0, vars/1, …
fn with_variables(mut layer: GroupBuilder, variables: &[Variable]) -> FinishedGroup {
    let mut group = layer.create_group("vars");
    for (k, Variable { shape, values }) in variables.iter().enumerate() {
        let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
        group.create_dataset(&k.to_string()).with_f32_data(values).with_shape(&shape);
    }
    layer.add_group(group.finish());
    layer.finish()
}
