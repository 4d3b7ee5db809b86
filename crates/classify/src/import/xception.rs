//! Finding Xception without its top in a model: the layers that feed the pooling must be those of
//! keras/src/applications/xception.py, each with its settings, connected in the same way.

use serde_json::json;

use super::error::{ModelProblem, Refusal};
use super::graph::{Graph, Layer, LayerId};
use crate::keras_xception::{KerasLayer, keras_layers};

/// Checks that the layers that compute `output` are those of Xception, and returns the layer whose output the network
/// takes.
///
/// # Errors
/// Names the layer nearest to the output that is not Xception's.
pub(super) fn input_of_network(graph: &Graph, output: LayerId) -> Result<LayerId, ModelProblem> {
    let network = keras_layers();
    let mut found: Vec<Option<LayerId>> = vec![None; network.len()];
    let mut input = None;
    *found.last_mut().expect("the network has layers") = Some(output);
    // Backwards: each layer is the input of a later one, so it is found before the loop comes to it.
    for k in (0..network.len()).rev() {
        let (expected, id) = (&network[k], found[k].expect("each layer but the last is the input of a later one"));
        let layer = graph.layer(id);
        check(layer, expected)?;
        if expected.inputs.is_empty() {
            input = Some(layer.input()?);
            continue;
        }
        if layer.inputs.len() != expected.inputs.len() {
            return Err(layer.refused(Refusal::Inputs { found: layer.inputs.len() }));
        }
        // The first layer of a block and its residual take the same input.
        for (&place, &id) in expected.inputs.iter().zip(&layer.inputs) {
            match found[place] {
                Some(other) if other != id => return Err(layer.refused(Refusal::Wiring)),
                _ => found[place] = Some(id),
            }
        }
    }
    check_order(graph, &network, &found)?;
    Ok(input.expect("the first layer takes the network's input"))
}

/// Checks that the file has the layers with weights, class by class, in the network's order, in which `backbone` reads
/// them.
fn check_order(graph: &Graph, network: &[KerasLayer], found: &[Option<LayerId>]) -> Result<(), ModelProblem> {
    let mut in_order: Vec<(usize, LayerId, &'static str)> = Vec::new();
    for (expected, id) in network.iter().zip(found) {
        if let (Some(place), Some(id)) = (expected.weights, id) {
            in_order.push((place, *id, expected.class));
        }
    }
    in_order.sort_unstable_by_key(|&(place, ..)| place);
    for (k, &(_, id, class)) in in_order.iter().enumerate() {
        let next_of_class = in_order[k + 1..].iter().find(|&&(_, _, other)| other == class);
        if next_of_class.is_some_and(|&(_, next, _)| next < id) {
            return Err(graph.layer(id).refused(Refusal::Wiring));
        }
    }
    Ok(())
}

/// Checks that the layer has the class and the settings of Xception's.
fn check(layer: &Layer, expected: &KerasLayer) -> Result<(), ModelProblem> {
    if layer.class != expected.class {
        let expected = format!("{} ({})", expected.name, expected.class);
        return Err(layer.refused(Refusal::NotXception { expected }));
    }
    for (setting, value) in &expected.settings {
        // Older versions of Keras did not have `groups`, and wrote the axis as a list.
        let is_equivalent = match *setting {
            "groups" if layer.setting(setting).is_null() => continue,
            "axis" => [json!(-1), json!(3), json!([3])].contains(layer.setting(setting)),
            _ => false,
        };
        if !is_equivalent {
            layer.require(setting, value.clone())?;
        }
    }
    Ok(())
}
