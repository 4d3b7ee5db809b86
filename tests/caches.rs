//! Small caches of generated rows, for tests that need no photos.

use std::num::NonZeroUsize;
use std::path::Path;

use end_to_end::sample_fingerprint;
use feature_cache::{Augmentation, CacheContents, ClassNames, IndexEntry, Split, SplitContents, Views, write_cache};

const COLUMNS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Writes a cache of rows of 16 columns. `splits` has each split with its number of rows for each class. Rows of class
/// k have a large value in column k % 16.
pub fn cache_of(path: &Path, classes: usize, splits: &[(Split, usize)]) {
    cache_with_views(path, classes, splits, 0);
}

/// [`cache_of`] with this many views of each training row, which are noisier than the row.
pub fn cache_with_views(path: &Path, classes: usize, splits: &[(Split, usize)], views: usize) {
    let augmentation =
        Augmentation { flip: true, crop: "0".into(), brightness: "0".into(), seed: 42, method: "none".into() };
    let mut rows = Vec::new();
    let mut contents = CacheContents {
        fingerprint: sample_fingerprint(),
        views: NonZeroUsize::new(views).map(|count| Views { count, augmentation }),
        classes: ClassNames::new((0..classes).map(|k| format!("class{k:04}")).collect()).unwrap(),
        splits: [].into(),
    };
    for &(split, count) in splits {
        let mut photos = Vec::new();
        for label in 0..classes {
            for n in 0..count {
                let path = format!("{split}/class{label}/{n}.jpg");
                let blake3 = blake3::hash(path.as_bytes());
                let noise = blake3.as_bytes();
                let value = |k: usize| f32::from(noise[k]) / 512.0 + if k == label % 16 { 1.0 } else { 0.0 };
                let row: Vec<f32> = (0..16).map(value).collect();
                for key in contents.views.iter().flat_map(|views| views.keys(blake3)) {
                    let noise = key.as_bytes();
                    let value = |k: usize| row[k] + f32::from(noise[k]) / 256.0;
                    rows.push((key, (0..16).map(value).collect()));
                }
                rows.push((blake3, row));
                photos.push(IndexEntry { path: path.into(), label: label as i64, blake3 });
            }
        }
        contents.splits.insert(split, SplitContents { photos, skipped: Vec::new() });
    }
    write_cache(path, &contents, COLUMNS, rows.iter().map(|(hash, row)| (*hash, row.as_slice()))).unwrap();
}
