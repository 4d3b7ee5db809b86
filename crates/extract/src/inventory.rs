//! The blake3 hash of each photo of the data set, from its file or from the last run's hashes.csv.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use backbone::PhotoError;
use backbone::photo::read_photo;
use backbone::pixels::{Limit, Preprocess};
use feature_cache::{HashedPhoto, Hashes, IndexEntry, Split};
use rayon::prelude::*;

use crate::dataset::{Dataset, LabeledPhoto};

/// The photos of a data set, with the blake3 hash of their bytes.
#[derive(Debug)]
pub struct Inventory {
    splits: BTreeMap<Split, Vec<InventoryPhoto>>,
    /// Number of files that were read to hash them.
    pub hashed: usize,
}

/// A photo with its hash.
#[derive(Debug)]
struct InventoryPhoto {
    photo: LabeledPhoto,
    /// Its size, modification time and hash; an error if it cannot have a row.
    state: Result<HashedPhoto, PhotoError>,
}

/// How photos are read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// How they will be decoded and resized: headers are checked against it.
    pub preprocess: Preprocess,
    /// Hash every file, also those whose size and modification time are known.
    pub rehash: bool,
}

impl Inventory {
    /// Hashes the photos on all threads of the current rayon pool, except those whose size and modification time are
    /// those in `known`. The header of a file that is read is also checked, so that a file that is not a picture is
    /// found before any forward pass. `advance` is called after each photo. `None` if it is cancelled.
    pub fn hash(
        dataset: &Dataset,
        known: &Hashes,
        options: ReadOptions,
        cancel: &AtomicBool,
        advance: impl Fn() + Sync,
    ) -> Option<Self> {
        let hashed = AtomicUsize::new(0);
        let hash_photo = |buffer: &mut Vec<u8>, photo: &LabeledPhoto| {
            if cancel.load(Ordering::Relaxed) {
                return None;
            }
            let state = match known_hash(dataset, photo, known, options) {
                Some(known) => Ok(known),
                None => {
                    hashed.fetch_add(1, Ordering::Relaxed);
                    hash_file(&dataset.root.join(&photo.path), options, buffer)
                }
            };
            advance();
            Some(InventoryPhoto { photo: photo.clone(), state })
        };
        let mut splits = BTreeMap::new();
        for (&split, photos) in &dataset.splits {
            // A buffer for many photos, not one for each.
            let photos: Option<_> = photos.par_iter().map_init(Vec::new, hash_photo).collect();
            splits.insert(split, photos?);
        }
        Some(Self { splits, hashed: hashed.into_inner() })
    }

    /// The index entry of every photo that can have a row, by split, in the order of the rows.
    pub fn entries(&self) -> BTreeMap<Split, Vec<IndexEntry>> {
        let mut splits = BTreeMap::new();
        for (&split, photos) in &self.splits {
            let mut entries = Vec::with_capacity(photos.len());
            for InventoryPhoto { photo, state } in photos {
                if let Ok(state) = state {
                    entries.push(IndexEntry { path: photo.path.clone(), label: photo.label, blake3: state.blake3() });
                }
            }
            splits.insert(split, entries);
        }
        splits
    }

    /// The paths of the photos that cannot have a row, each with the reason.
    pub fn broken(&self) -> BTreeMap<PathBuf, String> {
        let mut broken = BTreeMap::new();
        for InventoryPhoto { photo, state } in self.splits.values().flatten() {
            if let Err(error) = state {
                broken.insert(photo.path.clone(), error.to_string());
            }
        }
        broken
    }

    /// The limits that some of the broken photos exceed.
    pub fn exceeded(&self) -> BTreeSet<Limit> {
        let mut exceeded = BTreeSet::new();
        for InventoryPhoto { state, .. } in self.splits.values().flatten() {
            if let Err(error) = state {
                exceeded.extend(error.limit());
            }
        }
        exceeded
    }

    /// Size, modification time and hash of each photo that can have a row, for the next run.
    pub fn hashes(&self) -> Hashes {
        let mut hashes = Vec::new();
        for InventoryPhoto { photo, state } in self.splits.values().flatten() {
            if let Ok(state) = state {
                hashes.push((photo.path.clone(), *state));
            }
        }
        Hashes::new(hashes)
    }
}

/// The photo's hash from an earlier run, if its size and time have not changed since.
fn known_hash(dataset: &Dataset, photo: &LabeledPhoto, known: &Hashes, options: ReadOptions) -> Option<HashedPhoto> {
    if options.rehash {
        return None;
    }
    let metadata = fs::metadata(dataset.root.join(&photo.path)).ok()?;
    let blake3 = known.hash_if_unchanged(&photo.path, &metadata)?;
    Some(HashedPhoto::new(&metadata, blake3))
}

/// Reads the file into `buffer`, checks that it is a picture, and hashes it.
fn hash_file(path: &Path, options: ReadOptions, buffer: &mut Vec<u8>) -> Result<HashedPhoto, PhotoError> {
    // Taken before reading: if the file changes meanwhile, the next run sees another modification time and hashes it
    // again.
    let metadata = fs::metadata(path)?;
    read_photo(path, buffer)?;
    options.preprocess.check(buffer)?;
    Ok(HashedPhoto::new(&metadata, blake3::hash(buffer)))
}
