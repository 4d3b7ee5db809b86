//! The whole of an extraction: from a folder of photos to a cache that holds exactly their rows.
//!
//! scan → hash → find what has a row already → run the rest through the network → put the new cache in place

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use backbone::pixels::{Limit, Limits};
use backbone::xception::COLUMNS;
use backbone::{
    Compute, ComputeError, EmbedSpec, Embedder, EmbedderError, NetworkError, Photo, PhotoError, Precision, Times,
    Weights, check,
};
use feature_cache::{
    CacheContents, CacheError, CacheWriter, FeatureCache, Fingerprint, IndexEntry, Journal, RowSource, SharedPhoto,
    SkippedPhoto, Split, SplitContents, Views, WhenLocked, photos_in_two_splits,
};

use crate::changes::Changes;
use crate::dataset::{Dataset, DatasetError, LeftOut};
use crate::inventory::{Inventory, Reading};
use crate::jobs::{self, Job, JobError, Outcome};
use crate::progress::Progress;
use crate::views::PhotoViews;

/// What an extraction is asked to do.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// The folder of photos.
    pub dataset: PathBuf,
    /// The cache.
    pub cache: PathBuf,
    /// The network's weights, safetensors or one of Keras's formats.
    pub weights: PathBuf,
    /// What the rows depend on.
    pub spec: EmbedSpec,
    /// How they are computed.
    pub compute: Compute,
    /// What a photo may cost.
    pub limits: Limits,
    /// Augmented views of the training photos.
    pub views: Option<PhotoViews>,
    /// What to do about broken photos.
    pub on_error: OnError,
    /// Hash every photo, also those whose size and time are known.
    pub rehash: bool,
    /// Overwrite a cache that was made differently.
    pub replace: bool,
    /// What to do while somebody else writes the cache.
    pub when_locked: WhenLocked,
}

/// What to do about photos that cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// Check all the others, then fail with the whole list.
    #[default]
    Fail,
    /// Leave them out, and list them in skipped.csv.
    Skip,
}

impl OnError {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fail, Self::Skip];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// What an extraction did.
#[derive(Debug)]
pub struct Summary {
    /// The cache.
    pub cache: PathBuf,
    /// Rows by split.
    pub rows: BTreeMap<Split, usize>,
    /// Augmented views of each training photo.
    pub views: usize,
    /// How the photos differ from those of the cache before.
    pub changes: Changes,
    /// Photos without a row, with the reason.
    pub skipped: Vec<SkippedPhoto>,
    /// The limits that some of those are over.
    pub exceeded: BTreeSet<Limit>,
    /// Files that were read to hash them.
    pub hashed: usize,
    /// Rows that came from the network in this run, those of views among them.
    pub computed: usize,
    /// Photos whose bytes are in more than one split.
    pub shared: Vec<SharedPhoto>,
    /// What was left out of the data set.
    pub left_out: Vec<LeftOut>,
    /// Forward passes of the network.
    pub batches: usize,
    /// Forward passes side by side.
    pub workers: NonZeroUsize,
    /// Whose kernels ran the network, with which vectors; none where nothing was computed.
    pub kernels: Option<String>,
    /// Where the time of the pipeline went.
    pub times: Times,
    /// The whole run.
    pub elapsed: Duration,
}

/// Why there is no new cache. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The folder is no data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The weights could not be read.
    #[error(transparent)]
    Weights(#[from] backbone::weights::WeightsError),
    /// The cache could not be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// This machine or build cannot give the precision like this.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The network could not be prepared.
    #[error(transparent)]
    Embedder(#[from] EmbedderError),
    /// The network could not be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A row holds NaN or an infinity.
    #[error("{}: its features are not finite", photo.display())]
    NotFinite {
        /// The photo, relative to the data set.
        photo: PathBuf,
        /// The network's weights.
        weights: PathBuf,
        /// The network's numbers.
        precision: Precision,
    },
    /// Photos that give no row, all of them.
    #[error("{} of the photos cannot be used:\n{}", photos.len(), listed(photos))]
    Broken {
        /// The photos, with the reason.
        photos: Vec<SkippedPhoto>,
        /// The limits that some of them are over.
        exceeded: BTreeSet<Limit>,
    },
    /// Every photo of a class is broken.
    #[error("{}: class {class:?} has no photo that can be used", dataset.display())]
    NothingLeft {
        /// The data set.
        dataset: PathBuf,
        /// The class.
        class: String,
    },
    /// The cache is another data set's.
    #[error("{}: holds {rows} rows and none of these photos", path.display())]
    OtherPhotos {
        /// The cache.
        path: PathBuf,
        /// How many rows it has.
        rows: usize,
    },
    /// Somebody asked it to stop.
    #[error("stopped; {kept} finished rows are kept")]
    Stopped {
        /// Rows that the next run need not compute.
        kept: usize,
    },
}

fn listed(photos: &[SkippedPhoto]) -> String {
    let lines: Vec<String> =
        photos.iter().map(|photo| format!("  {}: {}", photo.path.display(), photo.reason)).collect();
    lines.join("\n")
}

impl Extraction {
    /// Brings the cache up to date with the photos. When `stop` is set, finished rows are kept for the next run.
    ///
    /// # Errors
    /// See [`ExtractError`].
    pub fn run(&self, stop: &AtomicBool) -> Result<Summary, ExtractError> {
        let start = Instant::now();
        // Before any photo is read.
        self.compute.check(self.spec.precision)?;
        let dataset = Dataset::scan(&self.dataset)?;
        let weights = Weights::load(&self.weights)?;
        let fingerprint = self.spec.fingerprint(weights.digest(), self.compute.device);
        let writer = CacheWriter::open(&self.cache, self.when_locked)?;
        let previous = self.previous(writer.path(), &fingerprint)?;
        let mut journal = writer.journal(&fingerprint, WIDTH)?;

        let inventory = self.take_inventory(&dataset, previous.as_ref());
        let pictures = inventory.pictures();
        let changes = self.changes(previous.as_ref(), &pictures)?;
        let (mut broken, mut exceeded) = (inventory.broken(), inventory.exceeded());
        let jobs = Job::missing(&pictures, self.views.as_ref(), &RowSource::new(previous.as_ref(), &journal)?);
        let mut outcome = Outcome::default();
        let mut kernels = None;
        if self.on_error == OnError::Fail && !broken.is_empty() {
            // The run fails anyway: the rest only has to be checked, and then all of it listed.
            outcome.broken = self.check(&jobs, &dataset.root, 0);
        } else if !jobs.is_empty() {
            let embedder = Embedder::new(&self.spec, &weights, self.compute)?.with_limits(self.limits);
            kernels = Some(embedder.kernels());
            outcome = self.compute(&jobs, &dataset.root, &embedder, &mut journal, stop)?;
        }
        broken.extend(with_same_bytes(&outcome.broken, &jobs, &pictures));
        exceeded.extend(outcome.broken.iter().filter_map(|(_, reason)| reason.limit()));
        if outcome.cancelled {
            return Err(ExtractError::Stopped { kept: journal.rows() });
        }
        if self.on_error == OnError::Fail && !broken.is_empty() {
            let photos = broken.into_iter().map(|(path, reason)| SkippedPhoto { path, reason }).collect();
            return Err(ExtractError::Broken { photos, exceeded });
        }

        let contents = contents(&dataset, (fingerprint, self.views_in_words().cloned()), pictures, &broken)?;
        let unchanged = previous.as_ref().map(CacheContents::of).transpose()?.is_some_and(|before| before == contents);
        let mut summary = Summary {
            cache: self.cache.clone(),
            rows: contents.splits.iter().map(|(&split, of_split)| (split, of_split.photos.len())).collect(),
            views: contents.views.as_ref().map_or(0, |views| views.count.get()),
            changes,
            skipped: contents.splits.values().flat_map(|split| split.skipped.clone()).collect(),
            exceeded,
            hashed: inventory.hashed,
            computed: outcome.rows,
            shared: photos_in_two_splits(contents.photos()),
            left_out: dataset.left_out,
            batches: outcome.batches,
            workers: self.compute.workers(),
            kernels,
            times: outcome.times,
            elapsed: start.elapsed(),
        };
        if !unchanged {
            let rows = RowSource::new(previous.as_ref(), &journal)?;
            writer.publish(&contents, WIDTH, &inventory.hashes(), &rows)?;
        } else {
            if inventory.hashed > 0 {
                writer.note_hashes(&inventory.hashes())?;
            }
            writer.finish()?;
        }
        summary.elapsed = start.elapsed();
        Ok(summary)
    }

    fn views_in_words(&self) -> Option<&Views> {
        self.views.as_ref().map(PhotoViews::in_words)
    }

    /// The cache that is there, if its rows can be used again: they must be made the same way, and every byte of them
    /// must be the one that was written. Views that it has must not be lost.
    fn previous(&self, path: &Path, fingerprint: &Fingerprint) -> Result<Option<FeatureCache>, ExtractError> {
        match FeatureCache::open(path) {
            Ok(cache) => {
                let differences = fingerprint.differences(cache.fingerprint());
                let usable = match differences.is_empty() {
                    true => cache.check_digests(),
                    false => Err(CacheError::OtherFingerprint { path: path.to_owned(), differences }),
                };
                let lost = Views::lost(self.views_in_words(), cache.views());
                match usable {
                    Ok(()) if lost.is_empty() || self.replace => Ok(Some(cache)),
                    Ok(()) => Err(CacheError::OtherViews { path: path.to_owned(), differences: lost }.into()),
                    Err(_) if self.replace => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Err(CacheError::NotACache(_)) => Ok(None),
            Err(_) if self.replace => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn take_inventory(&self, dataset: &Dataset, previous: Option<&FeatureCache>) -> Inventory {
        let progress = Progress::start("hashing", dataset.len(), "photos");
        let known = previous.map(FeatureCache::hashes).unwrap_or_default();
        let reading = Reading { preprocess: self.spec.preprocess(self.limits), rehash: self.rehash };
        Inventory::take(dataset, &known, reading, || progress.advance(1))
    }

    /// What became of the photos of the cache; none of them left means that it is another data set's.
    fn changes(
        &self,
        previous: Option<&FeatureCache>,
        pictures: &BTreeMap<Split, Vec<IndexEntry>>,
    ) -> Result<Changes, ExtractError> {
        let now = pictures.iter().flat_map(|(&split, photos)| photos.iter().map(move |photo| (split, photo)));
        let before = previous.map(CacheContents::of).transpose()?;
        let changes = Changes::between(before.iter().flat_map(CacheContents::photos), now);
        match previous {
            Some(cache) if changes.kept() == 0 && changes.removed > 0 && !self.replace => {
                Err(ExtractError::OtherPhotos { path: cache.path().to_owned(), rows: changes.removed })
            }
            _ => Ok(changes),
        }
    }

    /// Computes the rows of the jobs. Where a broken photo fails the run, the jobs behind it are only checked, so that all
    /// broken photos can be listed.
    fn compute(
        &self,
        jobs: &[Job],
        root: &Path,
        embedder: &Embedder,
        journal: &mut Journal,
        stop: &AtomicBool,
    ) -> Result<Outcome, ExtractError> {
        let fail = self.on_error == OnError::Fail;
        let computed = jobs::compute(jobs, root, embedder, journal, fail, stop);
        let mut outcome = computed.map_err(|error| match error {
            JobError::Network(error) => error.into(),
            JobError::Journal(error) => self.with_photo(error, jobs),
        })?;
        if fail && let Some(&(number, _)) = outcome.broken.last() {
            outcome.broken.extend(self.check(jobs, root, number + 1));
        }
        Ok(outcome)
    }

    /// Says which photo's row is not finite, if that is the error.
    fn with_photo(&self, error: CacheError, jobs: &[Job]) -> ExtractError {
        let CacheError::RowNotFinite(key) = error else { return error.into() };
        match jobs.iter().find(|job| job.keys.contains(&key)) {
            None => error.into(),
            Some(job) => ExtractError::NotFinite {
                photo: job.path.clone(),
                weights: self.weights.clone(),
                precision: self.spec.precision,
            },
        }
    }

    /// Reads and decodes the photos of the jobs from number `first` on: those that are broken, by their number, and why.
    fn check(&self, jobs: &[Job], root: &Path, first: usize) -> Vec<(usize, PhotoError)> {
        let photos: Vec<Photo> = jobs[first..].iter().map(|job| job.photo(root)).collect();
        let broken = check(&photos, self.spec.preprocess(self.limits)).into_iter();
        broken.map(|(number, error)| (first + number, error)).collect()
    }
}

/// The length of a row.
const WIDTH: NonZeroUsize = NonZeroUsize::new(COLUMNS).unwrap();

/// A broken picture is broken under each of its names.
fn with_same_bytes(
    broken: &[(usize, PhotoError)],
    jobs: &[Job],
    pictures: &BTreeMap<Split, Vec<IndexEntry>>,
) -> Vec<(PathBuf, String)> {
    let reasons: HashMap<blake3::Hash, String> =
        broken.iter().map(|&(job, ref reason)| (jobs[job].blake3, reason.to_string())).collect();
    let named = |photo: &IndexEntry| Some((photo.path.clone(), reasons.get(&photo.blake3)?.clone()));
    pictures.values().flatten().filter_map(named).collect()
}

/// The new cache, broken photos left out; every class must keep a row to learn from.
fn contents(
    dataset: &Dataset,
    (fingerprint, views): (Fingerprint, Option<Views>),
    pictures: BTreeMap<Split, Vec<IndexEntry>>,
    broken: &BTreeMap<PathBuf, String>,
) -> Result<CacheContents, ExtractError> {
    let mut splits = BTreeMap::new();
    for (split, mut photos) in pictures {
        photos.retain(|photo| !broken.contains_key(&photo.path));
        if split.is_learnt_from() {
            let learnt: HashSet<i64> = photos.iter().map(|photo| photo.label).collect();
            if let Some((class, _)) = dataset.classes.iter().zip(0..).find(|(_, label)| !learnt.contains(label)) {
                let (dataset, class) = (dataset.root.clone(), class.to_owned());
                return Err(ExtractError::NothingLeft { dataset, class });
            }
        }
        let of_split = dataset.splits.get(&split).into_iter().flatten();
        let skipped = of_split.filter_map(|photo| {
            Some(SkippedPhoto { path: photo.path.clone(), reason: broken.get(&photo.path)?.clone() })
        });
        let skipped: Vec<SkippedPhoto> = skipped.collect();
        if !(photos.is_empty() && skipped.is_empty()) {
            splits.insert(split, SplitContents { photos, skipped });
        }
    }
    Ok(CacheContents { fingerprint, views, classes: dataset.classes.clone(), splits })
}
