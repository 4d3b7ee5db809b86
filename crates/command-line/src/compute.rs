//! Options for the device, the kernels and the number of threads.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use backbone::{Device, Kernels};
use clap::Args;

use crate::choice::choice;

/// The option for the device.
#[derive(Debug, Args)]
pub struct DeviceArg {
    /// Where the network runs: auto (a GPU if there is one), cpu, cuda:N
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    pub device: Device,
}

/// The option for the kernels.
#[derive(Debug, Args)]
pub struct KernelsArg {
    /// Kernels that run the network: auto (the faster ones), own (icebox's, on the CPU), libtorch; features differ by
    /// rounding, in bf16 by as much as from f32
    #[arg(long, default_value = "auto", value_parser = choice(&Kernels::ALL, Kernels::name))]
    pub kernels: Kernels,
}

/// Parses the value of `--device`.
fn parse_device(value: &str) -> Result<Device, String> {
    match value {
        "auto" => Ok(Device::auto()),
        _ => value.parse().map_err(|_| "expected auto, cpu or cuda:N".to_owned()),
    }
}

/// Maximum of `--threads`: each thread has its own buffers for the network.
const MAX_THREADS: usize = 1024;

/// The option for the number of threads.
#[derive(Debug, Args)]
pub struct ThreadsArg {
    /// CPU threads to use [default: one per core]
    #[arg(long, value_name = "N", value_parser = parse_thread_count)]
    threads: Option<NonZeroUsize>,
}

impl ThreadsArg {
    /// The number of threads to use: one per core if none is given.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(all_cores)
    }
}

/// Parses the value of `--threads`.
fn parse_thread_count(value: &str) -> Result<NonZeroUsize, String> {
    let count = value.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MAX_THREADS);
    count.ok_or_else(|| format!("expected a number from 1 to {MAX_THREADS}"))
}

/// The number of cores that this process may use.
pub fn all_cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
