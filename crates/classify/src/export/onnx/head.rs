//! The head as nodes: from features to logits, probabilities and the score of unfamiliarity.

use half::slice::HalfFloatSliceExt;
use head::calibration::{Calibration, Spread};
use head::prediction::Predictor;

use super::graph::{Attribute, GraphBuilder, Value};
use crate::export::error::ExportError;

/// The outputs of a head for N rows.
pub(super) struct HeadOutputs {
    /// (N, classes)
    pub logits: Value,
    /// (N, classes): the softmax of logits / temperature.
    pub probabilities: Value,
    /// (N,); `None` for a head without calibration.
    pub unfamiliarity: Option<Value>,
}

/// Adds the head's nodes; `features` is (N, inputs).
///
/// # Errors
/// When a weight does not fit the graph's format.
pub(super) fn add_head(
    graph: &mut GraphBuilder,
    predictor: &Predictor,
    features: &Value,
) -> Result<HeadOutputs, ExportError> {
    let layers = predictor.classifier().layers();
    let mut x = features.clone();
    for (k, layer) in layers.iter().enumerate() {
        let name = format!("head/dense_{k}");
        let kernel = graph.kernel(&format!("{name}/kernel"), &[layer.inputs(), layer.outputs()], &layer.kernel())?;
        let bias = graph.float32(&format!("{name}/bias"), &[layer.outputs()], layer.bias());
        x = graph.node("Gemm", &name, &[&x, &kernel, &bias], &[]);
        if k + 1 < layers.len() {
            x = graph.node("Relu", &format!("{name}/relu"), &[&x], &[]);
        }
    }
    let logits = x;
    let temperature = graph.float32("head/temperature", &[], &[predictor.temperature()]);
    let scaled = graph.node("Div", "head/scaled_logits", &[&logits, &temperature], &[]);
    let probabilities = graph.node("Softmax", "head/softmax", &[&scaled], &[Attribute::Int("axis", 1)]);
    let unfamiliarity = match predictor.calibration() {
        Some(calibration) => Some(add_unfamiliarity(graph, calibration, features, &logits)?),
        None => None,
    };
    Ok(HeadOutputs { logits, probabilities, unfamiliarity })
}

/// The score, (N,): the sum of the energy and of the distance to the nearest centroid, each as a z-score, as in
/// `head::calibration`.
fn add_unfamiliarity(
    graph: &mut GraphBuilder,
    calibration: &Calibration,
    features: &Value,
    logits: &Value,
) -> Result<Value, ExportError> {
    let energy = add_energy(graph, logits);
    let distance = add_distance(graph, calibration, features)?;
    let constants = calibration.constants;
    let energy = add_standardised(graph, "head/energy", &energy, constants.energy);
    let distance = add_standardised(graph, "head/distance", &distance, constants.distance);
    Ok(graph.node("Add", "head/score", &[&energy, &distance], &[]))
}

/// The energy -ln Σ exp(logit), (N,). The largest logit is subtracted from all first, so that exp cannot overflow.
fn add_energy(graph: &mut GraphBuilder, logits: &Value) -> Value {
    let max = graph.node("ReduceMax", "head/max_logit", &[logits], &over_columns(true));
    let below_max = graph.node("Sub", "head/logits_below_max", &[logits, &max], &[]);
    let powers = graph.node("Exp", "head/powers", &[&below_max], &[]);
    let columns = graph.int64("head/columns", &[1]);
    // From opset 13 on ReduceSum takes its axes as an input.
    let sum = graph.node("ReduceSum", "head/sum_of_powers", &[&powers, &columns], &[Attribute::Int("keepdims", 1)]);
    let logarithm = graph.node("Log", "head/log_of_sum", &[&sum], &[]);
    let total = graph.node("Add", "head/log_sum_exp", &[&max, &logarithm], &[]);
    let flat = graph.node("Squeeze", "head/log_sum_exp_of_rows", &[&total, &columns], &[]);
    graph.node("Neg", "head/energy", &[&flat], &[])
}

/// The cosine distance to the nearest centroid, (N,); 1 for a row of zeros.
fn add_distance(graph: &mut GraphBuilder, calibration: &Calibration, features: &Value) -> Result<Value, ExportError> {
    let centroids = &calibration.centroids;
    let columns = centroids.columns();
    let values = centroids.values().to_f32_vec();
    // Without centroids every row is at distance 1, as from a centroid of zeros.
    let values = if values.is_empty() { vec![0.0; columns] } else { values };
    let shape = [values.len() / columns, columns];
    let kernel = graph.kernel("head/centroids", &shape, &values)?;
    let transposed =
        graph.node("Transpose", "head/centroids_in_columns", &[&kernel], &[Attribute::Ints("perm", &[1, 0])]);
    let products = graph.node("MatMul", "head/products", &[features, &transposed], &[]);
    let nearest = graph.node("ReduceMax", "head/nearest", &[&products], &over_columns(false));
    let length = graph.node("ReduceL2", "head/length", &[features], &over_columns(false));
    let smallest = graph.float32("head/smallest_length", &[], &[f32::MIN_POSITIVE]);
    let length = graph.node("Max", "head/length_above_0", &[&length, &smallest], &[]);
    let cosine = graph.node("Div", "head/cosine", &[&nearest, &length], &[]);
    let one = graph.float32("head/one", &[], &[1.0]);
    Ok(graph.node("Sub", "head/distance", &[&one, &cosine], &[]))
}

/// The z-score of a value, (N,).
fn add_standardised(graph: &mut GraphBuilder, name: &str, value: &Value, spread: Spread) -> Value {
    let mean = graph.float32(&format!("{name}/mean"), &[], &[spread.mean]);
    let deviation = graph.float32(&format!("{name}/deviation"), &[], &[spread.deviation]);
    let centred = graph.node("Sub", &format!("{name}/centred"), &[value, &mean], &[]);
    graph.node("Div", &format!("{name}/standardised"), &[&centred, &deviation], &[])
}

/// The attributes of a reduction over the columns of each row.
fn over_columns(keep_dimension: bool) -> [Attribute<'static>; 2] {
    [Attribute::Ints("axes", &[1]), Attribute::Int("keepdims", i64::from(keep_dimension))]
}
