//! Loads the weights that scripts/setup fetches.

use std::path::Path;

use backbone::weights::Weights;

pub fn weights() -> Weights {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/weights/xception.safetensors");
    Weights::load(Path::new(path)).expect("run scripts/setup first")
}
