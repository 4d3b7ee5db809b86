//! `extract import-weights FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use backbone::weights::{IMAGENET_DIGEST, Weights};
use clap::Args;
use command_line::{catch_file_size_signal, default_weights};
use stdio::output;

/// `extract import-weights FILE`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Keras .h5, .weights.h5 or .keras file with Xception's weights
    file: PathBuf,
    /// Safetensors file to write
    #[arg(long, value_name = "FILE", default_value_os_t = default_weights())]
    out: PathBuf,
    /// Fail unless they are the weights that Keras publishes for ImageNet
    #[arg(long)]
    require_imagenet: bool,
}

pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    catch_file_size_signal()?;
    let weights = Weights::load(&args.file)?;
    let digest = weights.digest().to_hex();
    let imagenet = digest.as_str() == IMAGENET_DIGEST;
    anyhow::ensure!(
        imagenet || !args.require_imagenet,
        "{}: not Keras's ImageNet weights: blake3 {digest}, not {IMAGENET_DIGEST}",
        args.file.display()
    );
    weights.save(&args.out)?;
    output!("{}: {digest}", args.out.display())?;
    output!("{}", if imagenet { "Keras's ImageNet weights" } else { "not Keras's ImageNet weights" })?;
    Ok(ExitCode::SUCCESS)
}
