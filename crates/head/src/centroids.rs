//! Centroids of the training rows: a row that is far from all of them is unlike every training photo.
//!
//! Each class has its own centroids, by spherical k-means (Dhillon and Modha 2001): rows and centroids have length 1,
//! and a row is assigned to the centroid with the highest cosine similarity. The initial centroids are randomly drawn
//! rows; one iteration separates unfamiliar photos as well as many do.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::cosine::{Vectors, inverse_length};
use crate::data::{Rows, WINDOW};
use crate::loss::argmax;
use crate::simd::dispatch;
use crate::team;

/// The most centroids of a class.
const MAX_PER_CLASS: usize = 20;
/// The most centroids of all classes together. With more classes than this, each class has one.
const MAX_CENTROIDS: usize = 2000;
/// A class has one centroid for this many of its rows.
const ROWS_PER_CENTROID: usize = 5;
/// If a class has more rows for each centroid than this, only this many are used, evenly spaced over the class: a
/// million rows take as long as a hundred thousand.
const MAX_ROWS_PER_CENTROID: usize = 50;
/// Rows that are read before their memory is released, if there are more than [`WINDOW`]. The operating system pages in
/// 64 kB around a row of 8 kB, or twice as much if the row is on a border: this many scattered rows take at most the
/// memory of [`WINDOW`] neighbouring ones.
const ROWS_AT_ONCE: usize = WINDOW / 16;
/// The seed that draws the initial centroids. It does not depend on the head's seed, so that heads on the same rows
/// have the same centroids. The seed matters little: with 23 of 24 other seeds, 14 to 16 of 18 kitchen photos are
/// unfamiliar to a head for clothing, and 13 with the last one.
const SEED: u64 = 1;
/// Rows that are compared with the centroids of a class at a time: rows and centroids fit into the second-level cache.
const BLOCK_PER_CLASS: usize = 16;
/// Rows that are compared with all centroids at a time: the rows fit into the second-level cache, the centroids do not.
const BLOCK_FOR_ALL: usize = 32;

/// The centroids: unit vectors whose components are rounded to float16.
#[derive(Debug, Clone, PartialEq)]
pub struct Centroids {
    /// (centroids, columns)
    values: Vec<f16>,
    /// The same in float32, by strips, for products.
    vectors: Vectors,
}

/// Why values are not centroids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CentroidsError {
    /// The values are not whole rows.
    #[error("{found} values are not rows of {columns}")]
    Shape {
        /// The length of a row.
        columns: usize,
        /// The number of values.
        found: usize,
    },
    /// A row whose length is not 1, or that has a value that is not finite.
    #[error("centroid {centroid} is not a vector of length 1")]
    NotUnit {
        /// The row, counted from 0.
        centroid: usize,
    },
}

impl Centroids {
    /// Fits centroids to these training rows, whose labels are less than `classes`. At most [`WINDOW`] rows' memory is
    /// resident.
    pub fn fit(train: &Rows<'_>, classes: usize) -> Self {
        let max_per_class = (MAX_CENTROIDS / classes.max(1)).clamp(1, MAX_PER_CLASS);
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut samples = Vec::new();
        for row_numbers in train.by_class(classes) {
            let count = (row_numbers.len() / ROWS_PER_CENTROID).clamp(1, max_per_class).min(row_numbers.len());
            let row_numbers = evenly_spaced(&row_numbers, count * MAX_ROWS_PER_CENTROID);
            let initial = row_numbers.clone().partial_shuffle(&mut random, count).0.to_vec();
            samples.push(ClassSample { row_numbers, initial });
        }

        team::with_helpers(|| Self::new(train.columns(), fit_classes(train, &samples)))
    }

    /// `values` is (centroids, columns) row-major.
    fn new(columns: usize, values: Vec<f16>) -> Self {
        let count = values.len() / columns.max(1);
        let fill = |centroid: usize, range: Range<usize>, converted: &mut [f32]| {
            values[centroid * columns..][range].convert_to_f32_slice(converted);
        };
        let vectors = Vectors::from_fn(columns, count, fill);
        Self { values, vectors }
    }

    /// Centroids from their values, (centroids, columns) row-major.
    ///
    /// # Errors
    /// When the values are not whole rows, or the length of a row is not 1.
    pub fn from_f16(columns: usize, values: Vec<f16>) -> Result<Self, CentroidsError> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(CentroidsError::Shape { columns, found: values.len() });
        }
        /// More than the error of rounding to float16.
        const TOLERANCE: f32 = 1e-2;
        // The inverse length of a row with a value that is not finite is 0.
        let is_unit = |row: &[f16]| (inverse_length(&row.to_f32_vec()) - 1.0).abs() <= TOLERANCE;
        match values.chunks_exact(columns).position(|row| !is_unit(row)) {
            Some(centroid) => Err(CentroidsError::NotUnit { centroid }),
            None => Ok(team::with_helpers(|| Self::new(columns, values))),
        }
    }

    /// The values, (centroids, columns) row-major.
    pub fn values(&self) -> &[f16] {
        &self.values
    }

    /// The length of a row.
    pub fn columns(&self) -> usize {
        self.vectors.columns()
    }

    /// The number of centroids.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether there are no centroids, because every training row is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cosine distance of each row to its nearest centroid, from 0 to 2; 1 for a row of zeros. A row's distance does
    /// not depend on the other rows.
    pub fn distances(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut distances = Vec::with_capacity(rows.len());
        let mut products = Vec::new();
        for rows in rows.chunks(BLOCK_FOR_ALL) {
            self.vectors.products(rows, &mut products);
            for (k, row) in rows.iter().enumerate() {
                let max_product = products[k * self.len()..][..self.len()].iter().copied().reduce(f32::max);
                distances.push(1.0 - max_product.unwrap_or(0.0) * inverse_length(row));
            }
        }
        distances
    }

    /// [`Centroids::distances`] on all threads. At most a window of rows is in memory.
    pub fn par_distances(&self, rows: &Rows<'_>) -> Vec<f32> {
        rows.map_blocks(BLOCK_FOR_ALL, |rows| self.distances(rows))
    }
}

/// The centroids of all classes, (centroids, columns). At most a window of rows is in memory.
fn fit_classes(train: &Rows<'_>, samples: &[ClassSample]) -> Vec<f16> {
    // If all rows fit into a window, they stay in memory.
    let window = train.window(false);
    let rows_at_once = if train.len() > window { ROWS_AT_ONCE } else { window };
    let columns = train.columns();
    let max_count: usize = samples.iter().map(|sample| sample.initial.len()).sum();
    // As u16: for f16, `vec!` would write the zeros itself.
    let mut values: Vec<f16> = vec![0u16; max_count * columns].reinterpret_into();
    let mut unused = &mut values[..];
    let mut counts = Vec::with_capacity(samples.len());
    let mut remaining = samples;
    while !remaining.is_empty() {
        // Take as many classes as fit into memory together, and at least one.
        let (mut class_count, mut row_count) = (0, 0);
        while class_count < remaining.len()
            && (class_count == 0 || row_count + remaining[class_count].row_numbers.len() <= rows_at_once)
        {
            row_count += remaining[class_count].row_numbers.len();
            class_count += 1;
        }
        let (together, later) = remaining.split_at(class_count);
        let mut tasks = Vec::with_capacity(class_count);
        for sample in together {
            let place = unused.split_off_mut(..sample.initial.len() * columns);
            tasks.push((sample, place.expect("there is a place for every centroid")));
        }
        counts.extend(team::map(tasks, |(sample, place)| sample.fit(train, place)));
        train.release(window);
        remaining = later;
    }

    // Close the gaps that dropped centroids have left.
    let (mut start, mut end) = (0, 0);
    for (sample, count) in samples.iter().zip(counts) {
        if start > end {
            values.copy_within(start..start + count * columns, end);
        }
        start += sample.initial.len() * columns;
        end += count * columns;
    }
    values.truncate(end);
    values
}

/// The rows of one class that its centroids are fitted to, by row number.
struct ClassSample {
    row_numbers: Vec<usize>,
    /// The rows that are the initial centroids.
    initial: Vec<usize>,
}

impl ClassSample {
    /// One iteration of k-means. Writes the centroids, unit vectors rounded to float16, to the start of `centroids`,
    /// (initial centroids, columns), and returns their number.
    fn fit(&self, train: &Rows<'_>, centroids: &mut [f16]) -> usize {
        let columns = train.columns();
        let rows: Vec<&[f32]> = self.row_numbers.iter().map(|&row| train.features[row]).collect();
        let initial = Vectors::units(&self.initial.iter().map(|&row| train.features[row]).collect::<Vec<_>>());
        let mut sums = assigned_sums(&rows, &initial);
        // Each sum is scaled to length 1. Sums without rows are dropped: their initial centroid is a duplicate or zero.
        let columns = columns.max(1);
        let mut count = 0;
        for sum in sums.chunks_exact_mut(columns) {
            let scale = inverse_length(sum);
            if scale > 0.0 {
                for value in &mut *sum {
                    *value *= scale;
                }
                centroids[count * columns..][..columns].convert_from_f32_slice(sum);
                count += 1;
            }
        }
        count
    }
}

/// For each centroid, the sum of the unit vectors of the rows assigned to it, (centroids, columns).
fn assigned_sums(rows: &[&[f32]], centroids: &Vectors) -> Vec<f32> {
    let (count, columns) = (centroids.len(), centroids.columns());
    // Unlike `vec![0.0; n]`, this writes the zeros: pages of `calloc` would fault twice, on the first read and the
    // first write.
    let mut sums = Vec::with_capacity(count * columns);
    sums.resize(count * columns, 0.0);
    let mut products = Vec::new();
    for rows in rows.chunks(BLOCK_PER_CLASS) {
        // Lengths first: reading each row from start to end is the fastest way to bring it into the cache.
        let scales: Vec<f32> = rows.iter().map(|row| inverse_length(row)).collect();
        centroids.products(rows, &mut products);
        for (k, row) in rows.iter().enumerate() {
            // The row's length does not matter: it scales all products.
            let nearest = argmax(&products[k * count..][..count]);
            add_scaled(&mut sums[nearest * columns..][..columns], scales[k], row);
        }
    }
    sums
}

/// `sum += factor * values`.
fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    dispatch(|| {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += factor * value;
        }
    });
}

/// `count` items, evenly spaced from the first on; all if there are no more.
fn evenly_spaced<T: Copy>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    (0..count).map(|k| items[k * items.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 24;

    /// Rows in three classes of these sizes. The rows of each class are near two directions, and their lengths differ.
    fn values(sizes: [usize; 3]) -> (Vec<f32>, Vec<usize>) {
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for (class, size) in sizes.into_iter().enumerate() {
            for row in 0..size {
                let direction = 4 * class + 2 * (row % 2);
                let length = 1.0 + (row % 7) as f32;
                for column in 0..COLUMNS {
                    // No two rows have the same direction.
                    let noise = ((row * 31 + column * 17 + class * 7) % 23 + (row * row + column) % 101) as f32 / 900.0;
                    values.push(length * (noise + if column == direction { 1.0 } else { 0.0 }));
                }
                labels.push(class);
            }
        }
        (values, labels)
    }

    fn rows(values: &[f32], labels: Vec<usize>) -> Rows<'_> {
        Rows::new(values.chunks_exact(COLUMNS).collect(), labels)
    }

    /// (centroids, columns) row-major.
    fn values_of(centroids: &Centroids) -> Vec<f32> {
        centroids.values().to_f32_vec()
    }

    #[test]
    fn a_class_has_a_centroid_for_every_five_rows_up_to_twenty() {
        for (sizes, expected) in [([3, 10, 14], 1 + 2 + 2), ([0, 1, 400], 1 + 20), ([1200, 100, 99], 20 + 20 + 19)] {
            let (values, labels) = values(sizes);
            let centroids = Centroids::fit(&rows(&values, labels), 3);
            assert_eq!((centroids.len(), centroids.columns()), (expected, COLUMNS), "{sizes:?}");
            for centroid in values_of(&centroids).chunks_exact(COLUMNS) {
                assert!((inverse_length(centroid) - 1.0).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn many_classes_share_two_thousand_or_have_one_each() {
        for (classes, rows_of_each, expected) in [(300, 50, 300 * 6), (2500, 12, 2500)] {
            let labels: Vec<usize> = (0..classes * rows_of_each).map(|row| row % classes).collect();
            let values: Vec<f32> = (0..labels.len() * 2).map(|k| 1.0 + (k * 37 % 101) as f32).collect();
            let rows = Rows::new(values.chunks_exact(2).collect(), labels);
            assert_eq!(Centroids::fit(&rows, classes).len(), expected);
        }
    }

    /// The expected centroids are computed in float64.
    #[test]
    fn one_iteration_of_spherical_k_means() {
        let (values, _) = values([40, 0, 0]);
        let rows = rows(&values, vec![0; 40]);
        let sample = ClassSample { row_numbers: (0..40).collect(), initial: vec![3, 30, 11, 6, 20, 37, 1, 14] };
        let unit = |row: &[f32]| -> Vec<f64> {
            let length = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|&value| f64::from(value) / length).collect()
        };
        let units: Vec<Vec<f64>> = rows.features.iter().map(|row| unit(row)).collect();
        let initial: Vec<&Vec<f64>> = sample.initial.iter().map(|&row| &units[row]).collect();
        let mut sums = vec![vec![0.0; COLUMNS]; 8];
        for row in &units {
            let cosine = |centroid: &[f64]| row.iter().zip(centroid).map(|(a, b)| a * b).sum::<f64>();
            let nearest = (0..8).max_by(|&a, &b| cosine(initial[a]).total_cmp(&cosine(initial[b]))).unwrap();
            for (sum, value) in sums[nearest].iter_mut().zip(row) {
                *sum += value;
            }
        }
        let mut centroids = [f16::ZERO; 8 * COLUMNS];
        assert_eq!(sample.fit(&rows, &mut centroids), 8);
        for (found, sum) in centroids.chunks_exact(COLUMNS).zip(&sums) {
            let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
            for (found, value) in found.iter().zip(sum) {
                assert!((f64::from(*found) - value / length).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn distances_do_not_depend_on_length_or_other_rows() {
        let (values, labels) = values([40, 40, 40]);
        let rows = rows(&values, labels);
        let centroids = Centroids::fit(&rows, 3);
        let all = centroids.distances(&rows.features);
        for (row, &distance) in rows.features.iter().zip(&all) {
            let cosine = |centroid: &[f32]| {
                let dot: f64 = row.iter().zip(centroid).map(|(a, b)| f64::from(a * b)).sum();
                dot / row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
            };
            let nearest = values_of(&centroids).chunks_exact(COLUMNS).map(cosine).fold(-1.0, f64::max);
            assert!((f64::from(distance) - (1.0 - nearest)).abs() < 1e-5);
            assert_eq!(centroids.distances(&[row]), [distance]);
        }
        assert_eq!(centroids.par_distances(&rows), all);

        let opposite: Vec<f32> = values_of(&centroids)[..COLUMNS].iter().map(|value| -3.0 * value).collect();
        let [zero, opposite] = centroids.distances(&[&[0.0; COLUMNS], &opposite])[..] else { panic!("two rows") };
        assert_eq!(zero, 1.0);
        assert!(opposite > 1.0);
        assert_eq!(centroids.distances(&[]), [0.0; 0]);
    }

    #[test]
    fn results_are_bit_identical_on_any_number_of_threads() {
        let (values, labels) = values([1500, 300, 7]);
        let rows = rows(&values, labels);
        let measure = || {
            let centroids = Centroids::fit(&rows, 3);
            let distances = centroids.par_distances(&rows);
            (centroids, distances)
        };
        let one = team::with_threads(1, measure);
        assert_eq!(team::with_threads(2, measure), one);
        assert_eq!(team::with_threads(5, measure), one);
    }

    #[test]
    fn dropped_centroids_leave_no_gap() {
        let (values, labels) = values([10, 0, 30]);
        let mut features: Vec<&[f32]> = values.chunks_exact(COLUMNS).collect();
        // Equal rows: of the two centroids of class 0, one has no rows.
        let first = features[0];
        features[..10].fill(first);
        let centroids = Centroids::fit(&Rows::new(features, labels), 3);
        let values = values_of(&centroids);
        assert_eq!(centroids.len(), 1 + 6);
        for (k, centroid) in values.chunks_exact(COLUMNS).enumerate() {
            assert!((inverse_length(centroid) - 1.0).abs() < 1e-3, "{k}");
            // The rows of class 0 are near the direction of column 0, those of class 2 of columns 8 and 10.
            assert_eq!([8, 10].contains(&argmax(centroid)), k > 0, "{k}");
        }
    }

    #[test]
    fn rows_of_zeros_have_no_centroid() {
        let rows = Rows::new(vec![&[0.0; 3][..]; 9], vec![0; 9]);
        let centroids = Centroids::fit(&rows, 2);
        assert!(centroids.is_empty());
        assert_eq!(centroids.distances(&[&[1.0, 0.0, 0.0]]), [1.0]);
        assert_eq!(Centroids::from_f16(3, centroids.values().to_vec()), Ok(centroids));
    }

    #[test]
    fn centroids_survive_a_round_trip_and_other_values_are_errors() {
        let (values, labels) = values([40, 40, 40]);
        let centroids = Centroids::fit(&rows(&values, labels), 3);
        let halves = centroids.values().to_vec();
        assert_eq!(Centroids::from_f16(COLUMNS, halves.clone()), Ok(centroids));
        for (place, value) in [(0, f16::NAN), (COLUMNS, f16::INFINITY), (COLUMNS + 1, f16::from_f32(3.0))] {
            let mut wrong = halves.clone();
            wrong[place] = value;
            assert_eq!(Centroids::from_f16(COLUMNS, wrong), Err(CentroidsError::NotUnit { centroid: place / COLUMNS }));
        }
        let shape = CentroidsError::Shape { columns: COLUMNS, found: COLUMNS + 1 };
        assert_eq!(Centroids::from_f16(COLUMNS, halves[..COLUMNS + 1].to_vec()), Err(shape));
    }
}
