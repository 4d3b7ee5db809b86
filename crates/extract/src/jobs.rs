//! The rows that no cache has yet: which they are, and their way through the network into the journal.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use backbone::pixels::View;
use backbone::{Embedder, End, Event, NetworkError, Photo, PhotoError, Source, Times};
use feature_cache::{CacheError, IndexEntry, Journal, RowSource, Split};

use crate::progress::Progress;
use crate::views::PhotoViews;

/// A photo, and the pictures of it whose rows are wanted: itself, its views, or some of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Relative to the data set.
    pub path: PathBuf,
    /// blake3 of the bytes that the file had a moment ago.
    pub blake3: blake3::Hash,
    /// By what each row is found later; at least one.
    pub keys: Vec<blake3::Hash>,
    /// What each row is of, in the order of the keys: a view, or with `None` the photo as it is.
    pub views: Vec<Option<View>>,
}

/// What became of the jobs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The jobs that gave no rows, by their number, and why.
    pub broken: Vec<(usize, PhotoError)>,
    /// Whether it was cancelled before the last job.
    pub cancelled: bool,
    /// Rows that are in the journal now.
    pub rows: usize,
    /// Batches that went through the network.
    pub batches: usize,
    /// Where the time went.
    pub times: Times,
}

/// Why jobs cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The network could not be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The journal could not be written, or a row is not finite.
    #[error(transparent)]
    Journal(#[from] CacheError),
}

/// Why the embedding is stopped before its end.
enum Stop {
    Broken,
    Journal(CacheError),
}

impl Job {
    /// Each picture that there is no row for, once: photos, and the views of training photos.
    pub fn missing(
        photos: &BTreeMap<Split, Vec<IndexEntry>>,
        views: Option<&PhotoViews>,
        rows: &RowSource<'_>,
    ) -> Vec<Self> {
        let mut jobs = Vec::new();
        let mut seen = HashSet::new();
        for (&split, photos) in photos {
            let views = views.filter(|_| split.is_learnt_from());
            for photo in photos {
                let mut job =
                    Self { path: photo.path.clone(), blake3: photo.blake3, keys: Vec::new(), views: Vec::new() };
                let mut want = |key: blake3::Hash, view: Option<View>| {
                    if !rows.contains(&key) && seen.insert(key) {
                        job.keys.push(key);
                        job.views.push(view);
                    }
                };
                want(photo.blake3, None);
                for (key, view) in views.into_iter().flat_map(|views| views.of(photo.blake3)) {
                    want(key, Some(view));
                }
                if !job.keys.is_empty() {
                    jobs.push(job);
                }
            }
        }
        jobs
    }

    /// The photo of the data set at `root`.
    pub fn photo(&self, root: &Path) -> Photo {
        let source = Source::Path(root.join(&self.path));
        Photo { source, blake3: Some(self.blake3), views: self.views.clone() }
    }
}

/// Computes the rows of the jobs and appends them to the journal, a batch at a time. With `stop_at_broken`, the first
/// photo that is broken is the last one: the jobs behind it are not run.
///
/// # Errors
/// When the network or the journal fails; rows that were written stay written.
pub fn compute(
    jobs: &[Job],
    root: &Path,
    embedder: &Embedder,
    journal: &mut Journal,
    stop_at_broken: bool,
    cancel: &AtomicBool,
) -> Result<Outcome, JobError> {
    let progress = Progress::start("extracting", jobs.iter().map(|job| job.keys.len()).sum(), "rows");
    let mut pending = PendingRows { rows: Vec::new(), batch_size: embedder.batch_size(), journal, progress };
    let mut broken = Vec::new();
    let embedding = embedder.embed(jobs.iter().map(|job| job.photo(root)), cancel, |event| match event {
        Event::Row { photo, view, row } => match pending.push(jobs[photo].keys[view], row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Stop::Journal(error)),
        },
        Event::Failed { photo, error } => {
            broken.push((photo, error));
            if stop_at_broken { ControlFlow::Break(Stop::Broken) } else { ControlFlow::Continue(()) }
        }
    })?;
    if let End::Stopped(Stop::Journal(error)) = embedding.end {
        return Err(error.into());
    }
    // What did not fill a last batch.
    pending.write()?;
    Ok(Outcome {
        broken,
        cancelled: matches!(embedding.end, End::Cancelled),
        rows: embedding.rows,
        batches: embedding.batches,
        times: embedding.times,
    })
}

/// Rows that the journal gets together, since the disk is waited for each time.
struct PendingRows<'a> {
    rows: Vec<(blake3::Hash, Vec<f32>)>,
    batch_size: usize,
    journal: &'a mut Journal,
    progress: Progress,
}

impl PendingRows<'_> {
    fn push(&mut self, key: blake3::Hash, row: &[f32]) -> Result<(), CacheError> {
        self.rows.push((key, row.to_vec()));
        if self.rows.len() < self.batch_size { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), CacheError> {
        self.journal.append(self.rows.iter().map(|(key, row)| (*key, row.as_slice())))?;
        self.progress.advance(self.rows.len());
        self.rows.clear();
        Ok(())
    }
}
