//! The layout of Keras 3, in `.weights.h5` files and `.keras` archives: a group per layer, `CLASS[_n]/vars/i`.
//!
//! Layers are numbered per class in the model's order (keras/src/saving/saving_lib.py, `_save_container_state`), so the
//! k-th convolution in the file is the k-th of the network, and likewise for other classes. The network may be part of
//! a larger model, whose other layers [`variables`] reads one at a time.

use std::collections::BTreeSet;

use hdf5_reader::error::Result;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Hdf5File};

use super::collect::WeightsCollector;
use super::hdf5::add_dataset;
use super::numbering::{SEPARABLE, class_of, numbered};
use super::tensors::layers;

/// Reads the tensors of the network, from the group that has its layers.
pub(super) fn read(file: &Hdf5File) -> Result<WeightsCollector> {
    let mut collector = WeightsCollector::new();
    let Some(network_group) = find_network(file.root_group()?)? else { return Ok(collector) };
    let network = layers();
    for group in network_group.groups()? {
        let name = last_part(group.name()).to_owned();
        let Some((class, k)) = numbered(&name) else { continue };
        let layer = network.iter().filter(|layer| class_of(layer.kind) == class).nth(k);
        let tensors = layer.map_or(Vec::new(), |layer| layer.kind.tensors());
        for dataset in group.group("vars")?.datasets()? {
            let number = last_part(dataset.name()).to_owned();
            let tensor = number.parse::<usize>().ok().and_then(|i| tensors.get(i));
            let tensor_name = match (layer, tensor) {
                (Some(layer), Some((tensor, _))) => format!("{}.{tensor}", layer.name),
                // It is reported as extra.
                _ => format!("{name}/vars/{number}"),
            };
            add_dataset(&mut collector, tensor_name, &dataset)?;
        }
    }
    Ok(collector)
}

/// The variables of a layer, in the layer's order. The names are those of the models around the layer, the outermost
/// one first, then the layer's own.
pub(super) fn variables(file: &Hdf5File, numbered_names: &[String]) -> Result<Vec<Dataset>> {
    let mut group = file.root_group()?;
    for name in numbered_names {
        group = group.group("layers")?.group(name)?;
    }
    let vars = group.group("vars")?;
    let count = vars.datasets()?.len();
    (0..count).map(|k| vars.dataset(&k.to_string())).collect()
}

/// The group that has the network's layers: the first one with separable convolutions, `root` or below it. Each group
/// is searched once, however many links lead to it.
fn find_network(root: Group) -> Result<Option<Group>> {
    let mut seen = BTreeSet::new();
    let mut groups = vec![root];
    while let Some(group) = groups.pop() {
        if !seen.insert(group.address()) {
            continue;
        }
        let children = group.groups()?;
        if children.iter().any(|child| last_part(child.name()) == SEPARABLE) {
            return Ok(Some(group));
        }
        groups.extend(children.into_iter().rev());
    }
    Ok(None)
}

/// The part of a path after the last slash.
fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
