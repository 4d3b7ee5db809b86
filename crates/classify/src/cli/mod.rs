//! The command line: arguments, checked and turned into library types. Clap's types stop here.

mod hint;
mod output;
mod weights;
mod model;
mod predict;
mod import;
mod serve;
mod export;
mod check_export;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use shell_docs::ShellDocsArgs;

pub use self::hint::with_hint;

/// Say what new photos show, with a head that `head train` or `head sweep` has trained.
///
/// RUN is the run's folder, or a sweep's: then its best head answers. Photos and folders are answered in the order given;
/// a photo that is unlike all training photos is marked as unfamiliar, whatever its most probable class is. The network's
/// weights are needed, but neither the cache nor the training photos.
#[derive(Debug, Parser)]
#[command(version, long_version = command_line::long_version(), args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    predict: predict::PredictArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a run of a model that was trained in Keras: Xception without its top, global average pooling, dense layers
    Import(import::ImportArgs),
    /// Answer over HTTP, for programs, and with a page for people
    Serve(serve::ServeArgs),
    /// Write a run's model as a file for other programs, with a test of its own beside it
    Export(export::ExportArgs),
    /// Run an exported ONNX file through ONNX Runtime and compare its answers with classify's
    CheckExport(check_export::CheckExportArgs),
    /// Write completions for shells and man pages into a folder, as scripts/install does
    #[command(hide = true)]
    ShellDocs(ShellDocsArgs),
}

impl Cli {
    /// Runs the command. The exit code is 1 if a photo could not be used or sorted, or an exported file's answers are
    /// wrong.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            None => predict::run(&self.predict),
            Some(Command::Import(args)) => import::run(&args),
            Some(Command::Serve(args)) => serve::run(&args),
            Some(Command::Export(args)) => export::run(&args),
            Some(Command::CheckExport(args)) => check_export::run(&args),
            Some(Command::ShellDocs(args)) => {
                args.write(Self::command(), "icebox-classify").map(|()| ExitCode::SUCCESS)
            }
        }
    }
}
