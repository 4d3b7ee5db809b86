//! Reading and writing single files of a run, with the path in every error.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RunError;

pub(super) fn damaged(path: PathBuf, problem: String) -> RunError {
    RunError::Damaged { path, problem }
}

pub(super) fn not_written(path: &Path, cause: io::Error) -> RunError {
    RunError::Io { action: "written", path: path.to_owned(), cause }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    fs::write(path, bytes).map_err(|cause| not_written(path, cause))
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| RunError::Format { path: path.to_owned(), problem: error.to_string() })?;
    bytes.push(b'\n');
    write(path, &bytes)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    fs::read(path).map_err(|cause| RunError::Io { action: "read", path: path.to_owned(), cause })
}

/// `None` if there is no such file.
pub(super) fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, RunError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(RunError::Io { action: "read", path: path.to_owned(), cause }),
    }
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    parse_json(path, &read(path)?)
}

/// The content of the JSON file at `path`.
pub(super) fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, RunError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(path.to_owned(), error.to_string()))
}
