//! One writer per cache.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{CacheError, IoContext};

const LOCK: &str = "lock";

/// What to do while another process writes the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLocked {
    /// Fail with that process's id.
    Fail,
    /// Wait until it is done.
    Wait,
}

/// The right to write a cache, and the folder beside it to work in.
///
/// An advisory lock on a file in that folder: the operating system takes it back from a process that dies.
#[derive(Debug)]
pub(crate) struct WriterLock {
    folder: PathBuf,
    /// Held open: closing it gives the lock back.
    _file: File,
}

impl WriterLock {
    /// Locks the cache at `cache` by way of the working folder `folder`, which is made if need be.
    pub(crate) fn acquire(cache: &Path, folder: PathBuf, when_locked: WhenLocked) -> Result<Self, CacheError> {
        let path = folder.join(LOCK);
        loop {
            fs::create_dir_all(&folder).context("create", &folder)?;
            let mut file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
                // The previous writer removed its folder in between.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.context("open", &path)?,
            };
            match (file.try_lock(), when_locked) {
                (Ok(()), _) => {}
                (Err(TryLockError::WouldBlock), WhenLocked::Wait) => file.lock().context("lock", &path)?,
                (Err(TryLockError::WouldBlock), WhenLocked::Fail) => {
                    let owner = read_owner(&mut file).unwrap_or_else(|| "unknown".to_owned());
                    return Err(CacheError::Locked { path: cache.to_owned(), owner });
                }
                (Err(TryLockError::Error(error)), _) => return Err(error).context("lock", &path),
            }
            // A lock on a file that its previous owner has just removed excludes nobody.
            if is_file_at(&file, &path) {
                write_owner(&mut file).context("write", &path)?;
                return Ok(Self { folder, _file: file });
            }
        }
    }

    /// The folder to work in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the folder, if nothing but the lock is left in it.
    pub(crate) fn remove_folder(self) {
        let others = fs::read_dir(&self.folder).map_or(0, |entries| entries.count());
        if others == 1 && fs::remove_file(self.folder.join(LOCK)).is_ok() {
            // Fails when another writer has just made its lock here, and then should.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

fn is_file_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn read_owner(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    let owner: u32 = text.trim().parse().ok()?;
    Some(owner.to_string())
}

fn write_owner(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}
