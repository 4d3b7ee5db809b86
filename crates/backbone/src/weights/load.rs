//! Reads weights from a file of any format.

use std::path::Path;

use super::collect::{Weights, WeightsError};
use super::file::map;
use super::{canonical, keras};

impl Weights {
    /// Reads the weights from a .safetensors file (by its name, in upper or lower case), or a Keras `.h5`, `.weights.h5`
    /// or `.keras` file (recognised by content).
    ///
    /// # Errors
    /// When the file cannot be read, or its tensors are not those of Xception without its top.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        Self::from_bytes(path, &map(path)?)
    }

    /// [`Self::load`] from the file's bytes. `path` is for the extension and for errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, WeightsError> {
        let is_canonical = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"));
        let collector = if is_canonical {
            canonical::read(bytes).map_err(|problem| WeightsError::Format {
                path: path.to_owned(),
                format: "safetensors",
                problem,
            })?
        } else {
            keras::read(path, bytes)?
        };
        collector.into_weights(path)
    }
}
