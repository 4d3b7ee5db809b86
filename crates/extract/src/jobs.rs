//! The rows that have to be computed: finding them, and running their photos through the network into the journal.

use std::collections::{BTreeMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use backbone::pixels::View;
use backbone::{Embedder, EndReason, Event, NetworkError, Photo, PhotoError, Source, Times};
use feature_cache::{CacheError, IndexEntry, Journal, PhotoMarker, RowSource, Split};
use stdio::Progress;

use crate::views::PhotoViews;

/// A photo with missing rows: its own, or those of some of its views.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Relative to the data set.
    pub path: PathBuf,
    /// blake3 hash that the file's bytes had when it was hashed.
    pub blake3: blake3::Hash,
    /// At least one.
    pub missing: Vec<MissingRow>,
}

/// A row that has to be computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MissingRow {
    /// Its key in the journal.
    pub key: blake3::Hash,
    /// The view that it is of; `None` for the photo itself.
    pub view: Option<View>,
}

/// The result of running the jobs.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The jobs whose photo cannot be used, by number, with the reason.
    pub broken: Vec<(usize, PhotoError)>,
    /// Whether it was cancelled before the last job.
    pub cancelled: bool,
    /// Rows that were computed. All are in the journal, except those of a last batch that was broken off.
    pub rows: usize,
    /// Batches that went through the network.
    pub batches: usize,
    /// Time spent in each stage of the pipeline.
    pub times: Times,
    /// Wall time from the first photo to the last row.
    pub elapsed: Duration,
}

/// Why running the jobs failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The network could not be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The journal could not be written, or a row is not finite.
    #[error(transparent)]
    Journal(#[from] CacheError),
}

/// Why the run ends before the last job.
enum Stop {
    /// A photo cannot be used, and the run is to stop at the first such photo.
    Broken,
    /// The journal could not be written, or a row is not finite.
    Journal(CacheError),
}

impl Job {
    /// The photos and the views of training photos that have no row yet. Photos with the same bytes are listed once.
    pub fn find_missing(
        photos: &BTreeMap<Split, Vec<IndexEntry>>,
        views: Option<&PhotoViews>,
        rows: &RowSource<'_>,
    ) -> Vec<Self> {
        let mut jobs = Vec::new();
        let mut listed_keys = HashSet::new();
        for (&split, photos) in photos {
            for photo in photos {
                // All rows that the photo should have: its own and, if it is a training photo, those of its views.
                let mut rows_of_photo = vec![MissingRow { key: photo.blake3, view: None }];
                if let Some(views) = views
                    && split.is_training()
                {
                    for (key, view) in views.for_photo(photo.blake3) {
                        rows_of_photo.push(MissingRow { key, view: Some(view) });
                    }
                }

                let mut missing = Vec::new();
                for row in rows_of_photo {
                    let is_new = listed_keys.insert(row.key);
                    if is_new && !rows.contains(&row.key) {
                        missing.push(row);
                    }
                }
                if !missing.is_empty() {
                    jobs.push(Self { path: photo.path.clone(), blake3: photo.blake3, missing });
                }
            }
        }
        jobs
    }

    /// The photo of the data set at `root`.
    pub fn photo(&self, root: &Path) -> Photo {
        let source = Source::Path(root.join(&self.path));
        let views = self.missing.iter().map(|row| row.view).collect();
        Photo { source, blake3: Some(self.blake3), views }
    }
}

/// Computes the rows of the jobs and appends them to the journal, a batch at a time. With `stop_at_broken`, it stops at
/// the first photo that cannot be used, and the jobs after it are not run.
///
/// If the last run crashed, one of the photos that it had begun may be the reason. They are computed first, one at a
/// time, so that `marker` names the photo if this run crashes, too.
///
/// # Errors
/// When the network or the journal fails; rows that are already in the journal stay there.
pub fn run(
    jobs: &[Job],
    root: &Path,
    embedder: &Embedder,
    journal: &mut Journal,
    marker: &PhotoMarker,
    stop_at_broken: bool,
    cancel: &AtomicBool,
) -> Result<Outcome, JobError> {
    let start = Instant::now();
    let progress = Progress::start("extracting", jobs.iter().map(|job| job.missing.len()).sum(), "rows");
    let rows = PendingRows { rows: Vec::new(), batch_size: embedder.batch_size(), journal, progress };
    let mut run = Run { jobs, root, embedder, rows, stop_at_broken, cancel, outcome: Outcome::default() };
    let result = run.run_all(marker);
    marker.end();
    result?;
    Ok(Outcome { elapsed: start.elapsed(), ..run.outcome })
}

/// The jobs while they are run.
struct Run<'a> {
    jobs: &'a [Job],
    root: &'a Path,
    embedder: &'a Embedder,
    rows: PendingRows<'a>,
    stop_at_broken: bool,
    cancel: &'a AtomicBool,
    outcome: Outcome,
}

impl Run<'_> {
    /// Runs all jobs: first those that may have crashed the last run, one at a time.
    fn run_all(&mut self, marker: &PhotoMarker) -> Result<(), JobError> {
        // The jobs are in the order of the last run, without those whose rows are in the journal. So the photo that
        // crashed it is the one that was begun last, or one before that.
        let mut suspects = 0;
        if let Some(interrupted) = marker.interrupted() {
            let begun_last = self.jobs.iter().position(|job| job.blake3 == interrupted.photo);
            suspects = begun_last.map_or(0, |number| number + 1);
        }
        for number in 0..suspects {
            let next = self.run_range(number..number + 1, |job| marker.begin_alone(job.blake3))?;
            if next.is_break() {
                return Ok(());
            }
        }
        self.run_range(suspects..self.jobs.len(), |job| marker.begin(job.blake3)).map(drop)
    }

    /// Runs the jobs with these numbers, calling `begin` with each before its photo is read. `Break`: no others are to
    /// be run after them.
    fn run_range(&mut self, numbers: Range<usize>, begin: impl Fn(&Job) + Send) -> Result<ControlFlow<()>, JobError> {
        let (first, root) = (numbers.start, self.root);
        let jobs = &self.jobs[numbers];
        let photos = jobs.iter().map(move |job| {
            begin(job);
            job.photo(root)
        });
        let report = self.embedder.embed(photos, self.cancel, |event| {
            match event {
                Event::Row { photo, view, row } => {
                    if let Err(error) = self.rows.push(jobs[photo].missing[view].key, row) {
                        return ControlFlow::Break(Stop::Journal(error));
                    }
                }
                Event::Failed { photo, error } => {
                    self.outcome.broken.push((first + photo, error));
                    if self.stop_at_broken {
                        return ControlFlow::Break(Stop::Broken);
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        self.outcome.rows += report.rows;
        self.outcome.batches += report.batches;
        self.outcome.times += report.times;
        self.outcome.cancelled = matches!(report.end, EndReason::Cancelled);
        let next = match report.end {
            EndReason::ByCaller(Stop::Journal(error)) => return Err(error.into()),
            EndReason::Finished => ControlFlow::Continue(()),
            EndReason::ByCaller(Stop::Broken) | EndReason::Cancelled => ControlFlow::Break(()),
        };
        // The last batch may not be full.
        self.rows.write()?;
        Ok(next)
    }
}

/// Rows that will be appended to the journal together, since each append waits for the disk.
struct PendingRows<'a> {
    rows: Vec<(blake3::Hash, Vec<f32>)>,
    batch_size: usize,
    journal: &'a mut Journal,
    progress: Progress,
}

impl PendingRows<'_> {
    /// Adds a row; writes all pending rows if they fill a batch.
    fn push(&mut self, key: blake3::Hash, row: &[f32]) -> Result<(), CacheError> {
        self.rows.push((key, row.to_vec()));
        if self.rows.len() < self.batch_size { Ok(()) } else { self.write() }
    }

    /// Appends all pending rows to the journal, if there are any.
    fn write(&mut self) -> Result<(), CacheError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.journal.append(self.rows.iter().map(|(key, row)| (*key, row.as_slice())))?;
        self.progress.advance(self.rows.len());
        self.rows.clear();
        Ok(())
    }
}
