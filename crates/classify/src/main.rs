//! The command `classify`.

mod cli;

use clap::Parser;

fn main() {
    command_line::run_command(|| cli::Cli::parse().run().map_err(cli::with_hint));
}
