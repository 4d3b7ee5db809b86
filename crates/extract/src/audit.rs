//! A cache against the photos it was made of, and rows against the network.

use std::path::{Path, PathBuf};

use feature_cache::{CacheContents, CacheError, FeatureCache};
use rayon::prelude::*;
use tch::Device;

use crate::arithmetic::{Arithmetic, Precision};
use crate::extraction::ExtractError;
use crate::fingerprint::{FAST_DECODER, fingerprint};
use crate::inventory::{BrokenPhoto, read_photo};
use crate::pipeline::{Network, Preparation};
use crate::pixels::{self, Interpolation, Limits};
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
    #[error("{}: its row differs from the network's by {difference:.1e} (relative), more than {allowed:.0e}", path.display())]
    Row {
        /// The photo, relative to the data set.
        path: PathBuf,
        /// Relative L2 distance.
        difference: f64,
        /// What rounding explains.
        allowed: f64,
    },
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

/// Computes `count` rows again, evenly spread over the cache, and lists those that are off.
///
/// # Errors
/// When the weights are not the cache's, or the network cannot be run.
pub fn rows(
    cache: &FeatureCache,
    dataset: &Path,
    weights: &Path,
    count: usize,
) -> Result<Vec<Discrepancy>, ExtractError> {
    let weights = Weights::load(weights)?;
    let named = cache.fingerprint();
    let interpolation = Interpolation::named(&named.interpolation).unwrap_or_default();
    let fast_decode = named.decoder == FAST_DECODER;
    let preparation = Preparation { side: named.size, interpolation, limits: Limits::PILLOW, fast_decode };
    let precision = Precision::named(&named.precision).unwrap_or(Precision::F32);
    let arithmetic = Arithmetic::new(Device::Cpu, precision)?;
    let differences = fingerprint(&weights, preparation, arithmetic).differences(named);
    if !differences.is_empty() {
        return Err(CacheError::OtherFingerprint { path: cache.path().to_owned(), differences }.into());
    }
    let network = Xception::new(&weights, named.size, 1, arithmetic)?;
    let mut found = Vec::new();
    for (split, row) in spread(cache, count) {
        let Some(split) = cache.split(split) else { continue };
        let (Some(photo), Some(cached)) = (split.index()?.get(row).cloned(), split.row(row)) else { continue };
        let mut pixels = vec![0; preparation.values()];
        let decoded = read(dataset, &photo.path).and_then(|bytes| Ok(preparation.apply(&bytes, &mut pixels)?));
        match decoded {
            Err(reason) => found.push(Discrepancy::Unreadable { path: photo.path, reason }),
            Ok(()) => {
                let difference = distance(&network.rows(&pixels::scale(&pixels))?, cached);
                if difference.is_nan() || difference > precision.tolerance() {
                    let allowed = precision.tolerance();
                    found.push(Discrepancy::Row { path: photo.path, difference, allowed });
                }
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
pub(crate) fn distance(row: &[f32], expected: &[f32]) -> f64 {
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
