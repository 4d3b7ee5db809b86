//! The augmented views of each training photo, and the keys of their rows.

use std::num::NonZeroUsize;

use backbone::pixels::{Variation, View};
use feature_cache::Views;

/// The views that each training photo has.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoViews {
    views: Views,
    variation: Variation,
}

impl PhotoViews {
    /// `count` views of each photo, drawn with `variation`.
    pub fn new(count: NonZeroUsize, variation: Variation) -> Self {
        Self { views: Views { count, augmentation: variation.to_augmentation() }, variation }
    }

    /// The views of a cache; `None` if this version would draw other ones.
    pub fn from_cache(views: &Views) -> Option<Self> {
        let variation = Variation::from_augmentation(&views.augmentation)?;
        Some(Self { views: views.clone(), variation })
    }

    /// The description of the views in the manifest.
    pub fn manifest_views(&self) -> &Views {
        &self.views
    }

    /// The views of the photo with this blake3, in the order of their numbers, each with the key of its row.
    pub fn for_photo(&self, photo: blake3::Hash) -> impl Iterator<Item = (blake3::Hash, View)> {
        let keys = self.views.keys(photo).enumerate();
        keys.map(move |(number, key)| (key, self.variation.view(&photo, number)))
    }
}
