//! The command line: arguments, checked and turned into the library's types. The library does not know clap.

mod count;
mod compute;
mod views;
mod hint;
mod dry_run;
mod shard;
mod extraction;
mod merge;
mod verify;
mod import_weights;
mod doctor;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use shell_docs::ShellDocsArgs;
use stdio::invocation;

pub use self::hint::with_hint;

/// Run a frozen ImageNet Xception over a folder of photos, once, and cache a row of 2048 features for each.
///
/// The folder is DATASET/{train,validation,test}/CLASS/photo.jpg, or DATASET/CLASS/photo.jpg without splits. A second
/// run computes only what is new: rows are found by the photos' bytes, whatever the files are called now.
///
/// With --views, rows of augmented views are cached as well: --views 8 --flip --crop 0.1 --brightness 0.1.
#[derive(Debug, Parser)]
#[command(version, long_version = command_line::long_version(), args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = format!("Then train on the cache: {} train CACHE", invocation("head")))]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    extraction: extraction::ExtractionArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Merge the shards of a cache, which extract --shard made, into the cache that one run over all photos makes
    Merge(merge::MergeArgs),
    /// Check every file of a cache: lengths, digests, headers, labels, index; exit 1 if anything is wrong
    Verify(verify::VerifyArgs),
    /// Convert a Keras .h5, .weights.h5 or .keras file to safetensors, checked tensor by tensor
    ImportWeights(import_weights::ImportArgs),
    /// Compare the network on a built-in picture with what Keras computes, and describe this machine
    Doctor(doctor::DoctorArgs),
    /// Write completions for shells and man pages into a folder, as scripts/install does
    #[command(hide = true)]
    ShellDocs(ShellDocsArgs),
}

impl Cli {
    /// Runs the command. The exit code is 1 if `verify` or `doctor` found something wrong, or `doctor` had nothing to
    /// compare with; else 0.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            None => extraction::run(&self.extraction),
            Some(Command::Merge(args)) => merge::run(&args),
            Some(Command::Verify(args)) => verify::run(&args),
            Some(Command::ImportWeights(args)) => import_weights::run(&args),
            Some(Command::Doctor(args)) => doctor::run(&args),
            Some(Command::ShellDocs(args)) => args.write(Self::command(), "icebox-extract").map(|()| ExitCode::SUCCESS),
        }
    }
}
