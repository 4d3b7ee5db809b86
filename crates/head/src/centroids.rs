//! Centroids of the training rows' directions: a row that is far from all of them is unlike every training photo.
//!
//! Each class has its own, by spherical k-means (Dhillon and Modha 2001): rows and centroids have length 1, and a row
//! belongs to the centroid with the largest cosine. One iteration from drawn rows separates as well as many do.

use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::cosine::{Vectors, inverse_length, unit};
use crate::data::{Rows, WINDOW};
use crate::loss::largest;
use crate::simd::dispatch;

/// Centroids of a class, at most.
const MAX_PER_CLASS: usize = 20;
/// Centroids of all classes, at most, unless there are more classes: then each has one.
const MAX_CENTROIDS: usize = 2000;
/// A class has a centroid for so many of its rows.
const ROWS_PER_CENTROID: usize = 5;
/// Of a class with more rows for each centroid than this, so many rows are used, evenly spaced over the class: the time for
/// a million rows is that for a hundred thousand.
const MAX_ROWS_PER_CENTROID: usize = 50;
/// Rows that are read before their memory is given back. Rows that lie apart are mapped with some of their neighbours: this
/// many take at most the memory of [`WINDOW`] neighbouring ones.
const ROWS_AT_ONCE: usize = WINDOW / 8;
/// The rows that k-means begins with are drawn by this seed, whatever the heads' own: heads on the same rows, from any
/// seeds, then have the same centroids. The draw matters little: with 23 of 24 others 14 to 16 of 18 kitchen photos are
/// unlike clothing, with one 13.
const SEED: u64 = 1;
/// Rows of a class whose sums are one task; they are added in order, so the result depends on no number of threads.
const TASK: usize = 512;
/// Rows that are compared with the centroids of a class at a time: both stay in the second-level cache.
const BLOCK: usize = 16;
/// Rows that are compared with all centroids at a time: they stay in the second-level cache, the centroids do not.
const BLOCK_OF_ALL: usize = 32;

/// Unit vectors that the training rows lie around, each component with the precision of a float16.
#[derive(Debug, Clone, PartialEq)]
pub struct Centroids(Vectors);

/// Why some numbers are no centroids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CentroidsError {
    /// The numbers are not whole rows.
    #[error("{found} values are no rows of {columns}")]
    Shape {
        /// The length of a row.
        columns: usize,
        /// The number of values.
        found: usize,
    },
    /// A row that has another length than 1, or none.
    #[error("centroid {centroid} is no vector of length 1")]
    NotUnit {
        /// The row, counted from 0.
        centroid: usize,
    },
}

impl Centroids {
    /// The centroids of these training rows, whose labels are less than `classes`. They are read a few thousand at a time, so
    /// that however many there are, only those are in memory.
    pub fn of_rows(train: &Rows<'_>, classes: usize) -> Self {
        let max_per_class = (MAX_CENTROIDS / classes.max(1)).clamp(1, MAX_PER_CLASS);
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let mut samples = Vec::new();
        for rows in train.by_class(classes) {
            let centroids = (rows.len() / ROWS_PER_CENTROID).clamp(1, max_per_class).min(rows.len());
            let rows = evenly_spaced(&rows, centroids * MAX_ROWS_PER_CENTROID);
            let starts = rows.clone().partial_shuffle(&mut random, centroids).0.to_vec();
            samples.push(ClassSample { rows, starts });
        }

        let mut of_classes: Vec<Vec<f32>> = Vec::new();
        let mut rest = &samples[..];
        while !rest.is_empty() {
            // As many classes as may be in memory together, one at least.
            let (mut count, mut rows) = (0, 0);
            while count < rest.len() && (count == 0 || rows + rest[count].rows.len() <= ROWS_AT_ONCE) {
                rows += rest[count].rows.len();
                count += 1;
            }
            let (together, later) = rest.split_at(count);
            of_classes.par_extend(together.par_iter().map(|sample| sample.centroids(train)));
            train.release(ROWS_AT_ONCE);
            rest = later;
        }
        Self(Vectors::new(train.columns(), &of_classes))
    }

    /// Centroids of rows of `columns` features from their values, (centroids, columns).
    ///
    /// # Errors
    /// When the values are not whole rows, or a row has not length 1.
    pub fn from_f16(columns: usize, values: &[f16]) -> Result<Self, CentroidsError> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(CentroidsError::Shape { columns, found: values.len() });
        }
        /// What rounding to float16 changes, with a margin.
        const TOLERANCE: f32 = 1e-2;
        let values = values.to_f32_vec();
        // A row with a value that is not finite has no inverse length.
        let wrong = values.chunks_exact(columns).position(|row| (inverse_length(row) - 1.0).abs() > TOLERANCE);
        match wrong {
            Some(centroid) => Err(CentroidsError::NotUnit { centroid }),
            None => Ok(Self(Vectors::new(columns, &[values]))),
        }
    }

    /// The values, (centroids, columns) row-major.
    pub fn to_f16(&self) -> Vec<f16> {
        // Exact: they are rounded already.
        Vec::from_f32_slice(&self.0.values())
    }

    /// The length of a row.
    pub fn columns(&self) -> usize {
        self.0.columns()
    }

    /// The number of centroids.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no centroid: every training row was zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cosine distance of each of these rows to its nearest centroid, from 0 to 2, computed on the caller's core. A row
    /// of zeros, which has no direction, has 1. What a row gets does not depend on the other rows.
    pub fn distances(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut distances = Vec::with_capacity(rows.len());
        let mut cosines = Vec::new();
        for rows in rows.chunks(BLOCK_OF_ALL) {
            self.0.products(rows, &mut cosines);
            for (k, row) in rows.iter().enumerate() {
                let nearest = cosines[k * self.len()..][..self.len()].iter().copied().reduce(f32::max);
                distances.push(1.0 - nearest.unwrap_or(0.0) * inverse_length(row));
            }
        }
        distances
    }

    /// [`Centroids::distances`] of any number of rows, on all threads of the rayon pool. They are read a window at a time.
    pub fn distances_of(&self, rows: &Rows<'_>) -> Vec<f32> {
        let mut distances = Vec::with_capacity(rows.len());
        rows.each_window(|rows, _| {
            distances.par_extend(rows.par_chunks(BLOCK_OF_ALL).flat_map_iter(|rows| self.distances(rows)));
        });
        distances
    }
}

/// Rows of one class, by their numbers among the training rows.
struct ClassSample {
    rows: Vec<usize>,
    /// Those of them that k-means begins with, one for each centroid.
    starts: Vec<usize>,
}

impl ClassSample {
    /// The centroids, (centroids, columns), unit vectors as float16 holds them: one iteration of k-means.
    fn centroids(&self, train: &Rows<'_>) -> Vec<f32> {
        let columns = train.columns();
        let rows: Vec<&[f32]> = self.rows.iter().map(|&row| train.features[row]).collect();
        let starts: Vec<Vec<f32>> = self.starts.iter().map(|&row| unit(train.features[row]).collect()).collect();
        let starts = Vectors::new(columns, &starts);
        let parts: Vec<Vec<f32>> = rows.par_chunks(TASK).map(|rows| sums(rows, &starts)).collect();

        // The parts are added in order.
        let mut parts = parts.into_iter();
        let mut sums = parts.next().unwrap_or_default();
        for part in parts {
            add(&mut sums, 1.0, &part);
        }
        // In place, each sum gets length 1. One without rows is not needed: its start is as near to another one, or zero.
        let mut end = 0;
        for start in (0..sums.len()).step_by(columns.max(1)) {
            let scale = inverse_length(&sums[start..start + columns]);
            if scale > 0.0 {
                sums.copy_within(start..start + columns, end);
                round_to_f16(&mut sums[end..end + columns], scale);
                end += columns;
            }
        }
        sums.truncate(end);
        sums
    }
}

/// Multiplies the values by the factor and rounds each as a float16 does.
fn round_to_f16(values: &mut [f32], factor: f32) {
    values.iter_mut().for_each(|value| *value *= factor);
    Vec::<f16>::from_f32_slice(values).convert_to_f32_slice(values);
}

/// For each of these unit vectors, (vectors, columns), the sum of the rows, at length 1, that are nearest to it.
fn sums(rows: &[&[f32]], vectors: &Vectors) -> Vec<f32> {
    let (count, columns) = (vectors.len(), vectors.columns());
    // Zeros are written: zeros that the operating system gives would cost two page faults, the first for being read.
    let mut sums = Vec::with_capacity(count * columns);
    sums.resize(count * columns, 0.0);
    let mut similarities = Vec::new();
    for rows in rows.chunks(BLOCK) {
        // Lengths first: reading each row from its first to its last value brings it into the cache soonest.
        let scales: Vec<f32> = rows.iter().map(|row| inverse_length(row)).collect();
        vectors.products(rows, &mut similarities);
        for (k, row) in rows.iter().enumerate() {
            // Whatever the row's own length, the largest product is that of the largest cosine.
            let nearest = largest(&similarities[k * count..][..count]);
            add(&mut sums[nearest * columns..][..columns], scales[k], row);
        }
    }
    sums
}

/// Adds the values, times the factor.
fn add(sum: &mut [f32], factor: f32, values: &[f32]) {
    dispatch(|| {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += factor * value;
        }
    });
}

/// `count` of these, evenly spaced from the first on; all where there are no more.
fn evenly_spaced<T: Copy>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    (0..count).map(|k| items[k * items.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: usize = 24;

    /// Rows in three classes of these sizes: each class lies around two directions, and lengths differ.
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

    fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn a_class_has_a_centroid_for_every_five_rows_up_to_twenty() {
        for (sizes, expected) in [([3, 10, 14], 1 + 2 + 2), ([0, 1, 400], 1 + 20), ([1200, 100, 99], 20 + 20 + 19)] {
            let (values, labels) = values(sizes);
            let centroids = Centroids::of_rows(&rows(&values, labels), 3);
            assert_eq!((centroids.len(), centroids.columns()), (expected, COLUMNS), "{sizes:?}");
            for centroid in centroids.0.values().chunks_exact(COLUMNS) {
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
            assert_eq!(Centroids::of_rows(&rows, classes).len(), expected);
        }
    }

    /// By hand, in float64: the sums of the unit rows that are nearest to each of the starting rows.
    #[test]
    fn one_iteration_of_spherical_k_means() {
        let (values, _) = values([40, 0, 0]);
        let rows = rows(&values, vec![0; 40]);
        let sample = ClassSample { rows: (0..40).collect(), starts: vec![3, 30, 11, 6, 20, 37, 1, 14] };
        let unit = |row: &[f32]| -> Vec<f64> {
            let length = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|&value| f64::from(value) / length).collect()
        };
        let units: Vec<Vec<f64>> = rows.features.iter().map(|row| unit(row)).collect();
        let starts: Vec<&Vec<f64>> = sample.starts.iter().map(|&row| &units[row]).collect();
        let mut sums = vec![vec![0.0; COLUMNS]; 8];
        for row in &units {
            let cosine = |start: &[f64]| row.iter().zip(start).map(|(a, b)| a * b).sum::<f64>();
            let nearest = (0..8).max_by(|&a, &b| cosine(starts[a]).total_cmp(&cosine(starts[b]))).unwrap();
            for (sum, value) in sums[nearest].iter_mut().zip(row) {
                *sum += value;
            }
        }
        let centroids = sample.centroids(&rows);
        assert_eq!(centroids.len(), 8 * COLUMNS);
        for (found, sum) in centroids.chunks_exact(COLUMNS).zip(&sums) {
            let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
            for (found, value) in found.iter().zip(sum) {
                assert!((f64::from(*found) - value / length).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn distances_are_those_to_the_nearest_whatever_the_length_and_the_other_rows() {
        let (values, labels) = values([40, 40, 40]);
        let rows = rows(&values, labels);
        let centroids = Centroids::of_rows(&rows, 3);
        let all = centroids.distances(&rows.features);
        for (row, &distance) in rows.features.iter().zip(&all) {
            let cosine = |centroid: &[f32]| {
                let dot: f64 = row.iter().zip(centroid).map(|(a, b)| f64::from(a * b)).sum();
                dot / row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
            };
            let nearest = centroids.0.values().chunks_exact(COLUMNS).map(cosine).fold(-1.0, f64::max);
            assert!((f64::from(distance) - (1.0 - nearest)).abs() < 1e-5);
            assert_eq!(centroids.distances(&[row]), [distance]);
        }
        assert_eq!(centroids.distances_of(&rows), all);

        let opposite: Vec<f32> = centroids.0.values()[..COLUMNS].iter().map(|value| -3.0 * value).collect();
        let [zero, opposite] = centroids.distances(&[&[0.0; COLUMNS], &opposite])[..] else { panic!("two rows") };
        assert_eq!(zero, 1.0);
        assert!(opposite > 1.0);
        assert_eq!(centroids.distances(&[]), [0.0; 0]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let (values, labels) = values([1500, 300, 7]);
        let rows = rows(&values, labels);
        let measure = || {
            let centroids = Centroids::of_rows(&rows, 3);
            let distances = centroids.distances_of(&rows);
            (centroids, distances)
        };
        let one = on_threads(1, measure);
        assert_eq!(on_threads(2, measure), one);
        assert_eq!(on_threads(5, measure), one);
    }

    #[test]
    fn rows_of_zeros_have_no_centroid() {
        let rows = Rows::new(vec![&[0.0; 3][..]; 9], vec![0; 9]);
        let centroids = Centroids::of_rows(&rows, 2);
        assert!(centroids.is_empty());
        assert_eq!(centroids.distances(&[&[1.0, 0.0, 0.0]]), [1.0]);
        assert_eq!(Centroids::from_f16(3, &centroids.to_f16()), Ok(centroids));
    }

    #[test]
    fn float16_keeps_them_and_what_is_no_centroid_is_refused() {
        let (values, labels) = values([40, 40, 40]);
        let centroids = Centroids::of_rows(&rows(&values, labels), 3);
        let halves = centroids.to_f16();
        assert_eq!(Centroids::from_f16(COLUMNS, &halves), Ok(centroids));
        for (place, value) in [(0, f16::NAN), (COLUMNS, f16::INFINITY), (COLUMNS + 1, f16::from_f32(3.0))] {
            let mut wrong = halves.clone();
            wrong[place] = value;
            assert_eq!(
                Centroids::from_f16(COLUMNS, &wrong),
                Err(CentroidsError::NotUnit { centroid: place / COLUMNS })
            );
        }
        let shape = CentroidsError::Shape { columns: COLUMNS, found: COLUMNS + 1 };
        assert_eq!(Centroids::from_f16(COLUMNS, &halves[..COLUMNS + 1]), Err(shape));
    }
}
