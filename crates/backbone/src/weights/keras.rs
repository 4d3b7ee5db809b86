//! Telling Keras's files apart, and reading HDF5 with limits.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use hdf5_reader::{Dataset, Hdf5File, OpenOptions};
use zip::ZipArchive;

use super::{MOST_BYTES, Weights, WeightsError, keras2, keras3, map};

/// Where a `.keras` archive has its weights.
const IN_ARCHIVE: &str = "model.weights.h5";

/// Tensors under our names, with shape and values; what the network lacks keeps the file's own name.
pub(super) type Found = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Imports a Keras `.h5`, `.weights.h5` or `.keras` file: what it is shows in its content.
///
/// # Errors
/// When the file cannot be read, or its tensors are not those of Xception without its top.
pub fn import(path: &Path) -> Result<Weights, WeightsError> {
    let bytes = map(path)?;
    let found = match bytes.starts_with(b"PK") {
        true => from_hdf5(&unzip(path, &bytes)?),
        false => from_hdf5(&bytes),
    };
    let format = |problem| WeightsError::Format { path: path.to_owned(), format: "Keras weights (HDF5)", problem };
    Weights::new(path, found.map_err(format)?)
}

fn unzip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, WeightsError> {
    let format = |problem| WeightsError::Format { path: path.to_owned(), format: "a Keras archive", problem };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| format(error.to_string()))?;
    let entry = archive.by_name(IN_ARCHIVE).map_err(|error| format(format!("{IN_ARCHIVE}: {error}")))?;
    let mut weights = Vec::new();
    entry.take(MOST_BYTES + 1).read_to_end(&mut weights).map_err(|error| format(error.to_string()))?;
    match weights.len() as u64 {
        found if found > MOST_BYTES => Err(WeightsError::TooLarge { path: path.to_owned(), found }),
        _ => Ok(weights),
    }
}

fn from_hdf5(bytes: &[u8]) -> Result<Found, String> {
    let limits = OpenOptions::default().with_max_read_bytes(MOST_BYTES as usize);
    let file = Hdf5File::from_bytes_with_options(bytes, limits).map_err(|error| error.to_string())?;
    let found = match keras2::layer_names(&file) {
        Some((group, names)) => keras2::read(&group, &names),
        None => keras3::read(&file),
    };
    found.map_err(|error| error.to_string())
}

/// A dataset's shape and values.
pub(super) fn read_tensor(dataset: &Dataset) -> hdf5_reader::error::Result<(Vec<usize>, Vec<f32>)> {
    let values = dataset.read_array::<f32>()?;
    Ok((values.shape().to_vec(), values.into_iter().collect()))
}
