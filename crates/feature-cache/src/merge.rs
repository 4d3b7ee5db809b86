//! Merging caches that hold different photos into one, in the order in which a single run would have written them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use crate::cache::{CachedSplit, FeatureCache};
use crate::error::{CacheError, IoContext};
use crate::hashes::{HASHES_COLUMNS, HashedPhoto, checksum_line, read_hashes};
use crate::index::{IndexEntry, SkippedPhoto};
use crate::manifest::{HASHES, Manifest, SplitManifest};
use crate::split::Split;
use crate::split_writer::SplitWriter;
use crate::table::TableFile;
use crate::writer::CacheWriter;

/// Whenever this many bytes of rows have been copied, the memory of the maps that they were read from is released.
const WINDOW_BYTES: usize = 64 << 20;

impl CacheWriter {
    /// Writes the cache that holds the photos of all `parts`, replaces the old cache by it in one step, and ends the
    /// run.
    ///
    /// The parts must have the same fingerprint, views, classes and row length, and their digests must have been
    /// checked. No photo is in two parts, and each part lists its photos as a data set does: by label, then by path. In
    /// memory are the labels of all parts, their skipped photos, and the rows of one photo.
    ///
    /// # Errors
    /// When there are no parts, one of them is damaged, or a file cannot be written: the old cache stays as it is.
    pub fn publish_merged(self, parts: &[FeatureCache]) -> Result<(), CacheError> {
        let first = parts.first().ok_or_else(|| CacheError::NotACache(self.path().to_owned()))?;
        let next = self.create_next()?;
        let names: BTreeSet<Split> = parts.iter().flat_map(|part| part.splits().map(|(name, _)| name)).collect();
        let mut splits = BTreeMap::new();
        for name in names {
            splits.insert(name, merge_split(&next.join(name.name()), name, parts)?);
        }
        merge_hashes(&next.join(HASHES), parts)?;
        let manifest = first.manifest();
        let (fingerprint, views) = (manifest.fingerprint.clone(), manifest.views.clone());
        let classes = manifest.class_indices.clone();
        self.replace_cache(&next, Manifest::new(fingerprint, views, manifest.columns, classes, splits))
    }
}

/// A photo with its row, (columns,), and its views, (views * columns,); without views the slice is empty.
struct PhotoRows<'a> {
    photo: IndexEntry,
    features: &'a [f32],
    views: &'a [f32],
}

/// The photos of a split with their rows, in order.
fn photo_rows(split: &CachedSplit) -> Result<impl Iterator<Item = Result<PhotoRows<'_>, CacheError>>, CacheError> {
    let mut features_by_row = split.iter_rows();
    let mut views_by_row = split.views_by_row();
    Ok(split.index_entries()?.map(move |photo| {
        let photo = photo?;
        let features = features_by_row.next().expect("more photos than rows are an error of the index");
        Ok(PhotoRows { photo, features, views: views_by_row.next().unwrap_or_default() })
    }))
}

/// Writes the folder of one split.
fn merge_split(folder: &Path, name: Split, parts: &[FeatureCache]) -> Result<SplitManifest, CacheError> {
    let splits: Vec<&CachedSplit> = parts.iter().filter_map(|part| part.split(name)).collect();
    let rows = splits.iter().map(|split| split.rows()).sum();
    let manifest = parts[0].manifest();
    let views = manifest.views.as_ref().filter(|_| name.is_training()).map(|views| views.count);
    let mut writer = SplitWriter::create(folder, rows, manifest.columns, views)?;

    let mut streams = Vec::new();
    for split in &splits {
        streams.push(photo_rows(split)?);
    }
    let mut bytes = 0;
    let order = |row: &PhotoRows<'_>| (row.photo.label, row.photo.path.as_os_str().as_bytes().to_vec());
    merge_sorted(streams, order, |row| {
        writer.put(&row.photo, row.features, row.views)?;
        bytes += size_of_val(row.features) + size_of_val(row.views);
        if bytes >= WINDOW_BYTES {
            bytes = 0;
            for split in &splits {
                split.release();
            }
        }
        Ok(())
    })?;

    let mut streams = Vec::new();
    for split in &splits {
        streams.push(split.skipped()?.into_iter().map(Ok));
    }
    merge_sorted(streams, |photo| skipped_order(name, photo), |photo| writer.put_skipped(&photo))?;
    writer.finish()
}

/// The order of a data set's photos is that of their classes, which are sorted by name, and then that of their paths.
fn skipped_order(split: Split, photo: &SkippedPhoto) -> (Vec<u8>, Vec<u8>) {
    // `CLASS/…`, or `train/CLASS/…`.
    let class = photo.path.iter().nth(usize::from(split != Split::All)).unwrap_or_default();
    (class.as_bytes().to_vec(), photo.path.as_os_str().as_bytes().to_vec())
}

/// Writes hashes.csv. A part whose own is missing or damaged adds nothing to it.
fn merge_hashes(path: &Path, parts: &[FeatureCache]) -> Result<(), CacheError> {
    let mut oldest = SystemTime::now();
    let mut maps = Vec::new();
    for part in parts {
        if let Some((bytes, written)) = part.map_hashes() {
            oldest = oldest.min(written);
            maps.push(bytes);
        }
    }
    let mut streams = Vec::new();
    for bytes in &maps {
        if let Ok(photos) = read_hashes(bytes) {
            // A part's photos end at a record that is not readable although the checksum is right.
            streams.push(photos.map_while(Result::ok).map(Ok));
        }
    }
    let mut table = TableFile::create(path, HASHES_COLUMNS)?;
    let order = |(path, _): &(std::path::PathBuf, HashedPhoto)| path.as_os_str().as_bytes().to_vec();
    merge_sorted(streams, order, |(path, photo)| table.put(photo.to_record(&path)))?;
    let mut file = table.into_file()?;
    file.put(&checksum_line(file.blake3()))?;
    file.finish()?;
    // Whether a photo may have changed since it was hashed is decided by the file's age: it is that of the oldest part.
    let file = File::options().write(true).open(path).context("open", path)?;
    file.set_modified(oldest).context("write", path)
}

/// Calls `each` with the values of sorted streams in the order of their keys; equal keys in the order of the streams.
fn merge_sorted<K: Ord, V>(
    mut streams: Vec<impl Iterator<Item = Result<V, CacheError>>>,
    key: impl Fn(&V) -> K,
    mut each: impl FnMut(V) -> Result<(), CacheError>,
) -> Result<(), CacheError> {
    // The next value of each stream; in the heap the keys of these values, with the numbers of their streams.
    let mut next_values: Vec<Option<V>> = Vec::new();
    let mut keys = BinaryHeap::new();
    for (number, stream) in streams.iter_mut().enumerate() {
        let first = stream.next().transpose()?;
        if let Some(value) = &first {
            keys.push(Reverse((key(value), number)));
        }
        next_values.push(first);
    }
    while let Some(Reverse((_, number))) = keys.pop() {
        let next = streams[number].next().transpose()?;
        if let Some(value) = &next {
            keys.push(Reverse((key(value), number)));
        }
        let value = std::mem::replace(&mut next_values[number], next);
        each(value.expect("a stream whose key is in the heap has a value"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_streams_are_merged_and_an_error_ends_it() {
        let merge = |streams: Vec<Vec<Result<u32, CacheError>>>| {
            let mut merged = Vec::new();
            let streams = streams.into_iter().map(Vec::into_iter).collect();
            merge_sorted(
                streams,
                |&value| value,
                |value| {
                    merged.push(value);
                    Ok(())
                },
            )
            .map(|()| merged)
        };
        let values = |list: &[u32]| list.iter().copied().map(Ok).collect::<Vec<_>>();
        assert!(merge(vec![]).unwrap().is_empty());
        let streams = vec![values(&[2, 5]), values(&[]), values(&[1, 2, 9, 10]), values(&[3])];
        assert_eq!(merge(streams).unwrap(), [1, 2, 2, 3, 5, 9, 10]);
        let broken = vec![Ok(1), Err(CacheError::NotACache("x".into()))];
        assert!(merge(vec![values(&[2, 3]), broken]).is_err());
    }
}
