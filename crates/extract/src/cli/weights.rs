//! Where the network's weights are.

use std::path::PathBuf;

use clap::Args;

/// Where the network's weights are.
#[derive(Debug, Args)]
pub struct WeightsArg {
    /// Weights of the network: safetensors, or any of Keras's formats
    #[arg(long, value_name = "FILE", env = "ICEBOX_WEIGHTS", default_value_os_t = default_weights())]
    pub weights: PathBuf,
}

/// What scripts/setup makes.
pub fn default_weights() -> PathBuf {
    let workspace = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    workspace.canonicalize().unwrap_or(workspace).join("data/weights/xception.safetensors")
}
