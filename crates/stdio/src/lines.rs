//! Lines on stdout and stderr; a closed pipe is not an error.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::Path;

/// Standard output cannot be written, because the disk is full, say. A closed pipe is not an error.
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

/// What the user types to run a command, for printed hints: `icebox head` after scripts/install, `cargo head` in the
/// checkout.
pub fn invocation(command: &str) -> String {
    let program = std::env::var("ICEBOX_COMMAND").unwrap_or_else(|_| "cargo".to_owned());
    format!("{program} {command}")
}

/// The path as a word of a shell's command line, with quotes if it needs them, so that a printed command can be pasted
/// into a shell. Bytes that are not UTF-8 are printed as replacement characters, and cannot be pasted.
pub fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    match shlex::try_quote(&text) {
        Ok(word) => word.into_owned(),
        // Only a path with a zero byte cannot be quoted, and no file has such a path.
        Err(_) => text.into_owned(),
    }
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
