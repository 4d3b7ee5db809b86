//! Where the network runs, whose kernels run it, and in which numbers, as they are typed.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use backbone::{BatchSize, Compute, Device, Kernels, Precision};
use clap::Args;

use super::choice::choice;

/// What `extract` and `extract doctor` have in common.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Where the network runs: auto (a GPU if there is one), cpu, cuda:N
    #[arg(long, default_value = "auto", value_parser = device)]
    device: Device,
    /// The network's numbers: f32 gives Keras's features; bf16 (features 2 % off) and f16 (for GPUs) are faster where there
    /// are instructions for them
    #[arg(long, default_value = "f32", value_parser = choice(&Precision::ALL, Precision::name))]
    pub precision: Precision,
    #[command(flatten)]
    kernels: KernelsArg,
}

/// Whose kernels run the network.
#[derive(Debug, Args)]
pub struct KernelsArg {
    /// Whose kernels run the network: auto (our own wherever they are faster), own (f32 on the CPU), libtorch; rows differ by
    /// rounding
    #[arg(long, default_value = "auto", value_parser = choice(&Kernels::ALL, Kernels::name))]
    pub kernels: Kernels,
}

impl ComputeArgs {
    /// What was meant, with a batch size and so many cores.
    pub fn compute(&self, batch_size: BatchSize, threads: NonZeroUsize) -> Compute {
        Compute { device: self.device, kernels: self.kernels.kernels, batch_size, threads }
    }
}

/// A device by name.
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
