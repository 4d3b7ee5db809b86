//! Options for the device, the kernels and the precision.

use std::num::NonZeroUsize;

use backbone::{BatchSize, Compute, NumberFormat};
use clap::Args;
use command_line::{DeviceArg, KernelsArg, choice};

/// The options that `extract` and `extract doctor` share.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// The number format that the network computes in: f32 gives Keras's features; bf16 (features 2 % off) and f16
    /// (GPUs only) are faster where the processor or GPU has instructions for them. An existing cache goes on with the
    /// bf16 of the kernels that it was made with
    #[arg(long, default_value = "f32", value_parser = choice(&NumberFormat::ALL, NumberFormat::name))]
    pub precision: NumberFormat,
    #[command(flatten)]
    kernels: KernelsArg,
}

impl ComputeArgs {
    /// The settings, with this batch size and number of threads.
    pub fn compute(&self, batch_size: BatchSize, threads: NonZeroUsize) -> Compute {
        Compute { device: self.device.device, kernels: self.kernels.kernels, batch_size, threads }
    }
}
