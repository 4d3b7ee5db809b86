//! The trait of a network: pixels in, feature rows out.

/// A network for batches of square pictures of a fixed size.
pub trait Network: Sized + Send {
    /// Maximum number of pictures per call.
    fn batch_size(&self) -> usize;

    /// Computes the rows, (pictures, features), of 1 to [`Self::batch_size`] pictures. `pixels` are NHWC, RGB from 0 to
    /// 255.
    ///
    /// # Errors
    /// When the number of pixels is wrong, or the backend fails.
    fn forward(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError>;

    /// A copy for another thread; it shares the weights.
    fn clone_for_thread(&self) -> Self;
}

/// Why the network could not be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The number of values is not that of 1 to `batch_size` pictures.
    #[error("expected the pixels of 1 to {batch_size} pictures, {picture_len} values each, found {found} values")]
    Pixels {
        /// Maximum number of pictures per call.
        batch_size: usize,
        /// Number of values of a picture.
        picture_len: usize,
        /// Number of values that were given.
        found: usize,
    },
    /// Pictures smaller or larger than the network takes.
    #[error("pictures of {side}x{side} pixels: the network takes {min_side}x{min_side} to {max_side}x{max_side}")]
    Side {
        /// Width and height of the pictures.
        side: u32,
        /// The smallest side.
        min_side: u32,
        /// The largest side.
        max_side: u32,
    },
    /// The backend failed, for example out of GPU memory.
    #[error("the network failed: {0}")]
    Backend(String),
}
