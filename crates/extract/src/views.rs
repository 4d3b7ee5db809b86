//! The augmented views of each training photo, and the keys of their rows.

use std::num::NonZeroUsize;

use backbone::pixels::{AugmentConfig, View};
use feature_cache::Views;

/// The views that each training photo has: [`Views`] describes them, `AugmentConfig` draws them.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoViews {
    views: Views,
    config: AugmentConfig,
}

impl PhotoViews {
    /// `count` views of each photo, drawn with these settings.
    pub fn new(count: NonZeroUsize, config: AugmentConfig) -> Self {
        Self { views: Views { count, augmentation: config.to_augmentation() }, config }
    }

    /// The views of a cache; `None` if this version cannot draw them.
    pub fn from_cache(views: &Views) -> Option<Self> {
        let config = AugmentConfig::from_augmentation(&views.augmentation)?;
        Some(Self { views: views.clone(), config })
    }

    /// The description of the views in the manifest.
    pub fn manifest_views(&self) -> &Views {
        &self.views
    }

    /// The views of the photo with this blake3 hash, in the order of their numbers, each with the key of its row.
    pub fn for_photo(&self, photo_hash: blake3::Hash) -> impl Iterator<Item = (blake3::Hash, View)> {
        let keys = self.views.keys(photo_hash).enumerate();
        keys.map(move |(number, key)| (key, self.config.sample_view(&photo_hash, number)))
    }
}
