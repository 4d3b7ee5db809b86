//! Recognises Keras's file formats.

use std::io::{Cursor, Read};
use std::path::Path;

use hdf5_reader::Hdf5File;
use hdf5_reader::error::Error;
use zip::ZipArchive;

use super::collect::{WeightsCollector, WeightsError};
use super::file::MAX_BYTES;
use super::{hdf5, keras2, keras3};

/// Where a `.keras` archive has its weights.
const WEIGHTS: &str = "model.weights.h5";

/// Reads the tensors of the content of a Keras `.h5`, `.weights.h5` or `.keras` file at `path`.
///
/// # Errors
/// Not such a file, or damaged.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<WeightsCollector, WeightsError> {
    let file = if Archive::is_one(bytes) { Archive::open(path, bytes)?.weights()? } else { open(path, bytes)? };
    network(path, &file)
}

/// The tensors of the network in the file of a model.
pub(super) fn network(path: &Path, file: &Hdf5File) -> Result<WeightsCollector, WeightsError> {
    let collector = match keras2::layer_names(file) {
        Some((group, names)) => keras2::read(&group, &names),
        None => keras3::read(file),
    };
    collector.map_err(|error| not_hdf5(path, &error))
}

/// Opens the content of an HDF5 file.
pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<Hdf5File, WeightsError> {
    hdf5::open(bytes).map_err(|error| not_hdf5(path, &error))
}

/// The error of a file that cannot be read as HDF5.
pub(super) fn not_hdf5(path: &Path, error: &Error) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), format: "Keras weights (HDF5)", problem: error.to_string() }
}

/// A `.keras` file: a zip archive with the model's configuration and its weights.
pub(super) struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Archive<'a> {
    /// Whether these are the bytes of a zip archive.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK")
    }

    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| not_archive(path, error.to_string()))?;
        Ok(Self { path, zip })
    }

    pub(super) fn weights(&mut self) -> Result<Hdf5File, WeightsError> {
        open(self.path, &self.entry(WEIGHTS, MAX_BYTES)?)
    }

    /// The content of an entry, if it is no larger than `max_bytes`.
    pub(super) fn entry(&mut self, name: &str, max_bytes: u64) -> Result<Vec<u8>, WeightsError> {
        let failed = |problem: String| not_archive(self.path, format!("{name}: {problem}"));
        let entry = self.zip.by_name(name).map_err(|error| failed(error.to_string()))?;
        let mut content = Vec::new();
        entry.take(max_bytes + 1).read_to_end(&mut content).map_err(|error| failed(error.to_string()))?;
        match content.len() as u64 {
            found if found > max_bytes => Err(WeightsError::TooLarge { path: self.path.join(name), found }),
            _ => Ok(content),
        }
    }
}

fn not_archive(path: &Path, problem: String) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), format: "a Keras archive", problem }
}
