//! `extract doctor`.

use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Args;
use extract::arithmetic::{Arithmetic, Kernels, Precision};
use extract::doctor::{Examination, examine, libtorch_version, processor_features};
use extract::weights::{IMAGENET_DIGEST, Weights};
use stdio::output;

use super::WeightsArg;
use super::device::DeviceName;

/// `extract doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    weights: WeightsArg,
    /// Where the network runs: auto, cpu, cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceName,
    /// The network's numbers
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Whose kernels to check; auto: all that this device and precision have
    #[arg(long, value_enum, default_value_t)]
    kernels: Kernels,
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let device = args.device.device()?;
    let arithmetic = Arithmetic::new(device, args.precision, args.kernels)?;
    output!("extract    {}", env!("CARGO_PKG_VERSION"))?;
    output!("libtorch   {} (oneDNN {})", libtorch_version(), if tch::utils::has_mkldnn() { "yes" } else { "no" })?;
    output!("device     {device:?}")?;
    output!("processor  {} cores, {}", available_parallelism().map_or(1, usize::from), processor_features().join(" "))?;
    let weights = Weights::load(&args.weights.weights)?;
    let digest = weights.digest().to_hex();
    output!("weights    {} ({digest})", args.weights.weights.display())?;
    if digest.as_str() != IMAGENET_DIGEST {
        output!("these are not the weights that Keras publishes for ImageNet: there is nothing to compare with")?;
        return Ok(ExitCode::FAILURE);
    }
    let tolerance = args.precision.tolerance();
    let mut healthy = true;
    for arithmetic in to_check(arithmetic) {
        let Examination { difference, kernels } = examine(&weights, arithmetic)?;
        let right = difference <= tolerance;
        let verdict =
            if right { "this machine computes what it should" } else { "this machine computes something else" };
        output!("kernels    {kernels}")?;
        output!("features   {difference:.1e} from Keras's (relative; up to {tolerance:.0e} is rounding): {verdict}")?;
        healthy &= right;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The kernels that were asked for, or all that can compute this.
fn to_check(arithmetic: Arithmetic) -> Vec<Arithmetic> {
    if arithmetic.kernels() != Kernels::Auto {
        return vec![arithmetic];
    }
    [Kernels::Own, Kernels::Libtorch].into_iter().filter_map(|kernels| arithmetic.with(kernels).ok()).collect()
}
