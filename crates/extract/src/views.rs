//! The augmented views of a photo whose rows are wanted, and by what those rows are found.

use std::num::NonZeroUsize;

use feature_cache::Views;

use crate::pipeline::Wanted;
use crate::pixels::Variation;

/// The views that each photo has which heads learn from.
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

    /// The views of this picture, in the order of their numbers.
    pub fn of(&self, picture: blake3::Hash) -> impl Iterator<Item = Wanted> {
        let view = move |number| self.variation.view(&picture, number);
        self.views.keys(picture).zip(0..).map(move |(key, number)| Wanted { key, view: Some(view(number)) })
    }
}
