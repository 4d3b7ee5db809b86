//! Writing a cache: collect rows, write the new folder next to the old one, exchange the two.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::atomic_write::{Durability, sync_folder, write_then_rename};
use crate::cache::FeatureCache;
use crate::class_names::ClassNames;
use crate::damage::Damage;
use crate::durable::DurableFile;
use crate::error::{CacheError, IoContext};
use crate::fingerprint::Fingerprint;
use crate::hashes::Hashes;
use crate::index::{IndexEntry, SkippedPhoto};
use crate::journal::{Journal, ROWS};
use crate::lock::{Access, WhenLocked, WriterLock};
use crate::manifest::{HASHES, MANIFEST, MANIFEST_MAX_BYTES, Manifest, SplitManifest};
use crate::photo_marker::PhotoMarker;
use crate::replace::{
    NEXT, OLD, UnmergedShards, check_replaceable, link_target, remove_cache, resolve, restore_or_remove_old, swap,
    was_moved_away,
};
use crate::shard::{Shard, ShardRecord};
use crate::shard_state::ShardState;
use crate::split::Split;
use crate::split_writer::SplitWriter;
use crate::views::Views;

/// The only writer of a cache, from before the first row until the new cache is in place.
///
/// It works in a hidden folder next to the cache, `.NAME.extract`, which it removes at the end, or when it is dropped
/// before it has opened the journal.
#[derive(Debug)]
pub struct CacheWriter {
    path: PathBuf,
    lock: WriterLock,
    /// Whether the cache's folder may hold shards: only a merge, which replaces them, allows that.
    shards: UnmergedShards,
    /// Of a shard's writer. Dropped after the shard's own lock.
    _whole_cache: Option<SharedCache>,
}

/// The whole cache, while shards of it are written: the lock keeps others from writing it.
#[derive(Debug)]
struct SharedCache {
    path: PathBuf,
    lock: WriterLock,
}

impl Drop for SharedCache {
    /// If there is no shard, since this one was refused, removes the empty folder of shards, the cache's folder if that
    /// is empty, too, and the working folder. If there are shards, the merge will remove them.
    fn drop(&mut self) {
        let shards = Shard::all_folders(&self.path);
        let has_shards = fs::read_dir(&shards).is_ok_and(|mut entries| entries.next().is_some());
        if !has_shards && self.lock.make_exclusive() {
            // Fails, as it should, if they hold anything.
            let _ = fs::remove_dir(shards).and_then(|()| fs::remove_dir(&self.path));
        }
    }
}

/// Name in the working folder: a shard's new record.
const RECORD: &str = "record";

/// Everything that a cache holds, without the rows themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheContents {
    /// What the rows depend on.
    pub fingerprint: Fingerprint,
    /// The augmented views of the training photos, if there are any.
    pub views: Option<Views>,
    /// The classes.
    pub classes: ClassNames,
    /// The splits.
    pub splits: BTreeMap<Split, SplitContents>,
}

/// A split's photos.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplitContents {
    /// The photos with a row, in the order of the rows.
    pub photos: Vec<IndexEntry>,
    /// The photos without a row.
    pub skipped: Vec<SkippedPhoto>,
}

impl CacheContents {
    /// Reads the index and the skipped photos of each split.
    ///
    /// # Errors
    /// When one of those files is damaged.
    pub fn from_cache(cache: &FeatureCache) -> Result<Self, CacheError> {
        let mut splits = BTreeMap::new();
        for (name, split) in cache.splits() {
            splits.insert(name, SplitContents { photos: split.index()?.to_vec(), skipped: split.skipped()? });
        }
        Ok(Self {
            fingerprint: cache.fingerprint().clone(),
            views: cache.views().cloned(),
            classes: cache.classes().clone(),
            splits,
        })
    }

    /// Every photo with a row, with its split.
    pub fn photos(&self) -> impl Iterator<Item = (Split, &IndexEntry)> {
        self.splits.iter().flat_map(|(&name, split)| split.photos.iter().map(move |photo| (name, photo)))
    }
}

/// Finished rows by key (the photo's blake3 hash, or a view's key): those of the cache that will be replaced, and those
/// in the journal of unfinished runs.
#[derive(Debug)]
pub struct RowSource<'a> {
    cached: HashMap<blake3::Hash, &'a [f32]>,
    journal: &'a Journal,
}

impl<'a> RowSource<'a> {
    /// The rows of `previous` and those of the journal. The fingerprint of `previous` must be the journal's, and its
    /// digests must have been checked ([`FeatureCache::check_digests`]).
    ///
    /// # Errors
    /// If an index of `previous` is damaged, or its rows have another length than the journal's.
    pub fn new(previous: Option<&'a FeatureCache>, journal: &'a Journal) -> Result<Self, CacheError> {
        let mut cached = HashMap::new();
        if let Some(cache) = previous {
            let expected = journal.columns();
            if cache.columns() != expected {
                let path = cache.path().to_owned();
                return Err(CacheError::RowLength { path, expected, found: cache.columns() });
            }
            for (_, split) in cache.splits() {
                let photos = split.index()?;
                for (photo, row) in photos.iter().zip(split.iter_rows()) {
                    cached.insert(photo.blake3, row);
                }
                // Only training splits have views; for the others `views_by_row` is empty.
                let Some(views) = cache.views() else { continue };
                for (photo, view_rows) in photos.iter().zip(split.views_by_row()) {
                    for (key, row) in views.keys(photo.blake3).zip(view_rows.chunks_exact(cache.columns())) {
                        cached.insert(key, row);
                    }
                }
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
        if let Some(values) = self.cached.get(key) {
            row.copy_from_slice(values);
            return Ok(());
        }
        if self.journal.read(key, row)? {
            return Ok(());
        }
        Err(CacheError::RowMissing(*key))
    }
}

impl CacheWriter {
    /// Becomes the writer of the cache at `path`, which need not exist yet.
    ///
    /// # Errors
    /// When another process is writing the cache or one of its shards, the path cannot be written, or the folder holds
    /// shards or files that do not belong to a cache.
    pub fn open(path: &Path, when_locked: WhenLocked<'_>) -> Result<Self, CacheError> {
        Self::open_whole(path, UnmergedShards::Refuse, when_locked)
    }

    /// Becomes the writer of the cache that the shards of the cache at `path` are merged into. Publishing it removes
    /// the shards.
    ///
    /// # Errors
    /// As [`Self::open`], but shards are allowed.
    pub fn open_merge(path: &Path, when_locked: WhenLocked<'_>) -> Result<Self, CacheError> {
        Self::open_whole(path, UnmergedShards::Allow, when_locked)
    }

    fn open_whole(path: &Path, shards: UnmergedShards, when_locked: WhenLocked<'_>) -> Result<Self, CacheError> {
        let path = resolve(path)?;
        check_replaceable(&path, shards)?;
        let lock = WriterLock::acquire(&path, Access::Exclusive, when_locked)?;
        restore_or_remove_old(&lock, &path)?;
        // A shard may have been written meanwhile, or moved back with the old cache.
        check_replaceable(&path, shards)?;
        Ok(Self { path, lock, shards, _whole_cache: None })
    }

    /// Moves the cache, with its shards, back to `path`, if a writer was killed between the two renames that replace a
    /// cache where folders cannot be exchanged.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn restore(path: &Path) -> Result<(), CacheError> {
        if was_moved_away(&link_target(path).unwrap_or_else(|| path.to_owned())) {
            Self::open_merge(path, WhenLocked::Fail)?;
        }
        Ok(())
    }

    /// Becomes the writer of one shard of the cache at `cache`. Other shards can be written at the same time, the cache
    /// itself cannot.
    ///
    /// # Errors
    /// As [`Self::open`], and when there are shards of another count.
    pub fn open_shard(cache: &Path, shard: Shard, when_locked: WhenLocked<'_>) -> Result<Self, CacheError> {
        let cache = resolve(cache)?;
        Self::restore(&cache)?;
        check_replaceable(&cache, UnmergedShards::Allow)?;
        let lock = WriterLock::acquire(&cache, Access::Shared, when_locked)?;
        let whole_cache = SharedCache { path: cache.clone(), lock };
        for (found, _) in ShardState::list(&cache)? {
            if found.count() != shard.count() {
                return Err(CacheError::OtherShards { path: Shard::all_folders(&cache), this: shard, found });
            }
        }
        let path = shard.folder(&cache);
        check_replaceable(&path, UnmergedShards::Refuse)?;
        let lock = WriterLock::acquire(&path, Access::Exclusive, when_locked)?;
        restore_or_remove_old(&lock, &path)?;
        Ok(Self { path, lock, shards: UnmergedShards::Refuse, _whole_cache: Some(whole_cache) })
    }

    /// The cache's folder, with symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an unfinished run with this fingerprint has left a journal.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn has_journal(&self, fingerprint: &Fingerprint, columns: NonZeroUsize) -> Result<bool, CacheError> {
        Journal::is_of(&self.journal_path(), fingerprint, columns)
    }

    /// Opens the journal: the rows that unfinished runs with this fingerprint have computed.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn journal(&self, fingerprint: &Fingerprint, columns: NonZeroUsize) -> Result<Journal, CacheError> {
        Journal::open(&self.journal_path(), fingerprint, columns)
    }

    /// Writes the new cache, replaces the old one by it in one step, and ends the run.
    ///
    /// # Errors
    /// When a row is missing, the classes make too long a manifest, or a file cannot be written: the old cache and the
    /// journal stay as they are. When the old cache or the journal cannot be removed afterwards: the new cache is in
    /// place.
    pub fn publish(
        self,
        contents: &CacheContents,
        columns: NonZeroUsize,
        hashes: &Hashes,
        rows: &RowSource<'_>,
    ) -> Result<(), CacheError> {
        let next = self.create_next()?;
        let mut splits = BTreeMap::new();
        for (&name, split) in &contents.splits {
            let views = contents.views.as_ref().filter(|_| name.is_training());
            splits.insert(name, write_split(&next.join(name.name()), split, views, columns, rows)?);
        }
        write_file(&next.join(HASHES), &hashes.to_bytes())?;
        let (fingerprint, views) = (contents.fingerprint.clone(), contents.views.clone());
        let manifest = Manifest::new(fingerprint, views, columns, contents.classes.clone(), splits);
        self.replace_cache(&next, manifest)
    }

    /// An empty folder for the new cache.
    pub(crate) fn create_next(&self) -> Result<PathBuf, CacheError> {
        check_replaceable(&self.path, self.shards)?;
        // An earlier run may have been killed while it wrote here.
        let next = self.lock.folder().join(NEXT);
        remove_cache(&next)?;
        fs::create_dir(&next).context("create", &next)?;
        Ok(next)
    }

    /// Completes the new cache, in which only the manifest is missing, replaces the old one by it, and ends the run.
    pub(crate) fn replace_cache(self, next: &Path, manifest: Result<Manifest, Damage>) -> Result<(), CacheError> {
        // The manifest holds the digests of all other files, so it is written last.
        let path = next.join(MANIFEST);
        let json = manifest.and_then(|manifest| manifest.to_json());
        let json = json.map_err(|damage| CacheError::Damaged { path: path.clone(), damage })?;
        let (bytes, max) = (json.len() as u64, MANIFEST_MAX_BYTES);
        if bytes > max {
            return Err(CacheError::ManifestTooLong { path: self.path.clone(), bytes, max });
        }
        write_file(&path, &json)?;
        sync_folder(next).context("write", next)?;

        // Everything is on the disk: from here on readers see the new cache.
        swap(next, &self.path)?;
        self.finish()
    }

    /// Replaces hashes.csv, in a cache that is otherwise up to date.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_hashes(&self, hashes: &Hashes) -> Result<(), CacheError> {
        // The temporary file is in the working folder: a crash must not leave a foreign file in the cache.
        let (hidden, path) = (self.lock.folder().join(HASHES), self.path.join(HASHES));
        let table = hashes.to_bytes();
        write_then_rename(&hidden, &path, Durability::Synced, |file| file.write_all(&table)).context("replace", &path)
    }

    /// Writes the shard's record next to the shard's folder; only for a writer of [`Self::open_shard`]. It describes
    /// the shard that this run will publish: while the working folder exists, the shard counts as unfinished.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_record(&self, record: &ShardRecord) -> Result<(), CacheError> {
        let (hidden, path) = (self.lock.folder().join(RECORD), Shard::record_of_folder(&self.path));
        let write = |file: &mut dyn Write| Ok(serde_json::to_writer_pretty(file, record)?);
        write_then_rename(&hidden, &path, Durability::Synced, write).context("replace", &path)
    }

    /// The marker of the photo that is being computed.
    ///
    /// # Errors
    /// When its file cannot be read or written.
    pub fn marker(&self) -> Result<PhotoMarker, CacheError> {
        PhotoMarker::open(&self.marker_path())
    }

    /// Ends the run: removes the journal, the replaced cache and the working folder.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn finish(self) -> Result<(), CacheError> {
        let folder = self.lock.folder();
        for file in [self.journal_path(), self.marker_path(), folder.join(HASHES), folder.join(RECORD)] {
            if file.exists() {
                fs::remove_file(&file).context("remove", &file)?;
            }
        }
        for replaced in [NEXT, OLD] {
            remove_cache(&folder.join(replaced))?;
        }
        // Nothing but the lock is left in the working folder, which is removed with it.
        Ok(())
    }

    fn journal_path(&self) -> PathBuf {
        self.lock.folder().join(ROWS)
    }

    fn marker_path(&self) -> PathBuf {
        self.lock.folder().join("photo")
    }
}

/// Writes a whole cache from rows in memory, each with its key (the photo's blake3, or a view's key), in any order.
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

/// Writes the folder of one split and returns its digests. `views` is given for training splits only. Only the rows of
/// one photo are in memory at a time.
fn write_split(
    folder: &Path,
    split: &SplitContents,
    views: Option<&Views>,
    columns: NonZeroUsize,
    source: &RowSource<'_>,
) -> Result<SplitManifest, CacheError> {
    let view_count = views.map(|views| views.count);
    let mut writer = SplitWriter::create(folder, split.photos.len(), columns, view_count)?;
    let mut row = vec![0f32; columns.get()];
    // (views, columns)
    let mut view_rows = vec![0f32; view_count.map_or(0, NonZeroUsize::get) * columns.get()];
    for photo in &split.photos {
        source.read(&photo.blake3, &mut row)?;
        if let Some(views) = views {
            for (key, view_row) in views.keys(photo.blake3).zip(view_rows.chunks_exact_mut(columns.get())) {
                source.read(&key, view_row)?;
            }
        }
        writer.put(photo, &row, &view_rows)?;
    }
    for photo in &split.skipped {
        writer.put_skipped(photo)?;
    }
    writer.finish()
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let mut file = DurableFile::create(path)?;
    file.put(bytes)?;
    file.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fingerprint::tests::fingerprint;
    use crate::lock::working_folder;
    use crate::replace::swap_by_renames;

    /// A cache of one photo whose row is this number.
    fn write(path: &Path, value: f32) {
        let key = blake3::hash(&value.to_le_bytes());
        let photo = IndexEntry { path: "hat/1.jpg".into(), label: 0, blake3: key };
        let split = SplitContents { photos: vec![photo], skipped: Vec::new() };
        let contents = CacheContents {
            fingerprint: fingerprint(),
            views: None,
            classes: ClassNames::new(vec!["hat".to_owned()]).unwrap(),
            splits: [(Split::All, split)].into(),
        };
        write_cache(path, &contents, NonZeroUsize::MIN, [(key, &[value][..])]).unwrap();
    }

    fn value(path: &Path) -> f32 {
        FeatureCache::open(path).unwrap().split(Split::All).unwrap().row(0).unwrap()[0]
    }

    /// On a file system that cannot exchange folders, killed after each of the steps.
    #[test]
    fn a_kill_between_renames_loses_no_cache_and_leaves_nothing() {
        for (steps, expected) in [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0)] {
            let folder = tempfile::tempdir().unwrap();
            let (cache, working) = (folder.path().join("cache"), folder.path().join(".cache.extract"));
            let (next, old) = (working.join(NEXT), working.join(OLD));
            write(&cache, 1.0);
            fs::create_dir(&working).unwrap();
            write(&next, 2.0);
            match steps {
                0 => {}
                1 => fs::rename(&cache, &old).unwrap(),
                2 => {
                    fs::rename(&cache, &old).unwrap();
                    // Somebody makes a folder where the cache was.
                    fs::create_dir(&cache).unwrap();
                }
                _ => swap_by_renames(&next, &cache).unwrap(),
            }

            CacheWriter::open(&cache, WhenLocked::Fail).unwrap().finish().unwrap();
            assert_eq!(value(&cache), expected);
            write(&cache, 3.0);
            assert_eq!(value(&cache), 3.0);
            assert!(!working.exists(), "{steps}");
        }
    }

    #[test]
    fn a_kill_between_renames_loses_no_shard() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let shard = Shard::new(0, NonZeroUsize::MIN).unwrap();
        let path = shard.folder(&cache);
        write(&path, 1.0);
        fs::create_dir(working_folder(&path)).unwrap();
        fs::rename(&path, working_folder(&path).join(OLD)).unwrap();

        let whole = CacheWriter::open(&cache, WhenLocked::Fail);
        assert!(matches!(whole, Err(CacheError::Unmerged(_))), "{whole:?}");
        CacheWriter::open_shard(&cache, shard, WhenLocked::Fail).unwrap().finish().unwrap();
        assert_eq!(value(&path), 1.0);
        assert!(!working_folder(&path).exists());
    }

    /// The link to the cache then leads nowhere, until the cache is moved back.
    #[test]
    fn a_kill_between_renames_loses_no_cache_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, link) = (folder.path().join("cache"), folder.path().join("link"));
        let working = working_folder(&cache);
        symlink("cache", &link).unwrap();
        for only_restore in [false, true] {
            write(&cache, 1.0);
            fs::create_dir(&working).unwrap();
            fs::rename(&cache, working.join(OLD)).unwrap();
            if only_restore {
                CacheWriter::restore(&link).unwrap();
            } else {
                CacheWriter::open(&link, WhenLocked::Fail).unwrap();
            }
            assert_eq!(value(&cache), 1.0);
            assert!(!working.exists());
        }
    }

    #[test]
    fn a_cache_is_locked_while_a_shard_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let shard = Shard::new(0, NonZeroUsize::MIN).unwrap();
        let writer = CacheWriter::open_shard(&cache, shard, WhenLocked::Fail).unwrap();
        let error = CacheWriter::open(&cache, WhenLocked::Fail).unwrap_err().to_string();
        assert!(error.ends_with("being written by another process, perhaps of one of its shards"), "{error}");
        drop(writer);
        assert!(!cache.exists() && !working_folder(&cache).exists(), "it has written nothing");
        CacheWriter::open(&cache, WhenLocked::Fail).unwrap();
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, link) = (folder.path().join("cache"), folder.path().join("link"));
        symlink("cache", &link).unwrap();
        let error = CacheWriter::open(&link, WhenLocked::Fail).unwrap_err();
        assert!(matches!(&error, CacheError::DanglingLink { target, .. } if target.ends_with("cache")), "{error}");
        assert!(link.is_symlink() && !working_folder(&link).exists());

        // When links were replaced, they were left here.
        fs::create_dir(working_folder(&cache)).unwrap();
        fs::rename(&link, working_folder(&cache).join(NEXT)).unwrap();
        write(&cache, 1.0);
        assert!(!working_folder(&cache).exists());
    }

    #[test]
    fn a_manifest_that_is_too_long_to_be_read_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        write(&cache, 1.0);
        let names = (0..300_000).map(|number| format!("{number:060}")).collect();
        let contents = CacheContents {
            fingerprint: fingerprint(),
            views: None,
            classes: ClassNames::new(names).unwrap(),
            splits: BTreeMap::new(),
        };
        let error = write_cache(&cache, &contents, NonZeroUsize::MIN, []).unwrap_err();
        assert!(matches!(error, CacheError::ManifestTooLong { .. }), "{error}");
        assert_eq!(value(&cache), 1.0);
    }

    #[test]
    fn the_first_cache_needs_no_exchange() {
        let folder = tempfile::tempdir().unwrap();
        let (next, cache) = (folder.path().join(NEXT), folder.path().join("cache"));
        write(&next, 1.0);
        swap_by_renames(&next, &cache).unwrap();
        assert_eq!(value(&cache), 1.0);
    }
}
