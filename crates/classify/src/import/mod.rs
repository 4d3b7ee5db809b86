//! Keras models become runs: Xception without its top, pooling, dense layers with ReLU and dropout, logits or softmax.
//!
//! ```text
//! .keras, .h5 ─ KerasModel ─ graph ─ head, xception, pixels ─ variables ─▶ run directory
//! ```
//!
//! The configuration decides whether a model is supported, before any weights are read. A model that is not is refused
//! with the name of the layer.

mod error;
mod graph;
mod xception;
mod head;
mod pixels;

use std::path::Path;

use ::head::layers::Dense;
use ::head::run::{ImportedHead, ImportedHeadError, ModelFile, Run, RunError, check_free};
use backbone::pixels::Interpolation;
use backbone::weights::{IMAGENET_DIGEST, KerasModel, Weights};
use backbone::xception::{COLUMNS, MAX_SIDE, MIN_SIDE};
use backbone::{Device, EmbedSpec};
use feature_cache::NewFolder;

pub use self::error::{ImportError, LayerName, ModelProblem, Refusal};
use self::graph::Graph;
use self::head::{DenseHead, DenseLayer};
use self::pixels::PixelInput;
use self::xception::input_of_network;

/// The file in a run's folder with the network's weights, where they are not those that Keras publishes for ImageNet.
pub const BACKBONE: &str = "backbone.safetensors";

/// What a model's file does not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// The class of each output.
    pub classes: Vec<String>,
    /// Width and height in pixels of the photos that the model was trained on; `None`: those of the model's input.
    pub side: Option<u32>,
    /// How photos were resized to that size.
    pub interpolation: Interpolation,
}

/// A model that was read.
#[derive(Debug)]
pub struct Imported {
    /// The head as a run.
    pub run: Run,
    /// The network's weights.
    pub network: Weights,
    /// The layers from the pooling on, for people.
    pub summary: Vec<String>,
    /// Whether the model scales pixels itself; otherwise they were scaled before the model, as by `preprocess_input`.
    pub scales: bool,
}

impl Imported {
    /// Reads a model.
    ///
    /// # Errors
    /// When the model is not supported, is damaged, or does not fit the options.
    pub fn read(path: &Path, options: &ImportOptions) -> Result<Self, ImportError> {
        Self::from_model(&KerasModel::open(path)?, options)
    }

    /// The same for a model that is open already.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_model(model: &KerasModel, options: &ImportOptions) -> Result<Self, ImportError> {
        let path = model.path();
        let unsupported = |problem| ImportError::Model { path: path.to_owned(), problem: Box::new(problem) };
        let of_classes = |problem| ImportError::Classes { path: path.to_owned(), problem };

        // What the configuration says, from the output back to the input.
        let graph = Graph::of_model(model.config()).map_err(unsupported)?;
        let head = DenseHead::of_model(&graph).map_err(unsupported)?;
        let input = input_of_network(&graph, head.pooled).map_err(unsupported)?;
        let input = PixelInput::of_network(&graph, input).map_err(unsupported)?;
        let side = side(path, &input, options)?;
        let (outputs, classes) = (head.outputs(), options.classes.len());
        if outputs != classes {
            return Err(of_classes(ImportedHeadError::Outputs { outputs, classes }));
        }

        // The weights that follow from it.
        let network = model.network()?;
        let mut layers = Vec::new();
        let mut inputs = COLUMNS;
        for layer in &head.layers {
            layers.push(dense(model, layer, inputs)?);
            inputs = layer.units;
        }

        let spec = EmbedSpec { side, interpolation: options.interpolation, ..EmbedSpec::default() };
        let head_of_run = ImportedHead {
            model: ModelFile {
                file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                blake3: model.digest().to_hex().to_string(),
                keras_version: model.keras_version().map(str::to_owned),
            },
            layers,
            classes: options.classes.clone(),
            fingerprint: spec.fingerprint(network.digest(), Device::Cpu),
        };
        let run = Run::imported(head_of_run).map_err(of_classes)?;
        Ok(Self { run, network, summary: head.summary, scales: input.scales })
    }

    /// Whether the network's weights are those that Keras publishes for ImageNet.
    pub fn is_imagenet(&self) -> bool {
        self.run.config.fingerprint.weights == IMAGENET_DIGEST
    }

    /// Writes the run's folder, with the network's weights in it where they are not ImageNet's.
    ///
    /// # Errors
    /// When the folder is there already or cannot be written; then nothing is left of it.
    pub fn save(&self, out: &Path) -> Result<(), ImportError> {
        check_free(out)?;
        let failed = |cause| RunError::Io { action: "written", path: out.to_owned(), cause };
        let folder = NewFolder::create(out).map_err(failed)?;
        self.run.save_into(folder.path())?;
        if !self.is_imagenet() {
            self.network.save(&folder.path().join(BACKBONE))?;
        }
        folder.publish().map_err(failed)?;
        Ok(())
    }
}

/// The side of the pictures that the model was trained on.
fn side(path: &Path, input: &PixelInput, options: &ImportOptions) -> Result<u32, ImportError> {
    let path = || path.to_owned();
    let side = match (input.side, options.side) {
        (None, None) => return Err(ImportError::NoSide(path())),
        (Some(expected), Some(asked)) if asked != expected => {
            return Err(ImportError::OtherSide { path: path(), expected, asked });
        }
        (Some(side), _) | (None, Some(side)) => side,
    };
    if !(MIN_SIDE..=MAX_SIDE).contains(&side) {
        return Err(ImportError::Side { path: path(), side });
    }
    Ok(side)
}

/// The weights of a dense layer that takes `inputs` values.
fn dense(model: &KerasModel, layer: &DenseLayer, inputs: usize) -> Result<Dense, ImportError> {
    let mut shapes = vec![("kernel", vec![inputs, layer.units])];
    if layer.use_bias {
        shapes.push(("bias", vec![layer.units]));
    }
    let variables = model.variables(&layer.path, &shapes)?;
    let no_bias = vec![0.0; layer.units];
    let bias = variables.get(1).unwrap_or(&no_bias);
    Ok(Dense::from_keras(inputs, &variables[0], bias).expect("the kernel has the layer's shape"))
}
