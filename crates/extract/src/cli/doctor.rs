//! `extract doctor`.

use std::process::ExitCode;

use backbone::golden::{KerasComparison, compare_with_keras};
use backbone::processor;
use backbone::weights::IMAGENET_DIGEST;
use backbone::{BatchSize, Compute, Kernels, NumberFormat, Weights};
use clap::Args;
use command_line::{WeightsArg, all_cores};
use stdio::output;

use super::compute::ComputeArgs;

/// `extract doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    weights: WeightsArg,
    // With --kernels auto, all kernels that can compute the precision on the device are checked.
    #[command(flatten)]
    compute: ComputeArgs,
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let format = args.compute.precision;
    let threads = all_cores();
    let compute = args.compute.compute(BatchSize::Auto, threads);
    compute.check(compute.precision(format))?;
    output!("extract    {}", env!("CARGO_PKG_VERSION"))?;
    output!("libtorch   {}", libtorch_version())?;
    output!("device     {}", compute.device)?;
    output!("processor  {threads} cores, {}", processor::instruction_sets().join(" "))?;
    let weights = Weights::load(&args.weights.weights)?;
    let digest = weights.digest().to_hex();
    output!("weights    {} ({digest})", args.weights.weights.display())?;
    if digest.as_str() != IMAGENET_DIGEST {
        output!("these are not Keras's ImageNet weights: no reference features to compare with")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut healthy = true;
    for compute in settings_to_check(compute, format) {
        let precision = compute.precision(format);
        let KerasComparison { distance, kernels } = compare_with_keras(&weights, precision, compute)?;
        let tolerance = precision.tolerance();
        let right = distance <= tolerance;
        let verdict = if right { "ok" } else { "WRONG" };
        output!("kernels    {kernels}")?;
        output!("features   relative L2 distance to Keras {distance:.1e} (tolerance {tolerance:.0e}): {verdict}")?;
        healthy &= right;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The given settings if they name the kernels; else one with our kernels and one with libtorch's, as far as these can
/// compute in this format on the device.
fn settings_to_check(compute: Compute, format: NumberFormat) -> Vec<Compute> {
    if compute.kernels != Kernels::Auto {
        return vec![compute];
    }
    let mut possible =
        vec![Compute { kernels: Kernels::Own, ..compute }, Compute { kernels: Kernels::Libtorch, ..compute }];
    possible.retain(|compute| compute.check(compute.precision(format)).is_ok());
    possible
}

/// The version of the linked libtorch and whether it has oneDNN.
fn libtorch_version() -> String {
    match backbone::libtorch() {
        Some(libtorch) => format!("{} (oneDNN {})", libtorch.version, if libtorch.onednn { "yes" } else { "no" }),
        None => "none: this build has only icebox's own kernels".to_owned(),
    }
}
