//! A whole extraction: from a folder of photos to a cache that holds exactly their rows.
//!
//! scan → hash → find the missing rows → compute them → publish the new cache

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backbone::pixels::{Limit, Limits};
use backbone::xception::COLUMNS;
use backbone::{Compute, Device, EmbedSpec, Embedder, Kernels, Photo, PhotoError, Times, Weights, find_broken};
use feature_cache::{
    CacheContents, CacheError, CacheWriter, FeatureCache, Fingerprint, IndexEntry, Journal, PhotoMarker, RowSource,
    Shard, ShardRecord, ShardState, SharedPhoto, SkippedPhoto, Split, SplitContents, Views, WhenLocked,
    photos_in_two_splits,
};
use stdio::Progress;

use crate::changes::Changes;
use crate::dataset::{Dataset, Ignored, Listing};
use crate::error::ExtractError;
use crate::inventory::{Inventory, ReadOptions};
use crate::jobs::{self, Job, JobError, Outcome};
use crate::views::PhotoViews;

/// The settings of an extraction.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// The folder of photos.
    pub dataset: PathBuf,
    /// The cache.
    pub cache: PathBuf,
    /// The network's weights, safetensors or one of Keras's formats.
    pub weights: PathBuf,
    /// What the rows depend on, apart from the photos and the weights. There are two kinds of bf16, of our kernels and
    /// of libtorch's; with [`Kernels::Auto`] on the CPU the kind that the cache already has is computed.
    pub spec: EmbedSpec,
    /// Device, kernels, batch size and threads.
    pub compute: Compute,
    /// Limits on a photo's pixels and memory.
    pub limits: Limits,
    /// Extract only this part of the photos, into a cache of its own in the cache's folder.
    pub shard: Option<Shard>,
    /// Augmented views of the training photos.
    pub views: Option<PhotoViews>,
    /// What to do about broken photos.
    pub on_error: OnError,
    /// Hash every photo, also those whose size and modification time are known.
    pub rehash: bool,
    /// Overwrite a cache with another fingerprint, other views or other photos.
    pub replace: bool,
    /// If another process is writing the cache, wait for it; otherwise fail.
    pub wait: bool,
}

/// What to do about photos that cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// Check all others, then fail with the whole list.
    #[default]
    Fail,
    /// Skip them, and list them in skipped.csv.
    Skip,
}

impl OnError {
    /// Both choices.
    pub const ALL: [Self; 2] = [Self::Fail, Self::Skip];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// The result of an extraction.
#[derive(Debug)]
pub struct Summary {
    /// The cache that was written; of a shard, the shard's own.
    pub cache: PathBuf,
    /// The shard; `None` for all photos.
    pub shard: Option<Shard>,
    /// The number of rows by split.
    pub rows: BTreeMap<Split, usize>,
    /// The number of augmented views of each training photo.
    pub views: usize,
    /// How the photos differ from those of the previous cache.
    pub changes: Changes,
    /// Photos without a row, with the reason.
    pub skipped: Vec<SkippedPhoto>,
    /// The limits that some of those photos exceed.
    pub exceeded: BTreeSet<Limit>,
    /// Number of files that were read to hash them.
    pub hashed: usize,
    /// Number of rows that this run computed, including those of views.
    pub computed: usize,
    /// Photos whose bytes are in more than one split.
    pub shared: Vec<SharedPhoto>,
    /// Folders and links of the data set that were left out.
    pub ignored: Vec<Ignored>,
    /// Number of forward passes.
    pub batches: usize,
    /// Number of forward passes that could run in parallel.
    pub workers: NonZeroUsize,
    /// The kernels that ran the network; `None` if nothing was computed.
    pub kernels: Option<String>,
    /// Time spent in each stage of the pipeline, summed over the threads.
    pub times: Times,
    /// Wall time from the first photo to the last row, without reading weights, hashing and writing the cache.
    pub computing: Duration,
    /// Wall time of the whole run.
    pub elapsed: Duration,
}

impl Extraction {
    /// Brings the cache up to date with the photos. When `cancel` is set, it ends early, and finished rows are kept for
    /// the next run.
    ///
    /// # Errors
    /// See [`ExtractError`].
    pub fn run(&self, cancel: &AtomicBool) -> Result<Summary, ExtractError> {
        let start = Instant::now();
        // What this machine cannot compute is refused before any photo is read.
        self.compute.check(self.spec.precision)?;
        // Before the scan, which would call a cache that is there already a class without photos.
        if Dataset::would_scan(&self.dataset, &self.cache)? {
            let (cache, dataset) = (self.cache.clone(), self.dataset.clone());
            return Err(ExtractError::CacheInDataset { cache, dataset });
        }
        let mut dataset = Dataset::scan_shard(&self.dataset, self.shard)?;
        let weights = Weights::load(&self.weights)?;

        // From here on this process is the only writer of the cache, or of the shard.
        let when_locked = if self.wait { WhenLocked::Wait(cancel) } else { WhenLocked::Fail };
        let writer = match self.shard {
            None => CacheWriter::open(&self.cache, when_locked)?,
            Some(shard) => CacheWriter::open_shard(&self.cache, shard, when_locked)?,
        };
        if self.wait {
            // Photos may have come and gone meanwhile.
            dataset = Dataset::scan_shard(&self.dataset, self.shard)?;
        }
        let spec = self.spec_of_cache(&writer, &weights)?;
        let fingerprint = spec.fingerprint(weights.digest(), self.compute.device);
        let previous = self.previous(&writer, &fingerprint)?;
        let mut journal = writer.journal(&fingerprint, ROW_LENGTH)?;
        let marker = writer.marker()?;

        // Rows are found by the hash of their photo's bytes, whatever the file is called now.
        let cancelled = |journal: &Journal| ExtractError::Cancelled { kept: journal.rows() };
        let inventory = self.hash_photos(&dataset, previous.as_ref(), cancel).ok_or_else(|| cancelled(&journal))?;
        let entries = inventory.entries();
        let before = previous.as_ref().map(|cache| self.contents_before(cache)).transpose()?;
        let changes = Changes::between(before.iter().flat_map(CacheContents::photos), photos_of(&entries));

        // Photos that cannot be used, with the reason; more are found when the others are decoded.
        let mut broken = inventory.broken();
        let mut exceeded = inventory.exceeded();
        let crashing = self.crashing_photos(&entries, &writer, &marker, previous.as_ref());
        for photo in entries.values().flatten() {
            if crashing.contains(&photo.blake3) {
                broken.insert(photo.path.clone(), CRASHING.to_owned());
            }
        }
        let mut jobs = Job::find_missing(&entries, self.views.as_ref(), &RowSource::new(previous.as_ref(), &journal)?);
        jobs.retain(|job| !crashing.contains(&job.blake3));
        let fails_already = self.on_error == OnError::Fail && !broken.is_empty();

        // If none of the cache's photos can be read now, the list of broken ones says why. A shard's own cache has few
        // photos: all of them may be gone.
        let is_own_shard = |cache: &FeatureCache| self.shard.is_some() && cache.path() == writer.path();
        if let Some(cache) = &previous
            && !self.replace
            && !fails_already
            && !is_own_shard(cache)
        {
            self.check_same_photos(cache, changes)?;
        }

        // Rows of an earlier run of the shard that may be in the new cache, too.
        let reuses_rows = journal.rows() > 0 || previous.as_ref().is_some_and(is_own_shard);

        // Missing rows go through the network into the journal, where they survive a crash.
        let mut outcome = Outcome::default();
        let mut kernels = None;
        if fails_already && crashing.is_empty() {
            // The other photos are only decoded, so that the error lists every broken one.
            self.find_broken(&mut outcome, &jobs, 0, &dataset.root, &marker, cancel);
        } else if !fails_already && !jobs.is_empty() {
            let embedder = Embedder::new(&spec, &weights, self.compute)?.with_limits(self.limits);
            kernels = Some(embedder.kernels());
            self.write_record(&writer, dataset.listing, kernels.as_ref(), reuses_rows)?;
            outcome = self.compute_rows(&jobs, &dataset.root, &embedder, &mut journal, &marker, cancel)?;
        } else {
            // Nothing is computed: no row is missing, or the run fails since a photo has crashed every process. Then
            // the others are not decoded either.
            self.write_record(&writer, dataset.listing, None, reuses_rows)?;
        }
        broken.extend(all_paths_of_broken(&outcome.broken, &jobs, &entries));
        exceeded.extend(outcome.broken.iter().filter_map(|(_, reason)| reason.limit()));
        if outcome.cancelled {
            return Err(cancelled(&journal));
        }
        if self.on_error == OnError::Fail && !broken.is_empty() {
            let photos = broken.into_iter().map(|(path, reason)| SkippedPhoto { path, reason }).collect();
            return Err(ExtractError::Broken { photos, exceeded });
        }

        // The new cache replaces the old one, unless that is up to date. The previous cache of a new shard is the whole
        // cache, which the shard does not replace.
        let contents = self.contents(&dataset, fingerprint, entries, &broken)?;
        let path = writer.path().to_owned();
        let is_up_to_date =
            previous.as_ref().is_some_and(|cache| cache.path() == path) && before.as_ref() == Some(&contents);
        if is_up_to_date {
            // Photos may have other modification times.
            if inventory.hashed > 0 {
                writer.write_hashes(&inventory.hashes())?;
            }
            writer.finish()?;
        } else {
            let rows = RowSource::new(previous.as_ref(), &journal)?;
            writer.publish(&contents, ROW_LENGTH, &inventory.hashes(), &rows)?;
        }

        Ok(Summary {
            cache: if self.shard.is_some() { path } else { self.cache.clone() },
            shard: self.shard,
            rows: contents.splits.iter().map(|(&name, split)| (name, split.photos.len())).collect(),
            views: contents.views.as_ref().map_or(0, |views| views.count.get()),
            changes,
            skipped: contents.splits.values().flat_map(|split| split.skipped.clone()).collect(),
            exceeded,
            hashed: inventory.hashed,
            computed: outcome.rows,
            shared: photos_in_two_splits(contents.photos()),
            ignored: dataset.ignored,
            batches: outcome.batches,
            workers: self.compute.workers(),
            kernels,
            times: outcome.times,
            computing: outcome.elapsed,
            elapsed: start.elapsed(),
        })
    }

    /// The views as the new cache's manifest describes them.
    fn manifest_views(&self) -> Option<&Views> {
        self.views.as_ref().map(PhotoViews::manifest_views)
    }

    /// `self.spec`, but with the kind of bf16 of the existing cache or shard, or else of the unfinished run's journal.
    fn spec_of_cache(&self, writer: &CacheWriter, weights: &Weights) -> Result<EmbedSpec, ExtractError> {
        let Some(other_bf16) = self.spec.precision.other_bf16() else { return Ok(self.spec) };
        if (self.compute.device, self.compute.kernels) != (Device::Cpu, Kernels::Auto) {
            return Ok(self.spec);
        }
        let other_spec = EmbedSpec { precision: other_bf16, ..self.spec };
        let other = other_spec.fingerprint(weights.digest(), self.compute.device);
        let goes_on_with_other = match self.existing_precision(writer)? {
            Some(precision) => precision == other.precision,
            None => writer.has_journal(&other, ROW_LENGTH)?,
        };
        if !goes_on_with_other {
            return Ok(self.spec);
        }
        match self.compute.check(other_bf16) {
            Ok(()) => Ok(other_spec),
            // All rows are replaced: they can be of the kind that can be computed here.
            Err(_) if self.replace => Ok(self.spec),
            Err(error) => Err(error.into()),
        }
    }

    /// The precision in the fingerprint of the cache that is written, of the whole cache, or of one of its shards.
    fn existing_precision(&self, writer: &CacheWriter) -> Result<Option<String>, CacheError> {
        let mut folders = vec![writer.path().to_owned(), self.cache.clone()];
        for (shard, state) in ShardState::list(&self.cache)? {
            if state == ShardState::Finished {
                folders.push(shard.folder(&self.cache));
            }
        }
        let existing = folders.iter().find_map(|folder| FeatureCache::open(folder).ok());
        Ok(existing.map(|cache| cache.fingerprint().precision.clone()))
    }

    /// The existing cache, whose rows are reused; of a shard that does not exist yet, the whole cache. `None` if there
    /// is none.
    ///
    /// # Errors
    /// When it has another fingerprint, a byte has changed since it was written, or it has views that the new cache
    /// would not have. With `replace`, a cache that cannot be reused is `None`, and views may be lost.
    fn previous(&self, writer: &CacheWriter, fingerprint: &Fingerprint) -> Result<Option<FeatureCache>, ExtractError> {
        let mut opened = open_reusable(writer.path(), fingerprint);
        if self.shard.is_some() && matches!(opened, Err(CacheError::NotACache(_))) {
            opened = open_reusable(&self.cache, fingerprint);
        }
        let cache = match opened {
            Ok(cache) => cache,
            Err(CacheError::NotACache(_)) => return Ok(None),
            // It will be replaced, and none of its rows are reused.
            Err(_) if self.replace => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let lost = Views::lost(self.manifest_views(), cache.views());
        if !lost.is_empty() && !self.replace {
            return Err(CacheError::OtherViews { path: cache.path().to_owned(), differences: lost }.into());
        }
        Ok(Some(cache))
    }

    /// The contents of the existing cache; for a shard, only its own photos.
    fn contents_before(&self, cache: &FeatureCache) -> Result<CacheContents, ExtractError> {
        let mut contents = CacheContents::from_cache(cache)?;
        if let Some(shard) = self.shard {
            for split in contents.splits.values_mut() {
                split.photos.retain(|photo| Shard::of_photo(&photo.path, shard.count()) == shard);
                split.skipped.retain(|photo| Shard::of_photo(&photo.path, shard.count()) == shard);
            }
        }
        Ok(contents)
    }

    /// The photos that are not tried, since they have crashed every process that computed them: the marker of
    /// interrupted runs names them, or skipped.csv of the existing cache, even if its rows are not reused; of a shard
    /// that does not exist yet, of the whole cache. With `rehash` all photos are tried.
    fn crashing_photos(
        &self,
        entries: &BTreeMap<Split, Vec<IndexEntry>>,
        writer: &CacheWriter,
        marker: &PhotoMarker,
        previous: Option<&FeatureCache>,
    ) -> HashSet<blake3::Hash> {
        if self.rehash {
            return HashSet::new();
        }
        let mut skipped_before: HashSet<blake3::Hash> = HashSet::new();
        let replaced = match previous {
            Some(_) => None,
            None => FeatureCache::open(writer.path()).or_else(|_| FeatureCache::open(&self.cache)).ok(),
        };
        if let Some(cache) = previous.or(replaced.as_ref()) {
            let mut paths = Vec::new();
            for (_, split) in cache.splits() {
                // A previous cache has been checked; what is damaged in one that is replaced is ignored.
                for photo in split.skipped().unwrap_or_default() {
                    if photo.reason == CRASHING {
                        paths.push(photo.path);
                    }
                }
            }
            // hashes.csv is read only if it is needed.
            if !paths.is_empty() {
                let hashes = cache.hashes();
                skipped_before.extend(paths.iter().filter_map(|path| hashes.hash(path)));
            }
        }
        let mut crashing = HashSet::new();
        for photo in entries.values().flatten() {
            if marker.is_crashing(&photo.blake3) || skipped_before.contains(&photo.blake3) {
                crashing.insert(photo.blake3);
            }
        }
        crashing
    }

    /// Writes the shard's record: the state of the data set, and the kernels that compute its rows, if any are
    /// computed. If rows of earlier runs may be reused, the kernels of these runs stay in it. Without a shard, does
    /// nothing.
    fn write_record(
        &self,
        writer: &CacheWriter,
        listing: Listing,
        kernels: Option<&String>,
        reuses_rows: bool,
    ) -> Result<(), ExtractError> {
        let Some(shard) = self.shard else { return Ok(()) };
        let before = shard.record(&self.cache).filter(|_| reuses_rows).unwrap_or_default();
        let mut record = ShardRecord { listing: listing.digest(), photos: listing.photos, kernels: before.kernels };
        record.kernels.extend(kernels.cloned());
        Ok(writer.write_record(&record)?)
    }

    /// Hashes the photos, except those whose size and modification time are in the existing cache's hashes.csv. `None`
    /// if it is cancelled.
    fn hash_photos(
        &self,
        dataset: &Dataset,
        previous: Option<&FeatureCache>,
        cancel: &AtomicBool,
    ) -> Option<Inventory> {
        let progress = Progress::start("hashing", dataset.len(), "photos");
        let known = previous.map(FeatureCache::hashes).unwrap_or_default();
        let options = ReadOptions { preprocess: self.spec.preprocess(self.limits), rehash: self.rehash };
        Inventory::hash(dataset, &known, options, cancel, || progress.advance(1))
    }

    /// Checks that the existing cache is of this data set.
    ///
    /// # Errors
    /// When no photo has the bytes of one in the cache, and at least one path is gone.
    fn check_same_photos(&self, cache: &FeatureCache, changes: Changes) -> Result<(), ExtractError> {
        if changes.kept() > 0 || changes.removed == 0 {
            return Ok(());
        }
        let mut rows = 0;
        for (_, split) in cache.splits() {
            // Of the cache's photos, `changes` has only those of the shard, which may all be gone.
            let is_there = |photo: &IndexEntry| self.dataset.join(&photo.path).exists();
            if self.shard.is_some() && split.index()?.iter().any(is_there) {
                return Ok(());
            }
            rows += split.features().nrows();
        }
        Err(ExtractError::OtherPhotos { path: cache.path().to_owned(), rows })
    }

    /// Computes the rows of the jobs. If a broken photo makes the run fail, the photos after it are only decoded, so
    /// that all broken ones are listed.
    fn compute_rows(
        &self,
        jobs: &[Job],
        root: &Path,
        embedder: &Embedder,
        journal: &mut Journal,
        marker: &PhotoMarker,
        cancel: &AtomicBool,
    ) -> Result<Outcome, ExtractError> {
        let fail = self.on_error == OnError::Fail;
        let outcome = jobs::run(jobs, root, embedder, journal, marker, fail, cancel);
        let mut outcome = outcome.map_err(|error| match error {
            JobError::Network(error) => error.into(),
            JobError::Journal(error) => self.with_photo(error, jobs),
        })?;
        if fail && let Some(&(number, _)) = outcome.broken.last() {
            self.find_broken(&mut outcome, jobs, number + 1, root, marker, cancel);
        }
        Ok(outcome)
    }

    /// Adds the photo's path to the error that a row is not finite.
    fn with_photo(&self, error: CacheError, jobs: &[Job]) -> ExtractError {
        let CacheError::RowNotFinite(key) = error else { return error.into() };
        match jobs.iter().find(|job| job.missing.iter().any(|row| row.key == key)) {
            None => error.into(),
            Some(job) => ExtractError::NotFinite {
                photo: job.path.clone(),
                weights: self.weights.clone(),
                precision: self.spec.precision,
            },
        }
    }

    /// Reads and decodes the photos of the jobs from number `first` on, until it is cancelled, and adds those that are
    /// broken to the outcome; none if the last run has crashed, perhaps because of one of them.
    fn find_broken(
        &self,
        outcome: &mut Outcome,
        jobs: &[Job],
        first: usize,
        root: &Path,
        marker: &PhotoMarker,
        cancel: &AtomicBool,
    ) {
        if marker.interrupted().is_none()
            && let Some(first_job) = jobs.get(first)
        {
            // If a photo crashes the process here, the next run lists only the broken photos that were found before.
            // When those are fixed, `jobs::run` finds the photo that crashes.
            marker.begin(first_job.blake3);
            let photos: Vec<Photo> = jobs[first..].iter().map(|job| job.photo(root)).collect();
            let broken = find_broken(&photos, self.spec.preprocess(self.limits), cancel);
            marker.end();
            outcome.broken.extend(broken.into_iter().map(|(number, reason)| (first + number, reason)));
        }
        outcome.cancelled = cancel.load(Ordering::Relaxed);
    }

    /// The contents of the new cache, without the broken photos.
    ///
    /// # Errors
    /// When a class has no training photo left.
    fn contents(
        &self,
        dataset: &Dataset,
        fingerprint: Fingerprint,
        entries: BTreeMap<Split, Vec<IndexEntry>>,
        broken: &BTreeMap<PathBuf, String>,
    ) -> Result<CacheContents, ExtractError> {
        let mut splits = BTreeMap::new();
        for (split, mut photos) in entries {
            photos.retain(|photo| !broken.contains_key(&photo.path));
            // A shard may have no photo of a class. That the whole data set has one is checked by the merge.
            if split.is_training() && self.shard.is_none() {
                let labels: HashSet<i64> = photos.iter().map(|photo| photo.label).collect();
                for (class, label) in dataset.classes.iter().zip(0..) {
                    if !labels.contains(&label) {
                        return Err(ExtractError::ClassWithoutPhotos {
                            dataset: dataset.root.clone(),
                            class: class.to_owned(),
                        });
                    }
                }
            }
            let mut skipped = Vec::new();
            for photo in dataset.splits.get(&split).into_iter().flatten() {
                if let Some(reason) = broken.get(&photo.path) {
                    skipped.push(SkippedPhoto { path: photo.path.clone(), reason: reason.clone() });
                }
            }
            if !(photos.is_empty() && skipped.is_empty()) {
                splits.insert(split, SplitContents { photos, skipped });
            }
        }
        let views = self.manifest_views().cloned();
        Ok(CacheContents { fingerprint, views, classes: dataset.classes.clone(), splits })
    }
}

/// The reason in skipped.csv of a photo that has crashed several processes while they computed nothing else: because of
/// a decoder, or because memory ran out. Later runs do not try it either, unless its bytes change or `rehash` is set.
pub const CRASHING: &str = "ends every process that computes it";

/// The length of a row, in values.
const ROW_LENGTH: NonZeroUsize = NonZeroUsize::new(COLUMNS).unwrap();

/// Opens the cache at `path` and checks that its rows can be copied to a cache with this fingerprint.
fn open_reusable(path: &Path, fingerprint: &Fingerprint) -> Result<FeatureCache, CacheError> {
    let cache = FeatureCache::open(path)?;
    let differences = fingerprint.differences(cache.fingerprint());
    if !differences.is_empty() {
        return Err(CacheError::OtherFingerprint { path: path.to_owned(), differences });
    }
    cache.check_digests()?;
    Ok(cache)
}

/// Every photo with its split.
fn photos_of(entries: &BTreeMap<Split, Vec<IndexEntry>>) -> impl Iterator<Item = (Split, &IndexEntry)> {
    entries.iter().flat_map(|(&split, photos)| photos.iter().map(move |photo| (split, photo)))
}

/// The paths of all photos that have the bytes of a broken job's photo, each with the reason. A job has only the path
/// of the first photo with its bytes.
fn all_paths_of_broken(
    broken: &[(usize, PhotoError)],
    jobs: &[Job],
    entries: &BTreeMap<Split, Vec<IndexEntry>>,
) -> Vec<(PathBuf, String)> {
    let mut reasons: HashMap<blake3::Hash, String> = HashMap::new();
    for (number, error) in broken {
        reasons.insert(jobs[*number].blake3, error.to_string());
    }
    let mut paths = Vec::new();
    for photo in entries.values().flatten() {
        if let Some(reason) = reasons.get(&photo.blake3) {
            paths.push((photo.path.clone(), reason.clone()));
        }
    }
    paths
}
