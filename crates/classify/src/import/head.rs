//! The head of a model: the dense layers between the pooling and the output.

use backbone::weights::LayerPath;
use serde_json::{Value, json};

use super::error::{ModelProblem, Refusal};
use super::graph::{Graph, Layer, LayerId};

/// The head of a model, before its weights are read.
#[derive(Debug)]
pub(super) struct DenseHead {
    /// The layer whose output is pooled.
    pub(super) pooled: LayerId,
    /// The dense layers in order, at least one.
    pub(super) layers: Vec<DenseLayer>,
    /// All layers from the pooling on, for people.
    pub(super) summary: Vec<String>,
}

/// A dense layer.
#[derive(Debug)]
pub(super) struct DenseLayer {
    pub(super) units: usize,
    pub(super) use_bias: bool,
    pub(super) path: LayerPath,
}

/// The activation function of a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Linear,
    Relu,
    Softmax,
}

impl DenseHead {
    /// The head of the model: its layers from the pooling to the output.
    ///
    /// # Errors
    /// Names a layer that a head cannot have, or not there.
    pub(super) fn of_model(graph: &Graph) -> Result<Self, ModelProblem> {
        let (pooling, layers) = from_pooling(graph)?;
        pooling.require("data_format", json!("channels_last"))?;
        if !pooling.setting("keepdims").is_null() {
            pooling.require("keepdims", json!(false))?;
        }

        let mut summary = vec![pooling.class.clone()];
        let mut dense: Vec<DenseLayer> = Vec::new();
        // The last dense layer, and its activation: its own, or that of a layer after it.
        let mut last: Option<(&Layer, Activation)> = None;
        for layer in layers {
            match (layer.class.as_str(), last) {
                ("Dropout", _) => summary.push(format!("Dropout {}", layer.setting("rate"))),
                ("Dense", before) => {
                    if let Some((before, activation)) = before {
                        activation.must_be(Activation::Relu, "relu", before)?;
                    }
                    let parsed = DenseLayer::read(layer)?;
                    let activation = Activation::parse(layer, layer.setting("activation"))?;
                    summary.push(match activation {
                        Activation::Linear => format!("Dense {}", parsed.units),
                        _ => format!("Dense {} ({})", parsed.units, activation.name()),
                    });
                    dense.push(parsed);
                    last = Some((layer, activation));
                }
                ("Activation" | "ReLU" | "Softmax", Some((before, activation))) => {
                    activation.must_be(Activation::Linear, "none before another one", before)?;
                    let activation = Activation::of_layer(layer)?;
                    summary.push(activation.name().to_owned());
                    last = Some((before, activation));
                }
                _ => return Err(layer.refused(Refusal::InHead)),
            }
        }
        let (layer, activation) = last.ok_or(ModelProblem::NoDense)?;
        if activation == Activation::Relu {
            return Err(activation.refused("softmax or none", layer));
        }
        if layer.setting("units") == 1 {
            let (found, expected) = ("1".to_owned(), "an output for each class, 2 or more,".to_owned());
            return Err(layer.refused(Refusal::Setting { setting: "units", found, expected }));
        }
        Ok(Self { pooled: pooling.input()?, layers: dense, summary })
    }

    /// The number of classes.
    pub(super) fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.units)
    }
}

/// The layer that pools, and those after it, up to the model's output.
fn from_pooling(graph: &Graph) -> Result<(&Layer, Vec<&Layer>), ModelProblem> {
    let mut layers = Vec::new();
    let mut layer = graph.layer(graph.output);
    while layer.class != "GlobalAveragePooling2D" {
        if !matches!(layer.class.as_str(), "Dense" | "Dropout" | "Activation" | "ReLU" | "Softmax") {
            return Err(layer.refused(Refusal::InHead));
        }
        layers.push(layer);
        layer = graph.layer(layer.input()?);
    }
    layers.reverse();
    Ok((layer, layers))
}

impl DenseLayer {
    fn read(layer: &Layer) -> Result<Self, ModelProblem> {
        let config = |expected| ModelProblem::Config { of: layer.path.names.join("/"), expected };
        let units = layer.setting("units").as_u64().and_then(|units| usize::try_from(units).ok());
        let units = units.filter(|&units| units > 0).ok_or_else(|| config("a number of units above 0"))?;
        let use_bias = layer.setting("use_bias").as_bool().ok_or_else(|| config("use_bias"))?;
        Ok(Self { units, use_bias, path: layer.path.clone() })
    }
}

impl Activation {
    /// The activation with this name in Keras; `layer` is refused if it is not supported.
    fn parse(layer: &Layer, name: &Value) -> Result<Self, ModelProblem> {
        match name.as_str() {
            Some("linear") => Ok(Self::Linear),
            Some("relu") => Ok(Self::Relu),
            Some("softmax") => Ok(Self::Softmax),
            _ => {
                let expected = "relu, softmax or linear";
                Err(layer.refused(Refusal::Activation { found: name.to_string(), expected }))
            }
        }
    }

    /// The activation of a layer that is only an activation: Activation, ReLU or Softmax.
    fn of_layer(layer: &Layer) -> Result<Self, ModelProblem> {
        match layer.class.as_str() {
            "ReLU" => {
                layer.require("max_value", Value::Null)?;
                layer.require("negative_slope", json!(0.0))?;
                layer.require("threshold", json!(0.0))?;
                Ok(Self::Relu)
            }
            "Softmax" => {
                layer.require("axis", json!(-1))?;
                Ok(Self::Softmax)
            }
            _ => Self::parse(layer, layer.setting("activation")),
        }
    }

    /// Refuses the layer if its activation is another one than `expected`.
    fn must_be(self, expected: Self, in_words: &'static str, layer: &Layer) -> Result<(), ModelProblem> {
        if self == expected { Ok(()) } else { Err(self.refused(in_words, layer)) }
    }

    /// The error that refuses the layer because of its activation.
    fn refused(self, expected: &'static str, layer: &Layer) -> ModelProblem {
        layer.refused(Refusal::Activation { found: self.name().to_owned(), expected })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linear => "no activation",
            Self::Relu => "relu",
            Self::Softmax => "softmax",
        }
    }
}
