//! Telling Keras's files apart.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;

use super::checked::{Gathering, WeightsError};
use super::file::MAX_BYTES;
use super::{hdf5, keras2, keras3};

/// Where a `.keras` archive has its weights.
const IN_ARCHIVE: &str = "model.weights.h5";

/// Reads the tensors of the content of a Keras `.h5`, `.weights.h5` or `.keras` file at `path`.
///
/// # Errors
/// When it is none, or a damaged one.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Gathering, WeightsError> {
    let gathering = if bytes.starts_with(b"PK") { read_hdf5(&unzip(path, bytes)?) } else { read_hdf5(bytes) };
    let format = |error: hdf5_reader::error::Error| WeightsError::Format {
        path: path.to_owned(),
        format: "Keras weights (HDF5)",
        problem: error.to_string(),
    };
    gathering.map_err(format)
}

fn unzip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, WeightsError> {
    let format = |problem| WeightsError::Format { path: path.to_owned(), format: "a Keras archive", problem };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| format(error.to_string()))?;
    let entry = archive.by_name(IN_ARCHIVE).map_err(|error| format(format!("{IN_ARCHIVE}: {error}")))?;
    let mut weights = Vec::new();
    entry.take(MAX_BYTES + 1).read_to_end(&mut weights).map_err(|error| format(error.to_string()))?;
    match weights.len() as u64 {
        found if found > MAX_BYTES => Err(WeightsError::TooLarge { path: path.to_owned(), found }),
        _ => Ok(weights),
    }
}

fn read_hdf5(bytes: &[u8]) -> hdf5_reader::error::Result<Gathering> {
    let file = hdf5::open(bytes)?;
    match keras2::layer_names(&file) {
        Some((group, names)) => keras2::read(&group, &names),
        None => keras3::read(&file),
    }
}
