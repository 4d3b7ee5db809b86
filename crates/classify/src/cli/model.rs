//! The options that say how a run's network is computed, and the model made of them.

use backbone::pixels::Limits;
use backbone::{BatchSize, Compute};
use clap::Args;
use classify::model::Model;
use command_line::{DeviceArg, KernelsArg, ThreadsArg, WeightsArg};
use head::run::Chosen;
use stdio::note;

use super::weights::weights_for;

/// How a run's network is computed.
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(flatten)]
    weights: WeightsArg,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    kernels: KernelsArg,
    #[command(flatten)]
    threads: ThreadsArg,
}

impl ModelArgs {
    /// The run's head on top of the network. Another precision than that of the training rows is noted; a GPU's ends
    /// with "on CUDA".
    pub fn load(&self, chosen: &Chosen, limits: Limits) -> anyhow::Result<Model> {
        let Chosen { path, run } = chosen;
        let weights = weights_for(path, &self.weights)?;
        let compute = Compute {
            device: self.device.device,
            kernels: self.kernels.kernels,
            batch_size: BatchSize::Auto,
            threads: self.threads.threads(),
        };
        let model = Model::new(run, &weights, compute, limits)?;
        let (computed_in, trained_in) = (&model.fingerprint().precision, &run.config.fingerprint.precision);
        if computed_in != trained_in {
            note!("note: photos are computed in {computed_in}, the training rows were in {trained_in}");
        }
        Ok(model)
    }
}
