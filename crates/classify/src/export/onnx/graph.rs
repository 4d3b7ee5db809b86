//! Builds an ONNX graph, node by node.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::proto::{
    ATTRIBUTE_INT, ATTRIBUTE_INTS, AttributeProto, DimensionProto, ElementType, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::export::error::ExportError;
use crate::export::options::WeightFormat;

/// A graph that is being built. A value has the name of the node or constant that it comes from.
pub(super) struct GraphBuilder {
    graph: GraphProto,
    weights: WeightFormat,
}

/// An input, a constant or the result of a node, by its name.
#[derive(Debug, Clone)]
pub(super) struct Value(String);

/// A dimension of an input or output.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dimension {
    /// A fixed length.
    Of(usize),
    /// Any length; the dimension has this name.
    Any(&'static str),
}

/// An attribute of a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attribute<'a> {
    Int(&'static str, i64),
    Ints(&'static str, &'a [i64]),
}

impl GraphBuilder {
    /// An empty graph. Kernels will be stored in this format.
    pub(super) fn new(weights: WeightFormat) -> Self {
        Self { graph: GraphProto { name: "icebox".to_owned(), ..GraphProto::default() }, weights }
    }

    /// Adds an input.
    pub(super) fn input(&mut self, name: &str, element: ElementType, shape: &[Dimension]) -> Value {
        self.graph.input.push(value_info(name, element, shape));
        Value(name.to_owned())
    }

    /// Adds a float32 output of this name with this value.
    pub(super) fn output(&mut self, name: &str, value: &Value, shape: &[Dimension]) {
        self.node("Identity", name, &[value], &[]);
        self.graph.output.push(value_info(name, ElementType::Float32, shape));
    }

    /// Adds a node. Returns its result.
    pub(super) fn node(&mut self, operator: &str, name: &str, inputs: &[&Value], attributes: &[Attribute]) -> Value {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(|attribute| attribute.proto()).collect(),
        });
        Value(name.to_owned())
    }

    /// Adds a conversion to another element type.
    pub(super) fn cast(&mut self, name: &str, value: &Value, element: ElementType) -> Value {
        self.node("Cast", name, &[value], &[Attribute::Int("to", element as i64)])
    }

    /// Adds a kernel, stored in the graph's [`WeightFormat`]. The returned value is float32.
    ///
    /// # Errors
    /// When a value is too large for float16.
    pub(super) fn kernel(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<Value, ExportError> {
        match self.weights {
            WeightFormat::F32 => Ok(self.float32(name, shape, values)),
            WeightFormat::F16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                if halves.iter().any(|half| !half.is_finite()) {
                    return Err(ExportError::TooLargeForF16 { tensor: name.to_owned() });
                }
                let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
                let stored = self.constant(&format!("{name}.f16"), ElementType::Float16, shape, bytes);
                Ok(self.cast(name, &stored, ElementType::Float32))
            }
        }
    }

    /// Adds a constant of float32 values, row-major; a scalar if the shape is empty.
    pub(super) fn float32(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::Float32, shape, bytes)
    }

    /// Adds a one-dimensional constant of float64 values.
    pub(super) fn float64(&mut self, name: &str, values: &[f64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::Float64, &[values.len()], bytes)
    }

    /// Adds a one-dimensional constant of int64 values.
    pub(super) fn int64(&mut self, name: &str, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::Int64, &[values.len()], bytes)
    }

    /// Adds an int64 scalar.
    pub(super) fn int64_scalar(&mut self, name: &str, value: i64) -> Value {
        self.constant(name, ElementType::Int64, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: &str, element: ElementType, shape: &[usize], raw_data: Vec<u8>) -> Value {
        let dims = shape.iter().map(|&length| length as i64).collect();
        self.graph.initializer.push(TensorProto { dims, data_type: element as i32, name: name.to_owned(), raw_data });
        Value(name.to_owned())
    }

    /// The finished graph.
    ///
    /// # Errors
    /// When two values have the same name, such as a node and an input or output that the user named.
    pub(super) fn finish(self) -> Result<GraphProto, ExportError> {
        let GraphProto { node, initializer, input, .. } = &self.graph;
        let mut names: Vec<&str> = Vec::new();
        names.extend(node.iter().map(|node| node.name.as_str()));
        names.extend(initializer.iter().map(|constant| constant.name.as_str()));
        names.extend(input.iter().map(|input| input.name.as_str()));
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ExportError::NameTaken(pair[0].to_owned())),
            None => Ok(self.graph),
        }
    }
}

impl Attribute<'_> {
    fn proto(self) -> AttributeProto {
        match self {
            Self::Int(name, value) => {
                AttributeProto { name: name.to_owned(), i: Some(value), ints: Vec::new(), r#type: ATTRIBUTE_INT }
            }
            Self::Ints(name, values) => {
                AttributeProto { name: name.to_owned(), i: None, ints: values.to_vec(), r#type: ATTRIBUTE_INTS }
            }
        }
    }
}

fn value_info(name: &str, element: ElementType, shape: &[Dimension]) -> ValueInfoProto {
    let dimension = |dimension: &Dimension| match *dimension {
        Dimension::Of(length) => DimensionProto { dim_value: Some(length as i64), dim_param: None },
        Dimension::Any(name) => DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) },
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dimension).collect() };
    let tensor = TensorTypeProto { elem_type: element as i32, shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn graph(weights: WeightFormat, value: f32) -> Result<GraphBuilder, ExportError> {
        let mut graph = GraphBuilder::new(weights);
        let x = graph.input("x", ElementType::Float32, &[Dimension::Any("N"), Dimension::Of(2)]);
        let kernel = graph.kernel("kernel", &[2, 1], &[1.0, value])?;
        let product = graph.node("MatMul", "product", &[&x, &kernel], &[]);
        graph.output("y", &product, &[Dimension::Any("N"), Dimension::Of(1)]);
        Ok(graph)
    }

    #[test]
    fn a_graph_is_read_back_as_it_was_written() {
        for weights in WeightFormat::ALL {
            let graph = graph(weights, 0.1).unwrap().finish().unwrap();
            assert_eq!(GraphProto::decode(&*graph.encode_to_vec()).unwrap(), graph);
            let operators: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
            let expected = match weights {
                WeightFormat::F32 => &["MatMul", "Identity"][..],
                WeightFormat::F16 => &["Cast", "MatMul", "Identity"],
            };
            assert_eq!(operators, expected);
            assert_eq!(graph.initializer[0].raw_data.len(), if weights == WeightFormat::F32 { 8 } else { 4 });
        }
    }

    #[test]
    fn a_value_beyond_float16_is_refused() {
        assert!(graph(WeightFormat::F32, 7e4).is_ok());
        let error = graph(WeightFormat::F16, 7e4).err().unwrap();
        assert_eq!(error.to_string(), "kernel has values that are too large for f16");
    }

    #[test]
    fn a_name_is_given_once() {
        let mut graph = graph(WeightFormat::F32, 1.0).unwrap();
        let x = Value("x".to_owned());
        graph.output("kernel", &x, &[]);
        assert_eq!(graph.finish().unwrap_err().to_string(), "\"kernel\" names two values of the model");
    }
}
