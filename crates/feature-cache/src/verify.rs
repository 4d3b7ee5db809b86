//! Verifying a cache: every byte against the manifest, every row against what a row must be.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cache::{FeatureCache, open_split};
use crate::cache_folder::{CacheFolder, is_absent};
use crate::damage::Damage;
use crate::durable::FileDigest;
use crate::error::{CacheError, IoContext};
use crate::hashes::{HASHES_MAX_BYTES, read_hashes};
use crate::index::IndexEntry;
use crate::manifest::{FEATURES, HASHES, MANIFEST, Manifest, SplitManifest, VIEWS};
use crate::shard::SHARDS;
use crate::split::Split;

/// A damaged, missing or unexpected file.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
}

/// The same photo in more than one split: a head may be evaluated on a photo that it was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPhoto {
    /// All paths of the photo, in the order of the splits and their rows.
    pub paths: Vec<(Split, PathBuf)>,
}

/// How often verifying is tried if the cache is replaced meanwhile.
const MAX_TRIES: usize = 10;

/// Reads every file that the manifest of the cache at `path` names, and hashes.csv, and lists what is wrong: lengths,
/// digests, headers, labels, the index against the labels, values that are not finite, files that are missing or
/// unexpected. Shards in the cache's folder are not read. If the manifest is damaged, nothing else is checked.
///
/// # Errors
/// If there is no cache, it has another version, a file cannot be read at all, or the cache is replaced again and again
/// meanwhile.
pub fn verify(path: &Path) -> Result<Vec<Finding>, CacheError> {
    for _ in 0..MAX_TRIES {
        let folder = CacheFolder::open(path)?;
        let findings = verify_folder(&folder);
        // If it was replaced, its writer may have removed files meanwhile: that they are missing is no damage.
        if !folder.was_replaced() {
            return findings;
        }
    }
    Err(CacheError::ReplacedTooOften { path: path.to_owned(), tries: MAX_TRIES })
}

fn verify_folder(folder: &CacheFolder) -> Result<Vec<Finding>, CacheError> {
    let mut findings = Findings::default();
    let Some(manifest) = findings.record(Manifest::read(folder))? else { return Ok(findings.list) };
    for (&split, split_manifest) in &manifest.splits {
        // The content of a file is worth checking only if its bytes are the ones that were written.
        if findings.check_digests(folder, split, split_manifest)? {
            findings.check_rows(folder, &manifest, split, split_manifest)?;
        }
    }
    match folder.read_file(Path::new(HASHES), HASHES_MAX_BYTES) {
        // Only the next extraction needs it, and can do without.
        Err(CacheError::Damaged { damage: Damage::Missing, .. }) => {}
        bytes => {
            let read = bytes.and_then(|bytes| {
                let read = read_hashes(&bytes).and_then(|mut photos| photos.try_for_each(|photo| photo.map(drop)));
                read.map_err(|damage| CacheError::Damaged { path: folder.path().join(HASHES), damage })
            });
            findings.record(read)?;
        }
    }
    findings.check_no_other_files(folder, &manifest)?;
    Ok(findings.list)
}

impl FeatureCache {
    /// Reads every file of the splits and compares it with its digest. Only for the writer, before rows are copied to
    /// another cache: the files are those that are at the path now.
    ///
    /// # Errors
    /// At the first file that has changed since it was written.
    pub fn check_digests(&self) -> Result<(), CacheError> {
        let folder = CacheFolder::open(self.path())?;
        for (split, split_manifest) in &self.manifest().splits {
            for (name, digest) in split_manifest.files.iter() {
                check_digest(&folder, &Path::new(split.name()).join(name), digest)?;
            }
        }
        Ok(())
    }
}

/// The photos whose bytes are in more than one split, each once, in the order in which they are first given.
pub fn photos_in_two_splits<'a>(photos: impl IntoIterator<Item = (Split, &'a IndexEntry)>) -> Vec<SharedPhoto> {
    // All paths of each photo, the photos in the order in which they are first given.
    let mut paths_of_photos: Vec<Vec<(Split, PathBuf)>> = Vec::new();
    let mut number_of_photo = HashMap::new();
    for (split, photo) in photos {
        let number = *number_of_photo.entry(photo.blake3).or_insert(paths_of_photos.len());
        if number == paths_of_photos.len() {
            paths_of_photos.push(Vec::new());
        }
        paths_of_photos[number].push((split, photo.path.clone()));
    }

    let mut shared = Vec::new();
    for paths in paths_of_photos {
        let first_split = paths[0].0;
        if paths.iter().any(|(split, _)| *split != first_split) {
            shared.push(SharedPhoto { paths });
        }
    }
    shared
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Turns the error of a damaged file into a finding; any other error is returned.
    fn record<T>(&mut self, result: Result<T, CacheError>) -> Result<Option<T>, CacheError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(CacheError::Damaged { path: file, damage }) => {
                self.list.push(Finding { file, damage });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Checks the lengths and digests of a split's files; returns whether all are right.
    fn check_digests(
        &mut self,
        folder: &CacheFolder,
        split: Split,
        split_manifest: &SplitManifest,
    ) -> Result<bool, CacheError> {
        let before = self.list.len();
        for (name, digest) in split_manifest.files.iter() {
            self.record(check_digest(folder, &Path::new(split.name()).join(name), digest))?;
        }
        Ok(self.list.len() == before)
    }

    /// Checks the content of a split's files.
    fn check_rows(
        &mut self,
        folder: &CacheFolder,
        manifest: &Manifest,
        split: Split,
        split_manifest: &SplitManifest,
    ) -> Result<(), CacheError> {
        let Some(rows) = self.record(open_split(folder, manifest, split, split_manifest))? else { return Ok(()) };
        self.record(rows.index())?;
        self.record(rows.skipped())?;
        let folder = folder.path().join(split.name());
        if let Some(row) = first_not_finite(rows.iter_rows()) {
            self.list.push(Finding { file: folder.join(FEATURES), damage: Damage::NotFinite(row) });
        }
        if let Some(row) = first_not_finite(rows.views_by_row()) {
            self.list.push(Finding { file: folder.join(VIEWS), damage: Damage::NotFinite(row) });
        }
        Ok(())
    }

    /// Looks for files that the manifest does not name.
    fn check_no_other_files(&mut self, folder: &CacheFolder, manifest: &Manifest) -> Result<(), CacheError> {
        let path = folder.path();
        for name in folder.names(".".as_ref()).context("read", path)? {
            let split = Split::EVERY.into_iter().find(|split| name == split.name());
            if let Some(split_manifest) = split.and_then(|split| manifest.splits.get(&split)) {
                let split_path = path.join(&name);
                let files = match folder.names(name.as_ref()) {
                    Err(error) if is_absent(&error) => {
                        self.list.push(Finding { file: split_path, damage: Damage::NotA("folder") });
                        continue;
                    }
                    files => files.context("read", &split_path)?,
                };
                for file in files {
                    let is_known = split_manifest.files.iter().any(|(known, _)| known == file);
                    if !is_known {
                        self.list.push(Finding { file: split_path.join(file), damage: Damage::Unexpected });
                    }
                }
            } else if name != MANIFEST && name != HASHES && name != SHARDS {
                self.list.push(Finding { file: path.join(name), damage: Damage::Unexpected });
            }
        }
        Ok(())
    }
}

/// The number of the first row with a value that is infinite or not a number.
fn first_not_finite<'a>(mut rows: impl Iterator<Item = &'a [f32]>) -> Option<usize> {
    rows.position(|row| row.iter().any(|value| !value.is_finite()))
}

/// Checks the length of a file first, since that is cheap, and then the digest. `name` is its path in the folder.
fn check_digest(folder: &CacheFolder, name: &Path, expected: &FileDigest) -> Result<(), CacheError> {
    let path = folder.path().join(name);
    let damaged = |damage| Err(CacheError::Damaged { path: path.clone(), damage });
    let file = folder.open_file(name)?;
    let found = file.metadata().context("read", &path)?.len();
    if found != expected.bytes {
        return damaged(Damage::Length { expected: expected.bytes, found });
    }
    let found = hash_file(file).context("read", &path)?.to_hex();
    if found.as_str() != expected.blake3 {
        return damaged(Damage::Digest { expected: expected.blake3.clone(), found: found.to_string() });
    }
    Ok(())
}

/// The blake3 hash of a file. It is read, not mapped: a sector that cannot be read is then an error, not a signal.
fn hash_file(mut file: File) -> io::Result<blake3::Hash> {
    const BLOCK: u64 = 16 << 20;
    let mut hasher = blake3::Hasher::new();
    let mut block = Vec::new();
    while file.by_ref().take(BLOCK).read_to_end(&mut block)? > 0 {
        hasher.update_rayon(&block);
        block.clear();
    }
    Ok(hasher.finalize())
}
