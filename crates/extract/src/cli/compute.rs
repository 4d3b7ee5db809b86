//! Options for the device, the kernels and the precision.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use backbone::{BatchSize, Compute, Device, Kernels, Precision};
use clap::Args;

use super::choice::choice;

/// The options that `extract` and `extract doctor` share.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Where the network runs: auto (a GPU if there is one), cpu, cuda:N
    #[arg(long, default_value = "auto", value_parser = device)]
    device: Device,
    /// The number format that the network computes in: f32 gives Keras's features; bf16 (features 2 % off) and f16 (GPUs
    /// only) are faster where the processor or GPU has instructions for them
    #[arg(long, default_value = "f32", value_parser = choice(&Precision::ALL, Precision::name))]
    pub precision: Precision,
    #[command(flatten)]
    kernels: KernelsArg,
}

/// The option for the kernels.
#[derive(Debug, Args)]
pub struct KernelsArg {
    /// Which kernels run the network: auto (our own where they are faster), own (f32 on the CPU), libtorch; their rows differ
    /// by rounding
    #[arg(long, default_value = "auto", value_parser = choice(&Kernels::ALL, Kernels::name))]
    pub kernels: Kernels,
}

impl ComputeArgs {
    /// The checked settings, for this batch size and number of cores.
    pub fn compute(&self, batch_size: BatchSize, threads: NonZeroUsize) -> Compute {
        Compute { device: self.device, kernels: self.kernels.kernels, batch_size, threads }
    }
}

/// Parses a device's name.
fn device(typed: &str) -> Result<Device, String> {
    match typed {
        "auto" => Ok(Device::auto()),
        _ => typed.parse().map_err(|_| "expected auto, cpu or cuda:N".to_owned()),
    }
}

/// The cores to use: all of them, unless it is said how many.
pub fn threads(typed: Option<NonZeroUsize>) -> NonZeroUsize {
    typed.unwrap_or_else(|| available_parallelism().unwrap_or(NonZeroUsize::MIN))
}
