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
    #[arg(long, default_value = "auto", value_parser = device)]
    pub device: Device,
}

/// The option for the kernels.
#[derive(Debug, Args)]
pub struct KernelsArg {
    /// Which kernels run the network: auto (icebox's own where they are faster), own (f32 on the CPU), libtorch; their
    /// rows differ by rounding
    #[arg(long, default_value = "auto", value_parser = choice(&Kernels::ALL, Kernels::name))]
    pub kernels: Kernels,
}

/// Parses a device's name.
fn device(typed: &str) -> Result<Device, String> {
    match typed {
        "auto" => Ok(Device::auto()),
        _ => typed.parse().map_err(|_| "expected auto, cpu or cuda:N".to_owned()),
    }
}

/// The number of cores to use: all, unless a number was typed.
pub fn threads(typed: Option<NonZeroUsize>) -> NonZeroUsize {
    typed.unwrap_or_else(|| available_parallelism().unwrap_or(NonZeroUsize::MIN))
}
