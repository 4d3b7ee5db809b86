//! Recognises Keras's file formats and opens them.

use std::io::{Cursor, Read};
use std::path::Path;

use hdf5_reader::Hdf5File;
use hdf5_reader::error::Error;
use zip::ZipArchive;

use super::collect::{WeightsCollector, WeightsError};
use super::file::MAX_BYTES;
use super::{hdf5, keras2, keras3};

/// The entry of a `.keras` archive with its weights.
const WEIGHTS_ENTRY: &str = "model.weights.h5";

/// Reads the network's tensors from the bytes of a Keras `.h5`, `.weights.h5` or `.keras` file. `path` is for errors.
///
/// # Errors
/// When the file is damaged, or has another format.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<WeightsCollector, WeightsError> {
    let file = if Archive::is_zip(bytes) { Archive::open(path, bytes)?.weights()? } else { open(path, bytes)? };
    network(path, &file)
}

/// Reads the network's tensors from an open file.
pub(super) fn network(path: &Path, file: &Hdf5File) -> Result<WeightsCollector, WeightsError> {
    let collector = keras2::layer_names(file).and_then(|names| match names {
        Some((group, names)) => keras2::read(&group, &names),
        None => keras3::read(file),
    });
    collector.map_err(|error| hdf5_error(path, &error))
}

/// Opens the bytes of an HDF5 file. `path` is for errors.
pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<Hdf5File, WeightsError> {
    hdf5::open(bytes).map_err(|error| hdf5_error(path, &error))
}

/// The error of a file that cannot be read as HDF5.
fn hdf5_error(path: &Path, error: &Error) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), format: "Keras weights (HDF5)", problem: error.to_string() }
}

/// A `.keras` file: a zip archive with the model's configuration and its weights.
pub(super) struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Archive<'a> {
    /// Whether these are the bytes of a zip archive.
    pub(super) fn is_zip(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK")
    }

    /// Opens the bytes of an archive. `path` is for errors.
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| archive_error(path, error.to_string()))?;
        Ok(Self { path, zip })
    }

    /// Opens the archive's weights.
    pub(super) fn weights(&mut self) -> Result<Hdf5File, WeightsError> {
        open(self.path, &self.entry(WEIGHTS_ENTRY, MAX_BYTES)?)
    }

    /// The bytes of an entry; an error if there are more than `max_bytes`.
    pub(super) fn entry(&mut self, name: &str, max_bytes: u64) -> Result<Vec<u8>, WeightsError> {
        let failed = |problem: String| archive_error(self.path, format!("{name}: {problem}"));
        let entry = self.zip.by_name(name).map_err(|error| failed(error.to_string()))?;
        let mut content = Vec::new();
        entry.take(max_bytes + 1).read_to_end(&mut content).map_err(|error| failed(error.to_string()))?;
        if content.len() as u64 > max_bytes { Err(failed(format!("more than {max_bytes} bytes"))) } else { Ok(content) }
    }
}

fn archive_error(path: &Path, problem: String) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), format: "a Keras archive", problem }
}
