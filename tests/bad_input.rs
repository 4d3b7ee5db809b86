//! Bad input gives a clear error and exit code 1; nothing is written, and nothing is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use end_to_end::{
    Photos, Ran, SMALLEST_SIZE, command, contents, extract, kitchen_photos, limited, run, run_command, temporary,
    workspace,
};

/// Asserts that extraction fails with this message and writes no cache.
fn refused(photos: &Photos, message: &str) -> Ran {
    let cache = photos.sibling("cache");
    let ran = extract(&photos.path(), &cache, &[]).failed_with(message);
    assert!(!cache.exists(), "something was written");
    ran
}

#[test]
fn folders_that_are_not_a_data_set() {
    let photos = Photos::new(&["train/cat", "train/dog"], 1);
    let nowhere = extract(&photos.sibling("nowhere"), &photos.sibling("cache"), &[]);
    nowhere.failed_with("nowhere: cannot be read: No such file or directory");
    photos.write("validation/bird/1.png", b"");
    refused(&photos, "class \"bird\" is not in train/");

    refused(&Photos::new(&["train/cat"], 1), "only one class, \"cat\"");
    let empty = Photos::new(&["train/cat"], 1);
    fs::create_dir_all(empty.path().join("train/dog")).unwrap();
    refused(&empty, "train/dog: no photos in this class");
    let none = Photos::new(&[], 0);
    none.write("readme.txt", b"");
    refused(&none, "no classes here; expected one folder of photos per class");
}

#[test]
fn all_broken_photos_are_listed_and_finished_rows_kept() {
    let photos = Photos::new(&["cat", "dog"], 40);
    let jpeg = fs::read(&kitchen_photos()[0]).unwrap();
    photos.write("cat/cut.jpg", &jpeg[..jpeg.len() / 2]);
    photos.write("dog/cut too.jpg", &jpeg[..jpeg.len() / 3]);
    let cache = photos.sibling("cache");
    let ran = refused(&photos, "2 photos cannot be used:");
    assert!(ran.stderr.contains("  cat/cut.jpg: is a truncated JPEG"), "{ran:?}");
    assert!(ran.stderr.contains("  dog/cut too.jpg: is a truncated JPEG"), "{ran:?}");
    assert!(ran.stderr.contains("--on-error skip"), "{ran:?}");

    fs::remove_file(photos.path().join("cat/cut.jpg")).unwrap();
    fs::remove_file(photos.path().join("dog/cut too.jpg")).unwrap();
    let mended = extract(&photos.path(), &cache, &[]).succeeded().json();
    assert_eq!(mended["rows"]["all"], 80);
    assert!(mended["computed"].as_u64().unwrap() < 80, "the rows of the first run are kept: {mended}");
}

#[test]
fn files_that_are_not_photos_or_cannot_be_read_are_reported() {
    let photos = Photos::new(&["cat", "dog"], 1);
    photos.write("cat/text.jpg", b"just words");
    symlink("nowhere", photos.path().join("dog/dangling.png")).unwrap();
    let ran = refused(&photos, "2 photos cannot be used:");
    assert!(ran.stderr.contains("cat/text.jpg: is not a picture (JPEG, PNG, BMP, GIF, WebP or TIFF)"), "{ran:?}");
    assert!(ran.stderr.contains("dog/dangling.png: cannot be read: No such file or directory"), "{ran:?}");
}

#[test]
fn a_picture_over_the_limit_is_refused() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let ran = extract(&photos.path(), &photos.sibling("cache"), &["--max-pixels", "431"]);
    let ran = ran.failed_with("24 x 18 pixels, over the limit of 431");
    assert!(ran.stderr.contains("raise limits with --max-pixels"), "{ran:?}");
}

#[test]
fn every_photo_of_a_class_broken_is_an_error_even_when_skipping() {
    let photos = Photos::new(&["cat", "dog"], 1);
    photos.write("cat/000.png", b"no picture");
    let ran = extract(&photos.path(), &photos.sibling("cache"), &["--on-error", "skip"]);
    ran.failed_with("class \"cat\" has no photo that can be used");
}

#[test]
fn cache_paths_that_cannot_be_written() {
    let photos = Photos::new(&["cat", "dog"], 1);
    photos.write("../file", b"");
    let in_a_file = extract(&photos.path(), &photos.sibling("file/cache"), &[]);
    in_a_file.failed_with("file: cannot create: File exists");
    extract(&photos.path(), Path::new("/proc/cache"), &[]).failed_with("/proc/.cache.extract: cannot create");

    let without_name = extract(&photos.path(), &photos.sibling("missing/.."), &[]);
    without_name.failed_with("missing/..: does not end with the name of a folder; choose another --out");

    let link = photos.sibling("link");
    symlink("nowhere", &link).unwrap();
    extract(&photos.path(), &link, &[]).failed_with("nowhere, which does not exist; create that folder");
    assert!(link.is_symlink());

    let full = photos.sibling("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("notes.txt"), "mine").unwrap();
    extract(&photos.path(), &full, &[]).failed_with("full/notes.txt: not part of a feature cache; move it away");
    assert_eq!(fs::read_to_string(full.join("notes.txt")).unwrap(), "mine");
}

/// The next run would take it for a class without photos.
#[test]
fn a_cache_among_the_photos_is_refused() {
    let photos = Photos::new(&["cat", "dog"], 1);
    for more in [&["--rehash"][..], &["--shard", "0/1", "--wait"]] {
        let inside = photos.path().join("cache");
        let ran = extract(&photos.path(), &inside, more).failed_with("photos/cache: is among the photos of the data ");
        assert!(ran.stderr.contains("; choose an --out outside of it"), "{ran:?}");
        assert!(!inside.exists() && !photos.path().join(".cache.extract").exists());
    }
    // Neither does it advise to remove a cache that is there already.
    extract(&photos.path(), &photos.sibling("cache"), &[]).succeeded();
    fs::rename(photos.sibling("cache"), photos.path().join("cache")).unwrap();
    extract(&photos.path(), &photos.path().join("cache"), &[]).failed_with("photos/cache: is among the photos of ");
    fs::remove_dir_all(photos.path().join("cache")).unwrap();
    // A scan ignores hidden folders.
    for _ in 0..2 {
        extract(&photos.path(), &photos.path().join(".cache"), &[]).succeeded();
    }
}

#[test]
fn missing_and_damaged_weights() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let extract_with = |weights: &Path| {
        let cache = photos.sibling("cache");
        let ran = extract(&photos.path(), &cache, &["--weights", weights.to_str().unwrap()]);
        assert!(!cache.exists());
        ran
    };
    extract_with(Path::new("nowhere.safetensors"))
        .failed_with("nowhere.safetensors: cannot read the weights: No such file");

    let folder = temporary();
    extract_with(folder.path()).failed_with(": cannot read the weights: is a directory");
    let whole = fs::read(workspace().join("data/weights/xception.safetensors")).unwrap();
    let damaged = folder.path().join("cut.safetensors");
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    extract_with(&damaged).failed_with("cut.safetensors: not readable as safetensors");
    let h5 = folder.path().join("cut.h5");
    fs::write(&h5, b"\x89HDF\r\n\x1a\n and then nothing").unwrap();
    extract_with(&h5).failed_with("cut.h5: not readable as Keras weights (HDF5)");

    // The header has the tensors' names. With another name of the same length, one tensor is missing and one is extra.
    let name = b"block9_sepconv1.pointwise";
    let place = whole.windows(name.len()).position(|window| window == name).unwrap();
    let mut renamed = whole;
    renamed[place..place + 6].copy_from_slice(b"blockX");
    let path = folder.path().join("renamed.safetensors");
    fs::write(&path, renamed).unwrap();
    let ran = extract_with(&path).failed_with("missing: block9_sepconv1.pointwise");
    assert!(ran.stderr.contains("extra: blockX_sepconv1.pointwise"), "{ran:?}");
}

#[test]
fn imported_weights_that_do_not_fit_on_the_disk_leave_nothing() {
    let folder = temporary();
    let mut import = command("extract");
    import.arg("import-weights").arg(workspace().join("data/weights/xception.safetensors"));
    import.arg("--out").arg(folder.path().join("weights.safetensors"));
    let ran = run_command(&mut limited("ulimit -f 100", &import));
    ran.failed_with("weights.safetensors: cannot write the weights: File too large");
    assert!(contents(folder.path()).is_empty());
}

#[test]
fn weights_that_overflow_give_no_cache() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let mut weights = fs::read(workspace().join("data/weights/xception.safetensors")).unwrap();
    let (length, rest) = weights.split_first_chunk().unwrap();
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Value = serde_json::from_slice(header).unwrap();
    let offsets = &header["block14_sepconv2_bn.gamma"]["data_offsets"];
    let [start, end] = [0, 1].map(|n| weights.len() - values.len() + offsets[n].as_u64().unwrap() as usize);
    weights[start..end].as_chunks_mut().0.fill(f32::MAX.to_le_bytes());
    let path = photos.sibling("large.safetensors");
    fs::write(&path, weights).unwrap();
    let cache = photos.sibling("cache");
    let ran = extract(&photos.path(), &cache, &["--weights", path.to_str().unwrap()]);
    let advice = format!("run: cargo extract doctor --weights {}", path.display());
    assert!(ran.failed_with("cat/000.png: its features are not finite").stderr.contains(&advice), "{advice}");
    assert!(!cache.exists());
}

#[test]
fn rows_of_damaged_caches_and_of_other_versions_are_not_used() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    let manifest = fs::read_to_string(cache.join("manifest.json")).unwrap();
    let head = |message| run("head", ["train".as_ref(), cache.as_os_str()]).failed_with(message);

    fs::write(cache.join("manifest.json"), manifest.replace("\"format_version\": 1", "\"format_version\": 9")).unwrap();
    let message = "cache format version 9, this program reads 1; extract again into another --out, or with --replace";
    extract(&photos.path(), &cache, &[]).failed_with(message);
    head(message);

    fs::write(cache.join("manifest.json"), &manifest).unwrap();
    let features = cache.join("all/features.npy");
    let whole = fs::read(&features).unwrap();
    fs::write(&features, &whole[..whole.len() - 8]).unwrap();
    let message = "features.npy: expected 32896 bytes, found 32888";
    extract(&photos.path(), &cache, &[]).failed_with(message);
    head(message);

    // A row that has changed on the disk is not copied to a new cache.
    let mut flipped = whole.clone();
    flipped[1000] ^= 1;
    fs::write(&features, flipped).unwrap();
    photos.add("cat/new.png", 99);
    let damaged = contents(&cache);
    extract(&photos.path(), &cache, &[]).failed_with("features.npy: its bytes have changed since it was written");
    assert_eq!(contents(&cache), damaged);
    extract(&photos.path(), &cache, &["--replace"]).succeeded();
}

/// One value of the weights is slightly different: the network runs, and the doctor reports that the weights are not
/// Keras's.
#[test]
fn the_doctor_recognises_other_weights() {
    let folder = temporary();
    let mut weights = fs::read(workspace().join("data/weights/xception.safetensors")).unwrap();
    let last = weights.len() - 2;
    weights[last] ^= 1;
    let path = folder.path().join("other.safetensors");
    fs::write(&path, weights).unwrap();
    let ran = run("extract", ["doctor", "--weights", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("these are not Keras's ImageNet weights: no reference features to compare with"),
        "{ran:?}"
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["photos"][..],
        &["photos", "--out", "cache", "--size", "70"],
        &["photos", "--out", "cache", "--interpolation", "cubic"],
        &["photos", "--out", "cache", "--batch-size", "0"],
        &["photos", "--out", "cache", "--device", "gpu"],
        &["photos", "--out", "cache", "--views", "0"],
        &["photos", "--out", "cache", "--views", "65"],
        &["photos", "--out", "cache", "--flip"],
        &["photos", "--out", "cache", "--crop", "0.1"],
        &["photos", "--out", "cache", "--seed", "1"],
    ] {
        let ran = run("extract", arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stdout.is_empty());
    }
    let views = |more: &[&str]| run("extract", [&["photos", "--out", "cache", "--views", "4"], more].concat());
    views(&[])
        .failed_with("--views: the views would all be the photo itself; say how they differ, as in --flip --crop");
    views(&["--crop", "1"]).failed_with("--crop 1: must be 0 or more and less than 1");
    views(&["--flip", "--brightness", "-0.5"]).failed_with("--brightness -0.5: must be 0 or more and less than 1");
    let cuda = run("extract", ["photos", "--out", "cache", "--device", "cuda:7", SMALLEST_SIZE[0], SMALLEST_SIZE[1]]);
    assert_eq!(cuda.code, Some(1), "{cuda:?}");
    assert!(cuda.stderr.contains("cuda:7: libtorch sees no GPU"), "{cuda:?}");
    assert!(cuda.stderr.contains("; set LIBTORCH to a CUDA build"), "{cuda:?}");
}

#[test]
fn half_precision_is_refused_on_the_cpu() {
    run("extract", ["photos", "--out", "cache", "--device", "cpu", "--precision", "f16"])
        .failed_with("f16 needs a GPU, and the network runs on the CPU; use --precision f32");
}
