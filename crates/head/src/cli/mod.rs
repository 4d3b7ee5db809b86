//! The command line: arguments, checked and turned into library types. The library does not know clap.

mod hint;
mod default_paths;
mod sparkline;
mod shared;
mod inspect;
mod train;
mod sweep;
mod evaluate;
mod compare;
mod mislabels;
mod report;

use clap::{CommandFactory, Parser, Subcommand};
use shell_docs::ShellDocsArgs;

pub use self::hint::with_hint;

/// Train dense classifiers on cached features, in milliseconds, as often as you like.
///
/// A cache is made by `extract` from a folder of photos. Adam and the history match Keras's; the default
/// learning rate is 0.01, where Keras's is 0.001.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one head and save it as a run: settings, history, weights, metrics, curves
    Train(train::TrainArgs),
    /// Train every combination of settings with several seeds, and show the best first
    Sweep(sweep::SweepArgs),
    /// Evaluate a run's head on a split: accuracy with its uncertainty, per-class metrics, confusion matrix,
    /// calibration
    Evaluate(evaluate::EvaluateArgs),
    /// Show runs side by side, the best first, with what differs between them
    Compare(compare::CompareArgs),
    /// Compare all runs in a folder
    Runs(compare::RunsArgs),
    /// Write a run or a sweep as one HTML page: training curves, confusion matrix, per-class metrics, most confident
    /// mistakes
    Report(report::ReportArgs),
    /// List the photos with the most doubtful labels, by heads that were not trained on them
    Mislabels(mislabels::MislabelsArgs),
    /// Show a cache's classes, counts and first rows
    Inspect(inspect::InspectArgs),
    /// Write completions for shells and man pages into a folder, as scripts/install does
    #[command(hide = true)]
    ShellDocs(ShellDocsArgs),
}

impl Cli {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Train(args) => train::run(&args),
            Command::Sweep(args) => sweep::run(&args),
            Command::Evaluate(args) => evaluate::run(&args),
            Command::Compare(args) => compare::compare(&args),
            Command::Runs(args) => compare::runs(&args),
            Command::Report(args) => report::run(&args),
            Command::Mislabels(args) => mislabels::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::ShellDocs(args) => args.write(Self::command(), "icebox-head"),
        }
    }
}
