//! What fuzz targets (fuzz/) and tests do with files as a fault or an attacker may leave them: for any bytes, each
//! function here must return. Only compiled for them.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use crate::cache::FeatureCache;
use crate::damage::Damage;
use crate::durable::FileDigest;
use crate::fingerprint::Fingerprint;
use crate::hashes::{read_hashes, with_checksum};
use crate::index::{INDEX_COLUMNS, IndexEntry, SKIPPED_COLUMNS, SkippedPhoto, read_index, read_skipped};
use crate::journal::Journal;
use crate::manifest::{FEATURES, INDEX, LABELS, MANIFEST, Manifest, SKIPPED, VIEWS};
use crate::npy::NpyLayout;
use crate::split::Split;
use crate::table::to_table;
use crate::verify::verify;

/// A whole cache that has a file of every kind: the path of each file in the cache's folder, and its bytes.
pub(crate) const CACHE: [(&str, &[u8]); 10] = [
    ("manifest.json", include_bytes!("../tests/integration/fixtures/own_headers/manifest.json")),
    ("hashes.csv", include_bytes!("../tests/integration/fixtures/own_headers/hashes.csv")),
    ("train/features.npy", include_bytes!("../tests/integration/fixtures/own_headers/train/features.npy")),
    ("train/views.npy", include_bytes!("../tests/integration/fixtures/own_headers/train/views.npy")),
    ("train/labels.npy", include_bytes!("../tests/integration/fixtures/own_headers/train/labels.npy")),
    ("train/index.csv", include_bytes!("../tests/integration/fixtures/own_headers/train/index.csv")),
    ("train/skipped.csv", include_bytes!("../tests/integration/fixtures/own_headers/train/skipped.csv")),
    ("validation/features.npy", include_bytes!("../tests/integration/fixtures/own_headers/validation/features.npy")),
    ("validation/labels.npy", include_bytes!("../tests/integration/fixtures/own_headers/validation/labels.npy")),
    ("validation/index.csv", include_bytes!("../tests/integration/fixtures/own_headers/validation/index.csv")),
];

/// The bytes of one of the cache's files.
pub(crate) fn file(name: &str) -> &'static [u8] {
    CACHE.iter().find(|(file, _)| *file == name).expect("one of the files").1
}

/// The length of the cache's rows.
const COLUMNS: NonZeroUsize = NonZeroUsize::new(5).unwrap();

/// Reads the bytes as index.csv, skipped.csv and hashes.csv, the last with a right checksum too. What can be read is
/// read again from what is written of it.
pub fn tables(bytes: &[u8]) {
    if let Ok(entries) = index_of(bytes) {
        assert!(entries.iter().all(|entry| entry.path.is_relative()));
        let records = entries.iter().enumerate().map(|(row, entry)| entry.to_record(row));
        let written = to_table(INDEX_COLUMNS, records);
        assert_eq!(index_of(&written).expect("what is written is read"), entries);
    }
    if let Ok(skipped) = skipped_of(bytes) {
        let written = to_table(SKIPPED_COLUMNS, skipped.iter().map(SkippedPhoto::to_record));
        assert_eq!(skipped_of(&written).expect("what is written is read"), skipped);
    }
    for table in [bytes, &with_checksum(bytes.to_vec())] {
        let _ = read_hashes(table).map(Iterator::last);
    }
}

fn index_of(bytes: &[u8]) -> Result<Vec<IndexEntry>, Damage> {
    read_index(bytes)?.collect()
}

fn skipped_of(bytes: &[u8]) -> Result<Vec<SkippedPhoto>, Damage> {
    read_skipped(bytes)?.collect()
}

/// Reads the bytes as manifest.json. One that is read is, byte for byte, the one that would be written.
pub fn manifest(json: &[u8]) {
    if let Ok(manifest) = Manifest::parse(json) {
        assert_eq!(manifest.to_json().expect("a manifest"), json);
    }
}

/// Reads the bytes as arrays of one, two and three axes.
pub fn arrays(file: &[u8]) {
    // As in a map, the file begins at an address that is a multiple of an element's size.
    let mut aligned = vec![0u64; file.len().div_ceil(size_of::<u64>())];
    let aligned = &mut bytemuck::cast_slice_mut(&mut aligned)[..file.len()];
    aligned.copy_from_slice(file);
    for shape in [&[3, 5][..], &[3, 2, 5], &[0, 5]] {
        let array = NpyLayout::<f32>::new(shape).expect("a few values");
        if let Ok(elements) = array.elements(aligned) {
            assert_eq!(elements.len(), shape.iter().product::<usize>());
        }
    }
    if let Ok(labels) = NpyLayout::<i64>::new(&[3]).expect("a few values").elements(aligned) {
        assert_eq!(labels.len(), 3);
    }
}

/// Writes a cache with one file replaced into `folder`, and opens, reads and verifies it. The first byte says which
/// file, the others are its content. The manifest has the right digests and checksum, as an attacker's would, so that
/// the content is parsed and not refused at once.
pub fn cache(folder: &Path, bytes: &[u8]) {
    let Some((&which, content)) = bytes.split_first() else { return };
    let name = CACHE[usize::from(which) % CACHE.len()].0;
    let Some(manifest) = manifest_for(name, content) else { return };
    write_cache(folder, &manifest, name, content);
    read_everything(folder);
    // Each finding names a file; a file that cannot be read at all is an error.
    let _ = verify(folder);
}

/// The manifest of the cache with another content of one of its files; `None` if that file is the manifest and the
/// content is not one.
fn manifest_for(name: &str, content: &[u8]) -> Option<Manifest> {
    let json = if name == MANIFEST { content } else { file(MANIFEST) };
    let Manifest { fingerprint, views, columns, class_indices, mut splits, .. } = serde_json::from_slice(json).ok()?;
    if let Some((split, name)) = name.split_once('/') {
        let split = Split::EVERY.into_iter().find(|known| known.name() == split).expect("the folder of a split");
        let files = &mut splits.get_mut(&split).expect("a split of the cache").files;
        let digest = FileDigest::of(content);
        match name {
            FEATURES => files.features = digest,
            VIEWS => files.views = Some(digest),
            LABELS => files.labels = digest,
            INDEX => files.index = digest,
            SKIPPED => files.skipped = Some(digest),
            _ => unreachable!("a file of a split"),
        }
    }
    Some(Manifest::new(fingerprint, views, columns, class_indices, splits).expect("a manifest"))
}

/// Writes the cache's files with one replaced, and this manifest.
pub(crate) fn write_cache(folder: &Path, manifest: &Manifest, replaced: &str, content: &[u8]) {
    for split in [Split::Train, Split::Validation] {
        fs::create_dir_all(folder.join(split.name())).expect("a folder");
    }
    for (name, whole) in CACHE {
        fs::write(folder.join(name), if name == replaced { content } else { whole }).expect("written");
    }
    fs::write(folder.join(MANIFEST), manifest.to_json().expect("a manifest")).expect("written");
}

/// Everything that a reader may ask of a cache.
fn read_everything(path: &Path) {
    let Ok(cache) = FeatureCache::open(path) else { return };
    for (_, split) in cache.splits() {
        assert_eq!(split.features().dim(), (split.rows(), cache.columns()));
        assert_eq!(split.iter_rows().count(), split.rows());
        assert!([0, split.rows()].contains(&split.views_by_row().count()));
        assert!(split.labels().iter().all(|&label| cache.classes().name(label as usize).is_some()));
        assert!(split.row(split.rows()).is_none());
        if let Ok(index) = split.index() {
            assert_eq!(index.len(), split.rows());
        }
        let _ = split.skipped();
    }
    let _ = (cache.hashes(), cache.check_digests());
}

/// Opens the bytes as the journal of an unfinished run in the file `path`, and continues it.
pub fn journal(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
    let fingerprint: Fingerprint = manifest_for(MANIFEST, file(MANIFEST)).expect("the manifest").fingerprint;
    let mut journal = Journal::open(path, &fingerprint, COLUMNS).expect("whatever was in it");
    let (key, row) = (blake3::hash(b"new"), [0.5; COLUMNS.get()]);
    journal.append([(key, &row[..])]).expect("written");
    let rows = journal.rows();
    drop(journal);

    let journal = Journal::open(path, &fingerprint, COLUMNS).expect("what was just written");
    let mut found = [0.0; COLUMNS.get()];
    assert!(journal.rows() == rows && journal.read(&key, &mut found).expect("read"));
    assert_eq!(found, row);
    // A row that is found is the one that was written: of the seeds' photos that is their number, five times.
    for photo in 0..3u8 {
        if journal.read(&blake3::hash(&[photo]), &mut found).expect("read") {
            assert_eq!(found, [f32::from(photo); COLUMNS.get()]);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Each property runs a few hundred times here, and as often as wanted with, say,
    //! `PROPTEST_CASES=1000000 cargo test --release --package feature-cache fuzzing`.

    use std::path::PathBuf;

    use end_to_end::mangled;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// The inputs that the fuzz target begins with: whole files, and all that it has found.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let files = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        assert_ne!(files, Vec::<Vec<u8>>::new(), "{}", folder.display());
        files
    }

    fn mangled_seed(target: &str) -> impl Strategy<Value = Vec<u8>> {
        select(seeds(target)).prop_flat_map(mangled)
    }

    #[test]
    fn every_seed_is_an_input_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        seeds("tables").iter().for_each(|bytes| tables(bytes));
        seeds("manifest").iter().for_each(|bytes| manifest(bytes));
        seeds("arrays").iter().for_each(|bytes| arrays(bytes));
        seeds("cache").iter().for_each(|bytes| cache(folder.path(), bytes));
        seeds("journal").iter().for_each(|bytes| journal(&folder.path().join("rows"), bytes));
    }

    /// What the functions do with a cache that is whole is not to refuse it.
    #[test]
    fn the_whole_files_are_read() {
        assert_eq!(index_of(file("train/index.csv")).unwrap().len(), 3);
        assert_eq!(skipped_of(file("train/skipped.csv")).unwrap().len(), 1);
        read_hashes(file("hashes.csv")).unwrap().for_each(|photo| drop(photo.unwrap()));
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in CACHE {
            let manifest = manifest_for(name, content).unwrap();
            assert_eq!(manifest.to_json().unwrap(), file(MANIFEST), "{name}");
            write_cache(folder.path(), &manifest, name, content);
            FeatureCache::open(folder.path()).unwrap();
            assert!(verify(folder.path()).unwrap().is_empty());
        }
    }

    proptest! {
        #[test]
        fn mangled_tables(bytes in mangled_seed("tables")) {
            tables(&bytes);
        }

        #[test]
        fn mangled_manifests(bytes in mangled_seed("manifest")) {
            manifest(&bytes);
        }

        #[test]
        fn mangled_arrays(bytes in mangled_seed("arrays")) {
            arrays(&bytes);
        }

        #[test]
        fn mangled_caches(bytes in mangled_seed("cache")) {
            let folder = tempfile::tempdir().unwrap();
            cache(folder.path(), &bytes);
        }

        #[test]
        fn mangled_journals(bytes in mangled_seed("journal")) {
            let folder = tempfile::tempdir().unwrap();
            journal(&folder.path().join("rows"), &bytes);
        }
    }

    /// The features of a cache with this manifest were once handed out as an array of 0 columns.
    #[test]
    fn an_array_that_no_memory_can_hold_is_damage_and_not_an_empty_array() {
        let Manifest { fingerprint, class_indices, mut splits, .. } = Manifest::parse(file(MANIFEST)).unwrap();
        let columns = NonZeroUsize::MAX;
        let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {columns}), }}");
        let mut features = file("train/features.npy")[..128].to_vec();
        features[10..127].copy_from_slice(format!("{dict:117}").as_bytes());
        let split = splits.get_mut(&Split::Train).unwrap();
        split.rows = 0;
        split.files.views = None;
        split.files.features = FileDigest::of(&features);
        let manifest = Manifest::new(fingerprint, None, columns, class_indices, splits).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_cache(folder.path(), &manifest, "train/features.npy", &features);
        let error = FeatureCache::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("train/features.npy: expected an array of shape [0, 18446744073709551615]"), "{error}");
    }
}
