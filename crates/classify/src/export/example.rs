//! Short Python programs that run an exported file, to print after the export.

use std::path::Path;

use backbone::EmbedSpec;
use backbone::pixels::{Interpolation, Orientation};

use super::network::Network;
use super::options::{NamedOutput, Output, PictureInput};

/// What the example of an ONNX file depends on.
pub(super) struct OnnxExample<'a> {
    pub model: &'a Path,
    /// `None` for a head alone.
    pub network: Option<&'a Network<'a>>,
    pub input_name: &'a str,
    pub outputs: &'a [NamedOutput],
}

impl OnnxExample<'_> {
    /// The program: it prints the class of photo.jpg, or of each row of features.npy.
    pub(super) fn text(&self) -> String {
        let mut lines =
            vec!["import json".to_owned(), "import numpy as np".to_owned(), "import onnxruntime".to_owned()];
        if let Some(network) = self.network {
            lines.push(pillow_import(&network.spec));
        }
        lines.push(format!("session = onnxruntime.InferenceSession({})", python_text(&self.model.to_string_lossy())));
        match self.network {
            Some(network) => add_photo(&mut lines, &network.spec, network.input),
            None => lines.push("x = np.load(\"features.npy\")  # float32, a row of features for each photo".to_owned()),
        }
        let names: Vec<&str> = self.outputs.iter().map(|named| named.output.name()).collect();
        let input = python_text(self.input_name);
        lines.push(format!("[{}] = session.run(None, {{{input}: x}})", names.join(", ")));
        let has = |output: Output| self.outputs.iter().any(|named| named.output == output);
        let classes = [Output::Probabilities, Output::Logits].into_iter().find(|&output| has(output));
        lines.push("about = session.get_modelmeta().custom_metadata_map".to_owned());
        if let Some(output) = classes {
            let name = output.name();
            lines.push(format!(
                "print([json.loads(about[\"class_names\"])[k] for k in {name}.argmax(1)], {name}.max(1))"
            ));
        }
        if has(Output::Unfamiliarity) {
            let line = "print(\"unlike the training photos:\", unfamiliarity > float(about[\"threshold\"]))";
            lines.push(line.to_owned());
        }
        lines.join("\n")
    }
}

/// The import of the parts of Pillow that [`add_photo`] uses.
fn pillow_import(spec: &EmbedSpec) -> String {
    let image_ops = if spec.orientation == Orientation::Exif { ", ImageOps" } else { "" };
    format!("from PIL import Image{image_ops}")
}

/// Adds lines that read photo.jpg into `x`, the model's input.
fn add_photo(lines: &mut Vec<String>, spec: &EmbedSpec, input: PictureInput) {
    let side = spec.side;
    lines.push("photo = Image.open(\"photo.jpg\")".to_owned());
    if spec.fast_decode {
        lines.push(format!("photo.draft(\"RGB\", ({side}, {side}))"));
    }
    let photo = match spec.orientation {
        Orientation::Stored => "photo.convert(\"RGB\")",
        Orientation::Exif => "ImageOps.exif_transpose(photo).convert(\"RGB\")",
    };
    match input {
        PictureInput::Pixels => lines.push(format!("x = np.asarray({photo})[None]")),
        PictureInput::Keras => {
            let filter = pillow_name(spec.interpolation);
            lines.push(format!("photo = {photo}.resize(({side}, {side}), Image.Resampling.{filter})"));
            lines.push("x = np.asarray(photo, \"float32\")[None] / 127.5 - 1".to_owned());
        }
    }
}

/// The program of a `.keras` archive.
pub(super) fn keras_example(file: &Path, spec: &EmbedSpec) -> String {
    let file = python_text(&file.to_string_lossy());
    let mut lines = ["import json", "import zipfile", "import keras", "import numpy as np"].map(str::to_owned).to_vec();
    lines.push(pillow_import(spec));
    lines.push(format!("model = keras.saving.load_model({file})"));
    lines.push(format!("classes = json.loads(zipfile.ZipFile({file}).read(\"metadata.json\"))[\"class_names\"]"));
    add_photo(&mut lines, spec, PictureInput::Keras);
    lines.push("probabilities = model.predict(x, verbose=0)".to_owned());
    lines.push("print([classes[k] for k in probabilities.argmax(1)], probabilities.max(1))".to_owned());
    lines.join("\n")
}

/// The interpolation's name in `Image.Resampling`.
fn pillow_name(interpolation: Interpolation) -> String {
    interpolation.name().to_uppercase()
}

/// The program of a head's .npz file with this many layers.
pub(super) fn npz_example(file: &Path, layers: usize) -> String {
    let mut lines = vec!["import numpy as np".to_owned()];
    lines.push(format!("head = np.load({})", python_text(&file.to_string_lossy())));
    lines.push("x = np.load(\"features.npy\")  # float32, a row of features for each photo".to_owned());
    for k in 0..layers {
        let sums = format!("x @ head[\"kernel_{k}\"] + head[\"bias_{k}\"]");
        let is_last = k + 1 == layers;
        lines.push(if is_last { format!("logits = {sums}") } else { format!("x = np.maximum({sums}, 0)") });
    }
    lines.push("powers = np.exp((logits - logits.max(1, keepdims=True)) / head[\"temperature\"])".to_owned());
    lines.push("probabilities = powers / powers.sum(1, keepdims=True)".to_owned());
    lines.push("print(head[\"class_names\"][probabilities.argmax(1)], probabilities.max(1))".to_owned());
    lines.join("\n")
}

/// A Python string literal; JSON's are valid in Python.
fn python_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
