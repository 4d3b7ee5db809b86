//! The option for the network's weights, and their default place.

use std::path::{Path, PathBuf};

use clap::Args;

/// The option for the network's weights.
#[derive(Debug, Args)]
pub struct WeightsArg {
    /// Weights of the network: safetensors, or any of Keras's formats
    #[arg(long, value_name = "FILE", env = "ICEBOX_WEIGHTS", default_value_os_t = default_weights())]
    pub weights: PathBuf,
}

/// The default of `--weights`: the weights of the installation that the running program belongs to, or else those that
/// scripts/setup fetches into the checkout.
pub fn default_weights() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    if let Some(installation) = program.parent().and_then(Path::parent) {
        let installed = installation.join("weights/xception.safetensors");
        if installed.is_file() {
            return installed;
        }
    }
    let workspace = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    workspace.canonicalize().unwrap_or(workspace).join("data/weights/xception.safetensors")
}
