//! Limits on a photo's pixels and memory, and why a photo cannot be decoded.

/// The largest value of [`Limits::png_metadata`], far more than real metadata takes.
const MAX_PNG_METADATA: u64 = 32 << 20;

/// Limits on a photo's pixels and memory, checked after its header is read and before memory is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum of width times height.
    pub max_pixels: u64,
    /// The maximum memory that decoding and resizing may take, in bytes, without the file and the resized pictures.
    pub max_bytes: u64,
}

/// The one of the [`Limits`] that a photo exceeds.
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
    /// More pixels than allowed.
    #[error("{width} x {height} pixels, over the limit of {limit}")]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The maximum number of pixels.
        limit: u64,
    },
    /// Decoding or resizing its pixels may take more memory than allowed.
    #[error("{width} x {height} pixels may take {needed} bytes of memory, over the limit of {limit}")]
    TooMuchMemory {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// An upper bound of what decoding or resizing takes, in bytes.
        needed: u64,
        /// The maximum that is allowed, in bytes.
        limit: u64,
    },
    /// A GIF's frame or a TIFF's directory, whose sizes do not follow from the picture's, may take more memory than
    /// allowed.
    #[error("may take more memory than the limit of {limit} bytes")]
    TooMuchOtherMemory {
        /// The maximum that is allowed, in bytes.
        limit: u64,
    },
    /// A PNG's texts, profile and EXIF block may take more memory than allowed.
    #[error("its metadata may take more memory than the limit of {limit} bytes")]
    TooMuchMetadata {
        /// The maximum that is allowed, in bytes: a part of [`Limits::max_bytes`].
        limit: u64,
    },
    /// A JPEG with more scans than any encoder writes. Each takes time for the whole picture.
    #[error("is a JPEG of more than {limit} scans")]
    TooManyScans {
        /// The maximum number of scans.
        limit: usize,
    },
    /// A JPEG that ends before its end-of-image marker.
    #[error("is a truncated JPEG")]
    Truncated,
    /// The decoder failed.
    #[error("is a damaged {format}: {problem}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// The decoder's error.
        problem: String,
    },
    /// A kind of picture that is not supported.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A kind of a format that the decoder does not support, such as a TIFF with a palette.
    #[error("is a {format} of a kind that is not supported: {problem}")]
    UnsupportedKind {
        /// The format.
        format: &'static str,
        /// The decoder's error.
        problem: String,
    },
    /// Decoding or resizing it panicked, which is a bug.
    #[error("makes the program panic: {problem}")]
    Panicked {
        /// The panic's message and where it happened.
        problem: String,
    },
}

impl Limits {
    /// The number of pixels above which Pillow stops with a `DecompressionBombError` (PIL/Image.py, twice
    /// `MAX_IMAGE_PIXELS`), and 2 GiB.
    pub const DEFAULT: Self = Self { max_pixels: 178_956_970, max_bytes: 2 << 30 };

    /// The maximum memory for a PNG's texts, profile and EXIF block, in bytes.
    pub(super) fn png_metadata(&self) -> u64 {
        (self.max_bytes / 8).min(MAX_PNG_METADATA)
    }

    /// An error if the picture has more pixels than allowed.
    pub(super) fn check_pixels(&self, width: u32, height: u32) -> Result<(), PixelError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(PixelError::TooManyPixels { width, height, limit: self.max_pixels });
        }
        Ok(())
    }

    /// An error if `needed` bytes of memory are more than allowed.
    pub(super) fn check_bytes(&self, width: u32, height: u32, needed: u64) -> Result<(), PixelError> {
        if needed > self.max_bytes {
            return Err(PixelError::TooMuchMemory { width, height, needed, limit: self.max_bytes });
        }
        Ok(())
    }
}

impl PixelError {
    /// The limit that the photo exceeds; `None` if the error has another reason, or no higher limit would help.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::TooManyPixels { .. } => Some(Limit::Pixels),
            Self::TooMuchMemory { .. } | Self::TooMuchOtherMemory { .. } => Some(Limit::Bytes),
            Self::TooMuchMetadata { limit } if *limit < MAX_PNG_METADATA => Some(Limit::Bytes),
            _ => None,
        }
    }
}
