//! The command `extract`.

mod cli;

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::Parser;
use stdio::note;

fn main() {
    backbone::memory::keep();
    let code = cli::Cli::parse().run().map_err(cli::with_hint).unwrap_or_else(|error| {
        note!("error: {error:#}");
        ExitCode::FAILURE
    });
    exit(code);
}

/// Ends the process with exit code 0 or 1, without running the destructors of libtorch's static objects: they take a tenth
/// of a second to free memory that the operating system frees anyway.
#[allow(unsafe_code)]
fn exit(code: ExitCode) -> ! {
    // Fails if the reader of a pipe has gone, which is no error.
    let _ = stdout().flush();
    // SAFETY: all our threads have ended and all our files are closed. `fflush` with a null pointer flushes all of C's
    // streams, which libtorch may have printed to.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(i32::from(code != ExitCode::SUCCESS))
    }
}
