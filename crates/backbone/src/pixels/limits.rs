//! Limits on a photo's pixels and memory, and why a photo cannot be decoded.

/// Limits on a photo's pixels and memory, checked after its header is read and before memory is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height.
    pub max_pixels: u64,
    /// Peak memory in bytes of decoding and resizing, without the file and the resized pictures.
    pub max_bytes: u64,
}

/// Which of the [`Limits`] a photo is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// [`Limits::max_pixels`].
    Pixels,
    /// [`Limits::max_bytes`].
    Bytes,
}

/// Why a photo cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PixelError {
    /// Not one of the known formats.
    #[error("is not a picture (JPEG, PNG, BMP, GIF, WebP or TIFF)")]
    NotAPicture,
    /// Over the limit of pixels.
    #[error("{width} x {height} pixels, over the limit of {limit}")]
    TooManyPixels {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// The most that is allowed.
        limit: u64,
    },
    /// Over the memory limit.
    #[error("{width} x {height} pixels may take {needed} bytes of memory, over the limit of {limit}")]
    TooMuchMemory {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// What decoding and resizing may take.
        needed: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// Over the memory limit for another reason than its pixels, such as metadata.
    #[error("may take more memory than the limit of {limit} bytes")]
    TooMuchOtherMemory {
        /// The most that is allowed.
        limit: u64,
    },
    /// A JPEG that ends before its end-of-image marker.
    #[error("is a truncated JPEG")]
    Truncated,
    /// The decoder failed.
    #[error("is a damaged {format}: {problem}")]
    Damaged {
        /// Which format it is.
        format: &'static str,
        /// What the decoder said.
        problem: String,
    },
    /// A kind of picture that is not supported.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The decoder has a bug, and this photo shows it.
    #[error("makes the decoder panic: {problem}")]
    Panicked {
        /// The panic's message and where it happened.
        problem: String,
    },
}

impl Limits {
    /// The pixels at which Pillow stops with a `DecompressionBombError` (PIL/Image.py, twice `MAX_IMAGE_PIXELS`), and 2
    /// GiB.
    pub const DEFAULT: Self = Self { max_pixels: 178_956_970, max_bytes: 2 << 30 };

    /// Refuses what is over the limit of pixels.
    pub(super) fn check_pixels(&self, width: u32, height: u32) -> Result<(), PixelError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(PixelError::TooManyPixels { width, height, limit: self.max_pixels });
        }
        Ok(())
    }

    /// Refuses what takes more memory than allowed.
    pub(super) fn check_bytes(&self, width: u32, height: u32, needed: u64) -> Result<(), PixelError> {
        if needed > self.max_bytes {
            return Err(PixelError::TooMuchMemory { width, height, needed, limit: self.max_bytes });
        }
        Ok(())
    }
}

impl PixelError {
    /// The limit that the photo is over, if that is the reason.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::TooManyPixels { .. } => Some(Limit::Pixels),
            Self::TooMuchMemory { .. } | Self::TooMuchOtherMemory { .. } => Some(Limit::Bytes),
            _ => None,
        }
    }
}
