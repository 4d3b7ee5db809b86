//! What was typed, and what of it is meant; clap's types stop here.

mod choice;
mod compute;
mod hint;
mod doctor;
mod dry_run;
mod extraction;
mod import_weights;
mod verify;
mod views;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::{Args, Parser, Subcommand};

pub use self::hint::with_hint;

/// Run a frozen ImageNet Xception over a folder of photos, once, and cache a row of 2048 features for each.
///
/// The folder is DATASET/{train,validation,test}/CLASS/photo.jpg, or DATASET/CLASS/photo.jpg without splits. A second
/// run computes only what is new: rows are found by the photos' bytes, whatever the files are called now.
///
/// With --views, rows of augmented views are cached as well: --views 8 --flip --crop 0.1 --brightness 0.1.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Then train on the cache: head train CACHE")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    extraction: extraction::ExtractionArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every file of a cache: lengths, digests, headers, labels, index; exit 1 if anything is wrong
    Verify(verify::VerifyArgs),
    /// Convert a Keras .h5, .weights.h5 or .keras file to safetensors, checked tensor by tensor
    ImportWeights(import_weights::ImportArgs),
    /// Compare the network on a built-in picture with what Keras computes, and describe this machine
    Doctor(doctor::DoctorArgs),
}

/// Where the network's weights are.
#[derive(Debug, Args)]
struct WeightsArg {
    /// Weights of the network: safetensors, or any of Keras's formats
    #[arg(long, value_name = "FILE", env = "ICEBOX_WEIGHTS", default_value_os_t = default_weights())]
    weights: PathBuf,
}

/// What scripts/setup makes.
fn default_weights() -> PathBuf {
    let workspace = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    workspace.canonicalize().unwrap_or(workspace).join("data/weights/xception.safetensors")
}

/// The cores to use: all of them, unless it is said how many.
fn threads(typed: Option<NonZeroUsize>) -> NonZeroUsize {
    typed.unwrap_or_else(|| available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

impl Cli {
    /// Does it; the exit code is 0 unless something is wrong with what was looked at.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            None => extraction::run(&self.extraction),
            Some(Command::Verify(args)) => verify::run(&args),
            Some(Command::ImportWeights(args)) => import_weights::run(&args),
            Some(Command::Doctor(args)) => doctor::run(&args),
        }
    }
}
