//! Importing models: the files that Keras 2 and Keras 3 write, and what is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::sync::LazyLock;

use backbone::pixels::Interpolation;
use backbone::weights::{IMAGENET_DIGEST, KerasModel, Weights, layers};
use classify::import::{ImportOptions, Imported};
use end_to_end::{mangled, workspace};
use hdf5_pure::{AttrValue, FileBuilder, FinishedGroup, GroupBuilder};
use head::run::{Origin, Run};
use proptest::prelude::*;
use serde_json::{Value, json};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

const CLASSES: [&str; 6] = ["cup", "fork", "glass", "knife", "plate", "spoon"];

static IMAGENET: LazyLock<Weights> = LazyLock::new(|| {
    Weights::load(&workspace().join("data/weights/xception.safetensors")).expect("run scripts/setup first")
});

/// Models as Keras wrote them, without their values (fixtures/make_models.py): nested or not, frozen, half frozen or
/// fine-tuned, from Keras 2 and 3, as `.h5` and `.keras`.
static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let file = File::open(workspace().join("crates/classify/tests/fixtures/models.zip")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut models = Vec::new();
    for k in 0..archive.len() {
        let mut text = String::new();
        let mut entry = archive.by_index(k).unwrap();
        let name = entry.name().unwrap().strip_suffix(".json").unwrap().to_owned();
        entry.read_to_string(&mut text).unwrap();
        models.push(Model { name, about: serde_json::from_str(&text).unwrap() });
    }
    models
});

/// The models whose files are written whole: each is 84 MB.
const WHOLE: [&str; 8] = [
    "functional_2.h5",
    "half_frozen_2.h5",
    "half_frozen_3.h5",
    "sequential_3.h5",
    "flat_2.h5",
    "flat_3.keras",
    "sequential_2.keras",
    "any_size_3.keras",
];

#[derive(Clone)]
struct Model {
    /// `flat_3.h5`
    name: String,
    about: Value,
}

fn model(name: &str) -> Model {
    MODELS.iter().find(|model| model.name == name).unwrap().clone()
}

fn options() -> ImportOptions {
    let classes = CLASSES.map(str::to_owned).to_vec();
    ImportOptions { classes, side: None, interpolation: Interpolation::Nearest }
}

fn import(name: &str, bytes: &[u8], options: &ImportOptions) -> Result<Imported, String> {
    let model = KerasModel::from_bytes(Path::new(name), bytes).map_err(|error| error.to_string())?;
    Imported::from_model(&model, options).map_err(|error| error.to_string())
}

impl Model {
    /// The file's bytes: with the values of the ImageNet weights, and [`dense_values`].
    fn file(&self) -> Vec<u8> {
        self.file_with(self.about["tensors"].as_array().unwrap())
    }

    /// The file without tensors: enough to be refused by its configuration.
    fn file_without_values(&self) -> Vec<u8> {
        self.file_with(&[])
    }

    fn file_with(&self, tensors: &[Value]) -> Vec<u8> {
        let (config, version) = (self.about["config"].to_string(), self.about["keras_version"].as_str().unwrap());
        let mut weights = Tree::default();
        for tensor in tensors {
            let path = tensor[0].as_str().unwrap();
            let shape: Vec<usize> = serde_json::from_value(tensor[1].clone()).unwrap();
            let values = self.values(path, &shape);
            let (group, name) = path.rsplit_once('/').unwrap();
            weights.group(group).datasets.push((name.to_owned(), shape, values));
        }

        let mut file = FileBuilder::new();
        if self.is_archive() {
            for (name, tree) in weights.groups {
                let group = file.create_group(&name);
                file.add_group(tree.finish(group));
            }
            let entries = [
                ("metadata.json", json!({ "keras_version": version }).to_string().into_bytes()),
                ("config.json", config.into_bytes()),
                ("model.weights.h5", file.finish().unwrap()),
            ];
            let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
            for (name, content) in entries {
                archive
                    .start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored))
                    .unwrap();
                archive.write_all(&content).unwrap();
            }
            return archive.finish().unwrap().into_inner();
        }
        let names: Vec<String> = serde_json::from_value(self.about["layer_names"].clone()).unwrap();
        let weight_names: BTreeMap<String, Vec<String>> =
            serde_json::from_value(self.about["weight_names"].clone()).unwrap();
        for (layer, names) in weight_names {
            let names = if tensors.is_empty() { Vec::new() } else { names };
            weights.group(&layer).names = Some(("weight_names", names));
        }
        weights.names = Some(("layer_names", names));
        let group = file.create_group("model_weights");
        file.add_group(weights.finish(group));
        file.set_attr("model_config", AttrValue::VarLenString(config));
        file.set_attr("keras_version", AttrValue::VarLenString(version.to_owned()));
        file.finish().unwrap()
    }

    fn is_archive(&self) -> bool {
        self.name.ends_with(".keras")
    }

    /// The values of the tensor at this path in the file.
    fn values(&self, path: &str, shape: &[usize]) -> Vec<f32> {
        let steps: Vec<&str> = path.split('/').collect();
        let (layer, variable) = if self.is_archive() {
            // layers/functional/layers/conv2d_2/vars/0
            let numbered: Vec<&str> = steps[1..steps.len() - 2].iter().step_by(2).copied().collect();
            (name_of(&self.about["config"], &numbered), steps[steps.len() - 1])
        } else {
            // xception/block1_conv1/kernel:0
            let variable = steps[steps.len() - 1].split(':').next().unwrap();
            (steps[steps.len() - 2].to_owned(), variable)
        };
        if layer.starts_with("dense") {
            return dense_values(shape);
        }
        // Keras's names of the tensors, and their numbers, in the order of backbone's.
        let names = [
            ["kernel", "0", "kernel"],
            ["depthwise_kernel", "0", "depthwise"],
            ["pointwise_kernel", "1", "pointwise"],
            ["gamma", "0", "gamma"],
            ["beta", "1", "beta"],
            ["moving_mean", "2", "mean"],
            ["moving_variance", "3", "variance"],
        ];
        let mut found = Vec::new();
        for of_network in layers() {
            // No two of the layers that Keras leaves unnamed have a tensor of one shape.
            if of_network.name != layer && (layer.starts_with("block") || !of_network.name.contains("residual")) {
                continue;
            }
            for (part, expected) in of_network.kind.tensors() {
                let is_it = names.iter().any(|[name, number, ours]| {
                    *ours == part && (*name == variable || self.is_archive() && *number == variable)
                });
                if is_it && expected == shape {
                    found.push(format!("{}.{part}", of_network.name));
                }
            }
        }
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        IMAGENET.values(&found[0]).unwrap().to_vec()
    }
}

/// The name of the layer with these numbered names.
fn name_of(model: &Value, numbered: &[&str]) -> String {
    let mut numbers = BTreeMap::new();
    for layer in model["config"]["layers"].as_array().unwrap() {
        let class = match layer["class_name"].as_str().unwrap() {
            "Conv2D" => "conv2d",
            "SeparableConv2D" => "separable_conv2d",
            "BatchNormalization" => "batch_normalization",
            "Functional" => "functional",
            "Dense" => "dense",
            _ => continue,
        };
        let number: &mut usize = numbers.entry(class).or_default();
        let name = if *number == 0 { class.to_owned() } else { format!("{class}_{number}") };
        *number += 1;
        if name == numbered[0] {
            return match &numbered[1..] {
                [] => layer["config"]["name"].as_str().unwrap().to_owned(),
                further => name_of(layer, further),
            };
        }
    }
    panic!("no layer {numbered:?}")
}

/// The values of a dense layer's kernel or bias.
fn dense_values(shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    (0..count).map(|k| ((k * 7919) % 1009) as f32 / 1e4 - 0.05).collect()
}

/// Groups and datasets of an HDF5 file.
#[derive(Default)]
struct Tree {
    groups: BTreeMap<String, Tree>,
    /// Name, shape, values.
    datasets: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// An attribute with a list of names.
    names: Option<(&'static str, Vec<String>)>,
}

impl Tree {
    /// The group at this path, which is made if it is not there.
    fn group(&mut self, path: &str) -> &mut Self {
        path.split('/').fold(self, |group, step| group.groups.entry(step.to_owned()).or_default())
    }

    fn finish(self, mut group: GroupBuilder) -> FinishedGroup {
        for (name, shape, values) in self.datasets {
            let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
            group.create_dataset(&name).with_f32_data(&values).with_shape(&shape);
        }
        if let Some((attribute, names)) = self.names {
            group.set_attr(attribute, AttrValue::StringArray(names));
        }
        for (name, tree) in self.groups {
            let inner = group.create_group(&name);
            group.add_group(tree.finish(inner));
        }
        group.finish()
    }
}

/// That a model is supported is found out before its weights are read.
#[test]
fn every_kind_of_model_that_keras_writes_is_supported() {
    assert_eq!(MODELS.len(), 20);
    for model in MODELS.iter() {
        let message =
            import(&model.name, &model.file_without_values(), &ImportOptions { side: side(model), ..options() });
        let expected =
            format!("{}: not the weights of Xception without its top: missing: block1_conv1.kernel", model.name);
        let message = message.unwrap_err();
        assert!(message.starts_with(&expected), "{message}");
    }
}

/// The side that has to be named.
fn side(model: &Model) -> Option<u32> {
    model.name.starts_with("any_size").then_some(299)
}

#[test]
fn heads_and_weights_are_those_of_the_file() {
    for name in WHOLE {
        let model = model(name);
        let (file, side) = (model.file(), side(&model));
        let imported = import(name, &file, &ImportOptions { side, ..options() });
        let Imported { run, scales, summary, .. } = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(run.config.fingerprint.weights, IMAGENET_DIGEST, "{name}");
        assert_eq!(run.config.fingerprint.size, side.unwrap_or(150), "{name}");
        assert_eq!(run.config.class_indices.iter().collect::<Vec<_>>(), CLASSES);
        let Origin::Imported(from) = &run.config.origin else { panic!("{name}: not imported") };
        assert_eq!(
            (from.model.file.as_str(), from.model.keras_version.as_deref()),
            (name, model.about["keras_version"].as_str())
        );

        let kind = name.split(['_', '.']).next().unwrap();
        let (hidden, scaled, expected): (&[usize], bool, &str) = match kind {
            "functional" => (&[100], false, "Dense 100 (relu), Dropout 0.2, Dense 6"),
            "half" => {
                (&[64, 32], true, "Dense 64 (relu), Dropout 0.2, Dense 32 (relu), Dropout 0.2, Dense 6 (softmax)")
            }
            "sequential" => (&[], true, "Dropout 0.5, Dense 6 (softmax)"),
            "flat" => (&[100], false, "Dense 100, relu, Dense 6, softmax"),
            _ => (&[], true, "Dense 6"),
        };
        assert_eq!((from.hidden.as_slice(), scales), (hidden, scaled), "{name}");
        assert_eq!(summary.join(", "), format!("GlobalAveragePooling2D, {expected}"), "{name}");
        for layer in run.classifier.layers() {
            assert_eq!(layer.kernel(), dense_values(&[layer.inputs(), layer.outputs()]), "{name}");
            assert_eq!(layer.bias(), dense_values(&[layer.outputs()]), "{name}");
        }
        // The same file as weights alone, which extract takes.
        if kind == "half" {
            let weights = Weights::from_bytes(Path::new(name), &file).unwrap();
            assert_eq!(weights.digest().to_hex().as_str(), IMAGENET_DIGEST, "{name}");
        }
    }
}

/// What the import of a model says when a change was made to its configuration.
fn refusal(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut model = model(name);
    change(&mut model.about["config"]);
    import(name, &model.file_without_values(), &options()).unwrap_err()
}

/// A layer of the model in its configuration.
fn layer<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers.iter_mut().find(|layer| layer["config"]["name"] == name).unwrap()
}

#[test]
fn layers_that_are_not_supported_are_refused_by_name() {
    let sequential = "sequential_3.keras";
    // Puts a layer before the last one.
    let with = |class: &str, settings: Value| {
        refusal(sequential, |config| {
            let mut settings = settings.clone();
            settings["name"] = json!("extra");
            let layers = config["config"]["layers"].as_array_mut().unwrap();
            layers.insert(layers.len() - 1, json!({"class_name": class, "config": settings}));
        })
    };
    for class in ["BatchNormalization", "Conv2D", "Flatten", "Add", "GaussianNoise", "Reshape"] {
        let message = with(class, json!({}));
        let expected =
            format!("sequential_3.keras: layer \"extra\" ({class}): not supported on the way from the pooling");
        assert!(message.starts_with(&expected), "{message}");
    }
    let dense = |activation: &str| json!({"units": 8, "use_bias": true, "activation": activation});
    for activation in ["tanh", "linear", "softmax"] {
        let message = with("Dense", dense(activation));
        assert!(message.contains("layer \"extra\" (Dense): its activation is"), "{message}");
    }
    let message = with("ReLU", json!({"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}));
    assert!(message.contains("layer \"extra\" (ReLU): not supported"), "no dense layer before it: {message}");

    let changes: [(&str, &str, &str, Value, &str); 8] = [
        ("sequential_2.h5", "dense_5", "activation", json!("sigmoid"), "(Dense): its activation is \"sigmoid\""),
        ("sequential_2.h5", "dense_5", "activation", json!("relu"), "(Dense): its activation is relu"),
        ("sequential_2.h5", "dense_5", "units", json!(1), "(Dense): units is 1"),
        ("sequential_2.h5", "dense_5", "units", json!(-1), "a number of units above 0 expected"),
        ("sequential_2.h5", "rescaling", "scale", json!(1.0 / 255.0), "(Rescaling): pixels become x * 0.0039"),
        ("sequential_2.h5", "input_6", "batch_input_shape", json!([null, 150, 200, 3]), "shape [null,150,200,3]"),
        (
            "flat_3.keras",
            "block5_sepconv2",
            "kernel_size",
            json!([5, 5]),
            "\"block5_sepconv2\" (SeparableConv2D): kernel_size",
        ),
        ("flat_3.keras", "block14_sepconv2_bn", "epsilon", json!(0.1), "(BatchNormalization): epsilon is 0.1"),
    ];
    for (name, layer_name, setting, value, expected) in changes {
        let message = refusal(name, |config| layer(config, layer_name)["config"][setting] = value);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn models_that_are_put_together_otherwise_are_refused() {
    let flat = "flat_3.keras";
    // Another layer than Xception has.
    let message = refusal(flat, |config| layer(config, "block4_pool")["class_name"] = json!("AveragePooling2D"));
    let expected =
        "layer \"block4_pool\" (AveragePooling2D): not Xception without its top, which has block4_pool (MaxPooling2D)";
    assert!(message.contains(expected), "{message}");

    // The first activation of block 3 takes the pooling of block 2 without the residual.
    let message = refusal(flat, |config| {
        let nodes = layer(config, "block3_sepconv1_act")["inbound_nodes"].clone();
        let text = nodes.to_string();
        let before = text.split("keras_history\":[\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let moved = text.replace(&before, "block2_pool");
        layer(config, "block3_sepconv1_act")["inbound_nodes"] = serde_json::from_str(&moved).unwrap();
    });
    assert!(message.contains("not connected as in Xception"), "{message}");

    // A layer that is used twice, two outputs, no pooling.
    let message = refusal(flat, |config| {
        let nodes = layer(config, "dense_15")["inbound_nodes"].as_array_mut().unwrap();
        nodes.push(nodes[0].clone());
    });
    assert!(message.contains("layer \"dense_15\" (Dense): used 2 times"), "{message}");
    let message =
        refusal(flat, |config| config["config"]["output_layers"] = json!([["dense_15", 0, 0], ["dense_16", 0, 0]]));
    assert!(message.contains("has 2 outputs, 1 is supported"), "{message}");
    let message = refusal(flat, |config| config["config"]["output_layers"] = json!([["block14_sepconv2_act", 0, 0]]));
    assert!(
        message.contains("layer \"block14_sepconv2_bn\" (BatchNormalization): not supported on the way"),
        "{message}"
    );
    let message =
        refusal(flat, |config| config["config"]["output_layers"] = json!([["global_average_pooling2d_8", 0, 0]]));
    assert!(message.contains("no Dense layer follows the pooling"), "{message}");
    // Other scaling than preprocess_input's.
    let message = refusal("any_size_3.keras", |config| {
        let text = config.to_string().replace("127.5", "255.0");
        *config = serde_json::from_str(&text).unwrap();
    });
    assert!(message.contains("(Subtract): pixels become x * 0.00392"), "{message}");
    // Without weights for what the configuration promises.
    let message = refusal(flat, |_| {});
    assert!(message.contains("not the weights of Xception without its top: missing: block1_conv1.kernel"), "{message}");
}

#[test]
fn what_is_asked_for_must_fit_the_model() {
    let flat = model("flat_2.h5").file_without_values();
    let with = |name: &str, bytes: &[u8], options: ImportOptions| import(name, bytes, &options).unwrap_err();
    let classes =
        |names: &[&str]| ImportOptions { classes: names.iter().map(|&name| name.to_owned()).collect(), ..options() };
    let message = with("m.h5", &flat, classes(&["a", "b"]));
    assert_eq!(message, "m.h5: the model has 6 outputs, 2 classes are named");
    let message = with("m.h5", &flat, ImportOptions { side: Some(299), ..options() });
    assert_eq!(message, "m.h5: takes pictures of 150 x 150 pixels, not 299 x 299");
    let any = model("any_size_2.h5").file_without_values();
    assert_eq!(
        with("m.h5", &any, options()),
        "m.h5: takes pictures of any width and height, so the side of its photos is not known"
    );
    for side in [70, 5000] {
        let message = with("m.h5", &any, ImportOptions { side: Some(side), ..options() });
        assert!(message.contains("from 71 to 2048 are supported"), "{message}");
    }
}

/// Fine-tuned weights are written beside the run, where extract and classify can take them from.
#[test]
fn other_weights_than_imagenets_are_kept_beside_the_run() {
    let model = model("functional_3.keras");
    let mut bytes = model.file();
    // One bit of one weight, somewhere in the middle of the file.
    let values = IMAGENET.values("block14_sepconv1.pointwise").unwrap();
    let needle: &[u8] = &values[..64].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    // The checksum of a zip entry is read at its end; the change has to be in it.
    let imported = import(&model.name, &bytes, &options());
    assert!(imported.is_err(), "a damaged archive is refused");

    let mut h5 = self::model("functional_3.h5").file();
    let at = h5.windows(needle.len()).position(|window| window == needle).unwrap();
    h5[at] ^= 1;
    let imported = import("m.h5", &h5, &options()).unwrap();
    let folder = end_to_end::temporary();
    let out = folder.path().join("run");
    imported.save(&out).unwrap();
    let weights = Weights::load(&out.join("backbone.safetensors")).unwrap();
    let run = Run::load(&out).unwrap();
    assert_eq!(run, imported.run);
    assert_eq!(run.config.fingerprint.weights, weights.digest().to_hex().as_str());
    assert_ne!(run.config.fingerprint.weights, IMAGENET_DIGEST);
    assert!(imported.save(&out).unwrap_err().to_string().ends_with("run: already exists"));
}

/// Asserts that the import is refused with an error that names the file first. Without values no file can be imported.
fn assert_refused(name: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let error = import(name, bytes, &options()).err();
    prop_assert!(error.as_ref().is_some_and(|error| error.starts_with(&format!("{name}: "))), "{name}: {error:?}");
    Ok(())
}

proptest! {
    /// More of them with `PROPTEST_CASES=1000000 cargo test --release --package classify mangled`.
    #[test]
    fn mangled_models_are_an_error(
        (name, bytes) in prop::sample::select(vec!["flat_2.h5", "functional_3.h5", "sequential_2.keras"])
            .prop_flat_map(|name| (Just(name), mangled(model(name).file_without_values()))),
    ) {
        assert_refused(name, &bytes)?;
    }

    /// The text of the configuration, well formed or not.
    #[test]
    fn mangled_configurations_are_an_error(
        (name, text) in prop::sample::select(vec!["half_frozen_2.h5", "sequential_3.keras"])
            .prop_flat_map(|name| (Just(name), mangled(model(name).about["config"].to_string().into_bytes()))),
    ) {
        let mut model = model(name);
        model.about["config"] = serde_json::from_slice(&text).unwrap_or_default();
        assert_refused(name, &model.file_without_values())?;
    }
}
