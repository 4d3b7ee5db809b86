//! Weights in icebox's own file: safetensors, with the names and shapes of [`tensors`], in float32.

use std::io;
use std::path::Path;

use feature_cache::{Durability, write_atomically};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::collect::{Weights, WeightsCollector, WeightsError};
use super::tensors::{TensorSpec, tensors};

/// Reads the tensors of a safetensors file.
///
/// # Errors
/// When the file is damaged or has values that are not float32; the text says what is wrong.
pub(super) fn read(bytes: &[u8]) -> Result<WeightsCollector, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut collector = WeightsCollector::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name}: expected F32 values, found {:?}", view.dtype()));
        }
        collector.add(name.to_owned(), view.shape().to_vec(), || -> Result<_, String> {
            Ok(view.data().as_chunks().0.par_iter().map(|&value| f32::from_le_bytes(value)).collect())
        })?;
    }
    Ok(collector)
}

impl Weights {
    /// Writes the weights as safetensors, synced to the disk. Equal weights give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written; an existing file then stays as it was.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let mut views = Vec::new();
        for TensorSpec { name, shape } in tensors() {
            let values = bytemuck::cast_slice(self.values(&name).expect("weights have every tensor"));
            let view = TensorView::new(Dtype::F32, shape, values).expect("a tensor's values fill its shape");
            views.push((name, view));
        }
        let failed = |cause| WeightsError::Io { action: "write", path: path.to_owned(), cause };
        let bytes = safetensors::serialize(views, None).map_err(|error| failed(io::Error::other(error)))?;
        write_atomically(path, Durability::Synced, |file| file.write_all(&bytes)).map_err(failed)
    }
}
