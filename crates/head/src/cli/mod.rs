//! What was typed, and what of it is meant; clap's types stop here.

mod compare;
mod evaluate;
mod hint;
mod inspect;
mod mislabels;
mod report;
mod sparkline;
mod sweep;
mod train;
mod training;

use std::path::Path;

use clap::{Parser, Subcommand};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use head::metrics::SplitMetrics;

pub use self::hint::with_hint;

/// Where runs go that are not told where.
const RUNS: &str = "runs";

/// Train dense classifiers on cached features, in milliseconds, as often as you like.
///
/// The cache is what `extract` makes of a folder of photos. Adam, its defaults and the history are Keras's.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one head and keep it as a run: settings, history, weights, metrics, curves
    Train(train::TrainArgs),
    /// Train every combination of settings from several seeds, and show the best ones first
    Sweep(sweep::SweepArgs),
    /// Judge a run's head by a split: accuracy with its uncertainty, per class, confusion, calibration
    Evaluate(evaluate::EvaluateArgs),
    /// Show runs side by side, the best first, with what differs between them
    Compare(compare::CompareArgs),
    /// Compare all runs in a folder
    Runs(compare::RunsArgs),
    /// Write a run or a sweep as one HTML page: curves, confusion, classes, the surest mistakes
    Report(report::ReportArgs),
    /// List the photos whose label is most doubtful: what heads trained on the other photos take for something else
    Mislabels(mislabels::MislabelsArgs),
    /// Show a cache's classes, counts and first rows
    Inspect(inspect::InspectArgs),
}

impl Cli {
    /// Does it.
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
        }
    }
}

/// What a run or a sweep is called that is not given a name: as its cache.
fn name_of(cache: &Path) -> String {
    let path = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
    path.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// An accuracy with what it could be on other photos of the same kind.
fn accuracy_line(metrics: &SplitMetrics, what: &str) -> String {
    let SplitMetrics { accuracy, accuracy_interval, rows, .. } = metrics;
    let (low, high) = (accuracy_interval.low, accuracy_interval.high);
    format!("{what} accuracy {accuracy:.4} on {rows} photos, {low:.3} to {high:.3} with 95 % confidence")
}

/// A table without lines, numbers to the right.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
