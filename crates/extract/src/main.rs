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
    leave(code);
}

/// Ends the process, with 0 or 1 as all commands do, without the destructors of libtorch's statics: they take a tenth of a
/// second to give back what the operating system takes back at once.
#[allow(unsafe_code)]
fn leave(code: ExitCode) -> ! {
    // A reader that has gone away wants no rest.
    let _ = stdout().flush();
    // SAFETY: every thread and file of ours is done with; what libtorch printed is in C's streams, which are flushed, and
    // null stands for all of them.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(i32::from(code != ExitCode::SUCCESS))
    }
}
