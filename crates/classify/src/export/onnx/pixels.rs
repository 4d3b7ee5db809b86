//! Preprocessing as nodes: from uint8 pictures of any size to the network's input, with Pillow's pixels.

use backbone::xception::HALF_RANGE;

use super::graph::{Attribute, GraphBuilder, Value};
use super::proto::ElementType;

/// Nearest-neighbour resizing with Pillow's pixels, from (N, H, W, 3) to (N, side, side, 3) uint8.
///
/// ONNX's own `Resize` picks other pixels. Pillow (src/libImaging/Geometry.c, `ImagingScaleAffine`) takes half a step
/// for the first position and adds a step for each other one, in float64, rounding errors included; `CumSum` does the
/// same.
pub(super) fn resize_to_nearest(graph: &mut GraphBuilder, pixels: &Value, side: u32) -> Value {
    let shape = graph.node("Shape", "resize/shape", &[pixels], &[]);
    let target = graph.float64("resize/side", &[f64::from(side)]);
    let half = graph.float64("resize/half", &[0.5]);
    let other_steps = graph.int64("resize/other_steps", &[i64::from(side) - 1]);
    let first_axis = graph.int64("resize/first_axis", &[0]);
    let mut resized = pixels.clone();
    for (axis, name) in [(1, "rows"), (2, "columns")] {
        let name = |part: &str| format!("resize/{name}/{part}");
        let axis_index = graph.int64(&name("axis"), &[axis]);
        let length = graph.node("Gather", &name("length"), &[&shape, &axis_index], &[Attribute::Int("axis", 0)]);
        let length = graph.cast(&name("length_as_float64"), &length, ElementType::Float64);
        let step = graph.node("Div", &name("step"), &[&length, &target], &[]);
        let first = graph.node("Mul", &name("first"), &[&step, &half], &[]);
        let others = graph.node("Expand", &name("others"), &[&step, &other_steps], &[]);
        let steps = graph.node("Concat", &name("steps"), &[&first, &others], &[Attribute::Int("axis", 0)]);
        let positions = graph.node("CumSum", &name("positions"), &[&steps, &first_axis], &[]);
        let indices = graph.cast(&name("indices"), &positions, ElementType::Int64);
        resized = graph.node("Gather", &name("pixels"), &[&resized, &indices], &[Attribute::Int("axis", axis)]);
    }
    resized
}

/// Scaling of uint8 pixels to float32 from -1 to 1: Xception's `preprocess_input`.
pub(super) fn scale(graph: &mut GraphBuilder, pixels: &Value) -> Value {
    let pixels = graph.cast("scale/pixels", pixels, ElementType::Float32);
    let half_range = graph.float32("scale/half_range", &[], &[HALF_RANGE]);
    let one = graph.float32("scale/one", &[], &[1.0]);
    let ratio = graph.node("Div", "scale/ratio", &[&pixels, &half_range], &[]);
    graph.node("Sub", "scale/scaled", &[&ratio, &one], &[])
}
