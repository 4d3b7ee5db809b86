//! The network of the benches, with the weights that scripts/setup fetches.

use std::path::Path;

use extract::arithmetic::{Arithmetic, Precision};
use extract::weights::Weights;
use extract::xception::Xception;
use tch::Device;

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/weights/xception.safetensors");

/// On the CPU, for batches of `batch` pictures of `side` x `side` pixels.
pub fn network(side: u32, batch: usize, precision: Precision) -> Xception {
    let weights = Weights::load(Path::new(WEIGHTS)).expect("run scripts/setup first");
    let arithmetic = Arithmetic::new(Device::Cpu, precision).expect("a precision that this processor has");
    Xception::new(&weights, side, batch, arithmetic).expect("a network")
}
