//! Reads HDF5 files, with limits on memory.

use hdf5_reader::error::Result;
use hdf5_reader::{Dataset, Hdf5File, OpenOptions};

use super::collect::WeightsCollector;

/// The maximum length of a chunk or an object header in bytes.
const MAX_PART_BYTES: usize = 32 << 20;

/// The maximum length of a dataset in bytes. The network's largest tensor has 13 million, a head's kernel 8,192 for
/// each class.
const MAX_READ_BYTES: usize = 256 << 20;

/// Opens a file that is in memory.
pub(super) fn open(bytes: &[u8]) -> Result<Hdf5File> {
    let options = OpenOptions::default()
        .with_max_read_bytes(MAX_READ_BYTES)
        .with_max_chunk_bytes(MAX_PART_BYTES)
        .with_max_object_header_bytes(MAX_PART_BYTES);
    Hdf5File::from_bytes_with_options(bytes, options)
}

/// Adds a dataset to the collector as the tensor `name`.
pub(super) fn add_dataset(collector: &mut WeightsCollector, name: String, dataset: &Dataset) -> Result<()> {
    collector.add(name, shape(dataset), || values(dataset))
}

/// A dataset's shape as its header has it; only [`values`] checks that there are as many values.
pub(super) fn shape(dataset: &Dataset) -> Vec<usize> {
    dataset.shape().iter().map(|&length| length as usize).collect()
}

/// A dataset's values, row-major; an error if they are not float32.
pub(super) fn values(dataset: &Dataset) -> Result<Vec<f32>> {
    Ok(dataset.read_array::<f32>()?.into_iter().collect())
}
