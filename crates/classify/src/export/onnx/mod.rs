//! Writes models as ONNX files with opset 13, which ONNX Runtime supports since 2021.
//!
//! ```text
//! pixels (resized, scaled) ─ network (batch norms folded) ─ head ─▶ logits, probabilities, unfamiliarity
//! ```

mod proto;
mod graph;
mod pixels;
mod network;
mod head;
mod metadata;

use ::head::prediction::Predictor;
use ::head::run::Run;
use backbone::xception::operations;
use prost::Message;

use self::graph::{Dimension, GraphBuilder, Value};
use self::head::{HeadOutputs, add_head};
use self::metadata::metadata;
use self::network::add_network;
use self::pixels::{resize_to_nearest, scale};
use self::proto::{ElementType, ModelProto, OperatorSetIdProto};
use super::error::ExportError;
use super::network::Network;
use super::options::{NamedOutput, OnnxOptions, Output, PictureInput};

/// The version of ONNX's operators.
const OPSET: i64 = 13;
/// The version of the file format that belongs to the opset.
const IR_VERSION: i64 = 7;
/// Protobuf's limit on a message, in bytes.
const MAX_BYTES: usize = i32::MAX as usize;

/// The first dimension of inputs and outputs: any number of rows.
const BATCH: Dimension = Dimension::Any("N");

/// The bytes of a run's model, or of its head alone if there is no network. `outputs` is what
/// `options.outputs_of` returns.
///
/// # Errors
/// When a name is taken, a weight does not fit the format, or the file would be too large.
pub(super) fn model(
    run: &Run,
    network: Option<&Network<'_>>,
    options: &OnnxOptions,
    outputs: &[NamedOutput],
) -> Result<Vec<u8>, ExportError> {
    let predictor = Predictor::new(run);
    let mut graph = GraphBuilder::new(options.weights);
    let name = options.input_name.as_deref().unwrap_or(default_input_name(network));
    let features = match network {
        Some(network) => add_features(&mut graph, name, network)?,
        None => graph.input(name, ElementType::Float32, &[BATCH, Dimension::Of(predictor.inputs())]),
    };
    let HeadOutputs { logits, probabilities, unfamiliarity } = add_head(&mut graph, &predictor, &features)?;
    let classes = Dimension::Of(predictor.classes().len());
    for NamedOutput { output, name } in outputs {
        match output {
            Output::Logits => graph.output(name, &logits, &[BATCH, classes]),
            Output::Probabilities => graph.output(name, &probabilities, &[BATCH, classes]),
            Output::Unfamiliarity => {
                let score = unfamiliarity.as_ref().expect("outputs were checked against the head's calibration");
                graph.output(name, score, &[BATCH]);
            }
        }
    }
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "icebox".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph.finish()?),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata(run, &predictor, outputs, options.weights),
    };
    let bytes = model.encoded_len();
    if bytes > MAX_BYTES {
        return Err(ExportError::TooLarge { bytes, limit: MAX_BYTES });
    }
    Ok(model.encode_to_vec())
}

/// The input's name if the user gives none.
pub(super) fn default_input_name(network: Option<&Network<'_>>) -> &'static str {
    if network.is_some() { "pixels" } else { "features" }
}

/// Adds the input and the network; the result is (N, features).
fn add_features(graph: &mut GraphBuilder, name: &str, network: &Network<'_>) -> Result<Value, ExportError> {
    let side = network.spec.side;
    let scaled = match network.input {
        PictureInput::Pixels => {
            let any_size = [BATCH, Dimension::Any("H"), Dimension::Any("W"), Dimension::Of(3)];
            let pixels = graph.input(name, ElementType::Uint8, &any_size);
            let resized = resize_to_nearest(graph, &pixels, side);
            scale(graph, &resized)
        }
        PictureInput::Keras => {
            let side = Dimension::Of(side as usize);
            graph.input(name, ElementType::Float32, &[BATCH, side, side, Dimension::Of(3)])
        }
    };
    add_network(graph, &operations(network.weights, side)?, &scaled)
}
