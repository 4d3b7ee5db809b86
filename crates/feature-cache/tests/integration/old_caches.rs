//! Caches written by older versions can be read, verified and updated.
//!
//! fixtures/own_headers was written by `write_cache` when this crate wrote its .npy headers itself, with a comma after
//! the shape as numpy does; headers by ndarray-npy have none. Its values are those of [`row`].

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use feature_cache::{
    CacheContents, CacheWriter, CachedSplit, FeatureCache, Hashes, IndexEntry, RowSource, Split, WhenLocked, verify,
};
use tempfile::TempDir;

const COLUMNS: NonZeroUsize = NonZeroUsize::new(5).unwrap();

/// The row of a photo (view 0), or of its view `view - 1`.
fn row(photo: usize, view: usize) -> [f32; 5] {
    std::array::from_fn(|column| (100 * photo + 10 * view + column) as f32 + 0.5)
}

/// A copy of the old cache to work on.
fn old_cache() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/fixtures/own_headers");
    for (name, bytes) in end_to_end::contents(&fixture) {
        fs::create_dir_all(path.join(&name).parent().unwrap()).unwrap();
        fs::write(path.join(&name), bytes).unwrap();
    }
    (folder, path)
}

/// Checks that the split has the rows of these photos, and both views of each.
#[track_caller]
fn assert_rows(split: &CachedSplit, photos: &[usize]) {
    assert_eq!(split.rows(), photos.len());
    let views: Vec<&[f32]> = split.views_by_row().collect();
    for (number, &photo) in photos.iter().enumerate() {
        assert_eq!(split.row(number), Some(&row(photo, 0)[..]));
        assert_eq!(views[number], [row(photo, 1), row(photo, 2)].concat());
    }
}

/// Whether the header ends as the crate's own did.
fn has_own_header(npy: &Path) -> bool {
    let bytes = fs::read(npy).unwrap();
    bytes[10..128].trim_ascii_end().ends_with(b"), }")
}

#[test]
fn an_old_cache_is_read_and_verified() {
    let (_folder, path) = old_cache();
    assert!(has_own_header(&path.join("train/features.npy")));
    let findings = verify(&path).unwrap();
    assert!(findings.is_empty(), "{findings:?}");

    let cache = FeatureCache::open(&path).unwrap();
    cache.check_digests().unwrap();
    assert_eq!(cache.columns(), 5);
    let train = cache.split(Split::Train).unwrap();
    assert_eq!(train.features().shape(), [3, 5]);
    assert_eq!(train.labels(), [0, 1, 1]);
    assert_rows(train, &[0, 1, 2]);
    let validation = cache.split(Split::Validation).unwrap();
    assert_eq!(validation.row(0), Some(&row(3, 0)[..]));
    assert_eq!(train.skipped().unwrap()[0].path, Path::new("train/hat/broken.jpg"));
}

#[test]
fn an_old_cache_is_continued() {
    let (_folder, path) = old_cache();
    let writer = CacheWriter::open(&path, WhenLocked::Fail).unwrap();
    let previous = FeatureCache::open(&path).unwrap();

    // One photo is gone, one is new.
    let mut contents = CacheContents::from_cache(&previous).unwrap();
    let new = IndexEntry { path: "train/hat/new.jpg".into(), label: 1, blake3: blake3::hash(b"new") };
    let photos = &mut contents.splits.get_mut(&Split::Train).unwrap().photos;
    photos.remove(1);
    photos.push(new.clone());
    let mut journal = writer.journal(&contents.fingerprint, COLUMNS).unwrap();
    let views = contents.views.clone().unwrap();
    let keys = [new.blake3].into_iter().chain(views.keys(new.blake3));
    for (view, key) in keys.enumerate() {
        journal.append([(key, &row(7, view)[..])]).unwrap();
    }
    let rows = RowSource::new(Some(&previous), &journal).unwrap();
    writer.publish(&contents, COLUMNS, &Hashes::default(), &rows).unwrap();

    assert!(verify(&path).unwrap().is_empty());
    assert!(!has_own_header(&path.join("train/features.npy")));
    let cache = FeatureCache::open(&path).unwrap();
    assert_rows(cache.split(Split::Train).unwrap(), &[0, 2, 7]);
    // A reader that had opened the old cache can still read it through its memory maps.
    assert_eq!(previous.split(Split::Train).unwrap().row(1), Some(&row(1, 0)[..]));
}
