//! `extract doctor`.

use std::process::ExitCode;

use backbone::golden::{Examination, examine};
use backbone::processor;
use backbone::weights::IMAGENET_DIGEST;
use backbone::{BatchSize, Compute, Kernels, Precision, Weights};
use clap::Args;
use command_line::{WeightsArg, threads};
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
    let precision = args.compute.precision;
    let threads = threads(None);
    let compute = args.compute.compute(BatchSize::Auto, threads);
    compute.check(precision)?;
    output!("extract    {}", env!("CARGO_PKG_VERSION"))?;
    output!("libtorch   {}", libtorch())?;
    output!("device     {}", compute.device)?;
    output!("processor  {threads} cores, {}", processor::features().join(" "))?;
    let weights = Weights::load(&args.weights.weights)?;
    let digest = weights.digest().to_hex();
    output!("weights    {} ({digest})", args.weights.weights.display())?;
    if digest.as_str() != IMAGENET_DIGEST {
        output!("these are not the weights that Keras publishes for ImageNet: there is nothing to compare with")?;
        return Ok(ExitCode::FAILURE);
    }
    let tolerance = precision.tolerance();
    let mut healthy = true;
    for compute in to_check(compute, precision) {
        let Examination { difference, kernels } = examine(&weights, precision, compute)?;
        let right = difference <= tolerance;
        let verdict =
            if right { "this machine computes what it should" } else { "this machine computes something else" };
        output!("kernels    {kernels}")?;
        output!("features   {difference:.1e} from Keras's (relative; up to {tolerance:.0e} is rounding): {verdict}")?;
        healthy &= right;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The kernels that were chosen, or with `auto` all that can compute the precision on the device.
fn to_check(compute: Compute, precision: Precision) -> Vec<Compute> {
    if compute.kernels != Kernels::Auto {
        return vec![compute];
    }
    let mut possible =
        vec![Compute { kernels: Kernels::Own, ..compute }, Compute { kernels: Kernels::Libtorch, ..compute }];
    possible.retain(|compute| compute.check(precision).is_ok());
    possible
}

/// Version of the linked libtorch, in a line.
fn libtorch() -> String {
    match backbone::libtorch() {
        Some(libtorch) => format!("{} (oneDNN {})", libtorch.version, if libtorch.onednn { "yes" } else { "no" }),
        None => "none: this build has our own kernels alone".to_owned(),
    }
}
