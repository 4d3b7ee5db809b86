//! `extract verify` finds every changed byte.

use std::fs;
use std::num::NonZeroUsize;

use end_to_end::{Photos, Ran, contents, extract, run};
use feature_cache::{CacheContents, FeatureCache, Split, verify, write_cache};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs `extract verify` on the data set's cache.
fn verify_cache(photos: &Photos, more: &[&str]) -> Ran {
    let cache = photos.sibling("cache");
    run("extract", ["verify", cache.to_str().unwrap()].iter().chain(more))
}

#[test]
fn every_flipped_byte_is_found_and_its_file_named() {
    let photos = Photos::new(&["train/cat", "train/dog", "test/cat"], 2);
    photos.write("train/cat/broken.jpg", b"no picture");
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &["--on-error", "skip", "--views", "2", "--flip", "--crop", "0.1"]).succeeded();
    assert!(verify(&cache).unwrap().is_empty());
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut flips = 0;
    for (name, whole) in contents(&cache) {
        // Every byte of the small files, a sample of the features.
        let places: Vec<usize> = match whole.len() {
            small if small < 4000 => (0..small).collect(),
            large => (0..128).chain((0..500).map(|_| random.random_range(128..large))).collect(),
        };
        for place in places {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << random.random_range(0..8);
            fs::write(cache.join(&name), &flipped).unwrap();
            let findings = match verify(&cache) {
                Ok(findings) => findings.into_iter().map(|finding| finding.file).collect(),
                // A flipped version number looks like another version.
                Err(error) => {
                    assert!(error.to_string().contains("format version"), "{error}");
                    vec![cache.join("manifest.json")]
                }
            };
            assert_eq!(findings, [cache.join(&name)], "byte {place}");
            flips += 1;
        }
        fs::write(cache.join(&name), &whole).unwrap();
    }
    assert!(flips >= 2000, "{flips}");
    verify_cache(&photos, &[]).succeeded();
}

#[test]
fn missing_and_surplus_files_are_named() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    fs::write(cache.join("all/notes.txt"), "").unwrap();
    fs::remove_file(cache.join("all/labels.npy")).unwrap();
    let ran = verify_cache(&photos, &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("all/labels.npy: missing"), "{ran:?}");
    assert!(ran.stdout.contains("all/notes.txt: not in the manifest"), "{ran:?}");
    assert!(
        ran.stdout.contains("\n2 problems found; move the files away that are not in the manifest, and extract"),
        "{ran:?}"
    );
    fs::remove_file(cache.join("all/notes.txt")).unwrap();
    assert!(verify_cache(&photos, &[]).stdout.contains("\n1 problem found; extract again"));
}

#[test]
fn photos_and_rows_are_checked_against_the_data_set() {
    let photos = Photos::new(&["cat", "dog"], 3);
    extract(&photos.path(), &photos.sibling("cache"), &["--views", "3", "--flip", "--crop", "0.3"]).succeeded();
    let dataset = photos.path();
    let against = ["--against", dataset.to_str().unwrap(), "--sample", "4"];
    let well = verify_cache(&photos, &against).succeeded();
    assert!(well.stdout.contains("6 rows, 3 views of each training photo, all files intact"), "{well:?}");

    let limited = verify_cache(&photos, &[&against[..], &["--max-pixels", "431"]].concat());
    let over = "cat/000.png: 24 x 18 pixels, over the limit of 431; raise limits with --max-pixels";
    assert!(limited.code == Some(1) && limited.stdout.contains(over), "{limited:?}");

    photos.add("cat/001.png", 4321);
    fs::remove_file(photos.path().join("dog/002.png")).unwrap();
    let ran = verify_cache(&photos, &against[..2]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("cat/001.png: changed since it was extracted"), "{ran:?}");
    assert!(ran.stdout.contains("dog/002.png: cannot be read"), "{ran:?}");

    // With all rows computed again, each of these photos is still listed once, and first.
    let all_rows = [&against[..2], &["--sample", "6"]].concat();
    let sampled = verify_cache(&photos, &all_rows);
    assert_eq!((sampled.code, &sampled.stdout), (Some(1), &ran.stdout), "{sampled:?}");
    let failed = verify_cache(&photos, &[&all_rows[..], &["--weights", "nowhere.safetensors"]].concat());
    assert_eq!(failed.failed_with("nowhere.safetensors: cannot read the weights").stdout, ran.stdout);
}

/// Every file is as it was written, and what was written is wrong: only computing the row again shows it.
#[test]
fn a_row_that_is_not_the_networks_is_named() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let honest = photos.sibling("honest");
    extract(&photos.path(), &honest, &["--views", "2", "--flip", "--crop", "0.3"]).succeeded();
    let cache = FeatureCache::open(&honest).unwrap();
    let contents = CacheContents::from_cache(&cache).unwrap();
    let split = cache.split(Split::All).unwrap();
    let mut rows: Vec<Vec<f32>> = split.features().outer_iter().map(|row| row.to_vec()).collect();
    rows[3][7] += 0.1;
    let mut views: Vec<Vec<f32>> = split.views_by_row().map(<[f32]>::to_vec).collect();
    // The sample includes the first view of the third photo.
    views[2][7] += 0.1;
    let columns = NonZeroUsize::new(cache.columns()).unwrap();
    let mut keyed: Vec<(blake3::Hash, &[f32])> = Vec::new();
    for (number, (_, photo)) in contents.photos().enumerate() {
        let views = views[number].chunks_exact(columns.get());
        keyed.extend(cache.views().unwrap().keys(photo.blake3).zip(views));
        keyed.push((photo.blake3, &rows[number][..]));
    }
    write_cache(&photos.sibling("cache"), &contents, columns, keyed).unwrap();

    let dataset = photos.path();
    let ran = verify_cache(&photos, &["--against", dataset.to_str().unwrap(), "--sample", "4"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].starts_with("dog/000.png: its view 0 differs from the network's by "), "{ran:?}");
    assert!(lines[1].starts_with("dog/001.png: its row differs from the network's by "), "{ran:?}");
}

#[test]
fn rows_that_this_machine_cannot_compute_are_not_sampled() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let honest = photos.sibling("honest");
    extract(&photos.path(), &honest, &[]).succeeded();
    let cache = FeatureCache::open(&honest).unwrap();
    let mut contents = CacheContents::from_cache(&cache).unwrap();
    // This machine's CPU cannot compute half precision.
    contents.fingerprint.precision = "f16".to_owned();
    let columns = NonZeroUsize::new(cache.columns()).unwrap();
    let split = cache.split(Split::All).unwrap();
    let rows = contents.photos().enumerate().map(|(n, (_, photo))| (photo.blake3, split.row(n).unwrap()));
    write_cache(&photos.sibling("cache"), &contents, columns, rows).unwrap();
    let dataset = photos.path();
    verify_cache(&photos, &["--against", dataset.to_str().unwrap(), "--sample", "1"])
        .failed_with("cache: its rows were computed in f16: f16 needs a GPU");
    verify_cache(&photos, &["--against", dataset.to_str().unwrap()]).succeeded();
}

#[test]
fn a_missing_cache_is_an_error_that_says_how_to_make_one() {
    let photos = Photos::new(&["cat", "dog"], 1);
    verify_cache(&photos, &[]).failed_with("no feature cache here; make one with: cargo extract DATASET --out");
    run("head", ["train".as_ref(), photos.path().as_os_str()]).failed_with("no feature cache here");
}
