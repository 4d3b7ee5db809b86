//! A photo to embed, and reading its bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::pixels::{Limit, PixelError, View};

/// Extensions of photo files, compared without regard to case.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff"];

/// Far more than any photo has; a larger file is not read.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A photo to embed: the photo itself, views of it, or both. It is decoded once for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Photo {
    /// Where its bytes are.
    pub source: Source,
    /// The blake3 hash that the bytes must have, if it is known; other bytes are an error of the photo.
    pub blake3: Option<blake3::Hash>,
    /// The rows to compute: one for each view; `None` stands for the photo itself.
    pub views: Vec<Option<View>>,
}

/// Where a photo's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    Path(PathBuf),
    /// In memory: the content of a picture file.
    Bytes(Vec<u8>),
}

/// Why there is no row for a photo.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is larger than any photo.
    #[error("{0} bytes, too large for a photo")]
    TooLarge(u64),
    /// Not a picture, a damaged one, or one over the limits.
    #[error(transparent)]
    Pixels(#[from] PixelError),
    /// The bytes do not have the expected hash.
    #[error("changed since it was hashed; run again")]
    Changed,
}

impl PhotoError {
    /// The limit that the photo exceeds, if that is the reason.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Pixels(error) => error.limit(),
            _ => None,
        }
    }
}

impl Photo {
    /// A photo in a file, without augmented views and without a known hash.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::Path(path.into()), blake3: None, views: vec![None] }
    }

    /// A photo in memory, the bytes of a picture file, without augmented views and without a known hash.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { source: Source::Bytes(bytes), blake3: None, views: vec![None] }
    }

    /// The photo's bytes, checked against its hash. A file is read into `buffer`.
    pub(crate) fn bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], PhotoError> {
        let bytes = match &self.source {
            Source::Bytes(bytes) => bytes,
            Source::Path(path) => {
                read_photo(path, buffer)?;
                buffer
            }
        };
        if self.blake3.is_some_and(|expected| blake3::hash(bytes) != expected) {
            return Err(PhotoError::Changed);
        }
        Ok(bytes)
    }
}

/// Whether the file's extension is that of a photo.
pub fn has_photo_extension(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reads the whole file into `buffer`. Callers reuse one buffer for many photos: a new one for each would fragment the
/// heap.
///
/// # Errors
/// If it cannot be read or is larger than 1 GiB.
pub fn read_photo(path: &Path, buffer: &mut Vec<u8>) -> Result<(), PhotoError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(PhotoError::TooLarge(length));
    }
    buffer.clear();
    file.take(MAX_FILE_BYTES).read_to_end(buffer)?;
    Ok(())
}
