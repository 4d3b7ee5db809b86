//! The layout of Keras 2, in `.h5` files: an attribute lists the layers, and each layer's group lists its tensors.
//!
//! Keras loads such files by order, the k-th layer with weights in the file into the k-th of the model
//! (keras/src/legacy/saving/legacy_h5_format.py, `load_weights_from_hdf5_group`). A file of the network alone is read in
//! the same way here, since the names of the residual convolutions depend on what else the process had built; each
//! `blockN_…` layer must be at its position.
//!
//! In a larger model the network may be a single layer, whose tensors are listed with the trainable ones first, so
//! their order is not that of the layers; or the network's layers may be among the model's other layers. In both cases
//! layers are found by their names, and the residual ones, which are named by class and number (`conv2d_1`), by the order
//! of these numbers, which is that in which they were built.

use std::collections::BTreeSet;

use hdf5_reader::error::{Error, Result};
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Hdf5File};

use super::collect::WeightsCollector;
use super::hdf5::add_dataset;
use super::numbering::{class_of, numbered};
use super::tensors::{LAYERS, Layer, LayerKind, layers};

/// The maximum number of layers or of a layer's tensors that an attribute may name; Xception has 236 tensors.
const MAX_NAMES: u64 = 1000;

/// A tensor of a layer, as the file names it.
struct Tensor {
    /// As in `block1_conv1/kernel:0`; Keras 3 leaves the `:0` out.
    path: String,
    /// Its values.
    dataset: Dataset,
}

impl Tensor {
    /// The name of its layer, without the models around it, as in `block1_conv1`.
    fn layer_name(&self) -> &str {
        self.path.rsplit('/').nth(1).unwrap_or_default()
    }

    /// Its name in the layer, as in `kernel`.
    fn variable_name(&self) -> &str {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        last.split(':').next().unwrap_or_default()
    }
}

/// The group with the layers, and their names: at the root of a weights file, below `model_weights` in a whole model.
/// `None` for a file of Keras 3's layout, which has no such attribute.
///
/// # Errors
/// When the names are there and cannot be read, or are more than [`MAX_NAMES`].
pub(super) fn layer_names(file: &Hdf5File) -> Result<Option<(Group, Vec<String>)>> {
    const ATTRIBUTE: &str = "layer_names";
    let root = file.root_group()?;
    let whole_model = match root.group("model_weights") {
        Ok(group) => Some(group),
        Err(Error::GroupNotFound(_)) => None,
        Err(error) => return Err(error),
    };
    for group in [Some(root), whole_model].into_iter().flatten() {
        match strings(&group, ATTRIBUTE) {
            Ok(names) => return Ok(Some((group, names))),
            Err(Error::AttributeNotFound(_)) => {}
            Err(error) => return Err(error.with_context(ATTRIBUTE)),
        }
    }
    Ok(None)
}

/// Reads the tensors of the network from the layers with these names in `group`.
pub(super) fn read(group: &Group, names: &[String]) -> Result<WeightsCollector> {
    let mut groups = Vec::new();
    for name in names {
        let tensors = tensors(group, name)?;
        if !tensors.is_empty() {
            groups.push(LayerGroup { name, tensors });
        }
    }
    if groups.len() == LAYERS { read_by_order(&groups) } else { read_by_name(&groups) }
}

/// The tensors of the model's layer `name`, which may be a model itself, in the order in which the file lists them.
fn tensors(group: &Group, name: &str) -> Result<Vec<Tensor>> {
    let layer = group.group(name)?;
    let mut tensors = Vec::new();
    for path in strings(&layer, "weight_names")? {
        let mut parent = layer.clone();
        let mut parts: Vec<&str> = path.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            parent = parent.group(part)?;
        }
        let dataset = parent.dataset(last)?;
        tensors.push(Tensor { path, dataset });
    }
    Ok(tensors)
}

/// The variables of a layer, in the order in which the file lists them. `names` are the models around the layer, the
/// outermost first and without the whole model, then the layer: a layer of the whole model has only its own name.
pub(super) fn variables(group: &Group, names: &[String]) -> Result<Vec<Dataset>> {
    let (Some(top_level), Some(layer)) = (names.first(), names.last()) else { return Ok(Vec::new()) };
    let mut tensors = tensors(group, top_level)?;
    tensors.retain(|tensor| tensor.layer_name() == layer);
    Ok(tensors.into_iter().map(|tensor| tensor.dataset).collect())
}

/// A layer of the model with its tensors.
struct LayerGroup<'a> {
    name: &'a str,
    tensors: Vec<Tensor>,
}

/// Reads a file of the network alone: the tensors of each layer are those of the network's layer at the same position.
fn read_by_order(groups: &[LayerGroup<'_>]) -> Result<WeightsCollector> {
    let mut collector = WeightsCollector::new();
    for (group, layer) in groups.iter().zip(layers()) {
        // A misplaced layer keeps the file's names, so its tensors are reported as extra.
        let misplaced = group.name.starts_with("block") && layer.name != group.name;
        let tensor_names = if misplaced { Vec::new() } else { layer.kind.tensors() };
        for (k, tensor) in group.tensors.iter().enumerate() {
            let name = match tensor_names.get(k) {
                Some((tensor_name, _)) => format!("{}.{tensor_name}", layer.name),
                None => tensor.path.clone(),
            };
            add_dataset(&mut collector, name, &tensor.dataset)?;
        }
    }
    Ok(collector)
}

/// Reads a larger model: the tensors of the layers that have names of the network's layers, or that are named by class
/// and number, as in `conv2d_1`.
fn read_by_name(groups: &[LayerGroup<'_>]) -> Result<WeightsCollector> {
    let network = layers();
    let all_tensors = || groups.iter().flat_map(|group| &group.tensors);
    // The classes and numbers of all layers with numbered names, ascending.
    let numbers: BTreeSet<(&str, usize)> = all_tensors().filter_map(|tensor| numbered(tensor.layer_name())).collect();

    let mut collector = WeightsCollector::new();
    for tensor in all_tensors() {
        // The layer of the network that the tensor belongs to.
        let layer = match numbered(tensor.layer_name()) {
            // Layers with numbered names are assumed to be the residual ones, in the order of their numbers. If the model
            // has others, tensors are reported as extra or of another shape.
            Some((class, number)) => {
                let lower_numbers = numbers.range((class, 0)..(class, number)).count();
                let mut residual = network.iter().filter(|layer| is_residual(layer) && class_of(layer.kind) == class);
                residual.nth(lower_numbers)
            }
            None => match network.iter().find(|layer| !is_residual(layer) && layer.name == tensor.layer_name()) {
                Some(layer) => Some(layer),
                // A layer of the model that is not the network's.
                None => continue,
            },
        };
        let names = variable_names(layer.map(|layer| layer.kind));
        let our_name = names.iter().find(|(keras_name, _)| *keras_name == tensor.variable_name());
        let name = match (layer, our_name) {
            (Some(layer), Some((_, our_name))) => format!("{}.{our_name}", layer.name),
            // It is reported as extra.
            _ => tensor.path.clone(),
        };
        add_dataset(&mut collector, name, &tensor.dataset)?;
    }
    Ok(collector)
}

/// Whether this is a residual convolution or its batch norm, which Keras leaves unnamed.
fn is_residual(layer: &Layer) -> bool {
    layer.name.contains("residual")
}

/// Pairs of Keras's name and our name, for the tensors of a layer of this kind; empty for `None`.
fn variable_names(kind: Option<LayerKind>) -> &'static [(&'static str, &'static str)] {
    match kind {
        None => &[],
        Some(LayerKind::Convolution { .. }) => &[("kernel", "kernel")],
        Some(LayerKind::Separable { .. }) => &[("depthwise_kernel", "depthwise"), ("pointwise_kernel", "pointwise")],
        Some(LayerKind::Norm { .. }) => {
            &[("gamma", "gamma"), ("beta", "beta"), ("moving_mean", "mean"), ("moving_variance", "variance")]
        }
    }
}

/// The texts in an attribute.
fn strings(group: &Group, attribute: &str) -> Result<Vec<String>> {
    let attribute = group.attribute(attribute)?;
    match attribute.num_elements()? {
        0 => Ok(Vec::new()),
        count if count > MAX_NAMES => Err(Error::ResourceLimit(format!("{count} names in an attribute"))),
        _ => attribute.read_strings(),
    }
}
