//! Options for the limits on a photo's pixels and memory.

use backbone::pixels::Limits;
use clap::Args;

/// The options for the limits on a photo.
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// Refuse photos with more pixels than this
    #[arg(long, value_name = "PIXELS", default_value_t = Limits::DEFAULT.max_pixels)]
    max_pixels: u64,
    /// Refuse photos whose decoding and resizing may take more memory than this; each thread decodes one at a time, so
    /// all together may take this much for each thread
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.max_bytes)]
    max_picture_bytes: u64,
}

impl LimitsArgs {
    /// The limits as the library takes them.
    pub fn limits(&self) -> Limits {
        Limits { max_pixels: self.max_pixels, max_bytes: self.max_picture_bytes }
    }
}
