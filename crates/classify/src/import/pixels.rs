//! The layers between a model's input and the network: the size of the pictures, and how pixels are scaled.

use serde_json::Value;

use super::error::{ModelProblem, Refusal};
use super::graph::{Graph, Layer, LayerId};

/// What a model's input takes.
#[derive(Debug)]
pub(super) struct PixelInput {
    /// Width and height of the pictures in pixels; `None` if the model takes any.
    pub(super) side: Option<u32>,
    /// Whether the model scales pixels itself; otherwise they are scaled before the model.
    pub(super) scales: bool,
}

/// What a layer makes of a pixel: `scale * x + offset`.
#[derive(Debug, Clone, Copy)]
struct Affine {
    scale: f64,
    offset: f64,
}

/// What Xception's `preprocess_input` computes.
const PREPROCESS_INPUT: Affine = Affine { scale: 1.0 / 127.5, offset: -1.0 };

impl PixelInput {
    /// Reads the layers from `network_input`, whose output the network takes, back to the model's input.
    ///
    /// # Errors
    /// When a layer before the network is not supported, or together they compute something else than
    /// `preprocess_input`.
    pub(super) fn of_network(graph: &Graph, network_input: LayerId) -> Result<Self, ModelProblem> {
        let mut side = None;
        let mut scaling = Vec::new();
        let mut layer = graph.layer(network_input);
        // From the network back to the model's input. A nested model has an input layer of its own.
        loop {
            if layer.class == "InputLayer" {
                side = side_of(layer)?.or(side);
                if layer.inputs.is_empty() {
                    break;
                }
            } else {
                scaling.push((layer, Affine::of_layer(layer)?));
            }
            layer = graph.layer(layer.input()?);
        }

        // All scaling layers together, from the model's input to the network.
        let mut affine = Affine { scale: 1.0, offset: 0.0 };
        for (_, step) in scaling.iter().rev() {
            affine = Affine { scale: step.scale * affine.scale, offset: step.scale * affine.offset + step.offset };
        }
        if let Some((last, _)) = scaling.first()
            && !affine.is_close_to(PREPROCESS_INPUT)
        {
            let (scale, offset) = (affine.scale.to_string(), affine.offset.to_string());
            return Err(last.refused(Refusal::Scaling { scale, offset }));
        }
        Ok(Self { side, scales: !scaling.is_empty() })
    }
}

impl Affine {
    /// What the layer computes.
    ///
    /// # Errors
    /// When it is not a layer that scales pixels.
    fn of_layer(layer: &Layer) -> Result<Self, ModelProblem> {
        let refused = || layer.refused(Refusal::BeforeNetwork);
        if layer.class == "Rescaling" {
            let number = |name| layer.setting(name).as_f64().ok_or_else(refused);
            return Ok(Self { scale: number("scale")?, offset: number("offset")? });
        }
        // What Keras 3 and Keras 2 make of x / 127.5 and x - 1.
        let operation = match layer.class.as_str() {
            "TFOpLambda" => layer.setting("function").as_str().unwrap_or_default(),
            class => class,
        };
        let operand = layer.operand.ok_or_else(refused)?;
        match operation {
            "TrueDivide" | "Divide" | "math.truediv" => Ok(Self { scale: 1.0 / operand, offset: 0.0 }),
            "Subtract" | "math.subtract" => Ok(Self { scale: 1.0, offset: -operand }),
            _ => Err(refused()),
        }
    }

    /// Whether the two are equal up to rounding to float32.
    fn is_close_to(self, other: Self) -> bool {
        (self.scale / other.scale - 1.0).abs() < 1e-6 && (self.offset - other.offset).abs() < 1e-6
    }
}

/// Width and height of an input layer's pictures, if they are fixed.
fn side_of(layer: &Layer) -> Result<Option<u32>, ModelProblem> {
    let shape = match layer.setting("batch_shape") {
        // As Keras 2 calls it.
        Value::Null => layer.setting("batch_input_shape"),
        shape => shape,
    };
    let refused = || layer.refused(Refusal::Pictures { shape: shape.to_string() });
    let [_, height, width, channels] = shape.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(refused());
    };
    if height != width || channels.as_u64() != Some(3) {
        return Err(refused());
    }
    if height.is_null() {
        return Ok(None);
    }
    let side = height.as_u64().and_then(|side| u32::try_from(side).ok());
    side.map(Some).ok_or_else(refused)
}
