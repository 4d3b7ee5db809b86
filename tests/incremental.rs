//! A second run computes only the rows that are new, and reports what has changed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use end_to_end::{Photos, Ran, contents, extract, run, train};
use feature_cache::{CacheContents, FeatureCache, Split, write_cache};
use serde_json::json;

const CLASSES: [&str; 4] = ["train/dress", "train/hat", "validation/dress", "validation/hat"];

/// Sets the photos' modification times to a minute ago. Photos that were modified just before they were hashed are
/// hashed again, since they may have changed meanwhile.
fn make_older(photos: &Photos) {
    let past = SystemTime::now() - Duration::from_secs(60);
    for (path, _) in contents(&photos.path()) {
        File::options().write(true).open(photos.path().join(path)).unwrap().set_modified(past).unwrap();
    }
}

#[test]
fn every_kind_of_change_costs_only_its_own_rows() {
    let photos = Photos::new(&CLASSES, 4);
    make_older(&photos);
    let cache = photos.sibling("cache");
    let first = extract(&photos.path(), &cache, &[]).succeeded().json();
    assert_eq!(first["rows"], json!({"train": 8, "validation": 8}));
    assert_eq!((&first["computed"], &first["hashed"]), (&json!(16), &json!(16)));
    assert_eq!(first["photos"]["added"], 16);
    let before = contents(&cache);

    let second = extract(&photos.path(), &cache, &[]).succeeded().json();
    let nothing = (&json!(0), &json!(0), &json!(0));
    assert_eq!((&second["computed"], &second["hashed"], &second["forward_passes"]), nothing);
    assert_eq!(second["photos"]["unchanged"], 16);
    assert_eq!(contents(&cache), before, "nothing was written");

    let rehashed = extract(&photos.path(), &cache, &["--rehash"]).succeeded().json();
    assert_eq!((&rehashed["computed"], &rehashed["hashed"]), (&json!(0), &json!(16)));
    assert_eq!(contents(&cache), before);

    let moved = |from: &str, to: &str| fs::rename(photos.path().join(from), photos.path().join(to)).unwrap();
    moved("train/hat/000.png", "train/hat/renamed.png");
    moved("train/hat/001.png", "train/dress/was_a_hat.png");
    fs::remove_file(photos.path().join("train/hat/002.png")).unwrap();
    photos.add("train/dress/000.png", 777);
    photos.add("train/dress/new.png", 778);
    let third = extract(&photos.path(), &cache, &[]).succeeded().json();
    assert_eq!(
        third["photos"],
        json!({"unchanged": 12, "added": 1, "changed": 1, "renamed": 1, "moved": 1, "removed": 1})
    );
    assert_eq!((&third["computed"], &third["hashed"]), (&json!(2), &json!(4)));

    // The cache of old and new rows equals one that is computed from scratch.
    let fresh = photos.sibling("fresh");
    extract(&photos.path(), &fresh, &["--batch-size", "5", "--threads", "1"]).succeeded();
    assert_eq!(contents(&cache), contents(&fresh));
}

#[test]
fn rows_do_not_depend_on_batch_size_threads_or_other_photos() {
    let photos = Photos::new(&["cat", "dog"], 5);
    let run = |name: &str, more: &[&str]| {
        let cache = photos.sibling(name);
        extract(&photos.path(), &cache, more).succeeded();
        contents(&cache)
    };
    let expected = run("one", &["--batch-size", "1", "--threads", "1"]);
    assert_eq!(run("two", &["--batch-size", "3", "--threads", "2"]), expected);
    assert_eq!(run("three", &["--batch-size", "32", "--threads", "2"]), expected);
}

#[test]
fn identical_photos_are_computed_once_and_leakage_is_reported() {
    let photos = Photos::new(&CLASSES, 2);
    let same = fs::read(photos.path().join("train/hat/000.png")).unwrap();
    photos.write("train/hat/copy.png", &same);
    photos.write("validation/hat/leak.png", &same);
    let cache = photos.sibling("cache");
    let ran = extract(&photos.path(), &cache, &[]).succeeded();
    assert_eq!(ran.json()["computed"], 8);
    assert_eq!(ran.json()["in_two_splits"], 1);
    assert!(ran.stderr.contains("train/hat/000.png = train/hat/copy.png = validation/hat/leak.png"), "{ran:?}");

    let verified = run("extract", ["verify", cache.to_str().unwrap()]).succeeded();
    assert!(verified.stdout.contains("in more than one split: train/hat/000.png"), "{verified:?}");
    let cache = FeatureCache::open(&cache).unwrap();
    let (train, validation) = (cache.split(Split::Train).unwrap(), cache.split(Split::Validation).unwrap());
    assert_eq!(train.row(2), validation.row(4));
}

#[test]
fn skipped_photos_are_listed_retried_and_shift_no_label() {
    let photos = Photos::new(&["cat", "dog"], 3);
    let whole = fs::read(photos.path().join("cat/001.png")).unwrap();
    photos.write("cat/001.png", &whole[..whole.len() / 2]);
    photos.write("dog/notes, \"quoted\".jpg", b"not a picture");
    let cache = photos.sibling("cache");
    let ran = extract(&photos.path(), &cache, &["--on-error", "skip"]).succeeded();
    assert_eq!((&ran.json()["skipped"], &ran.json()["rows"]), (&json!(2), &json!({"all": 5})));
    assert!(ran.stderr.contains("dog/notes, \"quoted\".jpg: is not a picture"), "{ran:?}");
    let opened = FeatureCache::open(&cache).unwrap();
    let split = opened.split(Split::All).unwrap();
    assert_eq!(split.labels(), [0, 0, 1, 1, 1]);
    let skipped = split.skipped().unwrap();
    assert!(skipped[0].reason.contains("damaged PNG"), "{skipped:?}");
    assert_eq!(skipped[1].path.to_str(), Some("dog/notes, \"quoted\".jpg"));

    photos.write("cat/001.png", &whole);
    let again = extract(&photos.path(), &cache, &["--on-error", "skip"]).succeeded().json();
    assert_eq!((&again["skipped"], &again["computed"], &again["rows"]), (&json!(1), &json!(1), &json!({"all": 6})));
}

#[test]
fn ignored_folders_are_listed_and_the_others_counted() {
    let photos = Photos::new(&["train/cat", "train/dog"], 1);
    for number in 0..7 {
        photos.write(&format!("notes {number}/1.txt"), b"");
    }
    let ran = extract(&photos.path(), &photos.sibling("cache"), &[]).succeeded();
    assert_eq!(ran.stderr.matches(" ignored: not train, validation, val, valid or test\n").count(), 5, "{ran:?}");
    assert!(ran.stderr.contains("note: 2 more ignored; --dry-run lists all\n"), "{ran:?}");
}

#[test]
fn awkward_file_names_survive() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let names: [&[u8]; 4] = [b"a,b.png", b"two\nlines.png", b"\"q\".png", b"\xff\xfe.png"];
    for (seed, name) in (500..).zip(names) {
        photos.add("cat/next.png", seed);
        let name = OsStr::from_bytes(name);
        fs::rename(photos.path().join("cat/next.png"), photos.path().join("cat").join(name)).unwrap();
    }
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    let opened = FeatureCache::open(&cache).unwrap();
    let index = opened.split(Split::All).unwrap().index().unwrap();
    let found: Vec<&[u8]> = index.iter().map(|entry| entry.path.as_os_str().as_bytes()).collect();
    let expected: [&[u8]; 6] =
        [b"cat/\"q\".png", b"cat/000.png", b"cat/a,b.png", b"cat/two\nlines.png", b"cat/\xff\xfe.png", b"dog/000.png"];
    assert_eq!(found, expected);
    let again = extract(&photos.path(), &cache, &["--rehash"]).succeeded().json();
    assert_eq!((&again["computed"], &again["photos"]["unchanged"]), (&json!(0), &json!(6)));
}

#[test]
fn a_cache_with_another_fingerprint_is_an_error_with_a_table_unless_it_is_replaced() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    let before = contents(&cache);
    let bilinear = ["--interpolation", "bilinear"];
    let difference = "interpolation  now: bilinear as Pillow 13  cache: nearest";
    let refused = extract(&photos.path(), &cache, &bilinear).failed_with(difference);
    assert!(refused.stderr.contains("another --out") && refused.stderr.contains("--replace"), "{refused:?}");
    assert_eq!(contents(&cache), before);

    let replaced = extract(&photos.path(), &cache, &["--interpolation", "bilinear", "--replace"]).succeeded().json();
    assert_eq!(replaced["computed"], 4);
    assert_ne!(contents(&cache), before);
}

/// Before icebox followed Pillow 13, the width of tall photos was resized first, and the fingerprint was "bilinear".
#[test]
fn a_cache_from_before_pillow_13_can_be_trained_on_but_not_updated() {
    let photos = Photos::new(&["cat", "dog"], 5);
    let (dataset, cache, run_folder) = (photos.path(), photos.sibling("cache"), photos.sibling("run"));
    let bilinear = ["--interpolation", "bilinear"];
    extract(&dataset, &photos.sibling("new"), &bilinear).succeeded();
    let new = FeatureCache::open(&photos.sibling("new")).unwrap();
    let split = new.split(Split::All).unwrap();
    let mut old = CacheContents::from_cache(&new).unwrap();
    old.fingerprint.interpolation = "bilinear".to_owned();
    let columns = NonZeroUsize::new(new.columns()).unwrap();
    let index = split.index().unwrap();
    let rows = index.iter().enumerate().map(|(number, photo)| (photo.blake3, split.row(number).unwrap()));
    write_cache(&cache, &old, columns, rows).unwrap();
    let before = contents(&cache);

    train(&cache, &run_folder, &["--epochs", "1"]).succeeded();
    let verify = [OsStr::new("verify"), cache.as_os_str(), "--against".as_ref(), dataset.as_os_str()];
    run("extract", verify).succeeded();
    let unknown = "interpolation is \"bilinear\", which this version cannot compute; omit --sample";
    run("extract", verify.into_iter().chain(["--sample", "1"].map(OsStr::new))).failed_with(unknown);

    let difference = "interpolation  now: bilinear as Pillow 13  cache: bilinear";
    extract(&dataset, &cache, &bilinear).failed_with(difference);
    assert_eq!(contents(&cache), before);
}

#[test]
fn another_data_sets_cache_is_not_overwritten_by_mistake() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let others = Photos::new(&["train/hat", "train/dress"], 2);
    others.add("train/hat/000.png", 901);
    others.add("train/hat/001.png", 902);
    others.add("train/dress/000.png", 903);
    others.add("train/dress/001.png", 904);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    let before = contents(&cache);
    extract(&others.path(), &cache, &[]).failed_with("holds 4 rows and none of these photos");
    assert_eq!(contents(&cache), before);
    extract(&others.path(), &cache, &["--replace"]).succeeded();
}

/// The files that all photos link to are gone: that does not make the cache another data set's.
#[test]
fn if_no_photo_of_the_cache_can_be_read_they_are_listed_and_the_cache_is_kept() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    let before = contents(&cache);
    for path in ["cat/000.png", "dog/000.png"] {
        fs::remove_file(photos.path().join(path)).unwrap();
        symlink("nowhere.png", photos.path().join(path)).unwrap();
    }
    let ran =
        extract(&photos.path(), &cache, &[]).failed_with("2 photos cannot be used:\n  cat/000.png: cannot be read");
    assert!(!ran.stderr.contains("--replace"), "{ran:?}");
    let skipping = extract(&photos.path(), &cache, &["--on-error", "skip"]);
    skipping.failed_with("holds 2 rows and none of these photos");
    assert_eq!(contents(&cache), before);
}

const VIEWS: [&str; 5] = ["--flip", "--crop", "0.2", "--brightness", "0.3"];

fn with_views(photos: &Photos, cache: &Path, count: &str, more: &[&str]) -> Ran {
    extract(&photos.path(), cache, &[&["--views", count], &VIEWS[..], more].concat())
}

#[test]
fn views_are_added_one_by_one_and_reused_for_renamed_photos() {
    let photos = Photos::new(&CLASSES, 2);
    let (cache, plain) = (photos.sibling("cache"), photos.sibling("plain"));
    extract(&photos.path(), &cache, &[]).succeeded();
    extract(&photos.path(), &plain, &[]).succeeded();
    let first = with_views(&photos, &cache, "2", &[]).succeeded().json();
    assert_eq!((&first["computed"], &first["views"]), (&json!(4 * 2), &json!(2)), "only the views: {first}");
    let grown = with_views(&photos, &cache, "3", &[]).succeeded().json();
    assert_eq!(grown["computed"], 4);
    assert_eq!(with_views(&photos, &cache, "3", &[]).succeeded().json()["computed"], 0);

    photos.add("train/hat/new.png", 900);
    photos.add("validation/hat/new.png", 901);
    fs::rename(photos.path().join("train/hat/000.png"), photos.path().join("train/hat/renamed.png")).unwrap();
    let more = with_views(&photos, &cache, "3", &[]).succeeded().json();
    assert_eq!((&more["computed"], &more["photos"]["renamed"]), (&json!(1 + 3 + 1), &json!(1)));
    let fresh = photos.sibling("fresh");
    with_views(&photos, &fresh, "3", &["--batch-size", "5", "--threads", "1"]).succeeded();
    assert_eq!(contents(&cache), contents(&fresh));

    let (opened, plain) = (FeatureCache::open(&cache).unwrap(), FeatureCache::open(&plain).unwrap());
    let train = opened.split(Split::Train).unwrap();
    assert_eq!(train.row(0), plain.split(Split::Train).unwrap().row(0), "the photos' own rows stay as they are");
    assert_eq!(opened.split(Split::Validation).unwrap().views_by_row().count(), 0);
    let rows: Vec<&[f32]> = train.views_by_row().flat_map(|views| views.chunks_exact(opened.columns())).collect();
    assert_eq!(rows.len(), 5 * 3);
    assert!((1..15).all(|k| rows[k] != rows[0]) && rows.iter().all(|row| Some(*row) != train.row(0)));
    let verified = run("extract", ["verify", cache.to_str().unwrap()]).succeeded();
    assert!(verified.stdout.contains("10 rows, 3 views of each training photo"), "{verified:?}");
}

#[test]
fn views_are_not_lost_by_mistake() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    with_views(&photos, &cache, "3", &[]).succeeded();
    let before = contents(&cache);
    let refused = |ran: Ran, difference: &str| {
        let ran = ran.failed_with("cache: holds other views:");
        assert!(ran.stderr.contains(difference), "{ran:?}");
        assert!(ran.stderr.contains(": cargo head train --views N;") && ran.stderr.contains("--replace"), "{ran:?}");
        assert_eq!(contents(&cache), before);
    };
    refused(
        extract(&photos.path(), &cache, &[]),
        "  views       now: none  cache: 3\n  flip        now: none  cache: true\n",
    );
    refused(with_views(&photos, &cache, "2", &[]), "  views  now: 2  cache: 3");
    refused(with_views(&photos, &cache, "5", &["--seed", "7"]), "  seed  now: 7  cache: 42");
    let other = ["--views", "3", "--crop", "0.1"];
    refused(extract(&photos.path(), &cache, &other), "  flip        now: false  cache: true\n  crop        now: 0.1  ");

    let replaced = extract(&photos.path(), &cache, &[&other[..], &["--replace"]].concat()).succeeded().json();
    assert_eq!(replaced["computed"], 4 * 3, "the photos' own rows are kept");
    let without_views = extract(&photos.path(), &cache, &["--replace"]).succeeded().json();
    assert_eq!((&without_views["computed"], &without_views["views"]), (&json!(0), &json!(0)));
    let plain = photos.sibling("plain");
    extract(&photos.path(), &plain, &[]).succeeded();
    assert_eq!(contents(&cache), contents(&plain));
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let photos = Photos::new(&["cat", "dog"], 3);
    let cache = photos.sibling("cache");
    let path = photos.path();
    let arguments = [path.as_os_str(), "--out".as_ref(), cache.as_os_str(), "--dry-run".as_ref()];
    let ran = run("extract", arguments).succeeded();
    assert!(ran.stdout.contains("all: 6 photos"), "{ran:?}");
    assert!(ran.stdout.contains("     3  dog"), "{ran:?}");
    assert!(ran.stdout.contains("about 0 min"), "{ran:?}");
    let views = [&["--views", "2"], &VIEWS[..]].concat();
    let ran = run("extract", arguments.into_iter().chain(views.iter().map(OsStr::new))).succeeded();
    assert!(ran.stdout.contains("all: 6 photos, 2 views of each"), "{ran:?}");
    assert!(!cache.exists() && !photos.sibling(".cache.extract").exists(), "something was written");
}
