//! A cache against the photos it was made of, and rows against the network.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use backbone::photo::read_photo;
use backbone::weights::WeightsError;
use backbone::{
    Compute, EmbedSpec, Embedder, EmbedderError, Event, Kernels, NetworkError, Photo, PhotoError, UnknownRecipe,
    Weights, relative_l2,
};
use feature_cache::{CacheContents, CacheError, FeatureCache, IndexEntry};
use rayon::prelude::*;

use crate::views::PhotoViews;

/// Something that is not as the cache says.
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
        /// Of which view, if it is one's.
        view: Option<usize>,
        /// Relative L2 distance.
        difference: f64,
        /// What rounding explains.
        allowed: f64,
    },
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
    /// The cache could not be read, or its rows are of other weights.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// This version does not compute such rows.
    #[error("{}: {recipe}", cache.display())]
    UnknownRecipe {
        /// The cache.
        cache: PathBuf,
        /// What is unknown of its fingerprint.
        recipe: UnknownRecipe,
    },
    /// This version does not make such views.
    #[error("{}: another version made its views, so they cannot be computed again", .0.display())]
    UnknownViews(PathBuf),
    /// This machine does not have the device or the precision of the rows.
    #[error("{}: its rows were computed in {precision}: {cause}", cache.display())]
    NotHere {
        /// The cache.
        cache: PathBuf,
        /// The precision and device, as the fingerprint has them.
        precision: String,
        /// What is missing.
        cause: EmbedderError,
    },
    /// The network could not be run.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Hashes every photo of the cache and lists those that are not what they were.
pub fn photos(contents: &CacheContents, dataset: &Path) -> Vec<Discrepancy> {
    let photos: Vec<&IndexEntry> = contents.photos().map(|(_, photo)| photo).collect();
    let look = |buffer: &mut Vec<u8>, photo: &&IndexEntry| match read_photo(&dataset.join(&photo.path), buffer) {
        Err(reason) => Some(Discrepancy::Unreadable { path: photo.path.clone(), reason }),
        Ok(()) if blake3::hash(buffer) == photo.blake3 => None,
        Ok(()) => Some(Discrepancy::Changed(photo.path.clone())),
    };
    photos.par_iter().map_init(Vec::new, look).flatten().collect()
}

/// A photo whose rows are computed again.
struct Sample<'a> {
    path: PathBuf,
    photo: Photo,
    /// The numbers of the views, in the order in which the photo has them; none for the photo as it is.
    numbers: Vec<Option<usize>>,
    /// The rows of the cache, in the same order.
    cached: Vec<&'a [f32]>,
}

/// Computes `count` rows again, evenly spread over the cache, each with one of its views if it has any, and lists those
/// that are off.
///
/// # Errors
/// When the weights are not the cache's, this machine or version cannot compute its rows or views, or the network cannot be
/// run.
pub fn rows(
    cache: &FeatureCache,
    dataset: &Path,
    weights: &Path,
    kernels: Kernels,
    count: usize,
) -> Result<Vec<Discrepancy>, VerifyError> {
    let path = || cache.path().to_owned();
    let weights = Weights::load(weights)?;
    let (spec, device) = EmbedSpec::from_fingerprint(cache.fingerprint())
        .map_err(|recipe| VerifyError::UnknownRecipe { cache: path(), recipe })?;
    let differences = spec.fingerprint(weights.digest(), device).differences(cache.fingerprint());
    if !differences.is_empty() {
        return Err(CacheError::OtherFingerprint { path: path(), differences }.into());
    }
    let embedder = Embedder::new(&spec, &weights, Compute { device, kernels, ..Compute::cpu() }).map_err(|cause| {
        VerifyError::NotHere { cache: path(), precision: cache.fingerprint().precision.clone(), cause }
    })?;

    let samples = samples(cache, dataset, count)?;
    let allowed = spec.precision.tolerance();
    let mut found = Vec::new();
    let photos = samples.iter().map(|sample| sample.photo.clone());
    embedder.embed(photos, &AtomicBool::new(false), |event| {
        match event {
            Event::Failed { photo, error } => {
                found.push(Discrepancy::Unreadable { path: samples[photo].path.clone(), reason: error });
            }
            Event::Row { photo, view, row } => {
                let sample = &samples[photo];
                let difference = relative_l2(row, sample.cached[view]);
                if difference.is_nan() || difference > allowed {
                    let (path, view) = (sample.path.clone(), sample.numbers[view]);
                    found.push(Discrepancy::Row { path, view, difference, allowed });
                }
            }
        }
        ControlFlow::<()>::Continue(())
    })?;
    Ok(found)
}

/// Rows at equal distances over the cache, or all if there are fewer, each with one of its views if it has any.
fn samples<'a>(cache: &'a FeatureCache, dataset: &Path, count: usize) -> Result<Vec<Sample<'a>>, VerifyError> {
    let views = match cache.views() {
        None => None,
        Some(views) => {
            let known = PhotoViews::of_cache(views);
            Some(known.ok_or_else(|| VerifyError::UnknownViews(cache.path().to_owned()))?)
        }
    };
    let total: usize = cache.splits().map(|(_, split)| split.rows()).sum();
    let count = count.min(total);
    let mut wanted = (0..count).map(|k| k * total / count).peekable();
    let mut samples = Vec::with_capacity(count);
    let mut first = 0;
    for (_, split) in cache.splits() {
        let index = split.index()?;
        while let Some(row) = wanted.next_if(|&row| row < first + split.rows()) {
            let row = row - first;
            let entry: &IndexEntry = &index[row];
            let photo = Photo::from_path(dataset.join(&entry.path));
            let cached = split.row(row).expect("the row is within the split");
            let mut sample = Sample { path: entry.path.clone(), photo, numbers: vec![None], cached: vec![cached] };
            if let (Some(views), Some(cached)) = (&views, split.each_rows_views().nth(row)) {
                // Another one from photo to photo.
                let number = samples.len() % views.in_words().count;
                let view = views.of(entry.blake3).nth(number).map(|(_, view)| view);
                sample.photo.views.push(view);
                sample.numbers.push(Some(number));
                sample.cached.push(&cached[number * cache.columns()..][..cache.columns()]);
            }
            samples.push(sample);
        }
        first += split.rows();
    }
    Ok(samples)
}
