//! Shards that are extracted separately, in any order, are merged into the cache of a single run.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use end_to_end::{Photos, Ran, SMALLEST_SIZE, command, contents, extract, limited, run, run_command};
use feature_cache::Shard;
use serde_json::json;

const CLASSES: [&str; 5] = ["train/cat", "train/dog a", "train/dog", "validation/cat", "test/dog"];
const VIEWS: [&str; 5] = ["--views", "2", "--flip", "--crop", "0.1"];

/// Runs `extract` for shard `index` of `count`.
fn extract_shard(photos: &Photos, cache: &Path, index: usize, count: usize, more: &[&str]) -> Ran {
    let shard = format!("{index}/{count}");
    extract(&photos.path(), cache, &[&["--shard", &shard], more].concat())
}

fn extract_shards(photos: &Photos, cache: &Path, count: usize, more: &[&str]) {
    for index in 0..count {
        extract_shard(photos, cache, index, count, more).succeeded();
    }
}

fn merge(cache: &Path) -> Ran {
    run("extract", ["merge".as_ref(), cache.as_os_str(), "--json".as_ref()])
}

/// The folder of a shard.
fn folder(cache: &Path, index: usize, count: usize) -> PathBuf {
    cache.join(format!("shards/{index}-of-{count}"))
}

/// The index of the shard that a photo belongs to.
fn shard_of(path: &str, count: usize) -> usize {
    Shard::of_photo(path.as_ref(), NonZeroUsize::new(count).unwrap()).index()
}

/// Asserts that the cache equals that of a single run, and that no other files are left.
fn assert_as_single(photos: &Photos, cache: &Path, more: &[&str]) {
    let single = photos.sibling("single");
    let _ = fs::remove_dir_all(&single);
    extract(&photos.path(), &single, more).succeeded();
    assert_eq!(contents(cache), contents(&single));
    assert!(!cache.join("shards").exists());
    let name = cache.file_name().unwrap().to_str().unwrap();
    assert!(!cache.with_file_name(format!(".{name}.extract")).exists());
    let verified = run("extract", ["verify".as_ref(), cache.as_os_str()]).succeeded();
    assert!(verified.stdout.contains("all files intact"), "{verified:?}");
}

#[test]
fn any_number_of_shards_gives_the_cache_of_a_single_run() {
    for count in [1, 2, 7] {
        let photos = Photos::new(&CLASSES, 4);
        photos.write("train/dog/broken, \"1\".png", b"no picture");
        photos.write("train/dog a/broken.png", b"no picture");
        photos.write("train/cat/same.png", &fs::read(photos.path().join("train/cat/000.png")).unwrap());
        let cache = photos.sibling("cache");
        let options = [&VIEWS[..], &["--on-error", "skip"]].concat();
        extract_shards(&photos, &cache, count, &options);

        // A new photo belongs to one shard; the others have nothing to do.
        photos.add("train/cat/new.png", 9001);
        photos.add("validation/dog/new.png", 9002);
        for index in 0..count {
            let added = ["train/cat/new.png", "validation/dog/new.png"];
            let added = added.iter().filter(|path| shard_of(path, count) == index).count();
            let again = extract_shard(&photos, &cache, index, count, &options).succeeded().json();
            assert_eq!(again["photos"]["added"], added, "{again}");
        }
        let merged = merge(&cache).succeeded().json();
        assert_eq!((&merged["shards"], &merged["skipped"]), (&json!(count), &json!(2)));
        assert_eq!(merged["rows"], json!({"train": 14, "validation": 5, "test": 4}));
        assert_as_single(&photos, &cache, &options);
    }
}

#[test]
fn there_may_be_more_shards_than_photos_and_merged_rows_are_reused() {
    let photos = Photos::new(&["cat", "dog"], 8);
    let cache = photos.sibling("cache");
    extract_shards(&photos, &cache, 64, &[]);
    merge(&cache).succeeded();
    assert_as_single(&photos, &cache, &[]);

    // With another number of shards, rows are copied from the merged cache, and only the new photo is computed.
    photos.add("dog/new.png", 9001);
    for index in 0..3 {
        let ran = extract_shard(&photos, &cache, index, 3, &[]).succeeded().json();
        assert_eq!(ran["computed"], usize::from(shard_of("dog/new.png", 3) == index), "{ran}");
    }
    merge(&cache).succeeded();
    assert_as_single(&photos, &cache, &[]);
    // And then a single run has nothing to do.
    assert_eq!(extract(&photos.path(), &cache, &[]).succeeded().json()["computed"], 0);
}

#[test]
fn invalid_shard_numbers_are_usage_errors() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let cache = photos.sibling("cache");
    for (shard, message) in [
        ("2/2", "there is no shard 2 of 2: they are counted from 0"),
        ("0/0", "expected I/N"),
        ("1", "expected I/N"),
        ("auto", "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"),
    ] {
        let ran = extract(&photos.path(), &cache, &["--shard", shard]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
    }
    assert!(!cache.exists());

    let auto = |variables: &[(&str, &str)]| {
        let mut command = command("extract");
        command.envs(variables.iter().copied()).arg(photos.path()).arg("--out").arg(&cache);
        run_command(command.args(SMALLEST_SIZE).args(["--shard", "auto", "--json"]))
    };
    let array = |id, max, count| {
        let min = ("SLURM_ARRAY_TASK_MIN", "0");
        auto(&[("SLURM_ARRAY_TASK_ID", id), min, ("SLURM_ARRAY_TASK_MAX", max), ("SLURM_ARRAY_TASK_COUNT", count)])
    };
    let gaps = array("2", "2", "2");
    assert_eq!(gaps.code, Some(2), "{gaps:?}");
    assert!(gaps.stderr.contains("it has gaps"), "{gaps:?}");
    assert_eq!(array("0", "1", "2").succeeded().json()["shard"], "0 of 2");
    let pod = auto(&[("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "2")]).succeeded().json();
    assert_eq!(pod["shard"], "1 of 2");
    merge(&cache).succeeded();
}

#[test]
fn shards_of_another_count_and_a_whole_cache_are_not_mixed() {
    let photos = Photos::new(&["cat", "dog"], 4);
    let cache = photos.sibling("cache");
    extract_shard(&photos, &cache, 0, 2, &[]).succeeded();
    extract_shard(&photos, &cache, 0, 3, &[]).failed_with("holds shard 0 of 2, and this is shard 0 of 3; merge those");
    let whole = extract(&photos.path(), &cache, &[]);
    whole.failed_with("holds shards that are not merged; merge them: cargo extract merge ");
    fs::create_dir(folder(&cache, 0, 3)).unwrap();
    merge(&cache).failed_with("holds shards I-of-2 and I-of-3; remove those that are not wanted");
}

/// A refused shard once left a folder because of which every later run over all photos failed.
#[test]
fn a_refused_shard_leaves_nothing() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    let bilinear = ["--interpolation", "bilinear"];
    extract_shard(&photos, &cache, 0, 2, &bilinear).failed_with("its rows have another fingerprint");
    assert!(!cache.join("shards").exists());
    assert!(!photos.sibling(".cache.extract").exists());
}

#[test]
fn a_folder_of_shards_without_any_row_is_no_obstacle() {
    const JOURNAL_HEADER: usize = 50;
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    let working = cache.join("shards/.0-of-2.extract");
    for (number, journal) in [None, Some(0), Some(JOURNAL_HEADER)].into_iter().enumerate() {
        fs::create_dir_all(&working).unwrap();
        fs::write(working.join("lock"), "").unwrap();
        match journal {
            None => fs::remove_dir_all(&working).unwrap(),
            Some(length) => fs::write(working.join("rows"), vec![0u8; length]).unwrap(),
        }
        photos.add(&format!("cat/new{number}.png"), 9001 + number as u32);
        extract(&photos.path(), &cache, &[]).succeeded();
        assert!(!cache.join("shards").exists(), "{journal:?}");
        assert_as_single(&photos, &cache, &[]);
    }

    // With a row it is a shard.
    fs::create_dir_all(&working).unwrap();
    fs::write(working.join("rows"), vec![0u8; JOURNAL_HEADER + 1]).unwrap();
    extract(&photos.path(), &cache, &[]).failed_with("holds shards that are not merged");
    assert!(working.join("rows").exists());
}

#[test]
fn missing_failed_and_duplicate_shards_are_reported_and_not_merged() {
    let photos = Photos::new(&["cat", "dog"], 12);
    let cache = photos.sibling("cache");
    merge(&cache).failed_with("no shards here; make them with: cargo extract DATASET --out ");
    for index in [0, 2] {
        extract_shard(&photos, &cache, index, 5, &[]).succeeded();
    }
    let broken = (0..).map(|n| format!("cat/broken{n}.png")).find(|path| shard_of(path, 5) == 3).unwrap();
    photos.write(&broken, b"no picture");
    extract_shard(&photos, &cache, 3, 5, &[]).failed_with(&broken);
    let ran = merge(&cache);
    ran.failed_with(
        "2 of 5 shards are missing: 1, 4; 1 of 5 shards are not finished (running, failed or interrupted): 3",
    );
    assert!(!cache.join("manifest.json").exists());

    fs::remove_file(photos.path().join(&broken)).unwrap();
    extract_shards(&photos, &cache, 5, &[]);
    // A copy of one shard in the folder of another.
    let original = photos.sibling("original");
    fs::rename(folder(&cache, 4, 5), &original).unwrap();
    fs::create_dir_all(folder(&cache, 4, 5)).unwrap();
    for (path, bytes) in contents(&folder(&cache, 0, 5)) {
        let path = folder(&cache, 4, 5).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    merge(&cache).failed_with("which belongs to shard 0 of 5: it may be a copy; remove it");
    fs::remove_dir_all(folder(&cache, 4, 5)).unwrap();
    fs::rename(&original, folder(&cache, 4, 5)).unwrap();

    // A damaged shard.
    let features = folder(&cache, 2, 5).join("all/features.npy");
    let bytes = fs::read(&features).unwrap();
    let mut damaged = bytes.clone();
    damaged[5000] ^= 1;
    fs::write(&features, &damaged).unwrap();
    let ran = merge(&cache).failed_with("shards/2-of-5/all/features.npy: its bytes have changed");
    assert!(ran.stderr.contains("; extract this shard again with --shard I/N --replace"), "{ran:?}");
    fs::write(&features, &bytes).unwrap();
    // A shard without a manifest: only an extraction of this shard helps.
    let manifest = folder(&cache, 2, 5).join("manifest.json");
    let bytes = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    merge(&cache).failed_with("shards/2-of-5: no feature cache here; extract it with --shard I/N");
    fs::write(&manifest, bytes).unwrap();
    // Unknown files are not removed.
    fs::write(cache.join("shards/notes.txt"), "mine").unwrap();
    merge(&cache).failed_with("shards/notes.txt: not part of a feature cache");
    fs::remove_file(cache.join("shards/notes.txt")).unwrap();

    merge(&cache).succeeded();
    assert_as_single(&photos, &cache, &[]);
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let photos = Photos::new(&["cat", "dog"], 8);
    let cache = photos.sibling("cache");
    extract_shard(&photos, &cache, 0, 2, &[]).succeeded();
    extract_shard(&photos, &cache, 1, 2, &["--interpolation", "bilinear"]).succeeded();
    merge(&cache).failed_with("have different fingerprints:\n  interpolation  first: nearest");
    extract_shard(&photos, &cache, 1, 2, &["--replace", "--views", "2", "--flip"]).succeeded();
    merge(&cache).failed_with("have different views: none; views 2, flip true");
    extract_shard(&photos, &cache, 1, 2, &["--replace"]).succeeded();

    // A photo of shard 0 is added after shard 0 was extracted.
    let added = (0..).map(|n| format!("cat/new{n}.png")).find(|path| shard_of(path, 2) == 0).unwrap();
    photos.add(&added, 9001);
    extract_shard(&photos, &cache, 1, 2, &[]).succeeded();
    merge(&cache).failed_with("was made from a list of 16 photos");
    photos.add("bird/new.png", 9002);
    extract_shard(&photos, &cache, 1, 2, &[]).succeeded();
    merge(&cache).failed_with("have different classes: only one of them has [\"bird\"]");
    extract_shards(&photos, &cache, 2, &[]);
    merge(&cache).succeeded();
    assert_as_single(&photos, &cache, &[]);
}

/// The merge notes that rows were computed by different kernels, but not by those whose rows were replaced.
#[test]
fn a_shard_forgets_the_kernels_of_rows_that_it_does_not_keep() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    let extract = |more: &[&str]| extract_shard(&photos, &cache, 0, 1, more).succeeded();
    let kernels = || {
        let record = fs::read(folder(&cache, 0, 1).with_extension("json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["kernels"].as_array().unwrap().len()
    };
    extract(&["--kernels", "own"]);
    extract(&["--kernels", "libtorch", "--interpolation", "bilinear", "--replace"]);
    assert_eq!(kernels(), 1);
    photos.add("cat/new.png", 9001);
    extract(&["--kernels", "own", "--interpolation", "bilinear"]);
    assert_eq!(kernels(), 2);
    assert_eq!(merge(&cache).succeeded().json()["kernels"].as_array().unwrap().len(), 2);
}

#[test]
fn a_class_of_which_every_photo_is_skipped_is_an_error() {
    let photos = Photos::new(&["cat", "dog"], 4);
    photos.write("bird/1.png", b"no picture");
    let cache = photos.sibling("cache");
    extract_shards(&photos, &cache, 2, &["--on-error", "skip"]);
    merge(&cache).failed_with("class \"bird\" has no photo that can be used");
}

#[test]
fn after_a_full_disk_the_shard_is_extracted_again() {
    let photos = Photos::new(&CLASSES, 14);
    let cache = photos.sibling("cache");
    // In blocks of 1024 bytes: too small for the first batch of rows, or for a later one.
    for limit in ["ulimit -f 1", "ulimit -f 40", "ulimit -f 150"] {
        let mut shard = command("extract");
        shard.arg(photos.path()).arg("--out").arg(&cache).args(SMALLEST_SIZE).args(VIEWS);
        shard.args(["--batch-size", "4", "--shard", "1/2"]);
        run_command(&mut limited(limit, &shard)).failed_with("File too large");
        assert!(!folder(&cache, 1, 2).exists());
        merge(&cache).failed_with("not finished");
    }
    extract_shards(&photos, &cache, 2, &VIEWS);
    // A merge whose disk is full leaves the shards as they are.
    let mut merging = command("extract");
    merging.arg("merge").arg(&cache);
    run_command(&mut limited("ulimit -f 100", &merging)).failed_with("File too large");
    assert!(!cache.join("manifest.json").exists());
    merge(&cache).succeeded();
    assert_as_single(&photos, &cache, &VIEWS);
}

/// Adds a photo that takes 459 MB to decode, more than a process has left whose address space is limited to 900 MB.
fn add_deadly_photo(photos: &Photos, path: &str) {
    let gray = image::GrayImage::from_pixel(17_000, 9_000, image::Luma([77]));
    gray.save(photos.path().join(path)).unwrap();
}

/// Runs `extract` with 900 MB of address space.
fn extract_with_little_memory(photos: &Photos, cache: &Path, more: &[&str]) -> Ran {
    let mut extract = command("extract");
    extract.arg(photos.path()).arg("--out").arg(cache).args(SMALLEST_SIZE);
    extract.args(["--threads", "2", "--kernels", "own"]).args(more);
    run_command(&mut limited("ulimit -v 900000", &extract))
}

#[test]
fn a_photo_that_kills_every_process_is_found_and_left_out() {
    let photos = Photos::new(&["cat", "dog"], 20);
    add_deadly_photo(&photos, "cat/deadly.png");
    let cache = photos.sibling("cache");
    let attempt = |more: &[&str]| extract_with_little_memory(&photos, &cache, &[&["--shard", "0/1"], more].concat());
    // It ends the process three times: together with other photos, then twice alone. The others are not suspected.
    for _ in 0..3 {
        assert_eq!(attempt(&[]).code, None, "a signal ends it");
    }
    attempt(&[]).failed_with("cat/deadly.png: ends every process that computes it");
    assert_eq!(attempt(&["--rehash"]).code, None, "all photos are tried again");
    attempt(&["--on-error", "skip"]).succeeded();
    // Later runs do not try it again, unless they are asked to.
    attempt(&["--on-error", "skip"]).succeeded();
    // Nor do runs that replace the cache by one with another fingerprint.
    attempt(&["--on-error", "skip", "--replace", "--interpolation", "bilinear"]).succeeded();
    attempt(&["--on-error", "skip", "--replace"]).succeeded();
    let skipped = fs::read_to_string(folder(&cache, 0, 1).join("all/skipped.csv")).unwrap();
    assert_eq!(skipped, "path,reason\ncat/deadly.png,ends every process that computes it\n");
    let index = fs::read_to_string(folder(&cache, 0, 1).join("all/index.csv")).unwrap();
    assert_eq!(index.lines().count(), 41);
    let rehashed = ["--shard", "0/1", "--rehash", "--on-error", "skip"];
    let unlimited = extract(&photos.path(), &cache, &rehashed).succeeded().json();
    assert_eq!(unlimited["skipped"], 0, "without the limit there is enough memory");
}

/// After a broken photo the others are only decoded, so that all broken ones are listed. If that ends the process, the
/// next run lists those that are known; without them the deadly photo is found.
#[test]
fn a_deadly_photo_does_not_hide_a_broken_one() {
    let photos = Photos::new(&["cat", "dog"], 60);
    let whole = fs::read(photos.path().join("cat/000.png")).unwrap();
    photos.write("cat/000.png", &whole[..whole.len() / 2]);
    add_deadly_photo(&photos, "dog/deadly.png");
    let cache = photos.sibling("cache");
    assert_eq!(extract_with_little_memory(&photos, &cache, &[]).code, None, "a signal ends it");
    let listed = extract_with_little_memory(&photos, &cache, &[]);
    listed.failed_with("1 photo cannot be used:\n  cat/000.png: ");

    fs::remove_file(photos.path().join("cat/000.png")).unwrap();
    let mut attempts = (0..5).map(|_| extract_with_little_memory(&photos, &cache, &[]));
    let found = attempts.find(|ran| ran.code.is_some()).unwrap();
    found.failed_with("dog/deadly.png: ends every process that computes it");
}

#[test]
fn a_shard_may_lose_all_of_its_photos() {
    let photos = Photos::new(&CLASSES, 4);
    let cache = photos.sibling("cache");
    extract_shards(&photos, &cache, 7, &[]);
    merge(&cache).succeeded();
    let remove_shard_of = |photo: &str| {
        for class in CLASSES {
            for name in ["000", "001", "002", "003", "new"] {
                let path = format!("{class}/{name}.png");
                if shard_of(&path, 7) == shard_of(photo, 7) && photos.path().join(&path).exists() {
                    fs::remove_file(photos.path().join(path)).unwrap();
                }
            }
        }
    };
    remove_shard_of("train/cat/000.png");
    photos.add("train/cat/new.png", 9001);
    photos.add("train/dog/new.png", 9002);
    extract_shards(&photos, &cache, 7, &[]);
    // Again, when the shards have caches of their own.
    remove_shard_of("train/dog/001.png");
    extract_shards(&photos, &cache, 7, &[]);
    merge(&cache).succeeded();
    assert_as_single(&photos, &cache, &[]);

    // The shards of another data set do not replace the cache.
    let others = Photos::new(&[], 0);
    for (number, class) in ["hat", "hat", "dress"].into_iter().enumerate() {
        others.add(&format!("{class}/{number}.png"), 9101 + number as u32);
    }
    let other = extract_shard(&others, &cache, 0, 1, &[]);
    other.failed_with("and none of these photos");
}
