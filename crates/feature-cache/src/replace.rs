//! Replacing a cache: where it is, what may be replaced, the exchange of the old one and the new one, and what a killed
//! run has left.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::atomic_write::sync_folder;
use crate::error::{CacheError, IoContext};
use crate::journal::{Journal, ROWS};
use crate::lock::{WriterLock, working_folder};
use crate::manifest::{FEATURES, HASHES, INDEX, LABELS, MANIFEST, SKIPPED, VIEWS};
use crate::shard::{SHARDS, Shard};
use crate::shard_state::ShardState;
use crate::split::Split;

/// Name in the working folder: the new cache while it is written. Where folders are exchanged, it then is the old
/// cache.
pub(crate) const NEXT: &str = "next";
/// Name in the working folder: the cache that is being replaced, on file systems that cannot exchange folders.
pub(crate) const OLD: &str = "old";

/// What to do if a cache's folder holds shards that are not merged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnmergedShards {
    /// Fail: they would be lost.
    Refuse,
    /// Go on.
    Allow,
}

/// The cache's absolute path: symbolic links are followed, and its parent folder is created if necessary.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, CacheError> {
    if let Ok(existing) = path.canonicalize() {
        return Ok(existing);
    }
    let absolute = std::path::absolute(path).context("find", path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => {
            fs::create_dir_all(parent).context("create", parent)?;
            let resolved = parent.canonicalize().context("find", parent)?.join(name);
            match link_target(&resolved) {
                None => Ok(resolved),
                // A writer that was killed between two renames has moved the cache away.
                Some(target) if was_moved_away(&target) => Ok(target),
                // The new cache would take the place of the link.
                Some(target) => Err(CacheError::DanglingLink { path: resolved, target }),
            }
        }
        _ => Err(CacheError::NoName(absolute)),
    }
}

/// Where the link at `path` leads; `None` if it is not a link.
pub(crate) fn link_target(path: &Path) -> Option<PathBuf> {
    let target = fs::read_link(path).ok()?;
    Some(path.parent()?.join(target))
}

/// Whether a writer was killed between the two renames of [`swap_by_renames`]: the cache is then in its working folder.
pub(crate) fn was_moved_away(cache: &Path) -> bool {
    !cache.exists() && working_folder(cache).join(OLD).exists()
}

/// Checks that a cache may be written at `path`: there is nothing yet, an empty folder, or a cache without foreign
/// files.
///
/// # Errors
/// [`CacheError::Foreign`] names the first file that would be lost. [`CacheError::Unmerged`] if a shard has rows and
/// shards are refused.
pub(crate) fn check_replaceable(path: &Path, shards: UnmergedShards) -> Result<(), CacheError> {
    check_no_foreign_files(path)?;
    if shards == UnmergedShards::Refuse {
        for shard in ShardState::list(path)?.into_keys() {
            if shard_has_rows(shard, path)? {
                return Err(CacheError::Unmerged(path.to_owned()));
            }
        }
    }
    Ok(())
}

/// Whether there is a cache of the shard, or rows that an unfinished run has computed. A run that was killed before its
/// first row leaves neither.
fn shard_has_rows(shard: Shard, cache: &Path) -> Result<bool, CacheError> {
    let path = shard.folder(cache);
    Ok(path.exists() || was_moved_away(&path) || Journal::has_records(&working_folder(&path).join(ROWS))?)
}

/// Checks that the folder at `path`, if there is one, holds only what a cache has. Its shards are not checked.
fn check_no_foreign_files(path: &Path) -> Result<(), CacheError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("open", path),
    };
    for entry in entries {
        let entry = entry.context("read", path)?;
        let name = entry.file_name();
        let is_folder = entry.file_type().context("read", path)?.is_dir();
        let is_split = is_folder && Split::EVERY.iter().any(|split| name == split.name());
        let is_known = if is_folder { name == SHARDS } else { name == MANIFEST || name == HASHES };
        if is_split {
            check_files(&entry.path(), &[FEATURES, VIEWS, LABELS, INDEX, SKIPPED])?;
        } else if !is_known {
            return Err(CacheError::Foreign(entry.path()));
        }
    }
    Ok(())
}

fn check_files(folder: &Path, known: &[&str]) -> Result<(), CacheError> {
    for entry in fs::read_dir(folder).context("open", folder)? {
        let entry = entry.context("read", folder)?;
        if !known.iter().any(|&name| entry.file_name() == name) {
            return Err(CacheError::Foreign(entry.path()));
        }
    }
    Ok(())
}

/// Exchanges the folders `next` and `cache`; if there is no `cache` yet, renames `next` to it.
pub(crate) fn swap(next: &Path, cache: &Path) -> Result<(), CacheError> {
    let exchanged = renameat_with(CWD, next, CWD, cache, RenameFlags::EXCHANGE);
    let swapped = match exchanged {
        Ok(()) => Ok(()),
        // There is no cache yet.
        Err(Errno::NOENT) => fs::rename(next, cache),
        // Some network file systems cannot exchange.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => swap_by_renames(next, cache),
        Err(error) => Err(error.into()),
    };
    swapped.context("replace", cache)?;
    cache.parent().map_or(Ok(()), |folder| sync_folder(folder).context("write", folder))
}

/// Moves the old cache, if there is one, into the working folder, then the new one into its place. Between the two
/// there is no cache, but never half of one. If the process is killed there, the next writer moves the old cache back.
pub(crate) fn swap_by_renames(next: &Path, cache: &Path) -> io::Result<()> {
    match fs::rename(cache, next.with_file_name(OLD)) {
        // There is no cache yet: some systems refuse an exchange before they look for the folders.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        moved => moved?,
    }
    fs::rename(next, cache)
}

/// Moves the old cache back to `path`, or removes it if a cache is there: a run that was killed in [`swap_by_renames`],
/// or just after it, has left it in the working folder.
pub(crate) fn restore_or_remove_old(lock: &WriterLock, path: &Path) -> Result<(), CacheError> {
    let old = lock.folder().join(OLD);
    if old.exists() {
        // An empty folder that was made meanwhile; any other stays.
        let _ = fs::remove_dir(path);
        if !path.exists() {
            fs::rename(&old, path).context("restore", path)?;
        }
    }
    remove_cache(&old)
}

/// Removes the cache folder with its shards, if it exists; of a symbolic link, only the link. Fails and removes nothing
/// if the folder holds a foreign file, or a shard with rows that are not merged.
pub(crate) fn remove_cache(folder: &Path) -> Result<(), CacheError> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    check_replaceable(folder, UnmergedShards::Allow)?;
    for (shard, state) in ShardState::list(folder)? {
        if state == ShardState::Finished {
            check_replaceable(&shard.folder(folder), UnmergedShards::Refuse)?;
        } else if shard_has_rows(shard, folder)? {
            // No merged cache has them.
            return Err(CacheError::Unmerged(folder.to_owned()));
        }
    }
    fs::remove_dir_all(folder).context("remove", folder)
}
