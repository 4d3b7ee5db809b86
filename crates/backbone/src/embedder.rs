//! The public way from photos to rows: an [`Embedder`] is made of a spec, weights and compute settings.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use feature_cache::Fingerprint;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::compute::{BatchSize, Compute, ComputeError, Device, Engine};
use crate::memory_budget::MemoryBudget;
use crate::network::{Network, NetworkError};
use crate::photo::Photo;
use crate::pipeline::{self, EmbedReport, Event, Settings, decode_views};
use crate::pixels::{Limits, PixelError, Preprocess};
use crate::spec::EmbedSpec;
use crate::weights::Weights;
use crate::xception::{COLUMNS, Xception};

/// The batch size on a CPU: larger batches are no faster, since each worker has a core to itself, and take more memory.
const CPU_BATCH: usize = 8;

/// Larger batches are no faster on any GPU.
const MAX_GPU_BATCH: usize = 256;

/// Turns photos into rows of [`COLUMNS`](crate::xception::COLUMNS) features.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use std::path::Path;
/// use std::sync::atomic::AtomicBool;
///
/// use backbone::{Compute, EmbedSpec, Embedder, Event, Photo, Weights};
///
/// let weights = Weights::load(Path::new("xception.safetensors"))?;
/// let embedder = Embedder::new(&EmbedSpec::default(), &weights, Compute::auto())?;
/// let photos = ["hat.jpg", "shoe.png"].map(Photo::from_path);
/// embedder.embed(photos, &AtomicBool::new(false), |event| {
///     match event {
///         Event::Row { photo, row, .. } => println!("{photo}: {:?}", &row[..4]),
///         Event::Failed { photo, error } => eprintln!("{photo}: {error}"),
///     }
///     ControlFlow::<()>::Continue(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Embedder {
    network: Xception,
    preprocess: Preprocess,
    fingerprint: Fingerprint,
    workers: usize,
    pool: ThreadPool,
    /// The memory that all [`ThreadEmbedder`]s together may take for opening, decoding and resizing.
    decode_memory: Arc<MemoryBudget>,
}

/// Why an embedder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EmbedderError {
    /// This machine or build cannot compute the precision on the device with the kernels.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The network cannot be run, because not even one picture fits into a GPU's memory, say.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The operating system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] ThreadPoolBuildError),
}

impl Embedder {
    /// Prepares the network: folds the batch norms into the weights and packs them.
    ///
    /// # Errors
    /// If this machine or build cannot compute the spec's precision on the device with the kernels, or the network
    /// cannot be run.
    pub fn new(spec: &EmbedSpec, weights: &Weights, compute: Compute) -> Result<Self, EmbedderError> {
        let engine = compute.engine(spec.precision)?;
        Ok(Self {
            network: build_network(weights, spec.side, compute, engine)?,
            preprocess: spec.preprocess(Limits::DEFAULT),
            fingerprint: spec.fingerprint(weights.digest(), compute.device),
            workers: compute.workers().get(),
            pool: ThreadPoolBuilder::new().num_threads(compute.threads.get()).build()?,
            decode_memory: Arc::new(MemoryBudget::new(Limits::DEFAULT.max_bytes)),
        })
    }

    /// The same embedder with other limits on a photo's pixels and memory.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.preprocess.limits = limits;
        self.decode_memory = Arc::new(MemoryBudget::new(limits.max_bytes));
        self
    }

    /// What its rows depend on.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The limits on a photo's pixels and memory.
    pub fn limits(&self) -> Limits {
        self.preprocess.limits
    }

    /// Pictures per forward pass.
    pub fn batch_size(&self) -> usize {
        self.network.batch_size()
    }

    /// Forward passes that run in parallel.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Whose kernels run the network, with which vectors.
    pub fn kernels(&self) -> String {
        self.network.kernels()
    }

    /// An embedder for one thread, with its own buffers for the network. All of them together open, decode and resize
    /// photos within the memory that one photo may take.
    pub fn for_thread(&self) -> ThreadEmbedder {
        ThreadEmbedder {
            network: self.network.clone_for_thread(),
            preprocess: self.preprocess,
            decode_memory: Arc::clone(&self.decode_memory),
        }
    }

    /// Computes the rows of the photos and calls `on_event` with the results in the order of the photos: a row for each
    /// (photo, view), or why the photo cannot be used. `on_event` returns whether to continue. Photos are taken from
    /// the iterator as they are needed. When `cancel` is set, the batches in the pipeline are finished and no more are
    /// begun.
    ///
    /// # Errors
    /// If the network fails. A photo that fails is an [`Event`].
    pub fn embed<B>(
        &self,
        photos: impl IntoIterator<Item = Photo, IntoIter: Send>,
        cancel: &AtomicBool,
        on_event: impl FnMut(Event<'_>) -> ControlFlow<B>,
    ) -> Result<EmbedReport<B>, NetworkError> {
        let settings = Settings { preprocess: self.preprocess, workers: self.workers, pool: &self.pool };
        pipeline::run(&self.network, settings, photos.into_iter(), cancel, on_event)
    }
}

/// An [`Embedder`] for one thread, which decodes and runs the network itself: for callers whose photos come one by one.
/// All share the weights.
pub struct ThreadEmbedder {
    network: Xception,
    preprocess: Preprocess,
    decode_memory: Arc<MemoryBudget>,
}

impl ThreadEmbedder {
    /// Pictures per forward pass: it is fastest to pass this many photos at a time.
    pub fn batch_size(&self) -> usize {
        self.network.batch_size()
    }

    /// The row of each picture file, or why it cannot be used, in the order of the files. The rows are those of
    /// [`Embedder::embed`], on the CPU to the bit. Each file is dropped as soon as it is decoded.
    ///
    /// # Errors
    /// If the network fails.
    pub fn rows(
        &self,
        files: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> Result<Vec<Result<Vec<f32>, PixelError>>, NetworkError> {
        let mut files = files.into_iter().peekable();
        let mut rows = Vec::new();
        while files.peek().is_some() {
            self.append_rows(files.by_ref().take(self.batch_size()), &mut rows)?;
        }
        Ok(rows)
    }

    /// Appends the rows of a batch.
    fn append_rows(
        &self,
        files: impl Iterator<Item: AsRef<[u8]>>,
        rows: &mut Vec<Result<Vec<f32>, PixelError>>,
    ) -> Result<(), NetworkError> {
        let mut decoded = Vec::with_capacity(self.batch_size());
        let mut pixels = Vec::with_capacity(self.batch_size() * self.preprocess.input_len());
        for file in files {
            let resized = decode_within(&self.decode_memory, self.preprocess, file.as_ref());
            decoded.push(resized.map(|picture| pixels.extend(picture)));
        }
        let computed = if pixels.is_empty() { Vec::new() } else { self.network.forward(&pixels)? };
        let mut computed = computed.chunks_exact(COLUMNS);
        for decoded in decoded {
            rows.push(decoded.map(|()| computed.next().expect("the network gives a row for each picture").to_vec()));
        }
        Ok(())
    }
}

/// The resized pixels of a picture file. It is opened and decoded while the memory for that is reserved.
fn decode_within(memory: &MemoryBudget, preprocess: Preprocess, file: &[u8]) -> Result<Vec<u8>, PixelError> {
    let needed = memory.run(preprocess.memory_to_open(file), || preprocess.memory(file))?;
    memory.run(needed, || decode_views(file, &[None], preprocess))
}

/// Builds the network; on a GPU `Auto` halves the batch size until it fits.
fn build_network(weights: &Weights, side: u32, compute: Compute, engine: Engine) -> Result<Xception, NetworkError> {
    match (compute.batch_size, compute.device) {
        (BatchSize::Fixed(size), _) => Xception::new(weights, side, size.get(), engine),
        (BatchSize::Auto, Device::Cpu) => Xception::new(weights, side, CPU_BATCH, engine),
        (BatchSize::Auto, Device::Cuda(_)) => largest_that_works(MAX_GPU_BATCH, |batch| {
            let network = Xception::new(weights, side, batch, engine)?;
            network.forward(&vec![0; batch * 3 * (side as usize).pow(2)])?;
            Ok(network)
        }),
    }
}

/// Calls `attempt` with `max`, max/2, max/4, ... and returns the first success, or the error for 1. It retries after
/// any error, since cuDNN reports too little memory in many ways.
fn largest_that_works<T, E>(max: usize, attempt: impl Fn(usize) -> Result<T, E>) -> Result<T, E> {
    let mut batch = max;
    loop {
        match attempt(batch) {
            Err(_) if batch > 1 => batch /= 2,
            attempted => return attempted,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Once photos were opened without a reservation, on each thread with all the memory that one photo may take.
    #[test]
    fn a_photo_is_opened_while_the_memory_for_that_is_reserved() {
        let preprocess = EmbedSpec::default().preprocess(Limits::DEFAULT);
        // A directory whose only entry has the offsets of a million strips, which the file does not have.
        let entry = [&273u16.to_le_bytes()[..], &4u16.to_le_bytes(), &1_000_000u32.to_le_bytes(), &[0; 4]].concat();
        let tiff = [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat();
        let opening = preprocess.memory_to_open(&tiff);
        assert!(opening > 32_000_000, "{opening}");

        let memory = MemoryBudget::new(opening);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let (memory, tiff) = (&memory, &tiff);
            memory.run(1, || {
                scope.spawn(move || sender.send(decode_within(memory, preprocess, tiff)));
                assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "it waits for the last byte");
            });
            assert!(receiver.recv().unwrap().is_err());
        });
    }

    #[test]
    fn a_batch_is_halved_until_it_fits() {
        let memory_for = |room: usize| move |batch: usize| if batch <= room { Ok(batch) } else { Err(batch) };
        assert_eq!(largest_that_works(256, memory_for(1000)), Ok(256));
        assert_eq!(largest_that_works(256, memory_for(40)), Ok(32));
        assert_eq!(largest_that_works(256, memory_for(1)), Ok(1));
        assert_eq!(largest_that_works(256, memory_for(0)), Err(1), "what a single picture failed with");
    }
}
