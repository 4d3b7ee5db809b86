//! What the commands print: results on stdout, notes on stderr.
//!
//! A reader may leave early, as in `head inspect CACHE | true`. That is no error: what it no longer reads is dropped, and
//! the command goes on to its end and its usual exit code, so that a run is still saved and a damaged cache still gives 1.
//! `println!` and `eprintln!` would panic instead; the lints `print_stdout` and `print_stderr` find them.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};

/// Standard output was open and a write to it failed: the disk that it goes to is full, say.
#[derive(Debug, thiserror::Error)]
#[error("standard output: cannot be written: {0}")]
pub struct OutputError(std::io::Error);

/// Prints a line of the result to stdout: `output!("{rows} rows")?`.
///
/// # Errors
/// [`OutputError`] when it cannot be written, except because the reader has left.
#[macro_export]
macro_rules! output {
    ($($text:tt)*) => { $crate::write_output(format_args!($($text)*)) };
}

/// Prints a line for people to stderr: progress, a warning, an error. One that cannot be written is dropped.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::write_note(format_args!($($text)*)) };
}

/// What [`output!`] calls.
///
/// # Errors
/// When the line cannot be written, except because the reader has left.
pub fn write_output(line: Arguments<'_>) -> Result<(), OutputError> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(OutputError(error)),
        _ => Ok(()),
    }
}

/// What [`note!`] calls.
pub fn write_note(line: Arguments<'_>) {
    // There is nowhere left to say that this failed.
    let _ = writeln!(stderr(), "{line}");
}
