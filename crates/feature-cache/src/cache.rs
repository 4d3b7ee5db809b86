//! Reading a cache.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};
use ndarray::ArrayView2;

use crate::class_names::ClassNames;
use crate::damage::{Damage, LineProblem};
use crate::durable::FileDigest;
use crate::error::{CacheError, IoContext};
use crate::fingerprint::Fingerprint;
use crate::hashes::Hashes;
use crate::index::{IndexEntry, SkippedPhoto, read_index, read_skipped};
use crate::manifest::{FEATURES, HASHES, INDEX, LABELS, Manifest, SKIPPED, SplitManifest, VIEWS, is_absent};
use crate::npy::NpyArray;
use crate::split::Split;
use crate::views::Views;

/// How often an opening that met an update starts anew. Each time takes a whole new cache written meanwhile.
const MOST_TRIES: usize = 100;

/// A complete cache, as it was at one moment: later updates do not touch it.
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
    features: Floats,
    views: Option<Floats>,
    labels: Vec<i64>,
    index: Table,
    skipped: Option<Table>,
}

/// An array of float32, mapped from its file.
#[derive(Debug)]
struct Floats {
    file: Mmap,
    header: usize,
    /// How many values belong to a row of the split.
    of_row: usize,
}

/// A file of text, opened with the rest and read when it is asked for.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    bytes: Mmap,
}

impl FeatureCache {
    /// Opens the cache in the folder `path`: manifest, headers, lengths and labels are checked, the features are
    /// mapped and not read.
    ///
    /// # Errors
    /// When there is no cache, it follows another version of the format, or a file is not what the manifest says.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let mut tries = 1;
        loop {
            let (manifest, json) = Manifest::read(path)?;
            let opened = open_splits(path, &manifest);
            // A writer swaps whole folders: the same manifest before and after means that all between was one cache.
            let unmoved = Manifest::read(path).is_ok_and(|(_, now)| now == json);
            if unmoved || tries == MOST_TRIES {
                return Ok(Self { path: path.to_owned(), manifest, splits: opened? });
            }
            tries += 1;
        }
    }

    /// The folder it was opened from.
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

    /// The augmented views of the photos that heads learn from, if there are any.
    pub fn views(&self) -> Option<&Views> {
        self.manifest.views.as_ref()
    }

    /// The manifest's checksum, in hexadecimal: equal for caches with the same rows, views, labels and paths.
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

    /// The splits it has.
    pub fn splits(&self) -> impl Iterator<Item = (Split, &CachedSplit)> {
        self.splits.iter().map(|(&split, rows)| (split, rows))
    }

    /// What is known of the photos' sizes and times, read when it is asked for: only the writer of the cache wants it.
    pub fn hashes(&self) -> Hashes {
        Hashes::load(&self.path.join(HASHES))
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl CachedSplit {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows, (rows, columns), mapped from the file: the operating system reads what is looked at.
    pub fn features(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.rows, self.features.of_row), self.features.values())
            .unwrap_or_else(|_| ArrayView2::from(&[[]; 0]))
    }

    /// Every row, from the first to the last.
    pub fn each_row(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.features.rows()
    }

    /// Every row's augmented views, from the first row to the last: those of a row one behind the other, in the order of
    /// their numbers. Nothing when the split has none.
    pub fn each_rows_views(&self) -> impl Iterator<Item = &[f32]> {
        self.views.iter().flat_map(Floats::rows)
    }

    /// Gives back the memory that the rows looked at so far take in this process. They stay readable: the operating
    /// system maps them again, from its own cache or from the disk.
    pub fn release(&self) {
        self.features.release();
        self.views.iter().for_each(Floats::release);
    }

    /// One row; none beyond the last.
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        self.features.rows().nth(row)
    }

    /// Every row's class index, from 0 to the number of classes.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Every row's photo.
    ///
    /// # Errors
    /// When index.csv is damaged or does not belong to the labels.
    pub fn index(&self) -> Result<Vec<IndexEntry>, CacheError> {
        let damaged = |damage| CacheError::Damaged { path: self.index.path.clone(), damage };
        let index = read_index(&self.index.bytes).map_err(damaged)?;
        if index.len() != self.rows {
            return Err(damaged(Damage::Rows { expected: self.rows, found: index.len() }));
        }
        for ((entry, &expected), line) in index.iter().zip(&self.labels).zip(2..) {
            if entry.label != expected {
                let problem = LineProblem::Label { expected, found: entry.label };
                return Err(damaged(Damage::Line { line, problem }));
            }
        }
        Ok(index)
    }

    /// The photos that have no row.
    ///
    /// # Errors
    /// When skipped.csv is damaged.
    pub fn skipped(&self) -> Result<Vec<SkippedPhoto>, CacheError> {
        let Some(table) = &self.skipped else { return Ok(Vec::new()) };
        read_skipped(&table.bytes).map_err(|damage| CacheError::Damaged { path: table.path.clone(), damage })
    }
}

impl Floats {
    /// Maps the file, which must be exactly this array.
    fn open(file: Table, array: NpyArray) -> Result<Self, CacheError> {
        check_array(&file, array)?;
        Ok(Self { file: file.bytes, header: array.header().len(), of_row: array.of_row() })
    }

    /// All values. The map was checked on opening: behind the header, whose length is a multiple of 64, it holds whole
    /// floats, so the cast cannot fail.
    fn values(&self) -> &[f32] {
        bytemuck::try_cast_slice(&self.file[self.header..]).unwrap_or(&[])
    }

    /// The values of each row.
    fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values().chunks_exact(self.of_row)
    }

    fn release(&self) {
        #[allow(unsafe_code)]
        // SAFETY: the map is shared and read-only, so there is nothing of ours in its pages that could be lost.
        let released = unsafe { self.file.unchecked_advise(UncheckedAdvice::DontNeed) };
        // Advice that is not taken costs memory and nothing else.
        drop(released);
    }
}

fn open_splits(folder: &Path, manifest: &Manifest) -> Result<BTreeMap<Split, CachedSplit>, CacheError> {
    let open =
        |(&split, of_split): (&Split, &SplitManifest)| Ok((split, open_split(folder, manifest, split, of_split)?));
    manifest.splits.iter().map(open).collect()
}

pub(crate) fn open_split(
    cache: &Path,
    manifest: &Manifest,
    name: Split,
    split: &SplitManifest,
) -> Result<CachedSplit, CacheError> {
    let folder = cache.join(name.name());
    let map = |name: &str, digest: &FileDigest| {
        let path = folder.join(name);
        Ok(Table { bytes: map_file(&path, digest)?, path })
    };
    let features = Floats::open(map(FEATURES, &split.files.features)?, manifest.features(split))?;
    let views = match (manifest.views(name, split), &split.files.views) {
        (Some(array), Some(digest)) => Some(Floats::open(map(VIEWS, digest)?, array)?),
        (None, None) => None,
        (Some(_), None) => return Err(CacheError::Damaged { path: folder.join(VIEWS), damage: Damage::Missing }),
        (None, Some(_)) => return Err(CacheError::Damaged { path: folder.join(VIEWS), damage: Damage::Unexpected }),
    };
    let labels = map(LABELS, &split.files.labels)?;
    check_array(&labels, Manifest::labels(split))?;
    Ok(CachedSplit {
        rows: split.rows,
        features,
        views,
        labels: read_labels(&labels, split, manifest.class_indices.len())?,
        index: map(INDEX, &split.files.index)?,
        skipped: split.files.skipped.as_ref().map(|digest| map(SKIPPED, digest)).transpose()?,
    })
}

/// Maps a file whose length is the one in the manifest.
fn map_file(path: &Path, digest: &FileDigest) -> Result<Mmap, CacheError> {
    let damaged = |damage| CacheError::Damaged { path: path.to_owned(), damage };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Err(damaged(Damage::Missing)),
        Err(error) => return Err(error).context("open", path),
    };
    let found = file.metadata().context("read", path)?.len();
    if found != digest.bytes {
        return Err(damaged(Damage::Length { expected: digest.bytes, found }));
    }
    #[allow(unsafe_code)]
    // SAFETY: the files of a cache are written once, before the cache appears under its name, and never changed in
    // place; updates swap the folder, and the map keeps the old file alive.
    let bytes = unsafe { Mmap::map(&file) };
    bytes.context("map", path)
}

/// The file is exactly this array: header and length.
fn check_array(file: &Table, array: NpyArray) -> Result<(), CacheError> {
    let damaged = |damage| Err(CacheError::Damaged { path: file.path.clone(), damage });
    let header = array.header();
    if !file.bytes.starts_with(&header) {
        let found = String::from_utf8_lossy(file.bytes.get(10..).unwrap_or_default());
        let found = found.lines().next().unwrap_or_default().trim().chars().take(120).collect();
        return damaged(Damage::Header { expected: array.to_string(), found });
    }
    let found = file.bytes.len() as u64;
    match array.file_bytes() {
        Some(expected) if expected == found => Ok(()),
        expected => damaged(Damage::Length { expected: expected.unwrap_or(u64::MAX), found }),
    }
}

fn read_labels(file: &Table, split: &SplitManifest, classes: usize) -> Result<Vec<i64>, CacheError> {
    let values = &file.bytes[Manifest::labels(split).header().len()..];
    let labels: Vec<i64> = values.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
    match labels.iter().position(|label| !(0..classes as i64).contains(label)) {
        None => Ok(labels),
        Some(row) => {
            let damage = Damage::Label { row, label: labels[row], classes };
            Err(CacheError::Damaged { path: file.path.clone(), damage })
        }
    }
}

/// Whether a folder is what a cache may take the place of: absent, empty, or a cache and nothing else.
///
/// # Errors
/// [`CacheError::Foreign`] names the first thing that would be lost.
pub(crate) fn check_replaceable(path: &Path) -> Result<(), CacheError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("open", path),
    };
    for entry in entries {
        let entry = entry.context("read", path)?;
        let name = entry.file_name();
        let folder = entry.file_type().context("read", path)?.is_dir();
        let split = Split::EVERY.iter().any(|split| name == split.name());
        match folder {
            true if split => check_files(&entry.path(), &[FEATURES, VIEWS, LABELS, INDEX, SKIPPED])?,
            false if name == crate::manifest::MANIFEST || name == HASHES => {}
            _ => return Err(CacheError::Foreign(entry.path())),
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
