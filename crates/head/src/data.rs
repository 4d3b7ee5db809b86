//! Feature rows with their labels, read from the cache, and their split into training and validation rows.
//!
//! Rows are read through a memory map. If there are more than [`WINDOW`], their pages are released after each window,
//! so at most a window is resident. [`Rows::window`] is smaller for a part of a split's rows and with views, since what
//! lies between and beside the rows is paged in, too.

use feature_cache::{CachedSplit, FeatureCache, Split};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::simd::dispatch;
use crate::team;

/// The most rows without views that are resident: 256 MiB of 2048 features.
pub const WINDOW: usize = 1 << 15;
/// Rows that a thread checks at a time.
const ROWS_PER_TASK: usize = 64;

/// Feature rows with their labels, borrowed from the cache's files.
#[derive(Debug, Clone, Default)]
pub struct Rows<'a> {
    /// (rows, columns).
    pub features: Vec<&'a [f32]>,
    /// (rows, views * columns): the augmented views of each row's photo, one after the other; empty if the cache has no
    /// views.
    pub views: Vec<&'a [f32]>,
    /// (rows,): class indices.
    pub labels: Vec<usize>,
    /// The split whose memory map the rows point into; `None` for other rows.
    mapped: Option<&'a CachedSplit>,
}

/// A cache's training and validation rows, read and checked once for any number of seeds.
#[derive(Debug)]
pub struct CheckedRows<'a> {
    cache: &'a FeatureCache,
    /// `train` or `all`.
    split: Split,
    train: Rows<'a>,
    /// `None` if the cache has no validation split.
    validation: Option<Rows<'a>>,
}

/// Training and validation rows, and where the validation rows came from.
#[derive(Debug, Clone)]
pub struct TrainValSplit<'a> {
    /// The training rows.
    pub train: Rows<'a>,
    /// The validation rows.
    pub validation: Rows<'a>,
    /// Where the validation rows are in the cache.
    pub validation_origin: RowOrigin,
    /// The fraction of the training rows that was held out for validation; `None` if the cache has a validation split.
    pub held_out: Option<f64>,
    /// The number of classes.
    pub classes: usize,
}

/// Where rows are in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOrigin {
    /// Their split.
    pub split: Split,
    /// The number of each row in that split.
    pub row_numbers: Vec<usize>,
}

/// Row numbers: held out, and the rest; each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldOut {
    /// The other rows.
    pub rest: Vec<usize>,
    /// The held-out rows.
    pub held_out: Vec<usize>,
}

/// Why a cache cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It has neither a `train` nor an `all` split.
    #[error("{cache}: has no train split")]
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
    /// A classifier needs two classes.
    #[error("{cache}: has only one class; a classifier needs two")]
    OneClass {
        /// The cache.
        cache: String,
    },
    /// A row with a value that is infinite or not a number.
    #[error("{cache}/{split}/{file}: row {row} is not finite")]
    NotFinite {
        /// The cache.
        cache: String,
        /// The split.
        split: Split,
        /// features.npy or views.npy.
        file: &'static str,
        /// The row, counted from 0.
        row: usize,
    },
    /// More views were asked for than there are.
    #[error("{cache}: has {has} augmented views of each photo, not {asked}")]
    TooManyViews {
        /// The cache.
        cache: String,
        /// How many views it has.
        has: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// A fraction outside 0 to 1.
    #[error("validation split {fraction}: must be more than 0 and less than 1")]
    Fraction {
        /// The fraction that was asked for.
        fraction: f64,
    },
    /// Too few rows to hold any out.
    #[error("{cache}: {rows} training rows are too few to hold {fraction} of each class out for validation")]
    TooFew {
        /// The cache.
        cache: String,
        /// Its training rows.
        rows: usize,
        /// The fraction that was asked for.
        fraction: f64,
    },
}

/// Checks that the training photos have at least `asked` augmented views, and that the values of these views are
/// finite.
///
/// # Errors
/// When there are too few views, or a value is not finite.
pub fn check_view_count(cache: &FeatureCache, asked: usize) -> Result<(), DataError> {
    let name = || cache.path().display().to_string();
    let has = cache.views().map_or(0, |views| views.count.get());
    if asked > has {
        return Err(DataError::TooManyViews { cache: name(), has, asked });
    }
    if asked == 0 {
        return Ok(());
    }
    for (split, cached) in cache.splits().filter(|(split, _)| split.is_training()) {
        let rows = Rows::from_cached(cached);
        let views: Vec<&[f32]> = rows.views.iter().map(|views| &views[..asked * cache.columns()]).collect();
        if let Some(row) = rows.first_not_finite(&views, rows.window(true)) {
            return Err(DataError::NotFinite { cache: name(), split, file: "views.npy", row });
        }
    }
    Ok(())
}

impl<'a> CheckedRows<'a> {
    /// Whether the cache has a validation split, so that no training rows are held out.
    pub fn has_validation(&self) -> bool {
        self.validation.is_some()
    }

    /// Reads the cache's training and validation rows.
    ///
    /// # Errors
    /// When there are no training rows or fewer than two classes, or a row is not finite.
    pub fn read(cache: &'a FeatureCache) -> Result<Self, DataError> {
        let split = cache.splits().map(|(split, _)| split).find(|split| split.is_training());
        let split = split.ok_or_else(|| DataError::NoTrain { cache: cache.path().display().to_string() })?;
        if cache.classes().len() < 2 {
            return Err(DataError::OneClass { cache: cache.path().display().to_string() });
        }
        let train = Rows::from_split(cache, split)?.expect("the split was found among the cache's");
        Ok(Self { cache, split, train, validation: Rows::from_split(cache, Split::Validation)? })
    }

    /// The training and validation rows. If the cache has no validation split, `fraction` of each class of the training
    /// rows is held out for validation, drawn by `seed`.
    ///
    /// # Errors
    /// When the fraction leaves no training or no validation rows.
    pub fn train_val_split(&self, fraction: f64, seed: u64) -> Result<TrainValSplit<'a>, DataError> {
        let classes = self.cache.classes().len();
        if let Some(validation) = &self.validation {
            let row_numbers = (0..validation.len()).collect();
            let validation_origin = RowOrigin { split: Split::Validation, row_numbers };
            let (train, validation) = (self.train.clone(), validation.clone());
            return Ok(TrainValSplit { train, validation, validation_origin, held_out: None, classes });
        }

        // The cache has no validation split, so some of the training rows are held out.
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(DataError::Fraction { fraction });
        }
        let HoldOut { rest, held_out } = self.train.hold_out(classes, fraction, seed);
        if held_out.is_empty() {
            let cache = self.cache.path().display().to_string();
            return Err(DataError::TooFew { cache, rows: self.train.len(), fraction });
        }
        Ok(TrainValSplit {
            train: self.train.select(&rest),
            validation: self.train.select(&held_out),
            validation_origin: RowOrigin { split: self.split, row_numbers: held_out },
            held_out: Some(fraction),
            classes,
        })
    }
}

impl<'a> TrainValSplit<'a> {
    /// [`CheckedRows::train_val_split`] of the cache's rows, for a single seed.
    ///
    /// # Errors
    /// When there are no training rows or fewer than two classes, a row is not finite, or the fraction leaves no
    /// training or no validation rows.
    pub fn from_cache(cache: &'a FeatureCache, fraction: f64, seed: u64) -> Result<Self, DataError> {
        CheckedRows::read(cache)?.train_val_split(fraction, seed)
    }
}

impl<'a> Rows<'a> {
    /// All rows of a split, checked to be finite; `None` if the cache does not have the split.
    ///
    /// # Errors
    /// When the split has no rows, or a row is not finite.
    pub fn from_split(cache: &'a FeatureCache, split: Split) -> Result<Option<Self>, DataError> {
        let Some(cached) = cache.split(split) else { return Ok(None) };
        let name = || cache.path().display().to_string();
        let rows = Self::from_cached(cached);
        if let Some(row) = rows.first_not_finite(&rows.features, rows.window(false)) {
            return Err(DataError::NotFinite { cache: name(), split, file: "features.npy", row });
        }
        if rows.labels.is_empty() { Err(DataError::Empty { cache: name(), split }) } else { Ok(Some(rows)) }
    }

    /// Rows in memory, all of one length, with their labels.
    pub fn new(features: Vec<&'a [f32]>, labels: Vec<usize>) -> Self {
        Self { features, views: Vec::new(), labels, mapped: None }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The length of a row; 0 if there are no rows.
    pub fn columns(&self) -> usize {
        self.features.first().map_or(0, |row| row.len())
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The head's input for a row, (columns,): its photo's features, or those of view number `view` of the photo, which
    /// the cache must have ([`check_view_count`]).
    pub fn input_row(&self, row: usize, view: Option<usize>) -> &'a [f32] {
        let features = self.features[row];
        match view {
            Some(number) => &self.views[row][number * features.len()..][..features.len()],
            None => features,
        }
    }

    /// The rows with these numbers, in this order.
    pub fn select(&self, row_numbers: &[usize]) -> Self {
        let views = if self.views.is_empty() { &[][..] } else { row_numbers };
        Self {
            features: row_numbers.iter().map(|&row| self.features[row]).collect(),
            views: views.iter().map(|&row| self.views[row]).collect(),
            labels: row_numbers.iter().map(|&row| self.labels[row]).collect(),
            mapped: self.mapped,
        }
    }

    /// The row numbers of each class, ascending.
    pub fn by_class(&self, classes: usize) -> Vec<Vec<usize>> {
        let mut by_class = vec![Vec::new(); classes];
        for (row, &label) in self.labels.iter().enumerate() {
            by_class[label].push(row);
        }
        by_class
    }

    /// Holds out `fraction` of each class, drawn by `seed`. At least one row of each class is left.
    pub fn hold_out(&self, classes: usize, fraction: f64, seed: u64) -> HoldOut {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut is_held_out = vec![false; self.len()];
        for mut rows in self.by_class(classes) {
            rows.shuffle(&mut random);
            let count = (rows.len() as f64 * fraction).round() as usize;
            let count = count.min(rows.len().saturating_sub(1));
            for &row in &rows[..count] {
                is_held_out[row] = true;
            }
        }
        let (held_out, rest) = (0..self.len()).partition(|&row| is_held_out[row]);
        HoldOut { rest, held_out }
    }

    /// Calls `on_window` with the features and labels of each [`Self::window`] of rows in order, and releases the window's
    /// memory before the next one is read.
    pub fn for_each_window(&self, mut on_window: impl FnMut(&[&'a [f32]], &[usize])) {
        let window = self.window(false);
        for (features, labels) in self.features.chunks(window).zip(self.labels.chunks(window)) {
            on_window(features, labels);
            self.release(window);
        }
    }

    /// The results of `work` for all rows, in order, computed on all threads. `work` gets at most `block` rows at a time.
    /// At most a window of rows is in memory.
    pub fn map_blocks(&self, block: usize, work: impl Fn(&[&[f32]]) -> Vec<f32> + Sync) -> Vec<f32> {
        let mut results = Vec::with_capacity(self.len());
        team::with_helpers(|| {
            self.for_each_window(|rows, _| {
                results.extend(team::map(rows.chunks(block).collect(), &work).into_iter().flatten());
            });
        });
        results
    }

    /// The most of these rows that are resident: as many as take the memory of [`WINDOW`] rows. If they are a part of a
    /// split's rows, those between them count too, and if `views` are read, all views of a row, since the operating
    /// system pages in the neighbours of what is read.
    pub fn window(&self, views: bool) -> usize {
        let rows_in_file = self.mapped.map_or(self.len(), CachedSplit::rows);
        let of_these_rows = WINDOW * self.len() / rows_in_file.max(1);
        let views_length = if views { self.views.first().map_or(0, |views| views.len()) } else { 0 };
        (of_these_rows * self.columns() / (self.columns() + views_length).max(1)).max(1)
    }

    /// Releases the memory of the rows that were read, if there are more than a `window` of rows. Call it after each
    /// window. Fewer rows stay in memory from one epoch to the next.
    pub fn release(&self, window: usize) {
        if let Some(cached) = self.mapped
            && self.len() > window
        {
            cached.release();
        }
    }

    fn from_cached(cached: &'a CachedSplit) -> Self {
        // The cache has checked that labels are class indices.
        let labels = cached.labels().iter().map(|&label| label as usize).collect();
        let (features, views) = (cached.iter_rows().collect(), cached.views_by_row().collect());
        Self { features, views, labels, mapped: Some(cached) }
    }

    /// The first row with a value that is not finite. `rows` are features or views of these photos, of which a `window`
    /// is in memory at a time.
    fn first_not_finite(&self, rows: &[&[f32]], window: usize) -> Option<usize> {
        team::with_helpers(|| {
            for (k, in_window) in rows.chunks(window).enumerate() {
                let tasks = in_window.chunks(ROWS_PER_TASK).collect();
                let found = team::map(tasks, |rows: &[&[f32]]| rows.iter().position(|row| !all_finite(row)));
                self.release(window);
                let first = found.into_iter().enumerate().find_map(|(task, row)| Some(task * ROWS_PER_TASK + row?));
                if let Some(row) = first {
                    return Some(k * window + row);
                }
            }
            None
        })
    }
}

/// Whether no value is infinite or not a number.
fn all_finite(row: &[f32]) -> bool {
    dispatch(|| {
        // Infinities and NaN have the largest bits without the sign. The loop has no branch, so the compiler vectorises
        // it.
        let mut max_bits = 0;
        for value in row {
            max_bits = max_bits.max(value.abs().to_bits());
        }
        max_bits < f32::INFINITY.to_bits()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_row_that_is_not_finite_is_found() {
        let count = 2 * ROWS_PER_TASK + 10;
        for (bad, window) in
            [(vec![0], 1000), (vec![63], 1000), (vec![64, 100], 1000), (vec![count - 1], 50), (vec![], 7)]
        {
            let mut values = vec![[1.0f32, -1.0]; count];
            for &row in &bad {
                values[row][row % 2] = if row % 3 == 0 { f32::NAN } else { f32::INFINITY };
            }
            let rows = Rows::new(values.iter().map(|row| &row[..]).collect(), vec![0; count]);
            assert_eq!(rows.first_not_finite(&rows.features, window), bad.first().copied(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn hold_out_keeps_each_row_once_and_a_row_of_each_class(
            labels in proptest::collection::vec(0usize..5, 1..200),
            fraction in 0.01f64..0.99,
            seed in 0u64..100,
        ) {
            let values: Vec<[f32; 1]> = (0..labels.len()).map(|row| [row as f32]).collect();
            let mut rows = Rows::new(values.iter().map(|row| &row[..]).collect(), labels.clone());
            rows.views = rows.features.clone();
            let HoldOut { rest, held_out } = rows.hold_out(5, fraction, seed);
            let again = rows.hold_out(5, fraction, seed);
            prop_assert_eq!((&again.rest, &again.held_out), (&rest, &held_out));
            let (train, validation) = (rows.select(&rest), rows.select(&held_out));
            for row in 0..train.len() {
                prop_assert_eq!(train.input_row(row, Some(0)), train.input_row(row, None));
            }

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
