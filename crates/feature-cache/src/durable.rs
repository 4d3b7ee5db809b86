//! Files that are hashed while they are written, and synced to the disk when they are finished.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{CacheError, IoContext};

/// A file's length and blake3, as the manifest records them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileDigest {
    pub bytes: u64,
    pub blake3: String,
}

#[cfg(any(test, fuzzing))]
impl FileDigest {
    /// The digest of a file with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }
}

/// A new file, digested while it is written and synced when it is finished.
pub(crate) struct DurableFile {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl DurableFile {
    /// Creates the file, or empties it.
    pub(crate) fn create(path: &Path) -> Result<Self, CacheError> {
        let file = File::create(path).context("create", path)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(1 << 20, file), hasher: blake3::Hasher::new() })
    }

    /// blake3 of what was written so far.
    pub(crate) fn blake3(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    /// Syncs the file to the disk and returns its length and digest.
    pub(crate) fn finish(self) -> Result<FileDigest, CacheError> {
        let Self { path, file, hasher } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).context("write", &path)?;
        file.sync_all().context("write", &path)?;
        Ok(FileDigest { bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
    }

    /// [`Write::write_all`] with the path in the error.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.write_all(bytes).context("write", &self.path)
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
