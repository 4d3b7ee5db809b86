//! Photos that are broken or would take too much memory are reported. None ends the run, and none takes too much
//! memory.

#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use end_to_end::{Photos, Ran, command, python, run_command, temporary, workspace, wrapped};

const MIB: u64 = 1 << 20;

/// Runs a command and prints its peak memory in KiB as the last line of its stderr.
const MEASURE: &str = "
import os, sys
process = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(process, 0)
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
";

/// Runs `extract DATASET --out CACHE --size 71 --threads 2` with more arguments. Returns its output and its peak memory
/// in bytes.
fn extract(dataset: &Path, cache: &Path, more: &[&str]) -> (Ran, u64) {
    let mut measure = Command::new(python());
    measure.args(["-c", MEASURE]);
    let mut extract = command("extract");
    extract.arg(dataset).arg("--out").arg(cache).args(["--size", "71", "--threads", "2"]).args(more);
    let mut ran = run_command(&mut wrapped(measure, &extract));
    let text = ran.stderr.trim_end().to_owned();
    let (before, kib) = text.rsplit_once('\n').unwrap_or(("", &text));
    ran.stderr = before.to_owned();
    (ran, kib.parse::<u64>().unwrap_or_else(|error| panic!("{error}: {text}")) * 1024)
}

/// The paths in a column of a CSV file of the cache.
fn paths(file: &Path, column: usize) -> Vec<OsString> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().into()).collect()
}

/// More photos: `ICEBOX_MUTATED_PHOTOS=30000 cargo test --release --package end-to-end mutated`.
#[test]
fn mutated_photos_have_a_row_or_are_listed_as_skipped_and_take_no_more_memory_than_allowed() {
    let count = std::env::var("ICEBOX_MUTATED_PHOTOS").unwrap_or_else(|_| "2000".to_owned());
    let folder = temporary();
    let photos = folder.path().join("photos");
    let script = workspace().join("tests/mutate_photos.py");
    let fixtures = workspace().join("crates/backbone/tests/fixtures/pixels");
    run_command(Command::new(python()).arg(&script).args([&fixtures, &photos]).arg(&count)).succeeded();
    fs::create_dir(photos.join("more")).unwrap();
    fs::copy(fixtures.join("rgb.png"), photos.join("more/rgb.png")).unwrap();

    let few = folder.path().join("few");
    run_command(Command::new(python()).arg(&script).args([&fixtures, &few]).arg("0")).succeeded();
    fs::copy(fixtures.join("rgb.png"), few.join("broken/rgb.png")).unwrap();

    for interpolation in ["nearest", "lanczos"] {
        let options = ["--interpolation", interpolation, "--on-error", "skip", "--max-picture-bytes", "50000000"];
        let (ran, without) = extract(&few, &folder.path().join("few-cache"), &options);
        ran.succeeded();
        let cache = folder.path().join("cache");
        let (ran, memory) = extract(&photos, &cache, &options);
        let ran = ran.succeeded();
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
        // Two threads decode, so two photos may take 50 MB each.
        assert!(memory < without + 100_000_000, "{} MiB, without broken photos {}", memory / MIB, without / MIB);

        let mut all: BTreeSet<OsString> = BTreeSet::new();
        for class in ["whole", "broken", "more"] {
            for file in fs::read_dir(photos.join(class)).unwrap() {
                all.insert(Path::new(class).join(file.unwrap().file_name()).into_os_string());
            }
        }
        let (rows, skipped) = (paths(&cache.join("all/index.csv"), 1), paths(&cache.join("all/skipped.csv"), 0));
        println!(
            "{interpolation}: {} rows, {} skipped, {} MiB, without broken photos {} MiB",
            rows.len(),
            skipped.len(),
            memory / MIB,
            without / MIB
        );
        assert!(skipped.iter().all(|path| path.to_str().unwrap().starts_with("broken/")));
        assert_eq!(rows.len() + skipped.len(), all.len());
        assert_eq!(rows.into_iter().chain(skipped).collect::<BTreeSet<_>>(), all);
        let reasons = fs::read_to_string(cache.join("all/skipped.csv")).unwrap();
        let panics: Vec<&str> = reasons.lines().filter(|line| line.contains("makes the program panic")).collect();
        assert!(panics.is_empty(), "{panics:#?}");
        for folder in [cache, folder.path().join("few-cache")] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[test]
fn a_photo_that_would_take_gigabytes_is_reported_and_not_decoded() {
    let photos = Photos::new(&["cat", "dog"], 1);
    // A file of some hundred kilobytes with the maximum number of pixels, in one column. Its windows have at least as
    // many weights as there are pixels, of four bytes each.
    let tall = image::GrayImage::from_pixel(1, 178_956_970, image::Luma([77]));
    tall.save(photos.path().join("cat/tall.png")).unwrap();
    drop(tall);
    for interpolation in ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] {
        let cache = photos.sibling(interpolation);
        let options = ["--interpolation", interpolation, "--max-picture-bytes", "1000000000"];
        let (ran, memory) = extract(&photos.path(), &cache, &options);
        if interpolation == "nearest" {
            ran.succeeded();
            continue;
        }
        let ran = ran.failed_with("cat/tall.png: 1 x 178956970 pixels may take ");
        assert!(ran.stderr.contains("bytes of memory, over the limit of 1000000000"), "{ran:#?}");
        assert!(ran.stderr.contains("raise limits with --max-picture-bytes"), "{ran:#?}");
        assert!(memory < 700 * MIB, "{interpolation}: {} MiB", memory / MIB);
    }
}

#[test]
fn the_memory_of_one_photo_can_be_limited() {
    let photos = Photos::new(&["cat", "dog"], 2);
    let large = image::RgbImage::from_fn(2000, 1000, |x, y| image::Rgb([x as u8, y as u8, 0]));
    large.save(photos.path().join("dog/large.jpg")).unwrap();
    let limited = ["--max-picture-bytes", "6000000"];
    let (ran, _) = extract(&photos.path(), &photos.sibling("cache"), &limited);
    let ran = ran.failed_with("dog/large.jpg: 2000 x 1000 pixels may take ");
    assert!(ran.stderr.contains("raise limits with --max-picture-bytes"), "{ran:#?}");
    assert!(!ran.stderr.contains("--max-pixels"), "{ran:#?}");

    let skipping = [&limited[..], &["--on-error", "skip"]].concat();
    let (ran, _) = extract(&photos.path(), &photos.sibling("cache"), &skipping);
    assert!(ran.succeeded().stderr.contains("1 photo skipped"));
    let skipped = fs::read_to_string(photos.sibling("cache").join("all/skipped.csv")).unwrap();
    assert!(skipped.contains("2000 x 1000 pixels may take"), "{skipped}");
}
