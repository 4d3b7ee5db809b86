//! The rows to learn from and the rows to judge by, as the cache has them.

use feature_cache::{CachedSplit, FeatureCache, Split};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Rows that are read before their memory is given back: 256 MB of 2048 features.
pub const WINDOW: usize = 1 << 15;

/// Feature rows with their labels, borrowed from the cache's files.
#[derive(Debug, Clone, Default)]
pub struct Rows<'a> {
    /// All of one length.
    pub features: Vec<&'a [f32]>,
    /// The augmented views of each row's photo, one behind the other; none where the cache has none.
    pub views: Vec<&'a [f32]>,
    /// The class index of each row.
    pub labels: Vec<usize>,
    /// Where the rows are mapped from.
    mapped: Option<&'a CachedSplit>,
}

/// What a head is trained and judged on.
#[derive(Debug, Clone)]
pub struct TrainingData<'a> {
    /// The rows to learn from.
    pub train: Rows<'a>,
    /// The rows to judge by.
    pub validation: Rows<'a>,
    /// Where those are in the cache: of which split, and which of its rows.
    pub judged: (Split, Vec<usize>),
    /// The part of the training rows that was held out, where the cache has no validation split.
    pub held_out: Option<f64>,
    /// How many classes there are.
    pub classes: usize,
}

/// Checks that the photos to learn from have as many augmented views as are `asked` for, and that their rows are finite.
///
/// # Errors
/// When there are too few, or a row is not finite.
pub fn check_views(cache: &FeatureCache, asked: usize) -> Result<(), DataError> {
    let name = || cache.path().display().to_string();
    let has = cache.views().map_or(0, |views| views.count.get());
    if asked > has {
        return Err(DataError::TooManyViews { cache: name(), has, asked });
    }
    for (split, cached) in cache.splits().filter(|(split, _)| asked > 0 && split.is_learnt_from()) {
        let rows = Rows::of(cached);
        let views: Vec<&[f32]> = rows.views.iter().map(|views| &views[..asked * cache.columns()]).collect();
        if let Some(row) = rows.first_not_finite(&views) {
            return Err(DataError::NotFinite { cache: name(), split, file: "views.npy", row });
        }
    }
    Ok(())
}

/// Why a cache cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Neither `train` nor `all`.
    #[error("{cache}: has no train split; extract one first")]
    NoTrain {
        /// The cache.
        cache: String,
    },
    /// A split without rows.
    #[error("{cache}/{split}: has no rows")]
    Empty {
        /// The cache.
        cache: String,
        /// The split.
        split: Split,
    },
    /// Nothing to tell apart.
    #[error("{cache}: has only one class; a classifier needs two")]
    OneClass {
        /// The cache.
        cache: String,
    },
    /// A row that is not numbers.
    #[error("{cache}/{split}/{file}: row {row} is not finite; check the cache with: extract verify {cache}")]
    NotFinite {
        /// The cache.
        cache: String,
        /// The split.
        split: Split,
        /// features.npy or views.npy.
        file: &'static str,
        /// The row.
        row: usize,
    },
    /// More views than there are.
    #[error(
        "--views {asked}: {cache} has {has} augmented views of each photo; extract --views N adds more, with the same --flip, --crop, --brightness and --seed"
    )]
    TooManyViews {
        /// The cache.
        cache: String,
        /// How many views it has.
        has: usize,
        /// How many to draw from.
        asked: usize,
    },
    /// A fraction that leaves one side without rows.
    #[error("validation split {fraction}: must be more than 0 and less than 1")]
    Fraction {
        /// What was asked for.
        fraction: f64,
    },
    /// Too few rows to hold any out.
    #[error("{cache}: {rows} training rows are too few to hold {fraction} of each class out for validation")]
    TooFew {
        /// The cache.
        cache: String,
        /// Its training rows.
        rows: usize,
        /// What was asked for.
        fraction: f64,
    },
}

impl<'a> TrainingData<'a> {
    /// The cache's training rows, and its validation rows or, where it has none, a stratified `fraction` of the
    /// training rows that is drawn by `seed`.
    ///
    /// # Errors
    /// When there is nothing to learn, a row is not finite, or the fraction leaves one side empty.
    pub fn from_cache(cache: &'a FeatureCache, fraction: f64, seed: u64) -> Result<Self, DataError> {
        let name = || cache.path().display().to_string();
        let classes = cache.classes().len();
        let learnt = cache.splits().map(|(split, _)| split).find(|split| split.is_learnt_from());
        let split = learnt.ok_or_else(|| DataError::NoTrain { cache: name() })?;
        if classes < 2 {
            return Err(DataError::OneClass { cache: name() });
        }
        let rows = Rows::of_split(cache, split)?.unwrap_or_default();
        if let Some(validation) = Rows::of_split(cache, Split::Validation)? {
            let judged = (Split::Validation, (0..validation.len()).collect());
            return Ok(Self { train: rows, validation, judged, held_out: None, classes });
        }
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(DataError::Fraction { fraction });
        }
        let (learnt, judged) = rows.stratified(classes, fraction, seed);
        if judged.is_empty() {
            return Err(DataError::TooFew { cache: name(), rows: rows.len(), fraction });
        }
        let (train, validation) = (rows.select(&learnt), rows.select(&judged));
        Ok(Self { train, validation, judged: (split, judged), held_out: Some(fraction), classes })
    }
}

impl<'a> Rows<'a> {
    /// All rows of a split, checked to be finite; none when the cache does not have it.
    ///
    /// # Errors
    /// When it has no rows, or one that is not finite.
    pub fn of_split(cache: &'a FeatureCache, split: Split) -> Result<Option<Self>, DataError> {
        let Some(cached) = cache.split(split) else { return Ok(None) };
        let name = || cache.path().display().to_string();
        let rows = Self::of(cached);
        if let Some(row) = rows.first_not_finite(&rows.features) {
            return Err(DataError::NotFinite { cache: name(), split, file: "features.npy", row });
        }
        if rows.labels.is_empty() { Err(DataError::Empty { cache: name(), split }) } else { Ok(Some(rows)) }
    }

    /// Rows from anywhere; as many labels as there are features.
    pub fn new(features: Vec<&'a [f32]>, labels: Vec<usize>) -> Self {
        Self { features, views: Vec::new(), labels, mapped: None }
    }

    /// A row as it is learnt from: of its photo, or of one of its photo's views, which must be there ([`check_views`]).
    pub fn lesson(&self, row: usize, view: Option<usize>) -> &'a [f32] {
        let features = self.features[row];
        view.map_or(features, |number| &self.views[row][number * features.len()..][..features.len()])
    }

    /// How many rows with their views are looked at before their memory is given back: as many as take what [`WINDOW`]
    /// rows take, counting all views of each, since the operating system maps what lies beside a view along with it.
    pub fn window(&self) -> usize {
        self.window_of(length(&self.features) + length(&self.views))
    }

    /// How many times so many values take what [`WINDOW`] rows take.
    fn window_of(&self, values: usize) -> usize {
        (WINDOW * length(&self.features) / values.max(1)).max(1)
    }

    /// Gives back the memory of the rows that were looked at, where there are so many that they might not fit: to be
    /// called after each `window` of them. Fewer rows stay in memory from one epoch to the next.
    pub fn release(&self, window: usize) {
        if self.len() > window {
            self.mapped.iter().for_each(|cached| cached.release());
        }
    }

    fn of(cached: &'a CachedSplit) -> Self {
        // Labels are class indices: the cache has checked it.
        let labels = cached.labels().iter().map(|&label| label as usize).collect();
        let (features, views) = (cached.each_row().collect(), cached.each_rows_views().collect());
        Self { features, views, labels, mapped: Some(cached) }
    }

    /// The first of these rows, each of the same photo as ours, that is not finite; looked for by windows.
    fn first_not_finite(&self, rows: &[&[f32]]) -> Option<usize> {
        let not_finite = |row: &&[f32]| !row.iter().all(|value| value.is_finite());
        let window = self.window_of(length(rows));
        rows.chunks(window).zip((0..).step_by(window)).find_map(|(rows, start)| {
            let found = rows.par_iter().position_first(not_finite);
            self.release(window);
            Some(start + found?)
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Holds `fraction` of each class out, at random by `seed`: (the other rows, those held out), each in their order. A
    /// class keeps at least one row.
    pub fn stratified(&self, classes: usize, fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut held_out = vec![false; self.len()];
        for class in 0..classes {
            let mut rows: Vec<usize> = (0..self.len()).filter(|&row| self.labels[row] == class).collect();
            rows.shuffle(&mut random);
            let count = (rows.len() as f64 * fraction).round() as usize;
            for &row in rows.iter().take(count.min(rows.len().saturating_sub(1))) {
                held_out[row] = true;
            }
        }
        (0..self.len()).partition(|&row| !held_out[row])
    }

    /// These rows, in this order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let (features, labels) = rows.iter().map(|&row| (self.features[row], self.labels[row])).unzip();
        let views = rows.iter().filter_map(|&row| self.views.get(row).copied()).collect();
        Self { features, views, labels, mapped: self.mapped }
    }
}

/// How long the rows are, which are all of one length.
fn length(rows: &[&[f32]]) -> usize {
    rows.first().map_or(0, |row| row.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stratified_split_keeps_every_row_once_and_every_class(
            labels in proptest::collection::vec(0usize..5, 1..200),
            fraction in 0.01f64..0.99,
            seed in 0u64..100,
        ) {
            let values: Vec<[f32; 1]> = (0..labels.len()).map(|row| [row as f32]).collect();
            let mut rows = Rows::new(values.iter().map(|row| &row[..]).collect(), labels.clone());
            rows.views = rows.features.clone();
            let (learnt, judged) = rows.stratified(5, fraction, seed);
            prop_assert_eq!(rows.stratified(5, fraction, seed), (learnt.clone(), judged.clone()));
            let (train, validation) = (rows.select(&learnt), rows.select(&judged));
            prop_assert!((0..train.len()).all(|row| train.lesson(row, Some(0)) == train.lesson(row, None)));

            let mut all: Vec<&[f32]> = [train.features, validation.features].concat();
            all.sort_by(|a, b| a[0].total_cmp(&b[0]));
            prop_assert_eq!(all, rows.features);
            for class in 0..5 {
                let count = |labels: &[usize]| labels.iter().filter(|&&label| label == class).count();
                let (whole, held) = (count(&labels), count(&validation.labels));
                prop_assert!(whole == 0 || count(&train.labels) > 0);
                prop_assert!((held as f64 - whole as f64 * fraction).abs() <= 1.0);
            }
        }
    }
}
