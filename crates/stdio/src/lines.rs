//! Lines on stdout and stderr; a closed pipe is not an error.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};

/// Writing to standard output failed, and not because its reader has closed the pipe: the disk is full, say.
#[derive(Debug, thiserror::Error)]
#[error("standard output: cannot be written: {0}")]
pub struct OutputError(std::io::Error);

/// Prints a line of the result to stdout: `output!("{rows} rows")?`.
///
/// # Errors
/// [`OutputError`] when it cannot be written; a closed pipe is not an error.
#[macro_export]
macro_rules! output {
    ($($text:tt)*) => { $crate::write_output(format_args!($($text)*)) };
}

/// Prints a line for people to stderr: progress, a warning, an error. One that cannot be written is dropped.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::write_note(format_args!($($text)*)) };
}

/// How the user calls one of the commands, as in `icebox head` after scripts/install, or `cargo head` in the checkout.
pub fn called(command: &str) -> String {
    let program = std::env::var("ICEBOX_COMMAND").unwrap_or_else(|_| "cargo".to_owned());
    format!("{program} {command}")
}

/// What [`output!`] calls.
///
/// # Errors
/// When the line cannot be written; a closed pipe is not an error.
pub fn write_output(line: Arguments<'_>) -> Result<(), OutputError> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(OutputError(error)),
        _ => Ok(()),
    }
}

/// What [`note!`] calls.
pub fn write_note(line: Arguments<'_>) {
    // If stderr cannot be written, there is nowhere left to report that.
    let _ = writeln!(stderr(), "{line}");
}
