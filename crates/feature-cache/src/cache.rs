//! Reading a cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use memmap2::{Mmap, UncheckedAdvice};
use ndarray::ArrayView2;

use crate::cache_folder::CacheFolder;
use crate::class_names::ClassNames;
use crate::damage::{Damage, LineProblem};
use crate::durable::FileDigest;
use crate::error::{CacheError, IoContext};
use crate::fingerprint::Fingerprint;
use crate::hashes::Hashes;
use crate::index::{IndexEntry, SkippedPhoto, read_index, read_skipped};
use crate::manifest::{FEATURES, HASHES, INDEX, LABELS, Manifest, SKIPPED, SplitManifest, VIEWS};
use crate::npy::NpyLayout;
use crate::split::Split;
use crate::table::Records;
use crate::views::Views;

/// How often opening is tried if the cache is replaced meanwhile. Each further try needs another cache to be published
/// in the milliseconds that opening takes.
const MAX_TRIES: usize = 100;

/// An open cache, as it was when it was opened: later updates do not change it. The exception is hashes.csv, which is
/// read from the folder whenever it is asked for.
#[derive(Debug)]
pub struct FeatureCache {
    path: PathBuf,
    manifest: Manifest,
    splits: BTreeMap<Split, CachedSplit>,
}

/// The rows of one split.
#[derive(Debug)]
pub struct CachedSplit {
    rows: usize,
    features: MappedRows,
    views: Option<MappedRows>,
    labels: Vec<i64>,
    index_file: MappedFile,
    /// The entries of `index_file`, parsed when they are first asked for.
    index: OnceLock<Vec<IndexEntry>>,
    skipped: Option<MappedFile>,
}

/// A mapped array of float32 whose first axis is the split's rows.
#[derive(Debug)]
struct MappedRows {
    bytes: Mmap,
    header_bytes: usize,
    /// Values per row: the product of the other axes, never 0.
    row_length: usize,
}

/// The entries of a split's index.csv, read one by one. After an error it must not be used any more.
struct IndexEntries<'a> {
    split: &'a CachedSplit,
    records: Records<'a, IndexEntry, 4>,
    row: usize,
}

/// A mapped file whose content has not been parsed yet.
#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    bytes: Mmap,
}

impl FeatureCache {
    /// Opens the cache in the folder `path`: manifest, headers, lengths and labels are checked, the features are
    /// mapped and not read. If a writer replaces the cache meanwhile, the result is the old cache or the new one.
    ///
    /// # Errors
    /// If there is no cache, it has another version of the format, or a file is not what the manifest says.
    /// [`CacheError::ReplacedTooOften`] if every try was interrupted by a writer.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        for _ in 0..MAX_TRIES {
            let folder = CacheFolder::open(path)?;
            let opened = Self::open_folder(&folder);
            // A writer removes the cache that it has replaced. What fails because of that is no damage.
            if opened.is_ok() || !folder.was_replaced() {
                return opened;
            }
        }
        Err(CacheError::ReplacedTooOften { path: path.to_owned(), tries: MAX_TRIES })
    }

    /// Opens the cache in this folder, whatever is at the folder's path now.
    fn open_folder(folder: &CacheFolder) -> Result<Self, CacheError> {
        let manifest = Manifest::read(folder)?;
        let mut splits = BTreeMap::new();
        for (&split, split_manifest) in &manifest.splits {
            splits.insert(split, open_split(folder, &manifest, split, split_manifest)?);
        }
        Ok(Self { path: folder.path().to_owned(), manifest, splits })
    }

    /// The cache's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The classes; a label is an index into them.
    pub fn classes(&self) -> &ClassNames {
        &self.manifest.class_indices
    }

    /// What the rows depend on.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.manifest.fingerprint
    }

    /// The augmented views of the training photos, if there are any.
    pub fn views(&self) -> Option<&Views> {
        self.manifest.views.as_ref()
    }

    /// The manifest's checksum, in hexadecimal: equal for caches with the same fingerprint, classes, rows, views, index
    /// and skipped photos.
    pub fn digest(&self) -> &str {
        &self.manifest.checksum
    }

    /// The length of a row.
    pub fn columns(&self) -> usize {
        self.manifest.columns.get()
    }

    /// A split, if the cache has it.
    pub fn split(&self, split: Split) -> Option<&CachedSplit> {
        self.splits.get(&split)
    }

    /// The cache's splits.
    pub fn splits(&self) -> impl Iterator<Item = (Split, &CachedSplit)> {
        self.splits.iter().map(|(&split, rows)| (split, rows))
    }

    /// Releases the memory of the rows that were read so far ([`CachedSplit::release`]).
    pub fn release(&self) {
        for split in self.splits.values() {
            split.release();
        }
    }

    /// Reads hashes.csv: the size and modification time that each photo had when it was hashed. Only the writer of the
    /// cache needs it.
    pub fn hashes(&self) -> Hashes {
        CacheFolder::open(&self.path).map_or_else(|_| Hashes::default(), |folder| Hashes::load(&folder, HASHES))
    }

    /// hashes.csv, mapped, and when it was written; `None` if it is missing.
    pub(crate) fn map_hashes(&self) -> Option<(Mmap, SystemTime)> {
        let file = CacheFolder::open(&self.path).ok()?.open_file(Path::new(HASHES)).ok()?;
        let written = file.metadata().and_then(|metadata| metadata.modified()).ok()?;
        #[allow(unsafe_code)]
        // SAFETY: the file is never changed in place: it is replaced by a rename, and the map keeps the old file alive.
        let bytes = unsafe { Mmap::map(&file) };
        Some((bytes.ok()?, written))
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl CachedSplit {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The features, (rows, columns), mapped from the file: the operating system reads a page when it is first used.
    pub fn features(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.rows, self.features.row_length), self.features.values())
            .expect("the values are those of this shape: checked when the file was opened")
    }

    /// Iterates over the rows in order, (columns,) each.
    pub fn iter_rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.features.rows()
    }

    /// The augmented views of each row in order, (views * columns,) each, in the order of the views' numbers; empty if
    /// the split has no views.
    pub fn views_by_row(&self) -> impl Iterator<Item = &[f32]> {
        self.views.iter().flat_map(MappedRows::rows)
    }

    /// Releases the memory of the rows that were read so far. They stay readable: the operating system maps them again,
    /// from its page cache or from the disk.
    pub fn release(&self) {
        release(&self.features.bytes);
        if let Some(views) = &self.views {
            release(&views.bytes);
        }
        release(&self.index_file.bytes);
    }

    /// The row with this number, (columns,), or `None` beyond the last.
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        self.features.rows().nth(row)
    }

    /// Every row's class index, less than the number of classes.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Every row's photo. The file is parsed once, when this is first called, and its entries stay in memory.
    ///
    /// # Errors
    /// When index.csv is damaged or does not belong to the labels.
    pub fn index(&self) -> Result<&[IndexEntry], CacheError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.index_entries()?.collect::<Result<Vec<_>, _>>()?;
        Ok(self.index.get_or_init(|| index))
    }

    /// Every row's photo, one by one: they do not stay in memory. Where index.csv is damaged or does not belong to the
    /// labels, the iterator gives an error, and must not be used any more.
    ///
    /// # Errors
    /// When index.csv is not a table of such entries.
    pub fn index_entries(&self) -> Result<impl Iterator<Item = Result<IndexEntry, CacheError>>, CacheError> {
        let records = read_index(&self.index_file.bytes).map_err(|damage| self.index_file.damaged(damage))?;
        Ok(IndexEntries { split: self, records, row: 0 })
    }

    /// The photos that have no row.
    ///
    /// # Errors
    /// When skipped.csv is damaged.
    pub fn skipped(&self) -> Result<Vec<SkippedPhoto>, CacheError> {
        let Some(table) = &self.skipped else { return Ok(Vec::new()) };
        let photos = read_skipped(&table.bytes).and_then(Iterator::collect);
        photos.map_err(|damage| table.damaged(damage))
    }
}

impl Iterator for IndexEntries<'_> {
    type Item = Result<IndexEntry, CacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.split.rows;
        let label = self.split.labels.get(self.row).copied();
        let result = match (self.records.next(), label) {
            (None, None) => return None,
            (Some(Err(damage)), _) => Err(damage),
            (Some(Ok(entry)), Some(expected)) if entry.label == expected => Ok(entry),
            (Some(Ok(entry)), Some(expected)) => {
                let problem = LineProblem::Label { expected, found: entry.label };
                // The first line holds the names of the columns.
                Err(Damage::Line { line: self.row as u64 + 2, problem })
            }
            (Some(Ok(_)), None) => {
                Err(Damage::Rows { expected: rows, found: rows + 1 + self.records.by_ref().count() })
            }
            (None, Some(_)) => Err(Damage::Rows { expected: rows, found: self.row }),
        };
        self.row += 1;
        Some(result.map_err(|damage| self.split.index_file.damaged(damage)))
    }
}

impl MappedFile {
    /// Maps the file `name` of the cache.
    ///
    /// # Errors
    /// When it is missing or not a file, or its length is not the one in the manifest.
    fn open(cache: &CacheFolder, name: &Path, digest: &FileDigest) -> Result<Self, CacheError> {
        let (file, path) = (cache.open_file(name)?, cache.path().join(name));
        let found = file.metadata().context("read", &path)?.len();
        if found != digest.bytes {
            return Err(CacheError::Damaged { path, damage: Damage::Length { expected: digest.bytes, found } });
        }
        #[allow(unsafe_code)]
        // SAFETY: the files of a cache are written once, before the cache appears under its name, and never changed in
        // place; updates swap the folder, and the map keeps the old file alive.
        let bytes = unsafe { Mmap::map(&file) };
        Ok(Self { bytes: bytes.context("map", &path)?, path })
    }

    /// The error for damage to this file.
    fn damaged(&self, damage: Damage) -> CacheError {
        CacheError::Damaged { path: self.path.clone(), damage }
    }

    /// Checks that the file has this layout, and returns its rows.
    fn into_rows(self, layout: Result<NpyLayout<f32>, Damage>) -> Result<MappedRows, CacheError> {
        let layout = layout.map_err(|damage| self.damaged(damage))?;
        let values = layout.elements(&self.bytes).map_err(|damage| self.damaged(damage))?;
        let header_bytes = self.bytes.len() - size_of_val(values);
        Ok(MappedRows { bytes: self.bytes, header_bytes, row_length: layout.row_length() })
    }
}

impl MappedRows {
    /// All values.
    fn values(&self) -> &[f32] {
        let values = bytemuck::try_cast_slice(&self.bytes[self.header_bytes..]);
        values.expect("aligned and whole values: checked when the file was opened, and a map does not move")
    }

    /// The values of each row.
    fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values().chunks_exact(self.row_length)
    }
}

/// Releases the memory of a map; the operating system maps its pages again when they are used.
fn release(bytes: &Mmap) {
    #[allow(unsafe_code)]
    // SAFETY: the map is shared and read-only, so its pages hold no changes that could be lost.
    let released = unsafe { bytes.unchecked_advise(UncheckedAdvice::DontNeed) };
    // If the operating system ignores the advice, that only costs memory.
    drop(released);
}

/// Maps the files of one split, and checks their lengths, headers and labels.
///
/// # Errors
/// When a file is missing or not what the manifest says.
pub(crate) fn open_split(
    cache: &CacheFolder,
    manifest: &Manifest,
    split: Split,
    split_manifest: &SplitManifest,
) -> Result<CachedSplit, CacheError> {
    let folder = Path::new(split.name());
    let files = &split_manifest.files;
    let map = |name: &str, digest: &FileDigest| MappedFile::open(cache, &folder.join(name), digest);
    let views_damaged = |damage| CacheError::Damaged { path: cache.path().join(folder).join(VIEWS), damage };

    let features = map(FEATURES, &files.features)?.into_rows(manifest.features_layout(split_manifest))?;
    let views = match (manifest.views_layout(split, split_manifest), &files.views) {
        (Some(layout), Some(digest)) => Some(map(VIEWS, digest)?.into_rows(layout)?),
        (None, None) => None,
        (Some(_), None) => return Err(views_damaged(Damage::Missing)),
        (None, Some(_)) => return Err(views_damaged(Damage::Unexpected)),
    };
    let labels = read_labels(&map(LABELS, &files.labels)?, split_manifest, manifest.class_indices.len())?;
    let index_file = map(INDEX, &files.index)?;
    let skipped = files.skipped.as_ref().map(|digest| map(SKIPPED, digest)).transpose()?;
    Ok(CachedSplit { rows: split_manifest.rows, features, views, labels, index_file, index: OnceLock::new(), skipped })
}

/// Reads labels.npy and checks that each label is the index of a class.
fn read_labels(file: &MappedFile, split_manifest: &SplitManifest, classes: usize) -> Result<Vec<i64>, CacheError> {
    let labels = Manifest::labels_layout(split_manifest).and_then(|layout| Ok(layout.elements(&file.bytes)?.to_vec()));
    let labels = labels.map_err(|damage| file.damaged(damage))?;
    for (row, &label) in labels.iter().enumerate() {
        if !(0..classes as i64).contains(&label) {
            return Err(file.damaged(Damage::Label { row, label, classes }));
        }
    }
    Ok(labels)
}
