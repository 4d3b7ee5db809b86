//! What was typed, and what of it is meant; clap's types stop here.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod inspect;
mod train;

use clap::{Parser, Subcommand};

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
    /// Show a cache's classes, counts and first rows
    Inspect(inspect::InspectArgs),
}

impl Cli {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Train(args) => train::run(&args),
            Command::Inspect(args) => inspect::run(&args),
        }
    }
}
