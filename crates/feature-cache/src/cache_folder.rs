//! The folder of a cache, held open while its files are opened.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, open, openat};
use rustix::io::retry_on_intr;

use crate::damage::Damage;
use crate::error::{CacheError, IoContext};

/// A handle of a cache's folder. Files that are opened through it are all of one cache: when a writer puts another
/// folder in its place, the handle stays with the old one.
#[derive(Debug)]
pub(crate) struct CacheFolder {
    path: PathBuf,
    handle: File,
}

impl CacheFolder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// [`CacheError::NotACache`] if there is no folder.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry_on_intr(|| open(path, flags, Mode::empty())) {
            Ok(handle) => Ok(Self { path: path.to_owned(), handle: handle.into() }),
            Err(error) if is_absent(&error.into()) => Err(CacheError::NotACache(path.to_owned())),
            Err(error) => Err(io::Error::from(error)).context("open", path),
        }
    }

    /// Where the folder was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file for reading; `name` is its path in the folder, as in `train/features.npy`.
    ///
    /// # Errors
    /// [`Damage::Missing`] if it is not there, [`Damage::NotA`] if it is not a file.
    pub(crate) fn open_file(&self, name: &Path) -> Result<File, CacheError> {
        let path = self.path.join(name);
        // Without NONBLOCK a named pipe would block until another process opens it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: File = match retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty())) {
            Ok(file) => file.into(),
            Err(error) if is_absent(&error.into()) => {
                return Err(CacheError::Damaged { path, damage: Damage::Missing });
            }
            Err(error) => return Err(io::Error::from(error)).context("open", &path),
        };
        if !file.metadata().context("read", &path)?.is_file() {
            return Err(CacheError::Damaged { path, damage: Damage::NotA("file") });
        }
        Ok(file)
    }

    /// The bytes of a file; `name` is its path in the folder.
    ///
    /// # Errors
    /// As [`Self::open_file`], and [`Damage::TooLarge`] if it has more than `max` bytes.
    pub(crate) fn read_file(&self, name: &Path, max: u64) -> Result<Vec<u8>, CacheError> {
        let (file, path) = (self.open_file(name)?, self.path.join(name));
        let found = file.metadata().context("read", &path)?.len();
        if found > max {
            return Err(CacheError::Damaged { path, damage: Damage::TooLarge { max, found } });
        }
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes).context("read", &path)?;
        Ok(bytes)
    }

    /// The sorted names in a folder; `name` is its path in this folder, `.` for this folder itself.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn names(&self, name: &Path) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty()))?;
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether another folder, or none, is at the path now.
    pub(crate) fn was_replaced(&self) -> bool {
        // The folder is held open, so no other one can have got its inode number.
        match (self.handle.metadata(), fs::metadata(&self.path)) {
            (Ok(held), Ok(found)) => (held.dev(), held.ino()) != (found.dev(), found.ino()),
            _ => true,
        }
    }
}

/// Whether the error is that there is no such file or folder.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
