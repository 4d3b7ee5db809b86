//! The network as nodes, from backbone's list of operations.

use backbone::xception::{Activation, Conv2dParams, ConvWeights, Operation, SeparableConv2dParams};

use super::graph::{Attribute, GraphBuilder, Value};
use crate::export::error::ExportError;

/// Adds the network's nodes. `input` is (N, side, side, 3) from -1 to 1; the result is (N, features).
///
/// # Errors
/// When a weight is too large for float16, if the graph stores that.
pub(super) fn add_network(
    graph: &mut GraphBuilder,
    operations: &[Operation],
    input: &Value,
) -> Result<Value, ExportError> {
    // ONNX's convolutions take channels before rows and columns.
    let input = graph.node("Transpose", "input/channels_first", &[input], &[Attribute::Ints("perm", &[0, 3, 1, 2])]);
    let mut results: Vec<Value> = Vec::with_capacity(operations.len());
    for (number, operation) in operations.iter().enumerate() {
        let result = match *operation {
            Operation::Input => input.clone(),
            Operation::Conv2d { ref layer, x } => add_conv2d(graph, layer, &results[x])?,
            Operation::SeparableConv2d { ref layer, x } => add_separable_conv2d(graph, layer, &results[x])?,
            Operation::MaxPool { x, side } => {
                add_max_pool(graph, &format!("xception/pool_{number}"), &results[x], side)
            }
            Operation::Add { x, y } => {
                graph.node("Add", &format!("xception/add_{number}"), &[&results[x], &results[y]], &[])
            }
            Operation::GlobalAveragePool { x } => {
                let means = graph.node("GlobalAveragePool", "xception/means", &[&results[x]], &[]);
                graph.node("Flatten", "xception/features", &[&means], &[Attribute::Int("axis", 1)])
            }
        };
        results.push(result);
    }
    Ok(results.pop().expect("a network has operations"))
}

fn add_conv2d(graph: &mut GraphBuilder, layer: &Conv2dParams, x: &Value) -> Result<Value, ExportError> {
    let name = format!("xception/{}", layer.name);
    let convolved = add_conv_node(graph, &name, &layer.weights, layer.stride, x)?;
    Ok(activate(graph, &name, layer.activation, convolved))
}

fn add_separable_conv2d(
    graph: &mut GraphBuilder,
    layer: &SeparableConv2dParams,
    x: &Value,
) -> Result<Value, ExportError> {
    let SeparableConv2dParams { depthwise, pointwise, .. } = layer;
    let name = format!("xception/{}", layer.name);
    let x = activate(graph, &format!("{name}/input"), layer.input_activation, x.clone());
    // (side, side, channels) to (channels, 1, side, side): a group for each channel.
    let channels = depthwise.inputs;
    let values = transposed(&depthwise.kernel, channels);
    let shape = [channels, 1, depthwise.side, depthwise.side];
    let kernel = graph.kernel(&format!("{name}/depthwise_kernel"), &shape, &values)?;
    let padding = depthwise.side as i64 / 2;
    let attributes = [Attribute::Int("group", channels as i64), Attribute::Ints("pads", &[padding; 4])];
    let x = graph.node("Conv", &format!("{name}/depthwise"), &[&x, &kernel], &attributes);
    let convolved = add_conv_node(graph, &name, pointwise, 1, &x)?;
    Ok(activate(graph, &name, layer.activation, convolved))
}

/// A Conv node with bias, without padding or activation.
fn add_conv_node(
    graph: &mut GraphBuilder,
    name: &str,
    weights: &ConvWeights,
    stride: usize,
    x: &Value,
) -> Result<Value, ExportError> {
    let &ConvWeights { side, inputs, outputs, ref kernel, ref bias } = weights;
    // (side * side, inputs, outputs) to (outputs, inputs, side * side).
    let mut values = Vec::with_capacity(kernel.len());
    for output in 0..outputs {
        for input in 0..inputs {
            for position in 0..side * side {
                values.push(kernel[(position * inputs + input) * outputs + output]);
            }
        }
    }
    let kernel = graph.kernel(&format!("{name}/kernel"), &[outputs, inputs, side, side], &values)?;
    let bias = graph.float32(&format!("{name}/bias"), &[outputs], bias);
    let attributes = [Attribute::Ints("strides", &[stride as i64; 2])];
    Ok(graph.node("Conv", &format!("{name}/convolution"), &[x, &kernel, &bias], &attributes))
}

/// Adds an activation.
fn activate(graph: &mut GraphBuilder, name: &str, activation: Activation, x: Value) -> Value {
    match activation {
        Activation::Linear => x,
        Activation::Relu => graph.node("Relu", &format!("{name}/relu"), &[&x], &[]),
    }
}

/// Max pooling 3x3 with stride 2 and TensorFlow's padding "same": if `side`, the input's width, is even, a pixel right
/// and below; if it is odd, one on each side.
fn add_max_pool(graph: &mut GraphBuilder, name: &str, x: &Value, side: usize) -> Value {
    let before = (side % 2) as i64;
    let attributes = [
        Attribute::Ints("kernel_shape", &[3, 3]),
        Attribute::Ints("strides", &[2, 2]),
        Attribute::Ints("pads", &[before, before, 1, 1]),
    ];
    graph.node("MaxPool", name, &[x], &attributes)
}

/// A row-major matrix of this many columns, transposed.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        result.extend(matrix.iter().skip(column).step_by(columns));
    }
    result
}
