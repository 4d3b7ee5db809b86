//! The trait of a network: pixels in, feature rows out.

/// A network for batches of pictures of one side.
pub trait Network: Sized + Send {
    /// Pictures per call, at most.
    fn batch_size(&self) -> usize;

    /// A row for each picture: NHWC pixels, RGB from 0 to 255, of 1 to [`Self::batch_size`] pictures.
    ///
    /// # Errors
    /// When it cannot be run.
    fn forward(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError>;

    /// The same network for another thread.
    fn share(&self) -> Self;
}

/// Why the network could not be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The pixels are not those of 1 to `batch_size` pictures.
    #[error("expected the pixels of 1 to {batch_size} pictures, {picture_len} values each, found {found} values")]
    Pixels {
        /// Pictures per call, at most.
        batch_size: usize,
        /// Values of a picture.
        picture_len: usize,
        /// Values that were given.
        found: usize,
    },
    /// Pictures that the network's strides leave nothing of.
    #[error("pictures of {side}x{side} pixels are too small for the network, which needs {min_side}x{min_side}")]
    TooSmall {
        /// Width and height of the pictures.
        side: u32,
        /// The least that the network takes.
        min_side: u32,
    },
    /// What runs the layers gave up: a GPU's memory may be full.
    #[error("the network failed: {0}")]
    Backend(String),
}
