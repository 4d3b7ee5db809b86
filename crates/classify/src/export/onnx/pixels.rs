//! Preprocessing as nodes: from uint8 pictures of any size to the network's input, with Pillow's pixels.

use backbone::xception::HALF_RANGE;

use super::graph::{Attribute, GraphBuilder, Value};
use super::proto::ElementType;

/// Nearest-neighbour resizing with Pillow's pixels, from (N, H, W, 3) to (N, side, side, 3) uint8.
///
/// ONNX's own `Resize` picks other pixels. Pillow (src/libImaging/Geometry.c, `ImagingScaleAffine`) takes half a step
/// for the first position and adds a whole step for each further one, in float64, rounding errors included; `CumSum`
/// does the same.
pub(super) fn resize_to_nearest(graph: &mut GraphBuilder, pixels: &Value, side: u32) -> Value {
    let shape = graph.node("Shape", "resize/shape", &[pixels], &[]);
    let target = graph.float64("resize/side", &[f64::from(side)]);
    let half = graph.float64("resize/half", &[0.5]);
    let further_count = graph.int64("resize/further_count", &[i64::from(side) - 1]);
    let first_axis = graph.int64_scalar("resize/first_axis", 0);
    let mut resized = pixels.clone();
    for (axis, name) in [(1, "rows"), (2, "columns")] {
        let name = |part: &str| format!("resize/{name}/{part}");
        let axis_index = graph.int64(&name("axis"), &[axis]);
        let length = graph.node("Gather", &name("length"), &[&shape, &axis_index], &[Attribute::Int("axis", 0)]);
        let length = graph.cast(&name("length_as_float64"), &length, ElementType::Float64);
        let step = graph.node("Div", &name("step"), &[&length, &target], &[]);
        let first = graph.node("Mul", &name("first"), &[&step, &half], &[]);
        let further_steps = graph.node("Expand", &name("further_steps"), &[&step, &further_count], &[]);
        let concat = [&first, &further_steps];
        let all_steps = graph.node("Concat", &name("all_steps"), &concat, &[Attribute::Int("axis", 0)]);
        let positions = graph.node("CumSum", &name("positions"), &[&all_steps, &first_axis], &[]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::onnx::graph::Dimension;
    use crate::export::options::WeightFormat;

    /// ONNX defines the axis of `CumSum` as a tensor without dimensions; not every runtime takes one of length 1.
    #[test]
    fn the_axis_of_the_sums_is_a_scalar() {
        let mut graph = GraphBuilder::new(WeightFormat::F32);
        let pixels = graph.input("pixels", ElementType::Uint8, &[Dimension::Any("N"); 4]);
        resize_to_nearest(&mut graph, &pixels, 150);
        let graph = graph.finish().unwrap();
        let mut axes = Vec::new();
        for sum in graph.node.iter().filter(|node| node.op_type == "CumSum") {
            axes.extend(graph.initializer.iter().filter(|constant| constant.name == sum.input[1]));
        }
        assert_eq!(axes.len(), 2);
        for axis in axes {
            assert!(axis.dims.is_empty(), "{axis:?}");
            assert_eq!(axis.raw_data, 0i64.to_le_bytes());
        }
    }
}
