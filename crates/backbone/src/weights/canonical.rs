//! The canonical file, in safetensors: the network's names, shapes and 32-bit values.

use std::io;
use std::path::Path;

use feature_cache::{Durability, write_atomically};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::collect::{Weights, WeightsCollector, WeightsError};
use super::tensors::tensors;

/// Reads the tensors of a safetensors file.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(bytes: &[u8]) -> Result<WeightsCollector, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut collector = WeightsCollector::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name}: expected F32 values, found {:?}", view.dtype()));
        }
        collector.add(name.to_owned(), view.shape().to_vec(), || -> Result<_, String> {
            Ok(view.data().as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
        })?;
    }
    Ok(collector)
}

impl Weights {
    /// Writes them as safetensors, synced to the disk; equal weights give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written. What was there before is then still there.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let views = tensors().into_iter().map(|spec| {
            let values = bytemuck::cast_slice(self.values(&spec.name).expect("weights have every tensor"));
            let view = TensorView::new(Dtype::F32, spec.shape, values).expect("every tensor has its shape");
            (spec.name, view)
        });
        let bytes = safetensors::serialize(views, None);
        let written = bytes
            .map_err(io::Error::other)
            .and_then(|bytes| write_atomically(path, Durability::Synced, |file| file.write_all(&bytes)));
        written.map_err(|cause| WeightsError::Io { action: "write", path: path.to_owned(), cause })
    }
}
