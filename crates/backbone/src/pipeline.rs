//! From photos to rows, in three stages that run in parallel: decoding, the network, the caller.
//!
//! ```text
//! photos ─▶ decode (a thread pool, batch by batch) ─▶ network (workers) ─▶ rows, in the order of the photos
//! ```
//!
//! A photo is decoded once for all of its views. A batch needs a permit to enter the pipeline, and the number of
//! permits is fixed, so memory is bounded however many photos there are. Decoding runs ahead of the network as long as
//! there are permits; the operating system divides the cores among the stages.

use std::any::Any;
use std::collections::BTreeMap;
use std::mem;
use std::ops::{AddAssign, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::network::{Network, NetworkError};
use crate::photo::{Photo, PhotoError};
use crate::pixels::{PixelError, Preprocess, View};

/// Batches in the pipeline per worker: one waits for the network, one is in it, one waits for the caller.
const BATCHES_PER_WORKER: usize = 3;

/// Maximum number of entries in a batch. A batch with this many entries is sent even if it has fewer pictures than the
/// batch size, so that many failures in a row are reported soon.
const MAX_ENTRIES: usize = 4096;

/// The result for a photo, or for one of its views.
#[derive(Debug)]
pub enum Event<'a> {
    /// A row was computed.
    Row {
        /// The photo's number, from 0, in the order in which photos were given.
        photo: usize,
        /// Index into [`Photo::views`].
        view: usize,
        /// The features, (columns,).
        row: &'a [f32],
    },
    /// The photo cannot be used. Reported once per photo, in the order of the photos.
    Failed {
        /// The photo's number.
        photo: usize,
        /// The reason.
        error: PhotoError,
    },
}

/// Result of [`Embedder::embed`](crate::Embedder::embed): why it ended, counts and times.
#[derive(Debug)]
pub struct EmbedReport<B> {
    /// Why it ended.
    pub end: EndReason<B>,
    /// Number of rows in the batches that the caller received, the last one perhaps in part.
    pub rows: usize,
    /// Number of batches with pictures that the caller received.
    pub batches: usize,
    /// The time that each stage took.
    pub times: Times,
}

/// Why [`Embedder::embed`](crate::Embedder::embed) ended.
#[derive(Debug, PartialEq, Eq)]
pub enum EndReason<B> {
    /// All photos are done.
    Finished,
    /// It was cancelled: the batches in the pipeline were finished. A batch that was not yet full was dropped, although
    /// its photos were decoded.
    Cancelled,
    /// The caller's function returned `Break` with this value.
    ByCaller(B),
}

/// Time spent in each stage, summed over the workers; decoding as wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Reading, decoding and resizing.
    pub decode: Duration,
    /// Forward passes.
    pub network: Duration,
    /// Workers waiting for a decoded batch.
    pub waiting: Duration,
    /// The caller's function.
    pub write: Duration,
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.decode += other.decode;
        self.network += other.network;
        self.waiting += other.waiting;
        self.write += other.write;
    }
}

/// Settings of [`run`].
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// How photos become the network's input.
    pub preprocess: Preprocess,
    /// Number of forward passes that run in parallel.
    pub workers: usize,
    /// The threads that photos are decoded on.
    pub pool: &'a ThreadPool,
}

/// A batch of decoded and resized pictures, together with photos that failed.
struct Batch {
    /// Counted from 0 in the order of the photos.
    number: usize,
    entries: Vec<Entry>,
    /// NHWC, of the entries that are pictures, in their order.
    pixels: Vec<u8>,
}

/// A picture or a failed photo in a batch, by the number of the photo and the index of the view.
enum Entry {
    Picture { photo: usize, view: usize },
    Failed { photo: usize, error: PhotoError },
}

/// A batch that went through the network.
struct FinishedBatch {
    number: usize,
    entries: Vec<Entry>,
    /// (pictures, columns)
    rows: Vec<f32>,
    pictures: usize,
}

/// Why a worker returned no batch.
enum WorkerError {
    Network(NetworkError),
    Panic(Box<dyn Any + Send>),
}

/// Runs the photos through the network, a clone of it in each worker, and calls `on_event` with each row or failure, in
/// the order of the photos. When `cancel` is set, no other photos are begun.
///
/// # Errors
/// When the network fails.
pub(crate) fn run<N: Network, B>(
    network: &N,
    settings: Settings<'_>,
    photos: impl Iterator<Item = Photo> + Send,
    cancel: &AtomicBool,
    mut on_event: impl FnMut(Event<'_>) -> ControlFlow<B>,
) -> Result<EmbedReport<B>, NetworkError> {
    let clock = Clock::default();
    thread::scope(|scope| {
        let (batch_sender, batch_receiver) = unbounded::<Batch>();
        let (result_sender, result_receiver) = unbounded::<Result<FinishedBatch, WorkerError>>();
        // A batch holds its permit until the caller has received it, also while it waits for an earlier one.
        let permits = settings.workers * BATCHES_PER_WORKER;
        let (permit_sender, permit_receiver) = bounded::<()>(permits);
        for _ in 0..permits {
            permit_sender.send(()).expect("the channel has room for all permits");
        }

        let decoder = Decoder {
            preprocess: settings.preprocess,
            batch_size: network.batch_size(),
            permit_receiver,
            batch_sender,
            clock: &clock,
        };
        let decoder = scope.spawn(move || settings.pool.install(|| decoder.run(photos, cancel)));
        for _ in 0..settings.workers {
            let network = network.clone_for_thread();
            let batches = batch_receiver.clone();
            let results = result_sender.clone();
            let clock = &clock;
            scope.spawn(move || forward_all(&network, &batches, &results, clock));
        }
        // Only the threads hold these channel ends now, so the loop below ends when the threads have ended.
        drop((batch_receiver, result_sender));

        // Workers finish batches in any order. A batch waits here until all batches before it were delivered.
        let mut waiting = BTreeMap::new();
        let mut next_number = 0;
        let mut rows = 0;
        let mut batches = 0;
        let mut break_value = None;
        'batches: for result in &result_receiver {
            let batch = match result {
                Ok(batch) => batch,
                // Returning drops the channel ends, and without them the other threads end.
                Err(WorkerError::Network(error)) => return Err(error),
                Err(WorkerError::Panic(panic)) => resume_unwind(panic),
            };
            waiting.insert(batch.number, batch);
            while let Some(batch) = waiting.remove(&next_number) {
                next_number += 1;
                rows += batch.pictures;
                batches += usize::from(batch.pictures > 0);
                if let ControlFlow::Break(value) = clock.time(&clock.write, || batch.deliver(&mut on_event)) {
                    break_value = Some(value);
                    break 'batches;
                }
                // The decoder may have ended already.
                let _ = permit_sender.send(());
            }
        }
        // No more rows are needed. Without these channel ends the decoder and the workers end.
        drop((result_receiver, permit_sender));
        let cancelled = decoder.join().unwrap_or_else(|panic| resume_unwind(panic));
        let end = match break_value {
            Some(value) => EndReason::ByCaller(value),
            None if cancelled => EndReason::Cancelled,
            None => EndReason::Finished,
        };
        Ok(EmbedReport { end, rows, batches, times: clock.times() })
    })
}

/// Reads and decodes photos on the current rayon pool, without running a network. Returns the index and the error of
/// each photo that would give no row. When `cancel` is set, the remaining photos are left out.
pub fn find_broken(photos: &[Photo], preprocess: Preprocess, cancel: &AtomicBool) -> Vec<(usize, PhotoError)> {
    let error_of = |buffer: &mut Vec<u8>, photo: &Photo| {
        if cancel.load(Ordering::Relaxed) { None } else { decode_error(photo, preprocess, buffer) }
    };
    // `map_init` gives each part of the photos that rayon splits off a buffer for all of them.
    let errors: Vec<Option<PhotoError>> = photos.par_iter().map_init(Vec::new, error_of).collect();
    let mut broken = Vec::new();
    for (number, error) in errors.into_iter().enumerate() {
        if let Some(error) = error {
            broken.push((number, error));
        }
    }
    broken
}

/// The error of reading and decoding the photo; `None` if there is none.
fn decode_error(photo: &Photo, preprocess: Preprocess, buffer: &mut Vec<u8>) -> Option<PhotoError> {
    let decoded = photo.bytes(buffer).and_then(|bytes| Ok(preprocess.decode(bytes)?));
    decoded.err()
}

impl FinishedBatch {
    /// Calls `on_event` for each of its entries, in order.
    fn deliver<B>(self, on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
        let columns = self.rows.len() / self.pictures.max(1);
        let mut rows = self.rows.chunks_exact(columns.max(1));
        for entry in self.entries {
            let event = match entry {
                Entry::Failed { photo, error } => Event::Failed { photo, error },
                Entry::Picture { photo, view } => {
                    Event::Row { photo, view, row: rows.next().expect("the network gives a row for each picture") }
                }
            };
            on_event(event)?;
        }
        ControlFlow::Continue(())
    }
}

/// The first stage: decodes chunks of photos on all threads of the rayon pool and puts their pictures into batches.
struct Decoder<'a> {
    preprocess: Preprocess,
    batch_size: usize,
    permit_receiver: Receiver<()>,
    batch_sender: Sender<Batch>,
    clock: &'a Clock,
}

/// The other end of a channel is closed, because the run has failed or the caller has ended it.
struct Disconnected;

impl Decoder<'_> {
    /// Decodes all photos. Returns whether it ended early, because of `cancel` or a closed channel.
    fn run(&self, photos: impl Iterator<Item = Photo>, cancel: &AtomicBool) -> bool {
        let mut photos = photos.enumerate().peekable();
        let mut batch = self.empty_batch(0);
        while photos.peek().is_some() {
            if cancel.load(Ordering::Relaxed) {
                return true;
            }
            let chunk = self.next_chunk(&mut photos);
            let prepared = self.clock.time(&self.clock.decode, || self.prepare_chunk(&chunk));
            for ((number, photo), prepared) in chunk.into_iter().zip(prepared) {
                if self.add_photo(&mut batch, number, photo.views.len(), prepared).is_err() {
                    return true;
                }
            }
        }
        if !batch.entries.is_empty() {
            // An error means that the run has already ended.
            let _ = self.send(batch);
        }
        false
    }

    /// The next photos with their numbers: as many as fill a batch with their pictures, but at least one for each
    /// thread (and at most as many as a batch has pictures).
    fn next_chunk(&self, photos: &mut impl Iterator<Item = (usize, Photo)>) -> Vec<(usize, Photo)> {
        let min_photos = rayon::current_num_threads().min(self.batch_size);
        let mut chunk: Vec<(usize, Photo)> = Vec::with_capacity(self.batch_size);
        let mut pictures = 0;
        // Photos may have no views, so the number of photos is limited too.
        while chunk.len() < min_photos || pictures < self.batch_size && chunk.len() < self.batch_size {
            let Some((number, photo)) = photos.next() else { break };
            pictures += photo.views.len();
            chunk.push((number, photo));
        }
        chunk
    }

    /// The pixels of each photo, as [`prepare_photo`] gives them.
    fn prepare_chunk(&self, chunk: &[(usize, Photo)]) -> Vec<Result<Vec<u8>, PhotoError>> {
        // `map_init` gives each part of the photos that rayon splits off a buffer for all of them.
        let prepare = |buffer: &mut Vec<u8>, (_, photo): &(usize, Photo)| prepare_photo(photo, self.preprocess, buffer);
        chunk.par_iter().map_init(Vec::new, prepare).collect()
    }

    /// Adds a photo's pictures, or its failure, to the batch. A batch that becomes full is sent.
    fn add_photo(
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
                for (view, picture) in (0..views).zip(pixels.chunks_exact(self.preprocess.input_len())) {
                    batch.entries.push(Entry::Picture { photo, view });
                    batch.pixels.extend(picture);
                    self.send_if_full(batch)?;
                }
                Ok(())
            }
        }
    }

    /// Sends the batch if it is full, and puts the next one in its place.
    fn send_if_full(&self, batch: &mut Batch) -> Result<(), Disconnected> {
        let full = batch.pixels.len() == self.batch_size * self.preprocess.input_len();
        if !full && batch.entries.len() < MAX_ENTRIES {
            return Ok(());
        }
        let next = self.empty_batch(batch.number + 1);
        self.send(mem::replace(batch, next))
    }

    /// Sends a batch as soon as there is a permit for it.
    fn send(&self, batch: Batch) -> Result<(), Disconnected> {
        self.permit_receiver.recv().map_err(|_| Disconnected)?;
        self.batch_sender.send(batch).map_err(|_| Disconnected)
    }

    /// An empty batch, with memory for all of its pictures.
    fn empty_batch(&self, number: usize) -> Batch {
        let pixels = Vec::with_capacity(self.batch_size * self.preprocess.input_len());
        Batch { number, entries: Vec::with_capacity(self.batch_size), pixels }
    }
}

/// Reads a photo, decodes it and resizes each of its views: (views, side, side, 3). A file is read into `buffer`.
fn prepare_photo(photo: &Photo, preprocess: Preprocess, buffer: &mut Vec<u8>) -> Result<Vec<u8>, PhotoError> {
    Ok(decode_views(photo.bytes(buffer)?, &photo.views, preprocess)?)
}

/// Decodes the bytes of a picture file and resizes each of the views: (views, side, side, 3).
pub(crate) fn decode_views(file: &[u8], views: &[Option<View>], preprocess: Preprocess) -> Result<Vec<u8>, PixelError> {
    let picture = preprocess.decode(file)?;
    let mut pixels = vec![0; views.len() * preprocess.input_len()];
    for (&view, input) in views.iter().zip(pixels.chunks_exact_mut(preprocess.input_len())) {
        preprocess.resize(&picture, view, input)?;
    }
    Ok(pixels)
}

/// The second stage, on a worker's thread: batches in, rows out, until a channel is closed.
fn forward_all<N: Network>(
    network: &N,
    batches: &Receiver<Batch>,
    results: &Sender<Result<FinishedBatch, WorkerError>>,
    clock: &Clock,
) {
    while let Ok(batch) = clock.time(&clock.waiting, || batches.recv()) {
        // A panic is sent in place of the batch, for which the caller would otherwise wait for ever.
        let forward = AssertUnwindSafe(|| forward(network, batch, clock));
        let result = catch_unwind(forward).unwrap_or_else(|panic| Err(WorkerError::Panic(panic)));
        if results.send(result).is_err() {
            return;
        }
    }
}

/// Runs the network on one batch. A batch without pictures gives no rows.
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

/// The time of each stage, summed over its threads, in nanoseconds.
#[derive(Default)]
struct Clock {
    decode: AtomicU64,
    network: AtomicU64,
    waiting: AtomicU64,
    write: AtomicU64,
}

impl Clock {
    /// Runs `work` and adds the time that it takes to a stage.
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
    use crate::pixels::{AugmentConfig, Interpolation, Limits, Orientation};

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
            let pictures = pixels.chunks_exact(PREPROCESS.input_len());
            assert!((1..=self.batch_size).contains(&pictures.len()) && pictures.remainder().is_empty());
            // Batches are finished in another order than they were begun.
            thread::sleep(Duration::from_micros(u64::from(pixels[0]) % 7 * 300));
            Ok(pictures.flat_map(|picture| [sum(picture); 2]).collect())
        }

        fn clone_for_thread(&self) -> Self {
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

    /// The events of a run: (photo, (view, row)), or (photo, error).
    type Seen = (usize, Result<(usize, Vec<f32>), String>);

    fn run_all(photos: &[Photo], batch_size: usize) -> (Vec<Seen>, EmbedReport<()>) {
        let mut seen = Vec::new();
        let report = with_pool(|pool| {
            let settings = Settings { preprocess: PREPROCESS, workers: 3, pool };
            run(&Sums { batch_size }, settings, photos.iter().cloned(), &AtomicBool::new(false), |event| {
                seen.push(match event {
                    Event::Row { photo, view, row } => (photo, Ok((view, row.to_vec()))),
                    Event::Failed { photo, error } => (photo, Err(error.to_string())),
                });
                ControlFlow::Continue(())
            })
        });
        (seen, report.unwrap())
    }

    fn with_pool<T>(work: impl FnOnce(&ThreadPool) -> T) -> T {
        work(&rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap())
    }

    #[test]
    fn rows_and_failures_come_in_the_order_of_the_photos() {
        let folder = tempfile::tempdir().unwrap();
        let photos = photos(40, folder.path());
        for batch_size in [1, 4, 7, 64] {
            let (seen, report) = run_all(&photos, batch_size);
            assert_eq!((report.end, report.rows), (EndReason::Finished, 27));
            assert_eq!(report.batches, 27usize.div_ceil(batch_size));
            for (n, (photo, result)) in seen.iter().enumerate() {
                assert_eq!(*photo, n, "batches of {batch_size}");
                match result {
                    Ok((view, row)) => assert_eq!((*view, &row[..]), (0, &[sum(&[n as u8 * 2; 192]); 2][..])),
                    Err(error) => assert!(n % 3 == 2 && error.starts_with("is not a picture"), "{n}: {error}"),
                }
            }
            assert_eq!(seen.len(), 40);
        }
    }

    #[test]
    fn a_photo_is_decoded_once_for_all_of_its_views_from_a_file_or_from_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let augmentation = AugmentConfig::new(true, 0.5, 0.5, 1).unwrap();
        let mut photos: Vec<Photo> = photos(20, folder.path()).into_iter().step_by(3).collect();
        for (n, photo) in photos.iter_mut().enumerate() {
            let Source::Path(path) = &photo.source else { unreachable!("photos are files") };
            let bytes = fs::read(path).unwrap();
            // For some photos only views are embedded.
            photo.views.truncate(n % 2);
            photo
                .views
                .extend((0..1 + n % 4).map(|number| Some(augmentation.sample_view(&blake3::hash(&bytes), number))));
            if n % 2 == 0 {
                photo.source = Source::Bytes(bytes);
            }
        }
        for batch_size in [1, 4, 7] {
            let mut expected = Vec::new();
            for (n, photo) in photos.iter().enumerate() {
                let picture = PREPROCESS.decode(photo.bytes(&mut Vec::new()).unwrap()).unwrap();
                for (number, &view) in photo.views.iter().enumerate() {
                    let mut pixels = vec![0; PREPROCESS.input_len()];
                    PREPROCESS.resize(&picture, view, &mut pixels).unwrap();
                    expected.push((n, Ok((number, vec![sum(&pixels); 2]))));
                }
            }
            let (seen, report) = run_all(&photos, batch_size);
            assert_eq!(seen, expected);
            assert_eq!(report.batches, expected.len().div_ceil(batch_size));
        }
    }

    #[test]
    fn many_failures_in_a_row_reach_the_caller() {
        let photos = vec![Photo::from_bytes(b"no picture".to_vec()); 3 * MAX_ENTRIES];
        let (seen, report) = run_all(&photos, 8);
        assert_eq!((seen.len(), report.rows, report.batches), (3 * MAX_ENTRIES, 0, 0));
    }

    #[test]
    fn broken_photos_are_found_without_a_network() {
        let folder = tempfile::tempdir().unwrap();
        let photos = photos(20, folder.path());
        let find = |cancel: bool| -> Vec<usize> {
            let broken = find_broken(&photos, PREPROCESS, &AtomicBool::new(cancel));
            broken.into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!(find(false), [2, 5, 8, 11, 14, 17]);
        assert!(find(true).is_empty());
    }

    #[test]
    fn a_photo_that_changes_meanwhile_gets_no_row() {
        let folder = tempfile::tempdir().unwrap();
        let mut photos = photos(2, folder.path());
        photos[1].blake3 = Some(blake3::hash(b"what it was before"));
        let (seen, _) = run_all(&photos, 4);
        assert!(seen[0].1.is_ok());
        assert_eq!(seen[1].1, Err("changed since it was hashed; run again".to_owned()));
    }

    #[test]
    fn the_caller_and_a_cancellation_end_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let photos = vec![photos(2, folder.path()); 100].concat();
        for by_caller in [true, false] {
            let cancel = AtomicBool::new(false);
            let mut rows = 0;
            let report = with_pool(|pool| {
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
            let end = report.unwrap().end;
            assert_eq!(end, if by_caller { EndReason::ByCaller("enough") } else { EndReason::Cancelled });
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

        fn clone_for_thread(&self) -> Self {
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
                let on_event = |_: Event<'_>| ControlFlow::<()>::Continue(());
                run(&network, settings, photos.iter().cloned(), &AtomicBool::new(false), on_event)
                    .map(|report| report.end)
            })
        };
        assert_eq!(run_broken(false), Err(NetworkError::Backend("out of memory".to_owned())));
        let panic = catch_unwind(|| run_broken(true)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the second batch"));
    }
}
