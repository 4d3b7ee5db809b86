//! Opening a cache while it is replaced, and what is no cache.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use end_to_end::sample_fingerprint;
use feature_cache::{
    CacheContents, CacheError, ClassNames, FeatureCache, Hashes, IndexEntry, Split, SplitContents, verify, write_cache,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

const CLASSES: [&str; 2] = ["dress", "hat"];

/// Writes a cache of one photo: of the class with this label, which is also its row.
fn write(path: &Path, label: i64) {
    let photo_path = PathBuf::from(CLASSES[label as usize]).join("1.jpg");
    let key = blake3::hash(&label.to_le_bytes());
    let photo = IndexEntry { path: photo_path, label, blake3: key };
    let contents = CacheContents {
        fingerprint: sample_fingerprint(),
        views: None,
        classes: ClassNames::new(CLASSES.map(str::to_owned).to_vec()).unwrap(),
        splits: [(Split::All, SplitContents { photos: vec![photo], skipped: Vec::new() })].into(),
    };
    write_cache(path, &contents, NonZeroUsize::MIN, [(key, &[label as f32][..])]).unwrap();
}

/// Checks that row, label and index are of one cache, and returns the label.
fn consistent_label(cache: &FeatureCache) -> i64 {
    let split = cache.split(Split::All).unwrap();
    let label = split.labels()[0];
    assert_eq!(split.row(0).unwrap(), [label as f32]);
    assert_eq!(split.index().unwrap()[0].label, label);
    label
}

/// Two caches with files of equal lengths, and the folder that they are in.
fn two_caches() -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["one", "other"].map(|name| folder.path().join(name));
    write(&paths[0], 0);
    write(&paths[1], 1);
    (folder, paths)
}

/// Two caches with files of equal lengths take each other's place all the time: what is opened is one of them. When
/// the manifest was read again after the other files, and compared, the cache could have changed twice in between.
#[test]
fn a_cache_that_is_exchanged_while_it_is_opened_is_never_mixed() {
    let (_folder, paths) = two_caches();
    thread::scope(|scope| {
        let exchanges = scope.spawn(|| {
            for _ in 0..20_000 {
                renameat_with(CWD, &paths[0], CWD, &paths[1], RenameFlags::EXCHANGE).unwrap();
            }
        });
        let mut opened = [0; 2];
        while !exchanges.is_finished() {
            opened[consistent_label(&FeatureCache::open(&paths[0]).unwrap()) as usize] += 1;
        }
        assert!(opened.iter().all(|&count| count > 0), "{opened:?}");
    });
}

/// What is verified is one of the two: files of both would not fit together.
#[test]
fn a_cache_that_is_exchanged_while_it_is_verified_is_not_damaged() {
    let (_folder, paths) = two_caches();
    thread::scope(|scope| {
        let exchanges = scope.spawn(|| {
            for _ in 0..200 {
                renameat_with(CWD, &paths[0], CWD, &paths[1], RenameFlags::EXCHANGE).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        while !exchanges.is_finished() {
            match verify(&paths[0]) {
                Ok(findings) => assert!(findings.is_empty(), "{findings:?}"),
                Err(error) => assert!(matches!(error, CacheError::ReplacedTooOften { .. }), "{error}"),
            }
        }
    });
}

/// A writer removes the cache that it has replaced: files that are missing then are no damage.
#[test]
fn a_cache_that_is_written_again_while_it_is_opened_is_the_old_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    write(&path, 0);
    thread::scope(|scope| {
        let writes = scope.spawn(|| {
            for k in 1..100 {
                write(&path, k % 2);
            }
        });
        while !writes.is_finished() {
            consistent_label(&FeatureCache::open(&path).unwrap());
        }
    });
}

/// What `verify` finds in the cache: files, relative to it, with what is wrong with them.
fn findings(cache: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in verify(cache).unwrap() {
        lines.push(format!("{}: {}", finding.file.strip_prefix(cache).unwrap().display(), finding.damage));
    }
    lines
}

/// An archive may have named pipes in place of files. Opening one would wait for ever.
#[test]
fn a_named_pipe_in_place_of_a_file_is_damage() {
    let (_folder, [path, _]) = two_caches();
    for name in ["manifest.json", "hashes.csv", "all/features.npy", "all/index.csv"] {
        let (file, whole) = (path.join(name), path.with_extension("whole"));
        fs::rename(&file, &whole).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert_eq!(findings(&path), [format!("{name}: not a file")]);
        match FeatureCache::open(&path) {
            // Only the next extraction needs it, and can do without.
            Ok(cache) => assert_eq!((name, cache.hashes()), ("hashes.csv", Hashes::default())),
            Err(error) => assert!(error.to_string().ends_with(&format!("{name}: not a file")), "{error}"),
        }
        fs::rename(&whole, &file).unwrap();
    }
    assert!(findings(&path).is_empty());
}

/// Verifying once failed there, and what it had found was lost.
#[test]
fn a_file_in_place_of_a_splits_folder_is_a_finding() {
    let (_folder, [path, _]) = two_caches();
    fs::remove_dir_all(path.join("all")).unwrap();
    fs::write(path.join("all"), "").unwrap();
    let expected =
        ["all/features.npy: missing", "all/labels.npy: missing", "all/index.csv: missing", "all: not a folder"];
    assert_eq!(findings(&path), expected);
}

#[test]
fn a_table_of_hashes_that_is_too_long_is_not_read() {
    let (_folder, [path, _]) = two_caches();
    let table = fs::File::create(path.join("hashes.csv")).unwrap();
    table.set_len((8 << 30) + 1).unwrap();
    assert_eq!(findings(&path), ["hashes.csv: 8589934593 bytes, more than the 8589934592 that are read"]);
    assert_eq!(FeatureCache::open(&path).unwrap().hashes(), Hashes::default());
}

#[test]
fn what_is_no_folder_is_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.as_path(), &file.join("below"), &folder.path().join("missing"), folder.path()] {
        let error = FeatureCache::open(path).unwrap_err();
        assert!(matches!(&error, CacheError::NotACache(found) if found == path), "{error}");
    }
}
