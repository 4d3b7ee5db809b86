//! The path of a new run.

use std::io;
use std::path::Path;

use feature_cache::NewFolder;

use super::error::RunError;
use super::files::not_written;

/// Checks that the path of a new run or sweep does not exist.
///
/// # Errors
/// When it exists, or it cannot be determined.
pub fn check_free(path: &Path) -> Result<(), RunError> {
    match path.symlink_metadata() {
        Ok(_) => Err(RunError::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(RunError::Io { action: "written", path: path.to_owned(), cause }),
    }
}

/// [`check_free`], and that a folder can be made there: to be called before a long training.
///
/// # Errors
/// When the path exists or cannot be written.
pub fn check_writable(path: &Path) -> Result<(), RunError> {
    check_free(path)?;
    // The folder is removed at once.
    NewFolder::create(path).map(drop).map_err(|cause| not_written(path, cause))
}
