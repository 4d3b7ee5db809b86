//! After a kill, a full disk or Ctrl-C, the next run ends with the same cache, byte for byte. A process that reads
//! meanwhile sees a complete cache or none.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::{Photos, SMALLEST_SIZE, binary, command, contents, extract, run_command};
use feature_cache::{CacheError, FeatureCache};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLASSES: [&str; 3] = ["train/cat", "train/dog", "validation/cat"];
const VIEWS: [&str; 5] = ["--views", "2", "--flip", "--crop", "0.1"];

fn extract_command(photos: &Photos, cache: &Path) -> Command {
    let mut extract = command("extract");
    extract.arg(photos.path()).arg("--out").arg(cache).args(SMALLEST_SIZE).args(VIEWS).args(["--batch-size", "4"]);
    extract.stdout(Stdio::null()).stderr(Stdio::null());
    extract
}

/// Opens the cache again and again. If it exists, it must be complete: an index entry for each row, finite values.
fn poll(cache: &Path, done: &AtomicBool, seen: &AtomicUsize) {
    while !done.load(Ordering::Relaxed) {
        match FeatureCache::open(cache) {
            Err(CacheError::NotACache(_)) => {}
            Err(error) => panic!("a reader saw half a cache: {error}"),
            Ok(opened) => {
                for (_, split) in opened.splits() {
                    assert_eq!(split.index().unwrap().len(), split.features().nrows());
                    assert!(split.features().iter().all(|value| value.is_finite()));
                }
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The exit status of a process; `None` if it does not end within `time`.
fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.try_wait().unwrap()
}

/// Waits until the writer has some rows in its journal; the test fails if the writer ends before that.
fn wait_for_rows(writer: &mut Child, journal: &Path) {
    const MIN_JOURNAL_BYTES: u64 = 40_000;
    while std::fs::metadata(journal).map_or(0, |metadata| metadata.len()) < MIN_JOURNAL_BYTES {
        let ended = writer.try_wait().unwrap();
        assert!(ended.is_none(), "the writer ended before it had {MIN_JOURNAL_BYTES} bytes of rows: {ended:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[should_panic(expected = "the writer ended before it had")]
fn a_writer_that_dies_at_once_is_not_waited_for() {
    let mut writer = Command::new("false").spawn().unwrap();
    wait_for_rows(&mut writer, Path::new("no journal"));
}

#[test]
fn killed_at_thirty_moments_it_ends_with_the_same_bytes() {
    let photos = Photos::new(&CLASSES, 8);
    let (whole, cache) = (photos.sibling("whole"), photos.sibling("cache"));
    let timed_run = |cache: &Path| {
        let started = Instant::now();
        assert!(extract_command(&photos, cache).status().unwrap().success());
        started.elapsed()
    };
    let mut run_time = timed_run(&whole);
    let expected = contents(&whole);
    let mut random = ChaCha8Rng::seed_from_u64(20);
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));

    thread::scope(|scope| {
        let reader = scope.spawn(|| poll(&cache, &done, &seen));
        let (mut kills, mut rounds) = (0, 0);
        while kills < 30 {
            // Every other round begins with an older cache in place, which must stay readable until the end.
            let _ = std::fs::remove_dir_all(&cache);
            if rounds % 2 == 1 {
                let few = Photos::new(&["train/cat", "train/dog"], 3);
                extract(&few.path(), &cache, &[]).succeeded();
            }
            rounds += 1;
            loop {
                let mut child = extract_command(&photos, &cache).spawn().unwrap();
                let ended = wait(&mut child, random.random_range(Duration::ZERO..run_time));
                child.kill().unwrap();
                child.wait().unwrap();
                kills += usize::from(ended.is_none());
                if ended.is_some_and(|status| status.success()) || kills >= 30 {
                    break;
                }
            }
            // On a busy machine the first run is too slow to time kills by.
            run_time = run_time.min(timed_run(&cache).max(Duration::from_secs(1)));
            assert_eq!(contents(&cache), expected, "after {kills} kills");
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().is_ok());
    });
    assert!(seen.into_inner() > 0, "the reader saw a cache");
    assert!(!photos.sibling(".cache.extract").exists(), "nothing is left behind");
}

#[test]
fn a_full_disk_is_an_error_and_the_next_run_goes_on() {
    let photos = Photos::new(&CLASSES, 14);
    let (whole, cache) = (photos.sibling("whole"), photos.sibling("cache"));
    assert!(extract_command(&photos, &whole).status().unwrap().success());
    // In blocks of 1024 bytes: from too small for the first batch of rows to too small for the last file.
    for limit in [1, 40, 100, 500, 1000] {
        let mut limited = Command::new("bash");
        let script = format!("ulimit -f {limit}; exec \"$0\" \"$@\"");
        limited
            .args(["-c", &script])
            .arg(binary("extract"))
            .arg(photos.path())
            .arg("--out")
            .arg(&cache)
            .args(SMALLEST_SIZE);
        let ran = run_command(limited.args(VIEWS).args(["--batch-size", "4"]));
        if limit < 500 {
            ran.failed_with("File too large");
            assert!(!cache.exists());
        }
    }
    assert!(extract_command(&photos, &cache).status().unwrap().success());
    assert_eq!(contents(&cache), contents(&whole));
}

#[test]
fn ctrl_c_keeps_the_finished_rows() {
    let photos = Photos::new(&CLASSES, 60);
    let cache = photos.sibling("cache");
    let mut child = extract_command(&photos, &cache).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_rows(&mut child, &photos.sibling(".cache.extract/rows"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("finished rows are kept; run the same command again to continue"), "{message}");
    assert!(!cache.exists());
    let rest = extract(&photos.path(), &cache, &[]).succeeded().json();
    assert!(rest["computed"].as_u64().unwrap() < 180, "{rest}");
}

#[test]
fn a_second_writer_fails_with_the_process_id_of_the_first_or_waits() {
    let photos = Photos::new(&CLASSES, 60);
    let cache = photos.sibling("cache");
    let mut first = extract_command(&photos, &cache).spawn().unwrap();
    wait_for_rows(&mut first, &photos.sibling(".cache.extract/rows"));
    let refused = extract(&photos.path(), &cache, &[]);
    refused.failed_with(&format!("being written by process {}; wait for it with --wait", first.id()));
    let waited = extract(&photos.path(), &cache, &[&VIEWS[..], &["--wait"]].concat()).succeeded().json();
    assert!(first.wait().unwrap().success());
    assert_eq!(waited["computed"], 0, "the first one has done it all");
}
