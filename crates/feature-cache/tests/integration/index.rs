//! A split's index.

use std::num::NonZeroUsize;

use end_to_end::sample_fingerprint;
use feature_cache::{CacheContents, ClassNames, FeatureCache, IndexEntry, Split, SplitContents, write_cache};

/// When it was parsed for each row that is looked up, 1,000 rows of 100,000 took 150 s.
#[test]
fn the_index_is_parsed_once_however_often_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let photos = vec![IndexEntry { path: "hat/a.jpg".into(), label: 0, blake3: blake3::hash(b"a") }];
    let contents = CacheContents {
        fingerprint: sample_fingerprint(),
        views: None,
        classes: ClassNames::new(vec!["hat".into()]).unwrap(),
        splits: [(Split::All, SplitContents { photos: photos.clone(), skipped: Vec::new() })].into(),
    };
    write_cache(&path, &contents, NonZeroUsize::MIN, [(photos[0].blake3, &[1.5][..])]).unwrap();

    let cache = FeatureCache::open(&path).unwrap();
    let split = cache.split(Split::All).unwrap();
    let first: &[IndexEntry] = split.index().unwrap();
    assert_eq!(first, photos);
    assert!(std::ptr::eq(first, split.index().unwrap()), "the entries are the same, not equal ones");
}
