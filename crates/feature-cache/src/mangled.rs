//! Damaged and malicious files: readers must return an error or a value, and never panic.
//!
//! Each property runs a few hundred times in the tests, and as often as wanted with, say,
//! `PROPTEST_CASES=1000000 cargo test --release --package feature-cache mangled`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::LazyLock;

use end_to_end::mangled;
use proptest::prelude::*;

use crate::cache::FeatureCache;
use crate::class_names::ClassNames;
use crate::durable::FileDigest;
use crate::fingerprint::tests::fingerprint;
use crate::hashes::{HashedPhoto, Hashes, read_hashes, with_checksum};
use crate::index::{IndexEntry, SkippedPhoto, read_index, read_skipped, write_index, write_skipped};
use crate::journal::Journal;
use crate::manifest::{FEATURES, HASHES, INDEX, LABELS, MANIFEST, Manifest, SKIPPED, SplitManifest, VIEWS};
use crate::npy::NpyArray;
use crate::split::Split;
use crate::verify::verify;
use crate::views::tests::views;
use crate::writer::{CacheContents, SplitContents, write_cache};

const COLUMNS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

fn photos() -> Vec<IndexEntry> {
    let photo =
        |(name, label): (&str, i64)| IndexEntry { path: name.into(), label, blake3: blake3::hash(name.as_bytes()) };
    [("train/hat/a \"b\", c.jpg", 1), ("train/dress/d.jpg", 0), ("train/hat/e\nf.png", 1)].map(photo).to_vec()
}

fn skipped() -> Vec<SkippedPhoto> {
    vec![SkippedPhoto { path: "train/hat/broken.jpg".into(), reason: "is a truncated JPEG".into() }]
}

/// The files of a cache of three rows, by path in the cache: one of each kind.
static CACHE: LazyLock<BTreeMap<&str, Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let contents = CacheContents {
        fingerprint: fingerprint(),
        views: Some(views(2)),
        classes: ClassNames::new(vec!["dress".into(), "hat".into()]).unwrap(),
        splits: [(Split::Train, SplitContents { photos: photos(), skipped: skipped() })].into(),
    };
    let pictures = photos().into_iter().map(|photo| photo.blake3);
    let keys = pictures.flat_map(|picture| views(2).keys(picture).chain([picture]));
    write_cache(&path, &contents, COLUMNS, keys.map(|key| (key, &[1.0, 2.0, 3.0, 4.0][..]))).unwrap();
    let names = [
        MANIFEST,
        HASHES,
        "train/features.npy",
        "train/views.npy",
        "train/labels.npy",
        "train/index.csv",
        "train/skipped.csv",
    ];
    names.map(|name| (name, fs::read(path.join(name)).unwrap())).into()
});

fn manifest() -> Manifest {
    Manifest::parse(&CACHE[MANIFEST]).unwrap()
}

/// The journal of two rows.
static JOURNAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let rows = [&[1.0; 4][..], &[2.0; 4]];
    let photos = photos().into_iter().map(|photo| photo.blake3);
    Journal::open(&path, &fingerprint(), COLUMNS).unwrap().append(photos.zip(rows)).unwrap();
    fs::read(path).unwrap()
});

/// The cache with one file replaced, and another manifest.
fn cache_with(name: &str, bytes: &[u8], manifest: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("train")).unwrap();
    for (&file, content) in &*CACHE {
        let content = if file == MANIFEST {
            manifest
        } else if file == name {
            bytes
        } else {
            content
        };
        fs::write(folder.path().join(file), content).unwrap();
    }
    folder
}

/// A reader once returned the features of a cache with this manifest as an array of 0 columns.
#[test]
fn an_array_that_no_memory_can_hold_is_damage_and_not_an_empty_array() {
    let Manifest { fingerprint, class_indices, mut splits, .. } = manifest();
    let columns = NonZeroUsize::MAX;
    let mut features = CACHE["train/features.npy"].clone();
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {columns}), }}");
    features.truncate(128);
    features[10..127].copy_from_slice(format!("{dict:117}").as_bytes());
    let labels = NpyArray::<i64>::new(&[0]).unwrap().header_bytes();
    let split = splits.get_mut(&Split::Train).unwrap();
    split.rows = 0;
    split.files.views = None;
    split.files.features = FileDigest::of(&features);
    split.files.labels = FileDigest::of(&labels);
    let manifest = Manifest::new(fingerprint, None, columns, class_indices, splits).unwrap();
    let folder = cache_with("train/features.npy", &features, &manifest.to_json().unwrap());
    fs::write(folder.path().join("train/labels.npy"), labels).unwrap();
    let error = FeatureCache::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("train/features.npy: expected an array of shape [0, 18446744073709551615]"), "{error}");
}

/// Everything that a reader may ask of a cache.
fn read_all(path: &Path) {
    let Ok(cache) = FeatureCache::open(path) else { return };
    for (_, split) in cache.splits() {
        assert_eq!(split.features().nrows(), split.rows());
        assert!(split.labels().iter().all(|&label| cache.classes().name(label as usize).is_some()));
        let _ = (split.index(), split.skipped(), split.row(split.rows()));
        assert!([0, split.rows()].contains(&split.views_by_row().count()));
    }
    let _ = cache.check_digests();
}

proptest! {
    #[test]
    fn mangled_tables(
        index in mangled(write_index(&photos()).unwrap()),
        skipped in mangled(write_skipped(&skipped()).unwrap()),
    ) {
        if let Ok(entries) = read_index(&index) {
            prop_assert!(entries.iter().all(|entry| entry.path.is_relative()));
        }
        let _ = read_skipped(&skipped);
    }

    /// With a correct checksum, so that the code after the checksum is reached.
    #[test]
    fn mangled_hashes(
        table in mangled({
            let photo = HashedPhoto { bytes: 7, mtime_ns: -5, blake3: blake3::hash(b"") };
            let bytes = Hashes::new([("a.jpg".into(), photo)]).to_bytes().unwrap();
            bytes[..bytes.len() - with_checksum(Vec::new()).len()].to_vec()
        }),
    ) {
        let _ = read_hashes(&table);
        let _ = read_hashes(&with_checksum(table));
    }

    /// A row that is found is the one that was written.
    #[test]
    fn mangled_journals(bytes in mangled(JOURNAL.clone())) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        fs::write(&path, bytes).unwrap();
        let journal = Journal::open(&path, &fingerprint(), COLUMNS).unwrap();
        let mut row = [0.0; 4];
        for (photo, expected) in photos().iter().zip([[1.0; 4], [2.0; 4]]) {
            if journal.read(&photo.blake3, &mut row).unwrap() {
                prop_assert_eq!(row, expected);
            }
        }
    }

    #[test]
    fn mangled_manifests(json in mangled(CACHE[MANIFEST].clone())) {
        if let Ok(manifest) = Manifest::parse(&json) {
            prop_assert_eq!(manifest.to_json().unwrap(), json);
        }
    }

    /// With a correct checksum, as an attacker could write it: other numbers of rows and columns, other files.
    #[test]
    fn mangled_manifests_with_a_checksum(json in mangled(CACHE[MANIFEST].clone()), rows in any::<usize>()) {
        let Ok(Manifest { fingerprint, views, columns, class_indices, mut splits, .. }) = serde_json::from_slice(&json) else {
            return Ok(());
        };
        if rows % 2 == 0 {
            splits.values_mut().for_each(|split| split.rows = rows);
        }
        let manifest = Manifest::new(fingerprint, views, columns, class_indices, splits).unwrap();
        let folder = cache_with(MANIFEST, &[], &manifest.to_json().unwrap());
        read_all(folder.path());
        let _ = verify(folder.path());
    }

    /// With correct digests.
    #[test]
    fn mangled_arrays_and_tables(
        (name, bytes) in prop::sample::select(vec![FEATURES, VIEWS, LABELS, INDEX, SKIPPED])
            .prop_flat_map(|name| (Just(name), mangled(CACHE[format!("train/{name}").as_str()].clone()))),
    ) {
        let digest = FileDigest::of(&bytes);
        let Manifest { fingerprint, views, columns, class_indices, mut splits, .. } = manifest();
        for SplitManifest { files, .. } in splits.values_mut() {
            match name {
                FEATURES => files.features = digest.clone(),
                VIEWS => files.views = Some(digest.clone()),
                LABELS => files.labels = digest.clone(),
                INDEX => files.index = digest.clone(),
                _ => files.skipped = Some(digest.clone()),
            }
        }
        let manifest = Manifest::new(fingerprint, views, columns, class_indices, splits).unwrap();
        let folder = cache_with(&format!("train/{name}"), &bytes, &manifest.to_json().unwrap());
        read_all(folder.path());
        verify(folder.path()).unwrap();
    }
}
