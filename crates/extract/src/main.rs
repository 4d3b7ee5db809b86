//! The command `extract`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    extract::memory::keep();
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
