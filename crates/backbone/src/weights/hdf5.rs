//! Reading HDF5 with limits.

use hdf5_reader::error::Result;
use hdf5_reader::{Dataset, Hdf5File, OpenOptions};

use super::collect::WeightsCollector;

/// Bytes that one chunk or object header may have.
const MAX_PART_BYTES: usize = 32 << 20;

/// Bytes that one dataset may have. The network's largest tensor has 13 million, a head's kernel 8,192 for each class.
const MAX_READ_BYTES: usize = 256 << 20;

/// Opens a file that is in memory.
pub(super) fn open(bytes: &[u8]) -> Result<Hdf5File> {
    let options = OpenOptions::default()
        .with_max_read_bytes(MAX_READ_BYTES)
        .with_max_chunk_bytes(MAX_PART_BYTES)
        .with_max_object_header_bytes(MAX_PART_BYTES);
    Hdf5File::from_bytes_with_options(bytes, options)
}

/// Adds a dataset under this name.
pub(super) fn add_dataset(collector: &mut WeightsCollector, name: String, dataset: &Dataset) -> Result<()> {
    collector.add(name, shape(dataset), || values(dataset))
}

/// A dataset's shape, which says nothing about the length of its values until they are read.
pub(super) fn shape(dataset: &Dataset) -> Vec<usize> {
    dataset.shape().iter().map(|&length| length as usize).collect()
}

/// Its values, row-major; an error if they are not 32-bit floats.
pub(super) fn values(dataset: &Dataset) -> Result<Vec<f32>> {
    Ok(dataset.read_array::<f32>()?.into_iter().collect())
}
