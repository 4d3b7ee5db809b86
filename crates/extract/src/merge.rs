//! Merging the shards of a data set: all must be there, and belong together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use feature_cache::{
    CacheError, CacheWriter, Difference, FeatureCache, Shard, ShardRecord, ShardState, Split, Views, WhenLocked,
};

/// The result of a merge.
#[derive(Debug)]
pub struct Merged {
    /// How many shards there were.
    pub shards: usize,
    /// The number of rows by split.
    pub rows: BTreeMap<Split, usize>,
    /// The number of photos without a row.
    pub skipped: usize,
    /// The kernels that computed the shards' rows, as far as they are recorded.
    pub kernels: BTreeSet<String>,
    /// Wall time.
    pub elapsed: Duration,
}

/// Why the shards cannot be merged. They stay as they are, and so does the cache.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A shard cannot be read, or the cache not be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no shard.
    #[error("{}: no shards here", .0.display())]
    NoShards(PathBuf),
    /// The shards have several counts: the data set was divided in several ways.
    #[error("{}: holds shards {}", path.display(), list_counts(counts))]
    SeveralCounts {
        /// The folder of shards.
        path: PathBuf,
        /// The counts.
        counts: BTreeSet<NonZeroUsize>,
    },
    /// Some shards are missing or unfinished.
    #[error("{}: {}", path.display(), list_incomplete(*count, missing, unfinished))]
    Incomplete {
        /// The folder of shards.
        path: PathBuf,
        /// How many shards there should be.
        count: NonZeroUsize,
        /// Those of which there is nothing.
        missing: BTreeSet<usize>,
        /// Those that are being written, or whose last run has failed or was interrupted.
        unfinished: BTreeSet<usize>,
    },
    /// A shard's record, the JSON file next to it, is missing or not readable.
    #[error("{}: missing, or not readable", .0.display())]
    NoRecord(PathBuf),
    /// A shard holds a photo of another shard: it is probably a copy of that one.
    #[error("{}: holds {}, which belongs to shard {belongs_to}: it may be a copy", shard.display(), photo.display())]
    WrongShard {
        /// The shard.
        shard: PathBuf,
        /// One of its photos.
        photo: PathBuf,
        /// Where it belongs.
        belongs_to: Shard,
    },
    /// The shards have rows that must not be mixed.
    #[error("{} and {} have different fingerprints:\n{}", first.display(), other.display(), Difference::table(differences, "first", "second"))]
    OtherFingerprint {
        /// The first shard.
        first: PathBuf,
        /// Another shard.
        other: PathBuf,
        /// The fields that differ.
        differences: Vec<Difference>,
    },
    /// Two shards have different views.
    #[error("{} and {} have different views: {}; {}", first.display(), other.display(), describe_views(views.0.as_ref()), describe_views(views.1.as_ref()))]
    OtherViews {
        /// The first shard.
        first: PathBuf,
        /// Another shard.
        other: PathBuf,
        /// The views of both.
        views: Box<(Option<Views>, Option<Views>)>,
    },
    /// The data set's classes changed between two shards.
    #[error("{} and {} have different classes: only one of them has {classes:?}", first.display(), other.display())]
    OtherClasses {
        /// The first shard.
        first: PathBuf,
        /// Another shard.
        other: PathBuf,
        /// The classes that only one of them has.
        classes: Vec<String>,
    },
    /// The data set's photos changed between two shards.
    #[error("the data set changed between shards: {} was made from a list of {} photos, {} from another list of {}", first.display(), photos.0, other.display(), photos.1)]
    OtherDataSet {
        /// The first shard.
        first: PathBuf,
        /// Another shard.
        other: PathBuf,
        /// How many photos the data set had.
        photos: (usize, usize),
    },
    /// Every training photo of a class was skipped.
    #[error("{}: class {class:?} has no photo that can be used", cache.display())]
    ClassWithoutPhotos {
        /// The cache.
        cache: PathBuf,
        /// The class.
        class: String,
    },
}

/// Merges all shards of the cache at `path` into the cache that a single run over all photos makes, and removes them.
///
/// # Errors
/// See [`MergeError`].
pub fn merge(path: &Path) -> Result<Merged, MergeError> {
    let start = Instant::now();
    CacheWriter::restore(path)?;
    // Checked before the lock, too: a shard that is being written is then named, while the lock only says which process
    // holds it.
    complete_count(path)?;
    let writer = CacheWriter::open_merge(path, WhenLocked::Fail)?;
    let count = complete_count(path)?;

    let mut parts = Vec::new();
    let mut kernels = BTreeSet::new();
    let mut first_record: Option<ShardRecord> = None;
    for index in 0..count.get() {
        let shard = Shard::new(index, count).expect("the count is that of a shard");
        let record = shard.record(path).ok_or_else(|| MergeError::NoRecord(shard.record_file(path)))?;
        let part = FeatureCache::open(&shard.folder(path))?;
        let first = parts.first().unwrap_or(&part);
        check_compatible(first, &part)?;
        check_same_data_set(first, first_record.as_ref().unwrap_or(&record), &part, &record)?;
        part.check_digests()?;
        check_photos(&part, shard)?;
        kernels.extend(record.kernels.iter().cloned());
        first_record.get_or_insert(record);
        parts.push(part);
    }
    let (rows, skipped) = count_photos(path, &parts)?;
    writer.publish_merged(&parts)?;
    Ok(Merged { shards: parts.len(), rows, skipped, kernels, elapsed: start.elapsed() })
}

/// The number of shards, if all are there and finished.
fn complete_count(path: &Path) -> Result<NonZeroUsize, MergeError> {
    let states = ShardState::list(path)?;
    let counts: BTreeSet<NonZeroUsize> = states.keys().map(|shard| shard.count()).collect();
    let count = *counts.first().ok_or_else(|| MergeError::NoShards(path.to_owned()))?;
    let path = Shard::all_folders(path);
    if counts.len() > 1 {
        return Err(MergeError::SeveralCounts { path, counts });
    }
    let mut missing: BTreeSet<usize> = (0..count.get()).collect();
    let mut unfinished = BTreeSet::new();
    for (shard, state) in states {
        missing.remove(&shard.index());
        if state == ShardState::Unfinished {
            unfinished.insert(shard.index());
        }
    }
    if missing.is_empty() && unfinished.is_empty() {
        return Ok(count);
    }
    Err(MergeError::Incomplete { path, count, missing, unfinished })
}

/// Checks that the rows of two shards may be in one cache: same fingerprint, views and row length.
fn check_compatible(first: &FeatureCache, part: &FeatureCache) -> Result<(), MergeError> {
    let (first_path, other) = (first.path().to_owned(), part.path().to_owned());
    let differences = first.fingerprint().differences(part.fingerprint());
    if !differences.is_empty() {
        return Err(MergeError::OtherFingerprint { first: first_path, other, differences });
    }
    if first.views() != part.views() {
        let views = Box::new((first.views().cloned(), part.views().cloned()));
        return Err(MergeError::OtherViews { first: first_path, other, views });
    }
    if first.columns() != part.columns() {
        let (expected, found) = (first.columns(), part.columns());
        return Err(CacheError::RowLength { path: other, expected, found }.into());
    }
    Ok(())
}

/// Checks that two shards were made of the data set in the same state.
fn check_same_data_set(
    first: &FeatureCache,
    first_record: &ShardRecord,
    part: &FeatureCache,
    record: &ShardRecord,
) -> Result<(), MergeError> {
    let (first_path, other) = (first.path().to_owned(), part.path().to_owned());
    let first_classes: BTreeSet<&str> = first.classes().iter().collect();
    let classes: BTreeSet<&str> = part.classes().iter().collect();
    if first_classes != classes {
        let classes = first_classes.symmetric_difference(&classes).map(|&class| class.to_owned()).collect();
        return Err(MergeError::OtherClasses { first: first_path, other, classes });
    }
    if first_record.listing != record.listing || first_record.photos != record.photos {
        let photos = (first_record.photos, record.photos);
        return Err(MergeError::OtherDataSet { first: first_path, other, photos });
    }
    Ok(())
}

/// Checks that the photos of a part belong to its shard.
fn check_photos(part: &FeatureCache, shard: Shard) -> Result<(), MergeError> {
    let check = |photo: PathBuf| {
        let belongs_to = Shard::of_photo(&photo, shard.count());
        if belongs_to == shard {
            return Ok(());
        }
        Err(MergeError::WrongShard { shard: part.path().to_owned(), photo, belongs_to })
    };
    for (_, split) in part.splits() {
        for photo in split.index_entries()? {
            check(photo?.path)?;
        }
        for photo in split.skipped()? {
            check(photo.path)?;
        }
    }
    Ok(())
}

/// The number of rows by split, and of photos without a row.
///
/// # Errors
/// When a class has no training photo with a row.
fn count_photos(cache: &Path, parts: &[FeatureCache]) -> Result<(BTreeMap<Split, usize>, usize), MergeError> {
    let mut rows = BTreeMap::new();
    let mut skipped = 0;
    let mut labels = HashSet::new();
    for part in parts {
        for (name, split) in part.splits() {
            *rows.entry(name).or_default() += split.rows();
            skipped += split.skipped()?.len();
            if name.is_training() {
                labels.extend(split.labels().iter().copied());
            }
        }
    }
    // All parts have the same classes.
    if let Some(part) = parts.first() {
        for (class, label) in part.classes().iter().zip(0..) {
            if !labels.contains(&label) {
                return Err(MergeError::ClassWithoutPhotos { cache: cache.to_owned(), class: class.to_owned() });
            }
        }
    }
    Ok((rows, skipped))
}

fn list_counts(counts: &BTreeSet<NonZeroUsize>) -> String {
    counts.iter().map(|count| format!("I-of-{count}")).collect::<Vec<_>>().join(" and ")
}

fn list_incomplete(count: NonZeroUsize, missing: &BTreeSet<usize>, unfinished: &BTreeSet<usize>) -> String {
    let mut parts = Vec::new();
    for (what, shards) in [("missing", missing), ("not finished (running, failed or interrupted)", unfinished)] {
        if !shards.is_empty() {
            parts.push(format!("{} of {count} shards are {what}: {}", shards.len(), list_ranges(shards)));
        }
    }
    parts.join("; ")
}

/// The numbers as ranges, as in `0, 3-17, 20`: 20 ranges at most.
fn list_ranges(numbers: &BTreeSet<usize>) -> String {
    const LISTED: usize = 20;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let mut text = String::new();
    for (position, (first, last)) in ranges.iter().take(LISTED).enumerate() {
        text.push_str(if position > 0 { ", " } else { "" });
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        text.push_str(&range);
    }
    if ranges.len() > LISTED {
        text.push_str(", …");
    }
    text
}

fn describe_views(views: Option<&Views>) -> String {
    let Some(views) = views else { return "none".to_owned() };
    let mut parts = Vec::new();
    for (name, value) in views.fields() {
        parts.push(format!("{name} {value}"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_listed_in_ranges() {
        assert_eq!(list_ranges(&[0, 3, 4, 5, 20].into()), "0, 3-5, 20");
        let every_other = (0..100).map(|number| 2 * number).collect();
        assert!(list_ranges(&every_other).ends_with("36, 38, …"));
    }
}
