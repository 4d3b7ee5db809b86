//! From photos to rows: decode ∥ network ∥ the caller.
//!
//! ```text
//! photos ─▶ decode (all cores, batch by batch) ─▶ network (its workers) ─▶ rows in the order of the photos (the caller)
//! ```
//!
//! A photo is decoded once for all of its views. The number of batches in the pipeline is limited by permits, so memory is
//! bounded however many photos there are. Decoding runs ahead while there are permits left; the operating system divides
//! the cores among the stages.

use std::any::Any;
use std::collections::BTreeMap;
use std::mem;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::network::{Network, NetworkError};
use crate::photo::{Photo, PhotoError};
use crate::pixels::Preprocess;

/// Batches in the pipeline per worker: one that waits for the network, one in it, one that waits for the caller.
const BATCHES_PER_WORKER: usize = 3;

/// Most entries of a batch. A batch with this many is sent even if it is not full of pictures, so that after many failures
/// in a row the caller hears of them.
const MAX_ENTRIES: usize = 4096;

/// The result for a photo, or for one of its views.
#[derive(Debug)]
pub enum Event<'a> {
    /// A row.
    Row {
        /// The photo, counted from 0 in the order in which photos were given.
        photo: usize,
        /// Index into [`Photo::views`].
        view: usize,
        /// The features.
        row: &'a [f32],
    },
    /// The photo cannot be used. Reported once per photo, in the order of the photos.
    Failed {
        /// The photo, counted in the same way.
        photo: usize,
        /// Why.
        error: PhotoError,
    },
}

/// How an embedding ended, and what it took.
#[derive(Debug)]
pub struct Embedding<B> {
    /// Why it ended.
    pub end: End<B>,
    /// Rows that the caller got.
    pub rows: usize,
    /// Batches that went through the network.
    pub batches: usize,
    /// Where the time went.
    pub times: Times,
}

/// Why an embedding ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End<B> {
    /// All photos are done.
    Finished,
    /// It was cancelled: the batches in the pipeline were finished, and no more were begun.
    Cancelled,
    /// The caller stopped it, with this value.
    Stopped(B),
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
    /// The caller, with its rows.
    pub write: Duration,
}

/// How an embedding is run.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// How photos become the network's input.
    pub preprocess: Preprocess,
    /// Forward passes that run in parallel.
    pub workers: usize,
    /// The threads that photos are decoded on.
    pub pool: &'a ThreadPool,
}

/// Decoded and resized pictures: NHWC pixels, in the order of `entries`.
struct Batch {
    number: usize,
    entries: Vec<Entry>,
    pixels: Vec<u8>,
}

/// What is in a batch.
enum Entry {
    Picture { photo: usize, view: usize },
    Failed { photo: usize, error: PhotoError },
}

/// A batch that went through the network.
struct FinishedBatch {
    number: usize,
    entries: Vec<Entry>,
    rows: Vec<f32>,
    pictures: usize,
}

/// Why a worker failed.
enum WorkerError {
    Network(NetworkError),
    Panic(Box<dyn Any + Send>),
}

/// Runs the photos through copies of the network, and calls `each` with what becomes of them, in their order. When
/// `cancel` is set, the batches under way are finished and no more are begun.
///
/// # Errors
/// When the network fails.
pub(crate) fn run<N: Network, B>(
    network: &N,
    settings: Settings<'_>,
    photos: impl Iterator<Item = Photo> + Send,
    cancel: &AtomicBool,
    mut each: impl FnMut(Event<'_>) -> ControlFlow<B>,
) -> Result<Embedding<B>, NetworkError> {
    let clock = Clock::default();
    thread::scope(|scope| {
        let (decoded, to_network) = unbounded::<Batch>();
        let (finished, to_caller) = unbounded::<Result<FinishedBatch, WorkerError>>();
        // A permit for each batch under way: what is decoded or finished early waits for the caller, in bounded memory.
        let permits = settings.workers * BATCHES_PER_WORKER;
        let (give_back, permits_left) = bounded::<()>(permits);
        for _ in 0..permits {
            give_back.send(()).expect("the channel has room for all permits");
        }

        let decoder = Decoder {
            preprocess: settings.preprocess,
            batch_size: network.batch_size(),
            permits: permits_left,
            decoded,
            clock: &clock,
        };
        let decoder = scope.spawn(move || settings.pool.install(|| decoder.run(photos, cancel)));
        for _ in 0..settings.workers {
            let (network, batches, finished, clock) = (network.share(), to_network.clone(), finished.clone(), &clock);
            scope.spawn(move || forward_all(&network, &batches, &finished, clock));
        }
        drop((to_network, finished));

        // Workers finish batches in any order: those that are early wait here.
        let mut early = BTreeMap::new();
        let (mut next, mut rows, mut batches) = (0, 0, 0);
        let mut stopped = None;
        'batches: for batch in &to_caller {
            let batch = match batch {
                Ok(batch) => batch,
                // Returning drops the channels, and without them the other threads end.
                Err(WorkerError::Network(error)) => return Err(error),
                Err(WorkerError::Panic(panic)) => resume_unwind(panic),
            };
            early.insert(batch.number, batch);
            while let Some(batch) = early.remove(&next) {
                next += 1;
                rows += batch.pictures;
                batches += usize::from(batch.pictures > 0);
                if let ControlFlow::Break(value) = clock.time(&clock.write, || batch.deliver(&mut each)) {
                    stopped = Some(value);
                    break 'batches;
                }
                // The decoder may have ended already.
                let _ = give_back.send(());
            }
        }
        // No more rows are needed. Without these channels the decoder and the workers end.
        drop((to_caller, give_back));
        let cancelled = decoder.join().unwrap_or_else(|panic| resume_unwind(panic));
        let end = match stopped {
            Some(value) => End::Stopped(value),
            None if cancelled => End::Cancelled,
            None => End::Finished,
        };
        Ok(Embedding { end, rows, batches, times: clock.times() })
    })
}

/// Reads and decodes photos on the current rayon pool, without running a network: the numbers of those that would give no
/// rows, and why.
pub fn check(photos: &[Photo], preprocess: Preprocess) -> Vec<(usize, PhotoError)> {
    let decode = |buffer: &mut Vec<u8>, (number, photo): (usize, &Photo)| {
        let decoded = photo.bytes(buffer).and_then(|bytes| Ok(preprocess.decode(bytes)?));
        Some((number, decoded.err()?))
    };
    photos.par_iter().enumerate().map_init(Vec::new, decode).flatten().collect()
}

impl FinishedBatch {
    /// Calls `each` with what is in it, in its order.
    fn deliver<B>(self, each: &mut impl FnMut(Event<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
        let width = self.rows.len() / self.pictures.max(1);
        let mut rows = self.rows.chunks_exact(width.max(1));
        for entry in self.entries {
            let event = match entry {
                Entry::Failed { photo, error } => Event::Failed { photo, error },
                Entry::Picture { photo, view } => {
                    Event::Row { photo, view, row: rows.next().expect("the network gives a row for each picture") }
                }
            };
            each(event)?;
        }
        ControlFlow::Continue(())
    }
}

/// The first stage: decodes photos, as many at a time as fill a batch, on all threads of the rayon pool, and puts their
/// pictures into batches.
struct Decoder<'a> {
    preprocess: Preprocess,
    batch_size: usize,
    permits: Receiver<()>,
    decoded: Sender<Batch>,
    clock: &'a Clock,
}

/// The receiver of batches has gone: the run has failed or was stopped.
struct Disconnected;

impl Decoder<'_> {
    /// Decodes all photos. Returns whether it ended early because of `cancel` or because the receiver has gone.
    fn run(&self, photos: impl Iterator<Item = Photo>, cancel: &AtomicBool) -> bool {
        let mut photos = photos.enumerate().peekable();
        let mut batch = self.batch(0);
        while photos.peek().is_some() {
            if cancel.load(Ordering::Relaxed) {
                return true;
            }
            let chunk = self.next_chunk(&mut photos);
            let prepared: Vec<Result<Vec<u8>, PhotoError>> = self.clock.time(&self.clock.decode, || {
                chunk
                    .par_iter()
                    .map_init(Vec::new, |buffer, (_, photo)| prepare(photo, self.preprocess, buffer))
                    .collect()
            });
            for ((number, photo), prepared) in chunk.into_iter().zip(prepared) {
                if self.add(&mut batch, number, photo.views.len(), prepared).is_err() {
                    return true;
                }
            }
        }
        if !batch.entries.is_empty() {
            // Where nobody takes it, the run has failed, and says so.
            let _ = self.send(batch);
        }
        false
    }

    /// As many photos as fill a batch with their pictures, but one for each thread at least.
    fn next_chunk(&self, photos: &mut impl Iterator<Item = (usize, Photo)>) -> Vec<(usize, Photo)> {
        let at_least = rayon::current_num_threads().min(self.batch_size);
        let mut chunk: Vec<(usize, Photo)> = Vec::with_capacity(self.batch_size);
        let mut pictures = 0;
        while chunk.len() < at_least || pictures < self.batch_size && chunk.len() < self.batch_size {
            let Some((number, photo)) = photos.next() else { break };
            pictures += photo.views.len();
            chunk.push((number, photo));
        }
        chunk
    }

    /// Adds a photo's pictures, or its failure, to the batch. A batch that becomes full is sent.
    fn add(
        &self,
        batch: &mut Batch,
        photo: usize,
        views: usize,
        prepared: Result<Vec<u8>, PhotoError>,
    ) -> Result<(), Disconnected> {
        match prepared {
            Err(error) => {
                batch.entries.push(Entry::Failed { photo, error });
                self.send_if_full(batch)
            }
            Ok(pixels) => {
                let values = self.preprocess.values();
                for (view, picture) in (0..views).zip(pixels.chunks_exact(values)) {
                    batch.entries.push(Entry::Picture { photo, view });
                    batch.pixels.extend(picture);
                    self.send_if_full(batch)?;
                }
                Ok(())
            }
        }
    }

    /// Sends a full batch, and puts the next one in its place.
    fn send_if_full(&self, batch: &mut Batch) -> Result<(), Disconnected> {
        let full = batch.pixels.len() == self.batch_size * self.preprocess.values();
        if !full && batch.entries.len() < MAX_ENTRIES {
            return Ok(());
        }
        let next = self.batch(batch.number + 1);
        self.send(mem::replace(batch, next))
    }

    /// Sends a batch as soon as there is a permit for it.
    fn send(&self, batch: Batch) -> Result<(), Disconnected> {
        self.permits.recv().map_err(|_| Disconnected)?;
        self.decoded.send(batch).map_err(|_| Disconnected)
    }

    /// An empty batch, with room for its pictures.
    fn batch(&self, number: usize) -> Batch {
        let pixels = Vec::with_capacity(self.batch_size * self.preprocess.values());
        Batch { number, entries: Vec::with_capacity(self.batch_size), pixels }
    }
}

/// The wanted pictures of a photo, resized, one behind the other.
fn prepare(photo: &Photo, preprocess: Preprocess, buffer: &mut Vec<u8>) -> Result<Vec<u8>, PhotoError> {
    let picture = preprocess.decode(photo.bytes(buffer)?)?;
    let mut pixels = vec![0; photo.views.len() * preprocess.values()];
    for (&view, input) in photo.views.iter().zip(pixels.chunks_exact_mut(preprocess.values())) {
        preprocess.resize(&picture, view, input)?;
    }
    Ok(pixels)
}

/// The second stage, on a worker's thread: batches in, rows out, until there are no more or nobody wants them.
fn forward_all<N: Network>(
    network: &N,
    batches: &Receiver<Batch>,
    finished: &Sender<Result<FinishedBatch, WorkerError>>,
    clock: &Clock,
) {
    while let Ok(batch) = clock.time(&clock.waiting, || batches.recv()) {
        // A batch that was lost would have the caller wait for it for ever: a panic takes its place.
        let forward = AssertUnwindSafe(|| forward(network, batch, clock));
        let result = catch_unwind(forward).unwrap_or_else(|panic| Err(WorkerError::Panic(panic)));
        if finished.send(result).is_err() {
            return;
        }
    }
}

/// One batch through the network.
fn forward<N: Network>(network: &N, batch: Batch, clock: &Clock) -> Result<FinishedBatch, WorkerError> {
    let Batch { number, entries, pixels } = batch;
    let pictures = entries.iter().filter(|entry| matches!(entry, Entry::Picture { .. })).count();
    let rows = if pictures > 0 {
        clock.time(&clock.network, || network.forward(&pixels)).map_err(WorkerError::Network)?
    } else {
        Vec::new()
    };
    Ok(FinishedBatch { number, entries, rows, pictures })
}

/// Adds up the stages' times over their threads, in nanoseconds.
#[derive(Default)]
struct Clock {
    decode: AtomicU64,
    network: AtomicU64,
    waiting: AtomicU64,
    write: AtomicU64,
}

impl Clock {
    /// Adds what `work` takes to a stage.
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
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::photo::Source;
    use crate::pixels::{Interpolation, Limits, Orientation, Variation};

    const PREPROCESS: Preprocess = Preprocess {
        side: 8,
        interpolation: Interpolation::Nearest,
        orientation: Orientation::Stored,
        limits: Limits::DEFAULT,
        fast_decode: false,
    };

    /// A row is the sum of its picture's pixels, twice.
    struct Sums {
        batch_size: usize,
    }

    impl Network for Sums {
        fn batch_size(&self) -> usize {
            self.batch_size
        }

        fn forward(&self, pixels: &[u8]) -> Result<Vec<f32>, NetworkError> {
            let pictures = pixels.chunks_exact(PREPROCESS.values());
            assert!((1..=self.batch_size).contains(&pictures.len()) && pictures.remainder().is_empty());
            // Batches are finished in another order than they were begun.
            thread::sleep(Duration::from_micros(u64::from(pixels[0]) % 7 * 300));
            Ok(pictures.flat_map(|picture| [sum(picture); 2]).collect())
        }

        fn share(&self) -> Self {
            Self { ..*self }
        }
    }

    fn sum(picture: &[u8]) -> f32 {
        picture.iter().copied().map(f32::from).sum()
    }

    /// Grey pictures of increasing brightness in a folder; every third is broken.
    fn photos(count: usize, folder: &Path) -> Vec<Photo> {
        let photo = |n: usize| {
            let path = folder.join(format!("{n}.png"));
            image::GrayImage::from_pixel(3, 3, image::Luma([n as u8 * 2])).save(&path).unwrap();
            if n % 3 == 2 {
                fs::write(&path, "no picture").unwrap();
            }
            Photo { blake3: Some(blake3::hash(&fs::read(&path).unwrap())), ..Photo::from_path(path) }
        };
        (0..count).map(photo).collect()
    }

    /// What becomes of the photos: (photo, view, row), or (photo, error).
    type Seen = (usize, Result<(usize, Vec<f32>), String>);

    fn run_all(photos: &[Photo], batch_size: usize) -> (Vec<Seen>, Embedding<()>) {
        let mut seen = Vec::new();
        let embedding = with_pool(|pool| {
            let settings = Settings { preprocess: PREPROCESS, workers: 3, pool };
            run(&Sums { batch_size }, settings, photos.iter().cloned(), &AtomicBool::new(false), |event| {
                seen.push(match event {
                    Event::Row { photo, view, row } => (photo, Ok((view, row.to_vec()))),
                    Event::Failed { photo, error } => (photo, Err(error.to_string())),
                });
                ControlFlow::Continue(())
            })
        });
        (seen, embedding.unwrap())
    }

    fn with_pool<T>(work: impl FnOnce(&ThreadPool) -> T) -> T {
        work(&rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap())
    }

    #[test]
    fn rows_and_failures_come_in_the_order_of_the_photos() {
        let folder = tempfile::tempdir().unwrap();
        let photos = photos(40, folder.path());
        for batch_size in [1, 4, 7, 64] {
            let (seen, embedding) = run_all(&photos, batch_size);
            assert_eq!((embedding.end, embedding.rows), (End::Finished, 27));
            assert_eq!(embedding.batches, 27usize.div_ceil(batch_size));
            for (n, (photo, result)) in seen.iter().enumerate() {
                assert_eq!(*photo, n, "batches of {batch_size}");
                match result {
                    Ok((view, row)) => assert_eq!((*view, &row[..]), (0, &[sum(&[n as u8 * 2; 192]); 2][..])),
                    Err(error) => assert!(n % 3 == 2 && error.starts_with("is no picture"), "{n}: {error}"),
                }
            }
            assert_eq!(seen.len(), 40);
        }
    }

    #[test]
    fn a_photo_is_decoded_for_all_of_its_views_and_bytes_do_as_well_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let variation = Variation::new(true, 0.5, 0.5, 1).unwrap();
        let mut photos: Vec<Photo> = photos(20, folder.path()).into_iter().step_by(3).collect();
        for (n, photo) in photos.iter_mut().enumerate() {
            let Source::Path(path) = &photo.source else { unreachable!("photos are files") };
            let bytes = fs::read(path).unwrap();
            // Of some photos only views are wanted.
            photo.views.truncate(n % 2);
            photo.views.extend((0..1 + n % 4).map(|number| Some(variation.view(&blake3::hash(&bytes), number))));
            if n % 2 == 0 {
                photo.source = Source::Bytes(bytes);
            }
        }
        for batch_size in [1, 4, 7] {
            let mut expected = Vec::new();
            for (n, photo) in photos.iter().enumerate() {
                let picture = PREPROCESS.decode(photo.bytes(&mut Vec::new()).unwrap()).unwrap();
                for (number, &view) in photo.views.iter().enumerate() {
                    let mut pixels = vec![0; PREPROCESS.values()];
                    PREPROCESS.resize(&picture, view, &mut pixels).unwrap();
                    expected.push((n, Ok((number, vec![sum(&pixels); 2]))));
                }
            }
            let (seen, embedding) = run_all(&photos, batch_size);
            assert_eq!(seen, expected);
            assert_eq!(embedding.batches, expected.len().div_ceil(batch_size));
        }
    }

    #[test]
    fn many_failures_in_a_row_reach_the_caller() {
        let photos = vec![Photo::from_bytes(b"no picture".to_vec()); 3 * MAX_ENTRIES];
        let (seen, embedding) = run_all(&photos, 8);
        assert_eq!((seen.len(), embedding.rows, embedding.batches), (3 * MAX_ENTRIES, 0, 0));
    }

    #[test]
    fn checking_finds_what_running_does() {
        let folder = tempfile::tempdir().unwrap();
        let broken: Vec<usize> = check(&photos(20, folder.path()), PREPROCESS).iter().map(|(n, _)| *n).collect();
        assert_eq!(broken, [2, 5, 8, 11, 14, 17]);
    }

    #[test]
    fn a_photo_that_changes_meanwhile_gets_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let mut photos = photos(2, folder.path());
        photos[1].blake3 = Some(blake3::hash(b"what it was before"));
        let (seen, _) = run_all(&photos, 4);
        assert!(seen[0].1.is_ok());
        assert_eq!(seen[1].1, Err("changed while it was being read; run again".to_owned()));
    }

    #[test]
    fn the_caller_and_a_cancellation_end_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let photos = vec![photos(2, folder.path()); 100].concat();
        for by_caller in [true, false] {
            let cancel = AtomicBool::new(false);
            let mut rows = 0;
            let embedding = with_pool(|pool| {
                let settings = Settings { preprocess: PREPROCESS, workers: 2, pool };
                run(&Sums { batch_size: 2 }, settings, photos.iter().cloned(), &cancel, |_| {
                    rows += 1;
                    if by_caller {
                        return ControlFlow::Break("enough");
                    }
                    cancel.store(true, Ordering::Relaxed);
                    ControlFlow::Continue(())
                })
            });
            let end = embedding.unwrap().end;
            assert_eq!(end, if by_caller { End::Stopped("enough") } else { End::Cancelled });
            assert!((1..200).contains(&rows) && (!by_caller || rows == 1), "{rows}");
        }
    }

    /// Fails, or panics, at its second batch.
    struct Broken {
        panics: bool,
        calls: std::sync::Arc<AtomicU64>,
    }

    impl Network for Broken {
        fn batch_size(&self) -> usize {
            1
        }

        fn forward(&self, _: &[u8]) -> Result<Vec<f32>, NetworkError> {
            match self.calls.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(vec![0.0]),
                _ if self.panics => panic!("the second batch"),
                _ => Err(NetworkError::Backend("out of memory".to_owned())),
            }
        }

        fn share(&self) -> Self {
            Self { panics: self.panics, calls: self.calls.clone() }
        }
    }

    #[test]
    fn a_network_that_fails_is_an_error_and_one_that_panics_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let photos = vec![photos(2, folder.path()); 50].concat();
        let run_broken = |panics: bool| {
            with_pool(|pool| {
                let settings = Settings { preprocess: PREPROCESS, workers: 2, pool };
                let network = Broken { panics, calls: std::sync::Arc::default() };
                let each = |_: Event<'_>| ControlFlow::<()>::Continue(());
                run(&network, settings, photos.iter().cloned(), &AtomicBool::new(false), each)
                    .map(|embedding| embedding.end)
            })
        };
        assert_eq!(run_broken(false), Err(NetworkError::Backend("out of memory".to_owned())));
        let panic = catch_unwind(|| run_broken(true)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the second batch"));
    }
}
