//! The old layout, of `.h5` files: an attribute lists the layers, and each layer's group lists its tensors.
//!
//! Keras loads such files by order, the k-th layer with weights in the file into the k-th of the model
//! (keras/src/legacy/saving/legacy_h5_format.py, `load_weights_from_hdf5_group`): the residual convolutions have names
//! that depend on what else the process had built. So does this, and takes care that the named layers are in place.

use hdf5_reader::Hdf5File;
use hdf5_reader::error::{Error, Result};
use hdf5_reader::group::Group;

use super::checked::Gathering;
use super::hdf5::add_dataset;
use super::spec::layers;

/// More layers than any model with Xception in it has, and more tensors than a layer.
const MAX_NAMES: u64 = 1000;

/// The group with the layers, and their names: at the root of a weights file, below `model_weights` in a whole model.
pub(super) fn layer_names(file: &Hdf5File) -> Option<(Group, Vec<String>)> {
    let root = file.root_group().ok()?;
    let whole_model = root.group("model_weights").ok();
    [Some(root), whole_model].into_iter().flatten().find_map(|group| {
        let names = strings(&group, "layer_names").ok()?;
        Some((group, names))
    })
}

/// Every tensor, named after the layer of the network that has the same place.
pub(super) fn read(group: &Group, names: &[String]) -> Result<Gathering> {
    let mut gathering = Gathering::new();
    let mut expected = layers().into_iter();
    for name in names {
        let layer = group.group(name)?;
        let tensors = strings(&layer, "weight_names")?;
        if tensors.is_empty() {
            continue;
        }
        // A layer that the network does not have here keeps its own name, and shows up as extra.
        let place = expected.next().filter(|place| !name.starts_with("block") || place.name == *name);
        let parts = place.as_ref().map_or(Vec::new(), |place| place.kind.tensors());
        for (k, tensor) in tensors.iter().enumerate() {
            let ours = match (&place, parts.get(k)) {
                (Some(place), Some((part, _))) => format!("{}.{part}", place.name),
                _ => tensor.clone(),
            };
            let mut holder = layer.clone();
            let mut steps: Vec<&str> = tensor.split('/').collect();
            let last = steps.pop().unwrap_or_default();
            for step in steps {
                holder = holder.group(step)?;
            }
            add_dataset(&mut gathering, ours, &holder.dataset(last)?)?;
        }
    }
    Ok(gathering)
}

fn strings(group: &Group, attribute: &str) -> Result<Vec<String>> {
    let attribute = group.attribute(attribute)?;
    match attribute.num_elements()? {
        0 => Ok(Vec::new()),
        count if count > MAX_NAMES => Err(Error::ResourceLimit(format!("{count} names in an attribute"))),
        _ => attribute.read_strings(),
    }
}
