//! Reading HDF5 with limits.

use hdf5_reader::error::Result;
use hdf5_reader::{Dataset, Hdf5File, OpenOptions};

use super::checked::Gathering;

/// Bytes that one dataset, chunk or object header may have: the network's largest tensor has 13 million.
const MAX_READ_BYTES: usize = 32 << 20;

/// Opens a file that is in memory.
pub(super) fn open(bytes: &[u8]) -> Result<Hdf5File> {
    let options = OpenOptions::default()
        .with_max_read_bytes(MAX_READ_BYTES)
        .with_max_chunk_bytes(MAX_READ_BYTES)
        .with_max_object_header_bytes(MAX_READ_BYTES);
    Hdf5File::from_bytes_with_options(bytes, options)
}

/// Adds a dataset under this name.
pub(super) fn add_dataset(gathering: &mut Gathering, name: String, dataset: &Dataset) -> Result<()> {
    let shape = dataset.shape().iter().map(|&length| length as usize).collect();
    gathering.add(name, shape, || Ok(dataset.read_array::<f32>()?.into_iter().collect()))
}
