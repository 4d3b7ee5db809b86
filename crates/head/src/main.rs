//! The command `head`.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use stdio::note;

fn main() -> ExitCode {
    match cli::Cli::parse().run().map_err(cli::with_hint) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
