//! A cache against the photos it was made of, and rows against the network.

use std::path::{Path, PathBuf};

use feature_cache::{CacheContents, CacheError, FeatureCache};
use rayon::prelude::*;

use crate::arithmetic::{Arithmetic, Kernels};
use crate::extraction::ExtractError;
use crate::fingerprint::{FAST_DECODER, fingerprint};
use crate::inventory::{BrokenPhoto, read_photo};
use crate::pipeline::{Network, Preparation};
use crate::pixels::{Interpolation, Limits};
use crate::views::PhotoViews;
use crate::weights::Weights;
use crate::xception::Xception;

/// Something that does not fit.
#[derive(Debug, thiserror::Error)]
pub enum Discrepancy {
    /// The photo cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The photo, relative to the data set.
        path: PathBuf,
        /// Why.
        reason: BrokenPhoto,
    },
    /// The photo has changed since its row was computed.
    #[error("{}: changed since it was extracted", .0.display())]
    Changed(PathBuf),
    /// The row is not what the network gives.
    #[error("{}: its {} differs from the network's by {difference:.1e} (relative), more than {allowed:.0e}", path.display(), row(*view))]
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

fn row(view: Option<usize>) -> String {
    view.map_or_else(|| "row".to_owned(), |number| format!("view {number}"))
}

/// Hashes every photo of the cache and lists those that are not what they were.
pub fn photos(contents: &CacheContents, dataset: &Path) -> Vec<Discrepancy> {
    let photos: Vec<_> = contents.photos().map(|(_, photo)| photo).collect();
    let look = |photo: &&feature_cache::IndexEntry| match read(dataset, &photo.path) {
        Err(reason) => Some(Discrepancy::Unreadable { path: photo.path.clone(), reason }),
        Ok(bytes) if blake3::hash(&bytes) == photo.blake3 => None,
        Ok(_) => Some(Discrepancy::Changed(photo.path.clone())),
    };
    photos.par_iter().filter_map(look).collect()
}

/// Computes `count` rows again, evenly spread over the cache, each with one of its views if it has any, and lists those
/// that are off.
///
/// # Errors
/// When the weights are not the cache's, this machine has not its arithmetic, another version made its views, or the
/// network cannot be run.
pub fn rows(
    cache: &FeatureCache,
    dataset: &Path,
    weights: &Path,
    kernels: Kernels,
    count: usize,
) -> Result<Vec<Discrepancy>, ExtractError> {
    let weights = Weights::load(weights)?;
    let named = cache.fingerprint();
    let interpolation = Interpolation::named(&named.interpolation).unwrap_or_default();
    let fast_decode = named.decoder == FAST_DECODER;
    let preparation = Preparation { side: named.size, interpolation, limits: Limits::PILLOW, fast_decode };
    let not_here = || ExtractError::NotHere { path: cache.path().to_owned(), precision: named.precision.clone() };
    let arithmetic =
        Arithmetic::named(&named.precision).filter(|arithmetic| arithmetic.is_here()).ok_or_else(not_here)?;
    let arithmetic = arithmetic.with(kernels)?;
    let differences = fingerprint(&weights, preparation, arithmetic).differences(named);
    if !differences.is_empty() {
        return Err(CacheError::OtherFingerprint { path: cache.path().to_owned(), differences }.into());
    }
    let network = Xception::new(&weights, named.size, 1, arithmetic)?;
    let views = match cache.views() {
        None => None,
        Some(views) => {
            Some(PhotoViews::of_cache(views).ok_or_else(|| ExtractError::UnknownViews(cache.path().to_owned()))?)
        }
    };
    let mut found = Vec::new();
    for (k, (name, row)) in spread(cache, count).into_iter().enumerate() {
        let Some(split) = cache.split(name) else { continue };
        let (Some(photo), Some(cached)) = (split.index()?.get(row).cloned(), split.row(row)) else { continue };
        let picture = match read(dataset, &photo.path).and_then(|bytes| Ok(preparation.decode(&bytes)?)) {
            Ok(picture) => picture,
            Err(reason) => {
                found.push(Discrepancy::Unreadable { path: photo.path, reason });
                continue;
            }
        };
        let mut rows = vec![(None, None, cached)];
        if let (Some(views), Some(cached)) = (&views, split.each_rows_views().nth(row)) {
            // Another one from photo to photo.
            let number = k % views.in_words().count;
            let (view, cached) = (views.of(photo.blake3).nth(number), cached.chunks_exact(cache.columns()).nth(number));
            rows.extend(view.zip(cached).map(|(wanted, cached)| (Some(number), wanted.view, cached)));
        }
        for (number, view, cached) in rows {
            let mut pixels = vec![0; preparation.values()];
            preparation.resize(&picture, view, &mut pixels);
            let difference = distance(&network.rows(&pixels)?, cached);
            let allowed = arithmetic.precision().tolerance();
            if difference.is_nan() || difference > allowed {
                found.push(Discrepancy::Row { path: photo.path.clone(), view: number, difference, allowed });
            }
        }
    }
    Ok(found)
}

/// `count` rows at equal distances, or all if there are fewer.
fn spread(cache: &FeatureCache, count: usize) -> Vec<(feature_cache::Split, usize)> {
    let all: Vec<_> = cache.splits().flat_map(|(name, split)| (0..split.rows()).map(move |row| (name, row))).collect();
    let count = count.min(all.len());
    (0..count).filter_map(|k| all.get(k * all.len() / count).copied()).collect()
}

/// Relative L2 distance of a row from the expected one.
pub fn distance(row: &[f32], expected: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let apart: f64 = row.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    let length: f64 = expected.iter().copied().map(square).sum();
    (apart / length).sqrt()
}

fn read(dataset: &Path, photo: &Path) -> Result<Vec<u8>, BrokenPhoto> {
    let path = dataset.join(photo);
    let mut bytes = Vec::new();
    read_photo(&path, &path.metadata()?, &mut bytes)?;
    Ok(bytes)
}
