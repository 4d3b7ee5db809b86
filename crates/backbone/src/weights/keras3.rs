//! The layout of Keras 3, of `.weights.h5` files and `.keras` archives: a group per layer, `CLASS[_n]/vars/i`.
//!
//! Layers are numbered per class in the model's order (keras/src/saving/saving_lib.py, `_save_container_state`): the
//! k-th convolution of the file is the k-th of the network, and so with the others. The network may be a part of a
//! larger model; of its other layers only those are read that are asked for.

use std::collections::BTreeSet;

use hdf5_reader::error::Result;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Hdf5File};

use super::collect::WeightsCollector;
use super::hdf5::add_dataset;
use super::numbering::{class_of, numbered};
use super::tensors::{LayerKind, layers};

/// Every tensor of the group that holds Xception's layers, under the network's names.
pub(super) fn read(file: &Hdf5File) -> Result<WeightsCollector> {
    let mut collector = WeightsCollector::new();
    let Some(container) = container(file.root_group()?)? else { return Ok(collector) };
    let network = layers();
    for group in container.groups()? {
        let name = last(group.name()).to_owned();
        let Some((class, k)) = numbered(&name) else { continue };
        let place = network.iter().filter(|layer| class_of(layer.kind) == class).nth(k);
        let parts = place.map_or(Vec::new(), |place| place.kind.tensors());
        for dataset in group.group("vars")?.datasets()? {
            let variable = last(dataset.name()).to_owned();
            let part = variable.parse::<usize>().ok().and_then(|i| parts.get(i));
            let our_name = match (place, part) {
                (Some(place), Some((part, _))) => format!("{}.{part}", place.name),
                _ => format!("{name}/vars/{variable}"),
            };
            add_dataset(&mut collector, our_name, &dataset)?;
        }
    }
    Ok(collector)
}

/// The variables of a layer, in the layer's order, given the numbered names of the models around it and its own.
pub(super) fn variables(file: &Hdf5File, numbered_names: &[String]) -> Result<Vec<Dataset>> {
    let mut group = file.root_group()?;
    for name in numbered_names {
        group = group.group("layers")?.group(name)?;
    }
    let vars = group.group("vars")?;
    let count = vars.datasets()?.len();
    (0..count).map(|k| vars.dataset(&k.to_string())).collect()
}

/// The first group with separable convolutions in it, here or further down; a group is looked at once, however many
/// links lead to it.
fn container(root: Group) -> Result<Option<Group>> {
    let separable = class_of(LayerKind::Separable { inputs: 0, outputs: 0 });
    let mut seen = BTreeSet::new();
    let mut groups = vec![root];
    while let Some(group) = groups.pop() {
        if !seen.insert(group.address()) {
            continue;
        }
        let children = group.groups()?;
        if children.iter().any(|child| last(child.name()) == separable) {
            return Ok(Some(group));
        }
        groups.extend(children.into_iter().rev());
    }
    Ok(None)
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
