//! One writer per cache.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::{CacheError, IoContext};
use crate::regular_file::open_regular;

const LOCK: &str = "lock";
/// A process that waits for the lock tries again after this time.
const TIME_BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// What comes before the cache's name in the name of the working folder.
pub(crate) const WORKING_PREFIX: &str = ".";
/// What comes after it.
pub(crate) const WORKING_SUFFIX: &str = ".extract";

/// What to do while another process writes the cache.
#[derive(Debug, Clone, Copy)]
pub enum WhenLocked<'a> {
    /// Fail, with that process's id. It is unknown if writers of shards hold the lock: they share it.
    Fail,
    /// Wait until it is done, or this flag is set.
    Wait(&'a AtomicBool),
}

/// Who else may hold the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nobody: the cache is written.
    Exclusive,
    /// Other writers of shards. While any of them holds it, the whole cache must not be written.
    Shared,
}

/// The right to write a cache, or to keep others from writing it, and the working folder next to it.
///
/// It is an advisory lock on a file in that folder, which the operating system releases when the process ends. When an
/// exclusive lock is dropped, a working folder with nothing else in it is removed.
#[derive(Debug)]
pub(crate) struct WriterLock {
    folder: PathBuf,
    access: Access,
    /// Held open: closing the file releases the lock.
    file: File,
}

impl WriterLock {
    /// Locks the cache at `cache` with a file in the working folder next to it, which is created if necessary.
    pub(crate) fn acquire(cache: &Path, access: Access, when_locked: WhenLocked<'_>) -> Result<Self, CacheError> {
        let folder = working_folder(cache);
        let path = folder.join(LOCK);
        loop {
            fs::create_dir_all(&folder).context("create", &folder)?;
            let opened = open_regular(OpenOptions::new().read(true).write(true).create(true).truncate(false), &path);
            let mut file = match opened {
                // The previous writer removed its folder in between.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.context("open", &path)?,
            };
            while !try_lock(&file, access).context("lock", &path)? {
                match when_locked {
                    WhenLocked::Wait(cancel) if cancel.load(Ordering::Relaxed) => {
                        return Err(CacheError::WaitCancelled(cache.to_owned()));
                    }
                    // A blocking lock call would go on waiting after a signal has set the flag.
                    WhenLocked::Wait(_) => thread::sleep(TIME_BETWEEN_TRIES),
                    WhenLocked::Fail => {
                        return Err(CacheError::Locked { path: cache.to_owned(), owner: read_owner(&mut file) });
                    }
                }
            }
            // If the previous owner has just removed the file, the lock is on a file that no other process will open:
            // try again with a new one.
            if is_file_at(&file, &path) {
                write_owner(&mut file, access).context("write", &path)?;
                return Ok(Self { folder, access, file });
            }
        }
    }

    /// The folder to work in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a shared lock exclusive, unless another process shares it; returns whether it is exclusive now. If not, it
    /// may be lost: this is only for a lock that is dropped next.
    pub(crate) fn make_exclusive(&mut self) -> bool {
        let is_exclusive = try_lock(&self.file, Access::Exclusive).unwrap_or(false);
        if is_exclusive {
            self.access = Access::Exclusive;
        }
        is_exclusive
    }
}

impl Drop for WriterLock {
    /// Removes the working folder, unless something other than the lock file is left in it, or the lock is shared.
    fn drop(&mut self) {
        let path = self.folder.join(LOCK);
        let is_own = self.access == Access::Exclusive && is_file_at(&self.file, &path);
        let entries = fs::read_dir(&self.folder).map_or(0, |entries| entries.count());
        if is_own && entries == 1 && fs::remove_file(&path).is_ok() {
            // Fails, as it should, if another writer has just created its lock here.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Tries to lock the file. Returns whether it is locked now; if not, another process has locked it.
fn try_lock(file: &File, access: Access) -> io::Result<bool> {
    let locked = match access {
        Access::Exclusive => file.try_lock(),
        Access::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_file_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn read_owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Writes this process's id; a lock that is shared belongs to nobody.
fn write_owner(file: &mut File, access: Access) -> io::Result<()> {
    file.set_len(0)?;
    if access == Access::Shared {
        return Ok(());
    }
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// The working folder of the writer of a cache: `.NAME.extract` next to the cache `NAME`.
pub(crate) fn working_folder(cache: &Path) -> PathBuf {
    let mut name = OsString::from(WORKING_PREFIX);
    name.push(cache.file_name().unwrap_or_default());
    name.push(WORKING_SUFFIX);
    cache.with_file_name(name)
}
