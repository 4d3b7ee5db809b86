//! From photo files to rows: decode ∥ network ∥ write.
//!
//! ```text
//! photos ─▶ decode (all cores, batch by batch) ─▶ network (one worker per core) ─▶ write (the caller's thread)
//!                     bounded queue of batches            bounded queue of rows
//! ```
//!
//! A photo is decoded once for all of its pictures that are wanted: itself and its views. Memory is bounded by the batches
//! in the queues, and a batch of photos with their views, whatever the size of the data set. Decoding runs ahead while the
//! queue has room; the operating system shares the cores among the stages.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use crate::inventory::{BrokenPhoto, read_photo};
use crate::pixels::{Preparation, RgbPicture, View};

/// What turns pictures into rows.
pub trait Network: Sized + Send {
    /// Pictures per call.
    fn batch(&self) -> usize;

    /// One row per picture of a batch: NHWC, RGB from 0 to 255.
    ///
    /// # Errors
    /// When it cannot be run.
    fn rows(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError>;

    /// The same network for another thread.
    fn share(&self) -> Self;
}

/// Why the network could not be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network failed: {0}")]
pub struct NetworkError(pub String);

/// A photo, and the pictures of it whose rows are wanted: it is decoded once for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Relative to the data set.
    pub path: PathBuf,
    /// blake3 of the bytes that the file had a moment ago.
    pub blake3: blake3::Hash,
    /// At least one.
    pub pictures: Vec<Wanted>,
}

/// A picture of a photo whose row is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// By what the row is found later.
    pub key: blake3::Hash,
    /// One of the photo's views, or the photo as it is.
    pub view: Option<View>,
}

/// What to do about a photo that does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// Check all the others, then fail with the whole list.
    Fail,
    /// Leave it out, and list it in skipped.csv.
    Skip,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The photos that gave no row.
    pub broken: Vec<(Job, BrokenPhoto)>,
    /// Whether it was asked to stop before its end.
    pub stopped: bool,
    /// How many batches went through the network.
    pub batches: usize,
    /// How many rows were written.
    pub rows: usize,
    /// Where the time went.
    pub times: Times,
}

/// Busy time of each stage, summed over its threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Reading, decoding and resizing.
    pub decode: Duration,
    /// The network.
    pub network: Duration,
    /// Workers waiting for decoded batches.
    pub waiting: Duration,
    /// Writing rows.
    pub write: Duration,
}

/// Decoded pictures, resized, one behind the other.
struct Batch {
    /// How many pictures fill it.
    size: usize,
    keys: Vec<blake3::Hash>,
    pixels: Vec<u8>,
}

/// Finished rows, each with its key.
struct Rows {
    keys: Vec<blake3::Hash>,
    values: Vec<f32>,
    width: usize,
}

/// Runs the photos of the data set at `root` through `workers` copies of the network and hands each batch of rows to
/// `write`, in no particular order. Every batch is full: the last one is padded, so that no row depends on how many
/// there are. When `stop` is set, the batches under way are finished and no more are begun.
///
/// # Errors
/// When the network or `write` fails; rows that were written stay written.
pub fn run<N: Network, E: From<NetworkError> + Send>(
    root: &Path,
    jobs: &[Job],
    preparation: Preparation,
    on_error: OnError,
    (network, workers): (N, usize),
    stop: &AtomicBool,
    mut write: impl FnMut(Vec<(blake3::Hash, &[f32])>) -> Result<(), E>,
) -> Result<Outcome, E> {
    let clock = Clock::default();
    let batch = network.batch();
    let (decoded, to_network) = bounded::<Batch>(workers);
    let (finished, to_write) = bounded::<Result<Rows, NetworkError>>(workers);
    thread::scope(|scope| {
        let decoder = scope.spawn(|| decode_all(root, jobs, batch, preparation, on_error, stop, decoded, &clock));
        for _ in 0..workers {
            let (network, batches, finished) = (network.share(), to_network.clone(), finished.clone());
            let clock = &clock;
            scope.spawn(move || forward_all(network, batches, finished, clock));
        }
        drop((to_network, finished));

        let mut outcome = Outcome::default();
        let mut failed = None;
        for rows in &to_write {
            let written = rows.map_err(E::from).and_then(|rows| {
                clock.time(&clock.write, || write(rows.each()))?;
                Ok(rows.keys.len())
            });
            match written {
                Ok(rows) => {
                    outcome.batches += 1;
                    outcome.rows += rows;
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Nobody wants rows any more: the workers end, and with the last of them the decoder.
        drop(to_write);
        if let Ok((broken, stopped)) = decoder.join() {
            (outcome.broken, outcome.stopped) = (broken, stopped);
        }
        outcome.times = clock.times();
        failed.map_or(Ok(outcome), Err)
    })
}

/// Reads and decodes the photos without running anything.
pub fn check(root: &Path, jobs: &[Job], preparation: Preparation) -> Outcome {
    let look = |bytes: &mut Vec<u8>, job: &Job| Some((job.clone(), decode(root, job, preparation, bytes).err()?));
    let broken = jobs.par_iter().map_init(Vec::new, look).flatten().collect();
    Outcome { broken, ..Outcome::default() }
}

impl Batch {
    /// An empty one, with room for so many pictures of so many values.
    fn new(size: usize, values: usize) -> Self {
        Self { size, keys: Vec::with_capacity(size), pixels: Vec::with_capacity(size * values) }
    }

    /// Adds a picture. A batch that it fills is given back, and another one begun.
    fn push(&mut self, key: blake3::Hash, pixels: &[u8]) -> Option<Self> {
        self.keys.push(key);
        self.pixels.extend(pixels);
        (self.keys.len() == self.size).then(|| mem::replace(self, Self::new(self.size, pixels.len())))
    }

    /// What is left at the end, filled up with black; nothing if nothing is.
    fn last(mut self, values: usize) -> Option<Self> {
        self.pixels.resize(self.size * values, 0);
        (!self.keys.is_empty()).then_some(self)
    }
}

impl Rows {
    fn each(&self) -> Vec<(blake3::Hash, &[f32])> {
        self.keys.iter().copied().zip(self.values.chunks_exact(self.width.max(1))).collect()
    }
}

/// The first stage: decodes photos, as many at a time as fill a batch, on all threads of the rayon pool, and deals
/// their pictures into batches. Gives the photos that are broken, and whether it was stopped before the last one.
#[expect(clippy::too_many_arguments, reason = "a thread's body: everything that it touches")]
fn decode_all(
    root: &Path,
    jobs: &[Job],
    size: usize,
    preparation: Preparation,
    on_error: OnError,
    stop: &AtomicBool,
    decoded: Sender<Batch>,
    clock: &Clock,
) -> (Vec<(Job, BrokenPhoto)>, bool) {
    let values = preparation.values();
    let given_up = |broken: &Vec<_>| on_error == OnError::Fail && !broken.is_empty();
    let mut broken = Vec::new();
    let mut batch = Batch::new(size, values);
    let pictures = jobs.iter().map(|job| job.pictures.len()).max().unwrap_or(1).max(1);
    let photos = (size / pictures).max(rayon::current_num_threads()).min(size);
    for jobs in jobs.chunks(photos) {
        if stop.load(Ordering::Relaxed) {
            return (broken, true);
        }
        let prepared: Vec<Result<Vec<u8>, BrokenPhoto>> = clock.time(&clock.decode, || {
            let each = |bytes: &mut Vec<u8>, job| prepare(root, job, preparation, bytes);
            jobs.par_iter().map_init(Vec::new, each).collect()
        });
        for (job, prepared) in jobs.iter().zip(prepared) {
            match prepared {
                Err(error) => broken.push((job.clone(), error)),
                Ok(_) if given_up(&broken) => {}
                Ok(pixels) => {
                    let pictures = job.pictures.iter().zip(pixels.chunks_exact(values));
                    for full in pictures.filter_map(|(picture, pixels)| batch.push(picture.key, pixels)) {
                        if decoded.send(full).is_err() {
                            return (broken, true);
                        }
                    }
                }
            }
        }
    }
    if let Some(last) = batch.last(values).filter(|_| !given_up(&broken)) {
        // Where nobody takes it, the run has failed, and says so.
        let _ = decoded.send(last);
    }
    (broken, false)
}

/// Reads (into `bytes`) and decodes a photo, if it still is the one that was hashed.
fn decode(root: &Path, job: &Job, preparation: Preparation, bytes: &mut Vec<u8>) -> Result<RgbPicture, BrokenPhoto> {
    let path = root.join(&job.path);
    read_photo(&path, &path.metadata()?, bytes)?;
    if blake3::hash(bytes) != job.blake3 {
        return Err(BrokenPhoto::Changed);
    }
    Ok(preparation.decode(bytes)?)
}

/// The wanted pictures of a photo, resized, one behind the other.
fn prepare(root: &Path, job: &Job, preparation: Preparation, bytes: &mut Vec<u8>) -> Result<Vec<u8>, BrokenPhoto> {
    let photo = decode(root, job, preparation, bytes)?;
    let mut pixels = vec![0; job.pictures.len() * preparation.values()];
    for (picture, place) in job.pictures.iter().zip(pixels.chunks_exact_mut(preparation.values())) {
        preparation.resize(&photo, picture.view, place)?;
    }
    Ok(pixels)
}

/// The second stage, on a worker's thread: batches in, rows out, until there are no more or nobody wants them.
fn forward_all<N: Network>(
    network: N,
    batches: Receiver<Batch>,
    finished: Sender<Result<Rows, NetworkError>>,
    clock: &Clock,
) {
    let next = || clock.time(&clock.waiting, || batches.recv());
    while let Ok(Batch { keys, pixels, size }) = next() {
        let values = clock.time(&clock.network, || network.rows(&pixels));
        if finished.send(values.map(|values| Rows { keys, width: values.len() / size, values })).is_err() {
            return;
        }
    }
}

/// Adds up the stages' times over their threads.
#[derive(Default)]
struct Clock {
    decode: AtomicU64,
    network: AtomicU64,
    waiting: AtomicU64,
    write: AtomicU64,
}

impl Clock {
    fn time<T>(&self, stage: &AtomicU64, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        stage.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }

    fn times(&self) -> Times {
        let read = |stage: &AtomicU64| Duration::from_nanos(stage.load(Ordering::Relaxed));
        Times {
            decode: read(&self.decode),
            network: read(&self.network),
            waiting: read(&self.waiting),
            write: read(&self.write),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use super::*;
    use crate::pixels::{Interpolation, Limits, Variation};

    const PREPARATION: Preparation =
        Preparation { side: 8, interpolation: Interpolation::Nearest, limits: Limits::DEFAULT, fast_decode: false };

    /// A row is the sum of its picture's pixels, twice.
    struct Sums {
        batch: usize,
    }

    impl Network for Sums {
        fn batch(&self) -> usize {
            self.batch
        }

        fn rows(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError> {
            assert_eq!(pixels.len(), self.batch * 8 * 8 * 3, "every batch is full");
            Ok(pixels.chunks_exact(8 * 8 * 3).flat_map(|picture| [sum(picture); 2]).collect())
        }

        fn share(&self) -> Self {
            Self { ..*self }
        }
    }

    fn sum(picture: &[u8]) -> f32 {
        picture.iter().copied().map(f32::from).sum()
    }

    /// Grey pictures of increasing brightness; every third is broken.
    fn photos(count: usize, folder: &Path) -> Vec<Job> {
        let photo = |n: usize| {
            let path = PathBuf::from(format!("{n}.png"));
            let picture = image::GrayImage::from_pixel(3, 3, image::Luma([n as u8 * 2]));
            picture.save(folder.join(&path)).unwrap();
            if n % 3 == 2 {
                fs::write(folder.join(&path), "no picture").unwrap();
            }
            let blake3 = blake3::hash(&fs::read(folder.join(&path)).unwrap());
            Job { path, blake3, pictures: vec![Wanted { key: blake3, view: None }] }
        };
        (0..count).map(photo).collect()
    }

    fn collect(
        folder: &Path,
        jobs: &[Job],
        on_error: OnError,
        batch: usize,
    ) -> (HashMap<blake3::Hash, Vec<f32>>, Outcome) {
        let mut rows = HashMap::new();
        let stop = AtomicBool::new(false);
        let write = |batch: Vec<(blake3::Hash, &[f32])>| {
            rows.extend(batch.into_iter().map(|(picture, row)| (picture, row.to_vec())));
            Ok::<(), NetworkError>(())
        };
        let outcome = run(folder, jobs, PREPARATION, on_error, (Sums { batch }, 3), &stop, write).unwrap();
        (rows, outcome)
    }

    #[test]
    fn each_row_belongs_to_its_picture_and_broken_ones_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = photos(20, folder.path());
        for batch in [1, 4, 7, 32] {
            let (rows, outcome) = collect(folder.path(), &jobs, OnError::Skip, batch);
            assert_eq!(rows.len(), 14);
            for (n, job) in jobs.iter().enumerate().filter(|(n, _)| n % 3 != 2) {
                let sum = sum(&[n as u8 * 2; 192]);
                assert_eq!(rows[&job.blake3], [sum, sum], "picture {n}, batches of {batch}");
            }
            let broken: Vec<&Path> = outcome.broken.iter().map(|(job, _)| job.path.as_path()).collect();
            let expected = ["2.png", "5.png", "8.png", "11.png", "14.png", "17.png"].map(Path::new);
            assert_eq!(broken, expected);
        }
    }

    #[test]
    fn views_and_photos_share_full_batches() {
        let folder = tempfile::tempdir().unwrap();
        let variation = Variation::new(true, 0.5, 0.5, 1).unwrap();
        let mut jobs = photos(20, folder.path());
        for (n, job) in jobs.iter_mut().enumerate() {
            let key = |number| blake3::hash(format!("{n} {number}").as_bytes());
            let view = |number| Wanted { key: key(number), view: Some(variation.view(&job.blake3, number)) };
            // Of some photos only views are wanted.
            job.pictures.truncate(n % 2);
            job.pictures.extend((0..1 + n % 4).map(view));
        }
        for batch in [1, 4, 7] {
            let (rows, outcome) = collect(folder.path(), &jobs, OnError::Skip, batch);
            let mut expected = 0;
            for job in jobs.iter().enumerate().filter(|(n, _)| n % 3 != 2).map(|(_, job)| job) {
                let photo = PREPARATION.decode(&fs::read(folder.path().join(&job.path)).unwrap()).unwrap();
                for picture in &job.pictures {
                    let mut pixels = vec![0; PREPARATION.values()];
                    PREPARATION.resize(&photo, picture.view, &mut pixels).unwrap();
                    assert_eq!(rows[&picture.key], [sum(&pixels); 2]);
                    expected += 1;
                }
            }
            assert_eq!((rows.len(), outcome.rows), (expected, expected));
            assert_eq!(outcome.batches, expected.div_ceil(batch));
        }
    }

    #[test]
    fn to_fail_is_to_check_all_and_run_none_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = photos(20, folder.path());
        let (rows, outcome) = collect(folder.path(), &jobs, OnError::Fail, 2);
        assert_eq!(rows.len(), 2);
        assert_eq!(outcome.broken.len(), 6);
    }

    #[test]
    fn a_photo_that_changes_meanwhile_gets_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let mut jobs = photos(2, folder.path());
        jobs[1].blake3 = blake3::hash(b"what it was before");
        let (rows, outcome) = collect(folder.path(), &jobs, OnError::Skip, 4);
        assert_eq!(rows.len(), 1);
        assert!(matches!(outcome.broken[0].1, BrokenPhoto::Changed));
    }

    #[test]
    fn a_stop_and_a_failed_write_end_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = vec![photos(2, folder.path()); 100].concat();
        let stop = AtomicBool::new(false);
        let mut written = 0;
        let write = |rows: Vec<(blake3::Hash, &[f32])>| {
            written += rows.len();
            stop.store(true, Ordering::Relaxed);
            Ok::<(), NetworkError>(())
        };
        let network = || (Sums { batch: 2 }, 2);
        let outcome = run(folder.path(), &jobs, PREPARATION, OnError::Skip, network(), &stop, write).unwrap();
        assert!(outcome.stopped);
        assert!((2..200).contains(&written), "{written}");

        let stop = AtomicBool::new(false);
        let write = |_: Vec<(blake3::Hash, &[f32])>| Err(NetworkError("disk full".to_owned()));
        let error = run(folder.path(), &jobs, PREPARATION, OnError::Skip, network(), &stop, write).unwrap_err();
        assert_eq!(error, NetworkError("disk full".to_owned()));
    }
}
