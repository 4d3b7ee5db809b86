//! Which picture each photo of the data set is: blake3 of its bytes, from the file or from what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use backbone::PhotoError;
use backbone::photo::read_photo;
use backbone::pixels::{Limit, Preprocess};
use feature_cache::{HashedPhoto, Hashes, IndexEntry, Split};
use rayon::prelude::*;

use crate::dataset::{Dataset, Photo};

/// The photos of a data set, told apart by their bytes.
#[derive(Debug)]
pub struct Inventory {
    splits: BTreeMap<Split, Vec<Seen>>,
    /// How many files were read for this.
    pub hashed: usize,
}

/// A photo and what it turned out to be.
type Seen = (Photo, Result<HashedPhoto, PhotoError>);

/// How photos are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// How they are decoded and resized later: what cannot be is found now.
    pub preprocess: Preprocess,
    /// Hash every file, also those whose size and time are known.
    pub rehash: bool,
}

impl Inventory {
    /// Hashes the photos on all threads of the current rayon pool, those with a known size and time excepted; a
    /// file that is read is also looked at: what is no picture is found here, before any forward pass.
    pub fn take(dataset: &Dataset, known: &Hashes, reading: Reading, advance: impl Fn() + Sync) -> Self {
        let look = |bytes: &mut Vec<u8>, photo: &Photo| {
            let path = dataset.root.join(&photo.path);
            let seen = look_at(&path, &photo.path, known, reading, bytes);
            advance();
            match seen {
                Ok((picture, read)) => ((photo.clone(), Ok(picture)), read),
                Err(broken) => ((photo.clone(), Err(broken)), true),
            }
        };
        let mut hashed = 0;
        let mut splits = BTreeMap::new();
        for (&split, photos) in &dataset.splits {
            let (photos, read): (Vec<_>, Vec<bool>) = photos.par_iter().map_init(Vec::new, look).unzip();
            hashed += read.into_iter().filter(|&read| read).count();
            splits.insert(split, photos);
        }
        Self { splits, hashed }
    }

    /// Every photo that can have a row, by split, in the order of the rows.
    pub fn pictures(&self) -> BTreeMap<Split, Vec<IndexEntry>> {
        let entry = |(photo, picture): &Seen| {
            let blake3 = picture.as_ref().ok()?.blake3();
            Some(IndexEntry { path: photo.path.clone(), label: photo.label, blake3 })
        };
        self.splits.iter().map(|(&split, photos)| (split, photos.iter().filter_map(entry).collect())).collect()
    }

    /// The photos that cannot, with the reason.
    pub fn broken(&self) -> BTreeMap<PathBuf, String> {
        let reason = |(photo, picture): &Seen| Some((photo.path.clone(), picture.as_ref().err()?.to_string()));
        self.splits.values().flatten().filter_map(reason).collect()
    }

    /// The limits that some of those are over.
    pub fn exceeded(&self) -> BTreeSet<Limit> {
        let photos = self.splits.values().flatten();
        photos.filter_map(|(_, picture)| picture.as_ref().err()?.limit()).collect()
    }

    /// The sizes and times of the photos, for the next run.
    pub fn hashes(&self) -> Hashes {
        let known = |(photo, picture): &Seen| Some((photo.path.clone(), *picture.as_ref().ok()?));
        Hashes::new(self.splits.values().flatten().filter_map(known))
    }
}

/// The picture at `path`, and whether the file had to be read (into `bytes`).
fn look_at(
    path: &Path,
    relative: &Path,
    known: &Hashes,
    reading: Reading,
    bytes: &mut Vec<u8>,
) -> Result<(HashedPhoto, bool), PhotoError> {
    let metadata = fs::metadata(path)?;
    if !reading.rehash
        && let Some(blake3) = known.unchanged(relative, &metadata)
    {
        return Ok((HashedPhoto::new(&metadata, blake3), false));
    }
    read_photo(path, bytes)?;
    reading.preprocess.check(bytes)?;
    Ok((HashedPhoto::new(&metadata, blake3::hash(bytes)), true))
}
