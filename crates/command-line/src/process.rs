//! How a process that runs the network begins, is cancelled, and ends.

use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use stdio::note;

/// Runs a command and ends the process with its exit code; an error is printed on stderr and gives exit code 1.
pub fn run_command(command: impl FnOnce() -> anyhow::Result<ExitCode>) -> ! {
    backbone::memory::keep_freed_memory();
    let code = command().unwrap_or_else(|error| {
        note!("error: {error:#}");
        ExitCode::FAILURE
    });
    exit(code)
}

/// A flag that the first Ctrl-C or SIGTERM sets, so that the command can end early and keep finished work. The second
/// one ends the process. Also calls [`catch_file_size_signal`].
///
/// # Errors
/// If the operating system refuses the signal handlers.
pub fn cancel_on_signals() -> io::Result<Arc<AtomicBool>> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&cancel))?;
        signal_hook::flag::register(signal, Arc::clone(&cancel))?;
    }
    catch_file_size_signal()?;
    Ok(cancel)
}

/// Catches the signal that a write over the file size limit (`ulimit -f`) raises, so that the write is an error and
/// does not kill the process.
///
/// # Errors
/// If the operating system refuses the signal handler.
pub fn catch_file_size_signal() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Ends the process with exit code 0 or 1, without running the destructors of libtorch's static objects: they take a
/// tenth of a second to free memory that the operating system frees anyway.
#[allow(unsafe_code)]
fn exit(code: ExitCode) -> ! {
    // Fails if the reader of a pipe has gone, which is not an error.
    let _ = stdout().flush();
    // SAFETY: none of our threads computes or writes any more (those of rayon's pool are idle), and all our files are
    // closed. `fflush` with a null pointer flushes all of C's streams, which libtorch may have printed to.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(i32::from(code != ExitCode::SUCCESS))
    }
}
