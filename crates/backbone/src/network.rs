//! What turns pixels into rows.

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
#[error("the network failed: {0}")]
pub struct NetworkError(pub String);
