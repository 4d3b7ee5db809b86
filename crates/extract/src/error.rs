//! Why an extraction failed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use backbone::pixels::Limit;
use backbone::weights::WeightsError;
use backbone::{ComputeError, EmbedderError, NetworkError, Precision};
use feature_cache::{CacheError, SkippedPhoto};

use crate::dataset::DatasetError;

/// Why an extraction failed. A cache that was there before is unchanged, or already replaced by the complete new one.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The folder is not a data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The next scan of the data set would find the cache: as a class, a split, or in a folder of photos.
    #[error("{}: is among the photos of the data set {}", cache.display(), dataset.display())]
    CacheInDataset {
        /// The cache.
        cache: PathBuf,
        /// The data set.
        dataset: PathBuf,
    },
    /// The weights could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The cache could not be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// This machine or build cannot compute the precision on the device.
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
        /// The precision that was asked for.
        precision: Precision,
    },
    /// Photos that cannot be used. The list is complete, unless the last run crashed or was killed while it decoded
    /// photos, or a photo has crashed every process: then the other photos are not decoded.
    #[error("{} {} cannot be used:\n{}", photos.len(), if photos.len() == 1 { "photo" } else { "photos" }, list_photos(photos))]
    Broken {
        /// The photos, with the reason.
        photos: Vec<SkippedPhoto>,
        /// The limits that some of them exceed.
        exceeded: BTreeSet<Limit>,
    },
    /// Every training photo of a class is broken.
    #[error("{}: class {class:?} has no photo that can be used", dataset.display())]
    ClassWithoutPhotos {
        /// The data set.
        dataset: PathBuf,
        /// The class.
        class: String,
    },
    /// The cache has rows, but none of these photos, whatever they are called: it is probably another data set's.
    #[error("{}: holds {rows} rows and none of these photos", path.display())]
    OtherPhotos {
        /// The cache.
        path: PathBuf,
        /// The number of its rows.
        rows: usize,
    },
    /// It was cancelled.
    #[error("cancelled; {kept} finished rows are kept")]
    Cancelled {
        /// The number of finished rows in the journal, which the next run reuses.
        kept: usize,
    },
}

/// A line for each photo: its path and the reason.
fn list_photos(photos: &[SkippedPhoto]) -> String {
    let mut lines = Vec::new();
    for SkippedPhoto { path, reason } in photos {
        lines.push(format!("  {}: {reason}", path.display()));
    }
    lines.join("\n")
}
