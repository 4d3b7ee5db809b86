//! Printing: results go to stdout with [`output!`]; notes go to stderr with [`note!`], progress with [`Progress`].
//!
//! The reader of a pipe may close it early, as in `head inspect CACHE | true`. That is not an error: the rest of the
//! output is dropped, and the command still finishes its work and returns its usual exit code. `println!` and
//! `eprintln!` would panic instead, so the lints `print_stdout` and `print_stderr` forbid them.

mod lines;
mod progress;

pub use lines::{OutputError, invocation, shell_word, write_note, write_output};
pub use progress::Progress;
