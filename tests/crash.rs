//! After a kill or a full disk the next run ends with the same cache, byte for byte; after Ctrl-C it goes on from the
//! finished rows. A process that reads meanwhile sees a complete cache or none.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use end_to_end::{Photos, Running, SMALLEST_SIZE, command, contents, extract, limited, run_command, start};
use feature_cache::{CacheError, FeatureCache};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLASSES: [&str; 3] = ["train/cat", "train/dog", "validation/cat"];
const VIEWS: [&str; 5] = ["--views", "2", "--flip", "--crop", "0.1"];

fn extract_command(photos: &Photos, cache: &Path) -> Command {
    let mut extract = command("extract");
    extract.arg(photos.path()).arg("--out").arg(cache).args(SMALLEST_SIZE).args(VIEWS).args(["--batch-size", "4"]);
    extract
}

/// Opens the cache again and again, until the sender of `stopped` is dropped. If the cache exists, it must be complete:
/// an index entry for each row, finite values. Returns how often it existed.
fn poll(cache: &Path, stopped: &Receiver<()>) -> usize {
    let mut seen = 0;
    while stopped.try_recv() == Err(TryRecvError::Empty) {
        match FeatureCache::open(cache) {
            Err(CacheError::NotACache(_)) => {}
            Err(error) => panic!("a reader saw half a cache: {error}"),
            Ok(opened) => {
                for (_, split) in opened.splits() {
                    assert_eq!(split.index().unwrap().len(), split.features().nrows());
                    assert!(split.features().iter().all(|value| value.is_finite()));
                }
                seen += 1;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    seen
}

/// Runs a command, but kills it after `time`. Returns whether it was killed; if not, it must have succeeded.
fn killed_after(time: Duration, command: &mut Command) -> bool {
    let mut running = start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let deadline = Instant::now() + time;
    while Instant::now() < deadline && running.child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    running.child.kill().unwrap();
    let ran = running.finish();
    let killed = ran.code.is_none();
    if !killed {
        ran.succeeded();
    }
    killed
}

/// Waits until the writer has some rows in its journal; the test fails if the writer ends before that.
fn wait_for_rows(writer: &mut Running, journal: &Path) {
    const MIN_JOURNAL_BYTES: u64 = 40_000;
    while std::fs::metadata(journal).map_or(0, |metadata| metadata.len()) < MIN_JOURNAL_BYTES {
        let ended = writer.child.try_wait().unwrap();
        assert!(ended.is_none(), "the writer ended before it had {MIN_JOURNAL_BYTES} bytes of rows: {ended:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[should_panic(expected = "the writer ended before it had")]
fn a_writer_that_dies_at_once_is_not_waited_for() {
    let mut writer = start(&mut Command::new("false"));
    wait_for_rows(&mut writer, Path::new("no journal"));
}

#[test]
fn killed_at_thirty_moments_it_ends_with_the_same_bytes() {
    let photos = Photos::new(&CLASSES, 8);
    let (whole, cache) = (photos.sibling("whole"), photos.sibling("cache"));
    let timed_run = |cache: &Path| {
        let started = Instant::now();
        run_command(&mut extract_command(&photos, cache)).succeeded();
        started.elapsed()
    };
    let mut run_time = timed_run(&whole);
    let expected = contents(&whole);
    let mut random = ChaCha8Rng::seed_from_u64(20);

    // `stop_reader` is dropped when this test ends or fails: that ends the reader.
    let (stop_reader, stopped) = channel();
    let cache_to_read = cache.clone();
    let reader = thread::spawn(move || poll(&cache_to_read, &stopped));
    let (mut kills, mut rounds) = (0, 0);
    while kills < 30 {
        // Every other round begins with an older cache in place. The last one is moved away before its files are removed,
        // so that the reader never sees some of them missing.
        let moved = photos.sibling("moved");
        if std::fs::rename(&cache, &moved).is_ok() {
            std::fs::remove_dir_all(&moved).unwrap();
        }
        if rounds % 2 == 1 {
            let few = Photos::new(&["train/cat", "train/dog"], 3);
            extract(&few.path(), &cache, &[]).succeeded();
        }
        rounds += 1;
        while kills < 30 {
            let time = random.random_range(Duration::ZERO..run_time);
            if !killed_after(time, &mut extract_command(&photos, &cache)) {
                break;
            }
            kills += 1;
            // A photo that was being computed in several killed runs is not tried again. Here no photo is the reason:
            // every second time the marker of that photo is removed.
            if kills % 2 == 0 {
                let _ = std::fs::remove_file(photos.sibling(".cache.extract/photo"));
            }
        }
        // The first run may have been slowed by other processes: kills are timed by the fastest one, but not by runs
        // that found almost all rows finished.
        run_time = run_time.min(timed_run(&cache).max(Duration::from_secs(1)));
        assert_eq!(contents(&cache), expected, "after {kills} kills");
    }
    drop(stop_reader);
    assert!(reader.join().unwrap() > 0, "the reader saw a cache");
    assert!(!photos.sibling(".cache.extract").exists(), "nothing is left behind");
}

#[test]
fn a_full_disk_is_an_error_and_the_next_run_goes_on() {
    let photos = Photos::new(&CLASSES, 14);
    let (whole, cache) = (photos.sibling("whole"), photos.sibling("cache"));
    run_command(&mut extract_command(&photos, &whole)).succeeded();
    // In blocks of 1024 bytes: from too small for the first batch of rows to too small for the last one.
    for limit in [1, 40, 100, 500] {
        let limit = format!("ulimit -f {limit}");
        run_command(&mut limited(&limit, &extract_command(&photos, &cache))).failed_with("File too large");
        assert!(!cache.exists());
    }
    run_command(&mut extract_command(&photos, &cache)).succeeded();
    assert_eq!(contents(&cache), contents(&whole));
}

#[test]
fn ctrl_c_keeps_the_finished_rows() {
    let photos = Photos::new(&CLASSES, 60);
    let cache = photos.sibling("cache");
    let mut running = start(extract_command(&photos, &cache).stdout(Stdio::null()).stderr(Stdio::piped()));
    wait_for_rows(&mut running, &photos.sibling(".cache.extract/rows"));
    run_command(Command::new("kill").args(["-INT", &running.child.id().to_string()])).succeeded();
    running.finish().failed_with("finished rows are kept; run the same command again to continue");
    assert!(!cache.exists());
    let rest = extract(&photos.path(), &cache, &[]).succeeded().json();
    assert!(rest["computed"].as_u64().unwrap() < 180, "{rest}");
}

/// A running writer that has some rows in its journal. It has one thread: with all cores of a large machine it could
/// end before another process has started.
fn writer_with_rows(photos: &Photos, cache: &Path) -> Running {
    let mut writer = extract_command(photos, cache);
    let mut writer = start(writer.args(["--threads", "1"]).stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for_rows(&mut writer, &photos.sibling(".cache.extract/rows"));
    writer
}

#[test]
fn a_second_writer_fails_with_the_process_id_of_the_first_or_waits() {
    let photos = Photos::new(&CLASSES, 60);
    let cache = photos.sibling("cache");
    let first = writer_with_rows(&photos, &cache);
    let refused = extract(&photos.path(), &cache, &[]);
    refused.failed_with(&format!("being written by process {}; wait for it with --wait", first.child.id()));
    let waited = extract(&photos.path(), &cache, &[&VIEWS[..], &["--wait"]].concat()).succeeded().json();
    first.finish().succeeded();
    assert_eq!(waited["computed"], 0, "the first one has done it all");
}

/// A writer, and another one that waits for it and has listed the photos.
#[cfg(target_os = "linux")]
fn two_writers(photos: &Photos, cache: &Path) -> (Running, Running) {
    let mut first = writer_with_rows(photos, cache);
    let mut waiting = extract_command(photos, cache);
    let waiting = start(waiting.args(["--wait", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()));
    // It has listed the photos when it has opened the lock.
    let descriptors = format!("/proc/{}/fd", waiting.child.id());
    let lock = photos.sibling(".cache.extract/lock");
    let is_open = || {
        let links = std::fs::read_dir(&descriptors).unwrap();
        links.flatten().any(|link| std::fs::read_link(link.path()).is_ok_and(|target| target == lock))
    };
    while !is_open() {
        assert!(first.child.try_wait().unwrap().is_none(), "the first writer ended before the other one waited for it");
        thread::sleep(Duration::from_millis(1));
    }
    (first, waiting)
}

#[test]
#[cfg(target_os = "linux")]
fn a_photo_that_comes_during_the_wait_is_extracted() {
    let photos = Photos::new(&CLASSES, 60);
    let (first, waiting) = two_writers(&photos, &photos.sibling("cache"));
    photos.add("train/cat/new.png", 9001);
    first.finish().succeeded();
    let waited = waiting.finish().succeeded().json();
    assert_eq!(waited["photos"]["added"], 1, "{waited}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_ends_the_wait() {
    let photos = Photos::new(&CLASSES, 150);
    let (mut first, waiting) = two_writers(&photos, &photos.sibling("cache"));
    run_command(Command::new("kill").args(["-TERM", &waiting.child.id().to_string()])).succeeded();
    let ended = waiting.finish();
    assert!(first.child.try_wait().unwrap().is_none(), "the first one is still writing: {ended:?}");
    ended.failed_with("cancelled while another process was writing it; run the same command again");
}
