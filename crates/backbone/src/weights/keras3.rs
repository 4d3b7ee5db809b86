//! The layout of Keras 3, of `.weights.h5` files and `.keras` archives: a group per layer, `CLASS[_n]/vars/i`.
//!
//! Layers are numbered per class in the model's order (keras/src/saving/saving_lib.py, `_save_container_state`): the
//! k-th convolution of the file is the k-th of the network, and so with the others. The network may be a part of a
//! larger model, whose other layers are none of our business.

use std::collections::BTreeSet;

use hdf5_reader::Hdf5File;
use hdf5_reader::error::Result;
use hdf5_reader::group::Group;

use super::checked::Gathering;
use super::hdf5::add_dataset;
use super::spec::{LayerKind, layers};

/// Every tensor of the group of layers that holds separable convolutions, under the network's names.
pub(super) fn read(file: &Hdf5File) -> Result<Gathering> {
    let mut gathering = Gathering::new();
    let Some(container) = container(file.root_group()?)? else { return Ok(gathering) };
    let network = layers();
    for group in container.groups()? {
        let name = last(group.name()).to_owned();
        let Some((class, k)) = numbered(&name) else { continue };
        let place = network.iter().filter(|layer| class_of(layer.kind) == class).nth(k);
        let parts = place.map_or(Vec::new(), |place| place.kind.tensors());
        for dataset in group.group("vars")?.datasets()? {
            let variable = last(dataset.name()).to_owned();
            let part = variable.parse::<usize>().ok().and_then(|i| parts.get(i));
            let ours = match (place, part) {
                (Some(place), Some((part, _))) => format!("{}.{part}", place.name),
                _ => format!("{name}/vars/{variable}"),
            };
            add_dataset(&mut gathering, ours, &dataset)?;
        }
    }
    Ok(gathering)
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

/// A class of the network, and which of its layers: `conv2d` is the first, `conv2d_1` the second.
fn numbered(name: &str) -> Option<(&str, usize)> {
    let kinds = [
        LayerKind::Convolution { side: 0, inputs: 0, outputs: 0 },
        LayerKind::Separable { inputs: 0, outputs: 0 },
        LayerKind::Norm { channels: 0 },
    ];
    kinds.map(class_of).into_iter().find_map(|class| match name.strip_prefix(class)? {
        "" => Some((class, 0)),
        number => Some((class, number.strip_prefix('_')?.parse().ok()?)),
    })
}

fn class_of(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Convolution { .. } => "conv2d",
        LayerKind::Separable { .. } => "separable_conv2d",
        LayerKind::Norm { .. } => "batch_normalization",
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
