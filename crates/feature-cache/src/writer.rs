//! Writing a cache: collect rows, build the new folder beside the old, swap.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::atomic_write::{Durability, sync_folder, write_then_rename};
use crate::cache::{CachedSplit, FeatureCache, check_replaceable};
use crate::class_names::ClassNames;
use crate::damage::Damage;
use crate::durable::{DurableFile, FileDigest};
use crate::error::{CacheError, IoContext};
use crate::fingerprint::Fingerprint;
use crate::hashes::Hashes;
use crate::index::{IndexEntry, SkippedPhoto, write_index, write_skipped};
use crate::journal::Journal;
use crate::lock::{WhenLocked, WriterLock};
use crate::manifest::{FEATURES, HASHES, INDEX, LABELS, MANIFEST, Manifest, SKIPPED, SplitFiles, SplitManifest, VIEWS};
use crate::npy::NpyArray;
use crate::split::Split;
use crate::views::Views;

/// The one writer of a cache, from before the first row until the new cache is in place.
///
/// It works in a hidden folder beside the cache, `.NAME.extract`, which is gone when all is done.
#[derive(Debug)]
pub struct CacheWriter {
    path: PathBuf,
    lock: WriterLock,
}

/// The new cache, in the working folder, until it is complete.
const NEXT: &str = "next";
/// The cache that is being replaced, where that takes two steps.
const OLD: &str = "old";

/// Everything that a cache holds besides the rows themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheContents {
    /// What the rows depend on.
    pub fingerprint: Fingerprint,
    /// The augmented views of the photos that heads learn from, if there are any.
    pub views: Option<Views>,
    /// The classes.
    pub classes: ClassNames,
    /// The splits.
    pub splits: BTreeMap<Split, SplitContents>,
}

/// A split's photos.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplitContents {
    /// Those with a row, in the order of the rows.
    pub photos: Vec<IndexEntry>,
    /// Those without.
    pub skipped: Vec<SkippedPhoto>,
}

impl CacheContents {
    /// What a cache holds.
    ///
    /// # Errors
    /// When an index is damaged.
    pub fn of(cache: &FeatureCache) -> Result<Self, CacheError> {
        let contents =
            |split: &CachedSplit| Ok(SplitContents { photos: split.index()?.to_vec(), skipped: split.skipped()? });
        let splits: Result<_, CacheError> = cache.splits().map(|(name, split)| Ok((name, contents(split)?))).collect();
        Ok(Self {
            fingerprint: cache.fingerprint().clone(),
            views: cache.views().cloned(),
            classes: cache.classes().clone(),
            splits: splits?,
        })
    }

    /// Every photo with a row, with its split.
    pub fn photos(&self) -> impl Iterator<Item = (Split, &IndexEntry)> {
        self.splits.iter().flat_map(|(&split, of_split)| of_split.photos.iter().map(move |photo| (split, photo)))
    }
}

/// Where finished rows are found, by their picture's blake3 or their view's key: in the cache to be replaced, and in the
/// journal of unfinished runs.
#[derive(Debug)]
pub struct RowSource<'a> {
    cached: HashMap<blake3::Hash, &'a [f32]>,
    journal: &'a Journal,
}

impl<'a> RowSource<'a> {
    /// The rows of `previous`, whose fingerprint must be the journal's and whose digests have been checked
    /// ([`FeatureCache::check_digests`]), and those of the journal.
    ///
    /// # Errors
    /// When an index of `previous` is damaged.
    pub fn new(previous: Option<&'a FeatureCache>, journal: &'a Journal) -> Result<Self, CacheError> {
        let mut cached = HashMap::new();
        if let Some(cache) = previous {
            for (_, split) in cache.splits() {
                let pictures: Vec<blake3::Hash> = split.index()?.iter().map(|entry| entry.blake3).collect();
                if let Some(views) = cache.views() {
                    let of_picture =
                        |(&picture, rows): (_, &'a [f32])| views.keys(picture).zip(rows.chunks_exact(cache.columns()));
                    cached.extend(pictures.iter().zip(split.each_rows_views()).flat_map(of_picture));
                }
                cached.extend(pictures.into_iter().zip(split.each_row()));
            }
        }
        Ok(Self { cached, journal })
    }

    /// Whether there is a row with this key.
    pub fn contains(&self, key: &blake3::Hash) -> bool {
        self.cached.contains_key(key) || self.journal.contains(key)
    }

    /// Copies the row with this key into `row`.
    fn read(&self, key: &blake3::Hash, row: &mut [f32]) -> Result<(), CacheError> {
        match self.cached.get(key) {
            Some(values) if values.len() == row.len() => row.copy_from_slice(values),
            _ if self.journal.read(key, row)? => {}
            _ => return Err(CacheError::RowMissing(*key)),
        }
        Ok(())
    }
}

impl CacheWriter {
    /// Becomes the writer of the cache at `path`, which need not exist yet.
    ///
    /// # Errors
    /// When another process is, the place cannot be written, or the folder holds what is no part of a cache.
    pub fn open(path: &Path, when_locked: WhenLocked) -> Result<Self, CacheError> {
        let path = resolve(path)?;
        check_replaceable(&path)?;
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".extract");
        let lock = WriterLock::acquire(&path, path.with_file_name(name), when_locked)?;
        let old = lock.folder().join(OLD);
        if old.exists() && !path.exists() {
            fs::rename(&old, &path).context("restore", &path)?;
        }
        Ok(Self { path, lock })
    }

    /// The cache's own place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows of earlier runs with this fingerprint that did not come to their end.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn journal(&self, fingerprint: &Fingerprint, columns: NonZeroUsize) -> Result<Journal, CacheError> {
        Journal::open(&self.journal_path(), fingerprint, columns)
    }

    /// Puts a new cache in the place of the old one, in one step, and ends the run.
    ///
    /// # Errors
    /// When a row is missing or the disk is full: the old cache and the journal stay as they are.
    pub fn publish(
        self,
        contents: &CacheContents,
        columns: NonZeroUsize,
        hashes: &Hashes,
        rows: &RowSource<'_>,
    ) -> Result<(), CacheError> {
        check_replaceable(&self.path)?;
        let next = self.lock.folder().join(NEXT);
        remove_cache(&next)?;
        fs::create_dir(&next).context("create", &next)?;
        let mut splits = BTreeMap::new();
        for (&split, of_split) in &contents.splits {
            let views = contents.views.as_ref().filter(|_| split.is_learnt_from());
            splits.insert(split, write_split(&next.join(split.name()), of_split, views, columns.get(), rows)?);
        }
        let path = next.join(HASHES);
        let table = hashes.to_bytes().map_err(|error| damaged(&path, error.into()))?;
        write_file(&path, &table)?;
        let path = next.join(MANIFEST);
        let (fingerprint, views) = (contents.fingerprint.clone(), contents.views.clone());
        let manifest = Manifest::new(fingerprint, views, columns, contents.classes.clone(), splits)
            .and_then(|manifest| manifest.to_json())
            .map_err(|damage| damaged(&path, damage))?;
        write_file(&path, &manifest)?;
        sync_folder(&next).context("write", &next)?;
        swap(&next, &self.path)?;
        self.finish()
    }

    /// Notes the photos' sizes and times beside a cache that is otherwise as it should be.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn note_hashes(&self, hashes: &Hashes) -> Result<(), CacheError> {
        // Not hidden beside the file: a crash must not leave in the cache what is no part of one.
        let (hidden, path) = (self.lock.folder().join(HASHES), self.path.join(HASHES));
        let table = hashes.to_bytes().map_err(|error| damaged(&path, error.into()))?;
        write_then_rename(&hidden, &path, Durability::Synced, |file| file.write_all(&table)).context("replace", &path)
    }

    /// Ends the run: removes what only an unfinished one needs.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish(self) -> Result<(), CacheError> {
        let folder = self.lock.folder();
        for file in [self.journal_path(), folder.join(HASHES)] {
            if file.exists() {
                fs::remove_file(&file).context("remove", &file)?;
            }
        }
        remove_cache(&folder.join(NEXT))?;
        self.lock.remove_folder();
        Ok(())
    }

    fn journal_path(&self) -> PathBuf {
        self.lock.folder().join("rows")
    }
}

/// Writes a whole cache at once, where all rows are at hand: each with its picture's blake3 or its view's key, in any
/// order.
///
/// # Errors
/// As [`CacheWriter::open`], [`Journal::append`] and [`CacheWriter::publish`].
pub fn write_cache<'a>(
    path: &Path,
    contents: &CacheContents,
    columns: NonZeroUsize,
    rows: impl IntoIterator<Item = (blake3::Hash, &'a [f32])>,
) -> Result<(), CacheError> {
    let writer = CacheWriter::open(path, WhenLocked::Fail)?;
    let mut journal = writer.journal(&contents.fingerprint, columns)?;
    journal.append(rows)?;
    writer.publish(contents, columns, &Hashes::default(), &RowSource::new(None, &journal)?)
}

/// The cache's own place: its parent must be there or be made, and a symbolic link is followed.
fn resolve(path: &Path) -> Result<PathBuf, CacheError> {
    if let Ok(existing) = path.canonicalize() {
        return Ok(existing);
    }
    let absolute = std::path::absolute(path).context("find", path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => {
            fs::create_dir_all(parent).context("create", parent)?;
            Ok(parent.canonicalize().context("find", parent)?.join(name))
        }
        _ => Err(CacheError::Foreign(absolute)),
    }
}

fn write_split(
    folder: &Path,
    split: &SplitContents,
    views: Option<&Views>,
    columns: usize,
    source: &RowSource<'_>,
) -> Result<SplitManifest, CacheError> {
    fs::create_dir(folder).context("create", folder)?;
    let rows = split.photos.len();
    let pictures: Vec<blake3::Hash> = split.photos.iter().map(|photo| photo.blake3).collect();
    let features = write_rows(&folder.join(FEATURES), &[rows, columns], pictures.iter().copied(), source)?;
    let views = match views {
        Some(views) => {
            let shape = [rows, views.count.get(), columns];
            let keys = pictures.iter().flat_map(|&picture| views.keys(picture));
            Some(write_rows(&folder.join(VIEWS), &shape, keys, source)?)
        }
        None => None,
    };

    let path = folder.join(LABELS);
    let mut labels = NpyArray::<i64>::new(&[rows]).map_err(|damage| damaged(&path, damage))?.header_bytes();
    for photo in &split.photos {
        labels.extend(photo.label.to_le_bytes());
    }
    let labels = write_file(&path, &labels)?;

    let path = folder.join(INDEX);
    let index = write_index(&split.photos).map_err(|error| damaged(&path, error.into()))?;
    let index = write_file(&path, &index)?;

    let mut skipped = None;
    if !split.skipped.is_empty() {
        let path = folder.join(SKIPPED);
        let table = write_skipped(&split.skipped).map_err(|error| damaged(&path, error.into()))?;
        skipped = Some(write_file(&path, &table)?);
    }
    sync_folder(folder).context("write", folder)?;
    Ok(SplitManifest { rows, files: SplitFiles { features, views, labels, index, skipped } })
}

/// An array of rows, each found by its key and as long as the last axis: the header first, then row by row, so that only
/// one of them is in memory.
fn write_rows(
    path: &Path,
    shape: &[usize],
    keys: impl Iterator<Item = blake3::Hash>,
    source: &RowSource<'_>,
) -> Result<FileDigest, CacheError> {
    let array = NpyArray::<f32>::new(shape).map_err(|damage| damaged(path, damage))?;
    let mut file = DurableFile::create(path)?;
    file.put(&array.header_bytes())?;
    let mut row = vec![0f32; shape.last().copied().unwrap_or_default()];
    for key in keys {
        source.read(&key, &mut row)?;
        file.put(bytemuck::cast_slice(&row))?;
    }
    file.finish()
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<FileDigest, CacheError> {
    let mut file = DurableFile::create(path)?;
    file.put(bytes)?;
    file.finish()
}

fn damaged(path: &Path, damage: Damage) -> CacheError {
    CacheError::Damaged { path: path.to_owned(), damage }
}

/// Puts the folder `next` in the place of `cache`, and what was there in the place of `next`.
fn swap(next: &Path, cache: &Path) -> Result<(), CacheError> {
    let swapped = match renameat_with(CWD, next, CWD, cache, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => fs::rename(next, cache),
        // A file system without the exchange (some network ones): for a moment there is no cache; still never half.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => swap_in_two_steps(next, cache),
        exchanged => exchanged.map_err(Into::into),
    };
    swapped.context("replace", cache)?;
    cache.parent().map_or(Ok(()), |folder| sync_folder(folder).context("write", folder))
}

fn swap_in_two_steps(next: &Path, cache: &Path) -> std::io::Result<()> {
    let old = next.with_file_name(OLD);
    fs::rename(cache, &old)?;
    fs::rename(next, cache)?;
    fs::rename(old, next)
}

/// Removes a cache's files, and the folder if nothing else is in it.
fn remove_cache(folder: &Path) -> Result<(), CacheError> {
    if !folder.exists() {
        return Ok(());
    }
    check_replaceable(folder)?;
    fs::remove_dir_all(folder).context("remove", folder)
}
