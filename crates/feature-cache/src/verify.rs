//! Every byte of a cache against its manifest, and every row against what a row must be.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::cache::{FeatureCache, open_split};
use crate::damage::Damage;
use crate::durable::FileDigest;
use crate::error::{CacheError, IoContext};
use crate::hashes::read_hashes;
use crate::index::IndexEntry;
use crate::manifest::{FEATURES, HASHES, MANIFEST, Manifest, SplitManifest, VIEWS};
use crate::split::Split;

/// A file that is not what it should be.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
}

/// The same picture in more than one split: what is learnt from it is also judged by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPhoto {
    /// Every place it is in, in the order of the splits and their rows.
    pub places: Vec<(Split, PathBuf)>,
}

/// Reads every file of the cache at `path` and lists what is wrong: lengths, digests, headers, labels, the index
/// against the labels, values that are not finite, files that are missing or too many.
///
/// # Errors
/// When there is no cache, it follows another version, or a file cannot be read at all.
pub fn verify(path: &Path) -> Result<Vec<Finding>, CacheError> {
    let mut findings = Findings::default();
    let Some((manifest, _)) = findings.note(Manifest::read(path))? else { return Ok(findings.0) };
    for (split, of_split) in &manifest.splits {
        if findings.digests(&path.join(split.name()), of_split)? {
            findings.rows(path, &manifest, *split, of_split)?;
        }
    }
    let hashes = path.join(HASHES);
    if hashes.exists() {
        let bytes = fs::read(&hashes).context("read", &hashes)?;
        findings.note(read_hashes(&bytes).map_err(|damage| CacheError::Damaged { path: hashes, damage }))?;
    }
    findings.unexpected(path, &manifest)?;
    Ok(findings.0)
}

impl FeatureCache {
    /// Reads every file that rows are taken from, and compares it with its digest: before rows are handed on to another
    /// cache.
    ///
    /// # Errors
    /// At the first file that is not the one that was written.
    pub fn check_digests(&self) -> Result<(), CacheError> {
        for (split, of_split) in &self.manifest().splits {
            for (name, digest) in of_split.files.each() {
                check_digest(&self.path().join(split.name()).join(name), digest)?;
            }
        }
        Ok(())
    }
}

/// The photos whose bytes are in more than one split, each once, in the order given.
pub fn photos_in_two_splits<'a>(photos: impl IntoIterator<Item = (Split, &'a IndexEntry)>) -> Vec<SharedPhoto> {
    let mut first_seen = HashMap::new();
    let mut places: BTreeMap<usize, Vec<(Split, PathBuf)>> = BTreeMap::new();
    for (order, (split, photo)) in photos.into_iter().enumerate() {
        let first = *first_seen.entry(photo.blake3).or_insert(order);
        places.entry(first).or_default().push((split, photo.path.clone()));
    }
    let in_two = |places: &Vec<(Split, PathBuf)>| places.iter().any(|(split, _)| *split != places[0].0);
    places.into_values().filter(in_two).map(|places| SharedPhoto { places }).collect()
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    /// A damaged file becomes a finding, any other error stays one.
    fn note<T>(&mut self, result: Result<T, CacheError>) -> Result<Option<T>, CacheError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(CacheError::Damaged { path: file, damage }) => {
                self.0.push(Finding { file, damage });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Lengths and digests of a split's files; whether all are right.
    fn digests(&mut self, folder: &Path, split: &SplitManifest) -> Result<bool, CacheError> {
        let before = self.0.len();
        for (name, digest) in split.files.each() {
            self.note(check_digest(&folder.join(name), digest))?;
        }
        Ok(self.0.len() == before)
    }

    /// What the files of a split say, once their bytes are the ones that were written.
    fn rows(&mut self, path: &Path, manifest: &Manifest, name: Split, split: &SplitManifest) -> Result<(), CacheError> {
        let Some(rows) = self.note(open_split(path, manifest, name, split))? else { return Ok(()) };
        self.note(rows.index())?;
        self.note(rows.skipped())?;
        let folder = path.join(name.name());
        let features = (FEATURES, first_not_finite(rows.each_row()));
        let views = (VIEWS, first_not_finite(rows.each_rows_views()));
        for (file, row) in [features, views] {
            self.0.extend(row.map(|row| Finding { file: folder.join(file), damage: Damage::NotFinite(row) }));
        }
        Ok(())
    }

    /// Files that the manifest does not name.
    fn unexpected(&mut self, path: &Path, manifest: &Manifest) -> Result<(), CacheError> {
        for name in names(path)? {
            let split = Split::EVERY.into_iter().find(|split| name == split.name());
            match split.and_then(|split| manifest.splits.get(&split)) {
                Some(split) => {
                    let folder = path.join(&name);
                    for file in
                        names(&folder)?.into_iter().filter(|file| split.files.each().all(|(name, _)| name != file))
                    {
                        self.0.push(Finding { file: folder.join(file), damage: Damage::Unexpected });
                    }
                }
                None if name == MANIFEST || name == HASHES => {}
                None => self.0.push(Finding { file: path.join(name), damage: Damage::Unexpected }),
            }
        }
        Ok(())
    }
}

fn first_not_finite<'a>(mut rows: impl Iterator<Item = &'a [f32]>) -> Option<usize> {
    rows.position(|row| row.iter().any(|value| !value.is_finite()))
}

/// The names in a folder, sorted; none when it is missing, which is a finding of its own.
fn names(folder: &Path) -> Result<Vec<String>, CacheError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("open", folder)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.context("read", folder)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn check_digest(path: &Path, expected: &FileDigest) -> Result<(), CacheError> {
    let damaged = |damage| Err(CacheError::Damaged { path: path.to_owned(), damage });
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return damaged(Damage::Missing),
        metadata => metadata.context("read", path)?.len(),
    };
    if found != expected.bytes {
        return damaged(Damage::Length { expected: expected.bytes, found });
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path).context("read", path)?;
    let found = hasher.finalize().to_hex();
    if found.as_str() != expected.blake3 {
        return damaged(Damage::Digest { expected: expected.blake3.clone(), found: found.to_string() });
    }
    Ok(())
}
