//! head.safetensors: the layers of a head, in Keras's orientation.

use std::collections::HashMap;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::config::RunConfig;
use crate::layers::{Classifier, Dense};

/// The file's bytes. Its metadata has the classes and the fingerprint, so the file can be used alone.
pub(super) fn to_bytes(classifier: &Classifier, config: &RunConfig) -> Result<Vec<u8>, SafeTensorError> {
    let layers = classifier.layers();
    let kernels: Vec<Vec<f32>> = layers.iter().map(Dense::kernel).collect();
    let mut tensors = Vec::new();
    for (k, layer) in layers.iter().enumerate() {
        let name = layer_name(k, layers.len());
        tensors.push((format!("{name}.kernel"), view(vec![layer.inputs(), layer.outputs()], &kernels[k])?));
        tensors.push((format!("{name}.bias"), view(vec![layer.outputs()], layer.bias())?));
    }
    // One entry: several would be in a hash map's random order.
    let about = serde_json::json!({ "class_indices": config.class_indices, "fingerprint": config.fingerprint });
    safetensors::serialize(tensors, Some(HashMap::from([("icebox".to_owned(), about.to_string())])))
}

fn view(shape: Vec<usize>, values: &[f32]) -> Result<TensorView<'_>, SafeTensorError> {
    TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values))
}

/// The classifier in the file, whose layers must be those of the configuration. The error says what is wrong with the
/// file.
pub(super) fn from_bytes(bytes: &[u8], config: &RunConfig) -> Result<Classifier, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut units = config.hidden().to_vec();
    units.push(config.class_indices.len());
    if file.len() != 2 * units.len() {
        return Err(format!("expected {} tensors, found {}", 2 * units.len(), file.len()));
    }
    let mut layers = Vec::new();
    for (k, &layer_units) in units.iter().enumerate() {
        let name = layer_name(k, units.len());
        let kernel = Tensor::read(&file, &format!("{name}.kernel"))?;
        let bias = Tensor::read(&file, &format!("{name}.bias"))?;
        let (kernel_shape, bias_shape) = (&kernel.shape, &bias.shape);
        let [inputs, outputs] = kernel_shape[..] else {
            return Err(format!("{name}.kernel: expected two dimensions, found the shape {kernel_shape:?}"));
        };
        if outputs != layer_units || bias_shape[..] != [layer_units] {
            return Err(format!(
                "{name}: expected {layer_units} units, found a kernel of shape {kernel_shape:?} and a bias of shape \
                 {bias_shape:?}"
            ));
        }
        layers.push(Dense::from_keras(inputs, &kernel.values, &bias.values).map_err(|error| error.to_string())?);
    }
    Classifier::from_layers(layers).map_err(|error| error.to_string())
}

/// A tensor of the file.
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    fn read(file: &SafeTensors<'_>, name: &str) -> Result<Self, String> {
        let tensor = file.tensor(name).map_err(|error| error.to_string())?;
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("{name}: expected float32, found {:?}", tensor.dtype()));
        }
        let (values, _) = tensor.data().as_chunks();
        let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(format!("{name}: has values that are not finite"));
        }
        Ok(Self { shape: tensor.shape().to_vec(), values })
    }
}

/// `hidden`, `hidden_1`, … and last `dense`.
fn layer_name(k: usize, layers: usize) -> String {
    if k + 1 == layers {
        "dense".to_owned()
    } else if k == 0 {
        "hidden".to_owned()
    } else {
        format!("hidden_{k}")
    }
}
