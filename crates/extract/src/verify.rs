//! Verifying a cache against its photos: their hashes, and a sample of rows computed again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use backbone::photo::read_photo;
use backbone::pixels::Limits;
use backbone::weights::WeightsError;
use backbone::{
    Compute, EmbedSpec, Embedder, EmbedderError, Event, Kernels, NetworkError, Photo, PhotoError,
    UnsupportedFingerprint, Weights, relative_l2,
};
use feature_cache::{CacheContents, CacheError, FeatureCache, IndexEntry};
use rayon::prelude::*;

use crate::views::PhotoViews;

/// A photo or row that is not what the cache says.
#[derive(Debug, thiserror::Error)]
pub enum Discrepancy {
    /// The photo cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The photo, relative to the data set.
        path: PathBuf,
        /// Why.
        reason: PhotoError,
    },
    /// The photo has changed since its row was computed.
    #[error("{}: changed since it was extracted", .0.display())]
    Changed(PathBuf),
    /// The row is not what the network gives.
    #[error("{}: its {} differs from the network's by {difference:.1e} (relative), more than {allowed:.0e}", path.display(), row_name(*view))]
    Row {
        /// The photo, relative to the data set.
        path: PathBuf,
        /// The number of the view; `None` for the photo itself.
        view: Option<usize>,
        /// Relative L2 distance of the two rows.
        difference: f64,
        /// The distance that rounding may cause.
        allowed: f64,
    },
}

impl Discrepancy {
    /// The photo, relative to the data set.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } | Self::Changed(path) | Self::Row { path, .. } => path,
        }
    }
}

fn row_name(view: Option<usize>) -> String {
    view.map_or_else(|| "row".to_owned(), |number| format!("view {number}"))
}

/// Why rows cannot be computed again.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The weights could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The cache could not be read, or its rows were computed with other weights.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// This version cannot compute rows with the cache's fingerprint.
    #[error("{}: {cause}", cache.display())]
    UnsupportedFingerprint {
        /// The cache.
        cache: PathBuf,
        /// The fields of the fingerprint that are unknown.
        cause: UnsupportedFingerprint,
    },
    /// This version draws other views.
    #[error("{}: another version made its views, so they cannot be computed again", .0.display())]
    UnknownViews(PathBuf),
    /// This machine does not have the device or the precision that the rows were computed with.
    #[error("{}: its rows were computed in {precision}: {cause}", cache.display())]
    CannotCompute {
        /// The cache.
        cache: PathBuf,
        /// The precision and device, as the fingerprint has them.
        precision: String,
        /// Why not.
        cause: EmbedderError,
    },
    /// The network could not be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Hashes every photo of the cache and lists those that have changed or cannot be read.
pub fn compare_photos(contents: &CacheContents, dataset: &Path) -> Vec<Discrepancy> {
    let photos: Vec<&IndexEntry> = contents.photos().map(|(_, photo)| photo).collect();
    // A buffer for many photos, not one for each.
    let compared = photos.par_iter().map_init(Vec::new, |buffer, photo| compare_hash(photo, dataset, buffer));
    compared.flatten().collect()
}

/// Hashes a photo, which is read into `buffer`; `None` if its bytes are those of its index entry.
fn compare_hash(photo: &IndexEntry, dataset: &Path, buffer: &mut Vec<u8>) -> Option<Discrepancy> {
    let path = photo.path.clone();
    if let Err(reason) = read_photo(&dataset.join(&path), buffer) {
        return Some(Discrepancy::Unreadable { path, reason });
    }
    if blake3::hash(buffer) == photo.blake3 { None } else { Some(Discrepancy::Changed(path)) }
}

/// A photo whose rows are computed again.
struct Sample<'a> {
    path: PathBuf,
    photo: Photo,
    /// For each row, the number of the view; `None` for the photo itself.
    view_numbers: Vec<Option<usize>>,
    /// The rows in the cache, in the same order.
    cached: Vec<&'a [f32]>,
}

/// Computes `count` evenly spread rows of the cache again, each with one of its views if it has any, and lists those
/// that differ by more than rounding, and photos that cannot be used or have changed.
///
/// # Errors
/// When the weights are not the cache's, this machine or version cannot compute its rows or views, or the network
/// cannot be run.
pub fn compare_rows(
    cache: &FeatureCache,
    dataset: &Path,
    weights: &Path,
    kernels: Kernels,
    limits: Limits,
    count: usize,
) -> Result<Vec<Discrepancy>, VerifyError> {
    let path = || cache.path().to_owned();
    let weights = Weights::load(weights)?;
    let (spec, device) = EmbedSpec::from_fingerprint(cache.fingerprint())
        .map_err(|cause| VerifyError::UnsupportedFingerprint { cache: path(), cause })?;
    let differences = spec.fingerprint(weights.digest(), device).differences(cache.fingerprint());
    if !differences.is_empty() {
        return Err(CacheError::OtherFingerprint { path: path(), differences }.into());
    }
    let embedder = Embedder::new(&spec, &weights, Compute { device, kernels, ..Compute::cpu() }).map_err(|cause| {
        VerifyError::CannotCompute { cache: path(), precision: cache.fingerprint().precision.clone(), cause }
    })?;
    let embedder = embedder.with_limits(limits);

    let samples = samples(cache, dataset, count)?;
    let allowed = spec.precision.tolerance();
    let mut found = Vec::new();
    let photos = samples.iter().map(|sample| sample.photo.clone());
    embedder.embed(photos, &AtomicBool::new(false), |event| {
        match event {
            Event::Failed { photo, error } => {
                let path = samples[photo].path.clone();
                found.push(match error {
                    PhotoError::Changed => Discrepancy::Changed(path),
                    reason => Discrepancy::Unreadable { path, reason },
                });
            }
            Event::Row { photo, view, row } => {
                let sample = &samples[photo];
                let difference = relative_l2(row, sample.cached[view]);
                if difference.is_nan() || difference > allowed {
                    let (path, view) = (sample.path.clone(), sample.view_numbers[view]);
                    found.push(Discrepancy::Row { path, view, difference, allowed });
                }
            }
        }
        ControlFlow::<()>::Continue(())
    })?;
    Ok(found)
}

/// `count` evenly spread rows of the cache, or all if there are fewer, each with one of its views if it has any.
fn samples<'a>(cache: &'a FeatureCache, dataset: &Path, count: usize) -> Result<Vec<Sample<'a>>, VerifyError> {
    let views = match cache.views() {
        None => None,
        Some(views) => {
            let known = PhotoViews::from_cache(views);
            Some(known.ok_or_else(|| VerifyError::UnknownViews(cache.path().to_owned()))?)
        }
    };
    let total: usize = cache.splits().map(|(_, split)| split.rows()).sum();
    let count = count.min(total);
    let mut samples = Vec::with_capacity(count);
    // Numbers of rows count through all splits.
    let mut first_of_split = 0;
    for (_, split) in cache.splits() {
        let index = split.index()?;
        while samples.len() < count {
            let number = samples.len() * total / count;
            if number >= first_of_split + split.rows() {
                break;
            }
            let row = number - first_of_split;
            let entry: &IndexEntry = &index[row];
            let photo = Photo { blake3: Some(entry.blake3), ..Photo::from_path(dataset.join(&entry.path)) };
            let cached = split.row(row).expect("the row is within the split");
            let mut sample = Sample { path: entry.path.clone(), photo, view_numbers: vec![None], cached: vec![cached] };
            if let (Some(views), Some(cached)) = (&views, split.views_by_row().nth(row)) {
                // Another view for each sample, so that all numbers are covered.
                let view_number = samples.len() % views.manifest_views().count;
                let view = views.for_photo(entry.blake3).nth(view_number).map(|(_, view)| view);
                sample.photo.views.push(view);
                sample.view_numbers.push(Some(view_number));
                sample.cached.push(&cached[view_number * cache.columns()..][..cache.columns()]);
            }
            samples.push(sample);
        }
        first_of_split += split.rows();
    }
    Ok(samples)
}
