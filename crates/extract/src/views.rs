//! The augmented views of a photo whose rows are wanted, and by what those rows are found.

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
    /// So many views, drawn like this.
    pub fn new(count: NonZeroUsize, variation: Variation) -> Self {
        Self { views: Views { count, augmentation: variation.to_augmentation() }, variation }
    }

    /// The views of a cache; none if this version would make other ones.
    pub fn of_cache(views: &Views) -> Option<Self> {
        let variation = Variation::from_augmentation(&views.augmentation)?;
        Some(Self { views: views.clone(), variation })
    }

    /// As the manifest has them.
    pub fn in_words(&self) -> &Views {
        &self.views
    }

    /// The views of this picture, in the order of their numbers, each with the key of its row.
    pub fn of(&self, picture: blake3::Hash) -> impl Iterator<Item = (blake3::Hash, View)> {
        let keys = self.views.keys(picture).enumerate();
        keys.map(move |(number, key)| (key, self.variation.view(&picture, number)))
    }
}
