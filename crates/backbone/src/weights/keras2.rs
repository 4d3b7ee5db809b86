//! The old layout, of `.h5` files: an attribute lists the layers, and each layer's group lists its tensors.
//!
//! Keras loads such files by order, the k-th layer with weights in the file into the k-th of the model
//! (keras/src/legacy/saving/legacy_h5_format.py, `load_weights_from_hdf5_group`): the residual convolutions have names
//! that depend on what else the process had built. A file of the network alone is read in the same way, with a check
//! that `blockN_...` layers are at their place.
//!
//! In a larger model the network may be a single layer of the model, whose tensors are listed with the trainable ones
//! first, so that their order says nothing; or its layers stand among the model's own. There they are found by their
//! names. The residual ones come in the order of their numbers, which is the order in which they were built.

use std::collections::BTreeSet;

use hdf5_reader::error::{Error, Result};
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Hdf5File};

use super::collect::WeightsCollector;
use super::hdf5::add_dataset;
use super::numbering::{class_of, numbered};
use super::tensors::{LAYERS, Layer, LayerKind, layers};

/// More layers than any model with Xception in it has, and more tensors than a layer.
const MAX_NAMES: u64 = 1000;

/// A tensor of a layer, as the file names it.
struct Tensor {
    /// `block1_conv1/kernel:0`; Keras 3 leaves the `:0` out.
    path: String,
    /// What holds its values.
    dataset: Dataset,
}

impl Tensor {
    /// The layer, without the models around it: `block1_conv1`.
    fn layer(&self) -> &str {
        self.path.rsplit('/').nth(1).unwrap_or_default()
    }

    /// Which of the layer's tensors it is: `kernel`.
    fn variable(&self) -> &str {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        last.split(':').next().unwrap_or_default()
    }
}

/// The group with the layers, and their names: at the root of a weights file, below `model_weights` in a whole model.
pub(super) fn layer_names(file: &Hdf5File) -> Option<(Group, Vec<String>)> {
    let root = file.root_group().ok()?;
    let whole_model = root.group("model_weights").ok();
    for group in [Some(root), whole_model].into_iter().flatten() {
        if let Ok(names) = strings(&group, "layer_names") {
            return Some((group, names));
        }
    }
    None
}

/// Every tensor of the network, under its name here.
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

/// The tensors of a group of the model's layers, or of one layer's, in the order in which the file lists them.
fn tensors(group: &Group, name: &str) -> Result<Vec<Tensor>> {
    let layer = group.group(name)?;
    let mut tensors = Vec::new();
    for path in strings(&layer, "weight_names")? {
        let mut holder = layer.clone();
        let mut steps: Vec<&str> = path.split('/').collect();
        let last = steps.pop().unwrap_or_default();
        for step in steps {
            holder = holder.group(step)?;
        }
        let dataset = holder.dataset(last)?;
        tensors.push(Tensor { path, dataset });
    }
    Ok(tensors)
}

/// The variables of a layer, in the order in which the file lists them, given the names of the models around it and its
/// own.
pub(super) fn variables(group: &Group, names: &[String]) -> Result<Vec<Dataset>> {
    let (Some(outermost), Some(layer)) = (names.first(), names.last()) else { return Ok(Vec::new()) };
    let of_layer = tensors(group, outermost)?.into_iter().filter(|tensor| tensor.layer() == layer);
    Ok(of_layer.map(|tensor| tensor.dataset).collect())
}

/// A layer of the model with all tensors in it.
struct LayerGroup<'a> {
    name: &'a str,
    tensors: Vec<Tensor>,
}

/// Of a file of the network alone: every tensor, named after the layer of the network at the same position.
fn read_by_order(groups: &[LayerGroup<'_>]) -> Result<WeightsCollector> {
    let mut collector = WeightsCollector::new();
    for (group, layer) in groups.iter().zip(layers()) {
        // A layer that the network does not have here keeps its own name, and shows up as extra.
        let misplaced = group.name.starts_with("block") && layer.name != group.name;
        let tensor_names = if misplaced { Vec::new() } else { layer.kind.tensors() };
        for (k, tensor) in group.tensors.iter().enumerate() {
            let our_name = match tensor_names.get(k) {
                Some((tensor_name, _)) => format!("{}.{tensor_name}", layer.name),
                None => tensor.path.clone(),
            };
            add_dataset(&mut collector, our_name, &tensor.dataset)?;
        }
    }
    Ok(collector)
}

/// Of a larger model: the tensors of the layers that have the names of the network's, or numbered names of its classes.
fn read_by_name(groups: &[LayerGroup<'_>]) -> Result<WeightsCollector> {
    let network = layers();
    let tensors = || groups.iter().flat_map(|group| &group.tensors);
    // The numbers that the file has of each class, ascending.
    let numbers: BTreeSet<(&str, usize)> = tensors().filter_map(|tensor| numbered(tensor.layer())).collect();

    let mut collector = WeightsCollector::new();
    for tensor in tensors() {
        let place = match numbered(tensor.layer()) {
            Some((class, number)) => {
                let k = numbers.range((class, 0)..(class, number)).count();
                network.iter().filter(|layer| is_residual(layer) && class_of(layer.kind) == class).nth(k)
            }
            None => match network.iter().find(|layer| !is_residual(layer) && layer.name == tensor.layer()) {
                Some(place) => Some(place),
                // Another layer of the model.
                None => continue,
            },
        };
        let part = variable_names(place.map(|layer| layer.kind)).iter().find(|(name, _)| *name == tensor.variable());
        let our_name = match (place, part) {
            (Some(place), Some((_, part))) => format!("{}.{part}", place.name),
            _ => tensor.path.clone(),
        };
        add_dataset(&mut collector, our_name, &tensor.dataset)?;
    }
    Ok(collector)
}

/// Whether it is one of the layers that Keras leaves unnamed.
fn is_residual(layer: &Layer) -> bool {
    layer.name.contains("residual")
}

/// Keras's names of a layer's tensors, each with our_name.
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

fn strings(group: &Group, attribute: &str) -> Result<Vec<String>> {
    let attribute = group.attribute(attribute)?;
    match attribute.num_elements()? {
        0 => Ok(Vec::new()),
        count if count > MAX_NAMES => Err(Error::ResourceLimit(format!("{count} names in an attribute"))),
        _ => attribute.read_strings(),
    }
}
