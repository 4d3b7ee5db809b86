//! The path of a new run.

use std::io;
use std::path::Path;

use super::error::RunError;

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
