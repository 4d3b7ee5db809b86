//! Calibration of a trained head on the validation rows: the temperature of its probabilities, and a score of how
//! unlike the training rows a row is.
//!
//! The score is the sum of the energy of the row's logits ([`energy`]) and its cosine distance to the nearest centroid
//! of the training rows ([`Centroids`]), each as a z-score with the mean and standard deviation of the validation rows.
//! The energy is high for a row that fits no class, the distance for a row that is unlike all training rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::centroids::Centroids;
use crate::data::{Rows, TrainValSplit};
use crate::fit::for_each_batch;
use crate::layers::Classifier;
use crate::probability::energy;
use crate::settings::{CalibrationConfig, Percentile, TemperatureMode};
use crate::temperature;

/// With fewer validation rows than this the temperature is 1, and the threshold is the largest score of a validation
/// row.
pub const MIN_ROWS: usize = 100;
/// The most logits that the temperature is fitted to; with more, evenly spaced rows are used.
const MAX_LOGITS: usize = 1 << 22;
/// Rows that a thread takes at a time.
const ROWS_PER_TASK: usize = 32;

/// The centroids of the training rows, and the distances of the validation rows to them. They do not depend on the
/// head, so all heads with the same training and validation rows share them.
#[derive(Debug, Clone)]
pub struct FittedCentroids {
    /// Centroids of the training rows.
    pub centroids: Arc<Centroids>,
    /// (validation rows,): cosine distance of each row to its nearest centroid.
    pub validation_distances: Vec<f32>,
}

/// The calibration of a head.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Temperature, threshold and the constants of the score.
    pub constants: Constants,
    /// Centroids of the training rows.
    pub centroids: Arc<Centroids>,
}

/// calibration.json. The numbers are float32, so they survive a round trip through JSON; serde_json may read a float64
/// one bit off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Constants {
    /// The logits are divided by it before the softmax: from 0.25 to 4, more than 1 for an overconfident head.
    pub temperature: f32,
    /// A row with a higher score is unfamiliar.
    pub threshold: f32,
    /// The energies of the validation rows' logits.
    pub energy: Spread,
    /// The validation rows' cosine distances to the nearest centroid.
    pub distance: Spread,
}

/// Mean and standard deviation of a list of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f32,
    /// The standard deviation, above 0; 1 if all numbers are equal.
    pub deviation: f32,
}

impl FittedCentroids {
    /// Computes the centroids of the training rows and the distances of the validation rows to them.
    pub fn fit(data: &TrainValSplit<'_>) -> Self {
        let centroids = Centroids::fit(&data.train, data.classes);
        let validation_distances = centroids.par_distances(&data.validation);
        Self { centroids: Arc::new(centroids), validation_distances }
    }
}

impl Calibration {
    /// Calibrates a head on the validation rows. `fitted` must come from the same training and validation rows.
    pub fn fit(
        classifier: &Classifier,
        validation: &Rows<'_>,
        fitted: &FittedCentroids,
        config: &CalibrationConfig,
    ) -> Self {
        // The energy of every row, and the logits of evenly spaced rows.
        let classes = classifier.classes();
        let step = (validation.len() * classes).div_ceil(MAX_LOGITS).max(1);
        let mut energies = Vec::with_capacity(validation.len());
        let (mut sampled_logits, mut sampled_labels) = (Vec::new(), Vec::new());
        for_each_batch(classifier, validation, |logits, labels| {
            for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
                if energies.len().is_multiple_of(step) {
                    sampled_logits.extend_from_slice(logits);
                    sampled_labels.push(label);
                }
                energies.push(energy(logits));
            }
        });

        let too_few = validation.len() < MIN_ROWS;
        let temperature = match config.temperature {
            TemperatureMode::Auto if !too_few => temperature::fit(&sampled_logits, &sampled_labels),
            TemperatureMode::Auto | TemperatureMode::Off => 1.0,
        };
        let distances = &fitted.validation_distances;
        let mut constants = Constants {
            temperature,
            threshold: 0.0,
            energy: Spread::new(&energies),
            distance: Spread::new(&distances.iter().copied().map(f64::from).collect::<Vec<f64>>()),
        };
        // The threshold is a percentile of the scores, computed as in a prediction.
        let mut scores = Vec::with_capacity(energies.len());
        for (&energy, &distance) in energies.iter().zip(distances) {
            scores.push(constants.score(energy, distance));
        }
        let maximum = Percentile::new("percentile", 100.0).expect("at most 100");
        constants.threshold = percentile(&mut scores, if too_few { maximum } else { config.unfamiliar_above });
        Self { constants, centroids: Arc::clone(&fitted.centroids) }
    }

    /// The score of each row, given the rows' logits, (rows, classes) row-major: the higher, the more unlike the
    /// training rows. A row's score does not depend on the other rows.
    pub fn scores(&self, rows: &[&[f32]], logits: &[f32]) -> Vec<f32> {
        let classes = (logits.len() / rows.len().max(1)).max(1);
        let mut scores = self.centroids.distances(rows);
        for (score, logits) in scores.iter_mut().zip(logits.chunks_exact(classes)) {
            *score = self.constants.score(energy(logits), *score);
        }
        scores
    }

    /// [`Calibration::scores`] with the head's logits, on all threads. At most a window of rows is in memory.
    pub fn par_scores(&self, classifier: &Classifier, rows: &Rows<'_>) -> Vec<f32> {
        rows.map_blocks(ROWS_PER_TASK, |rows| self.scores(rows, &classifier.logits(rows)))
    }

    /// Whether a row with this score is unfamiliar.
    pub fn is_unfamiliar(&self, score: f32) -> bool {
        score > self.constants.threshold
    }
}

impl Constants {
    /// What is wrong with constants that were read from a file; `None` if they are valid.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { temperature, threshold, energy, distance } = *self;
        let (lowest, highest) = (temperature::MIN, temperature::MAX);
        if !(lowest..=highest).contains(&temperature) {
            return Some(format!("temperature: expected {lowest} to {highest}, found {temperature}"));
        }
        for (name, value) in [("threshold", threshold), ("energy", energy.mean), ("distance", distance.mean)] {
            if !value.is_finite() {
                return Some(format!("{name}: is not finite"));
            }
        }
        for (name, Spread { deviation, .. }) in [("energy", energy), ("distance", distance)] {
            if !(deviation.is_finite() && deviation > 0.0) {
                return Some(format!("{name}: expected a finite deviation above 0, found {deviation}"));
            }
        }
        None
    }

    /// The sum of the standardised energy and distance.
    fn score(&self, energy: f64, distance: f32) -> f32 {
        (self.energy.standardise(energy) + self.distance.standardise(f64::from(distance))) as f32
    }
}

impl Spread {
    /// Mean and standard deviation of the values, clamped to the range of float32.
    fn new(values: &[f64]) -> Self {
        let to_f32 = |value: f64| value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let (mean, deviation) = (to_f32(mean), to_f32(variance.sqrt()));
        // A deviation as small as the rounding error of the mean counts as 0.
        let values_differ = deviation > f32::EPSILON * mean.abs();
        Self { mean, deviation: if values_differ { deviation } else { 1.0 } }
    }

    /// The z-score of a value: how many standard deviations it is above the mean.
    fn standardise(self, value: f64) -> f64 {
        (value - f64::from(self.mean)) / f64::from(self.deviation)
    }
}

/// A percentile of the values, with linear interpolation as numpy's default; 0 if there are no values. Sorts them.
fn percentile(values: &mut [f32], percentile: Percentile) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let position = percentile.get() / 100.0 * last as f64;
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let (low, high) = (f64::from(values[below]), f64::from(values[above]));
    (low + (high - low) * (position - below as f64)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::RowOrigin;

    fn data<'a>(train: &'a [[f32; 3]], validation: &'a [[f32; 3]]) -> TrainValSplit<'a> {
        let rows = |values: &'a [[f32; 3]]| {
            Rows::new(values.iter().map(|row| &row[..]).collect(), (0..values.len()).map(|row| row % 2).collect())
        };
        let validation_origin = RowOrigin { split: feature_cache::Split::Validation, row_numbers: Vec::new() };
        TrainValSplit {
            train: rows(train),
            validation: rows(validation),
            validation_origin,
            held_out: None,
            classes: 2,
        }
    }

    /// Rows of two classes, each near one direction.
    fn values(count: usize, seed: usize) -> Vec<[f32; 3]> {
        // No two rows are the same.
        let noise = |row: usize, column: usize| ((row * 37 + column * 11 + seed) % 409) as f32 / 300.0;
        let value = |row: usize| [noise(row, 0), noise(row, 1), noise(row, 2)];
        (0..count)
            .map(|row| {
                let mut values = value(row);
                values[row % 2] += 2.0;
                values
            })
            .collect()
    }

    fn config(temperature: TemperatureMode, percentile: f64) -> CalibrationConfig {
        CalibrationConfig { temperature, unfamiliar_above: Percentile::new("percentile", percentile).unwrap() }
    }

    #[test]
    fn percentile_matches_numpy() {
        let compute =
            |values: &[f32], p: f64| percentile(&mut values.to_vec(), Percentile::new("percentile", p).unwrap());
        // numpy.percentile([5, 1, 4, 2], [100, 50, 99, 10, 1e-9])
        let values = [5.0, 1.0, 4.0, 2.0];
        assert_eq!(compute(&values, 100.0), 5.0);
        assert_eq!(compute(&values, 50.0), 3.0);
        assert!((compute(&values, 99.0) - 4.97).abs() < 1e-6);
        assert!((compute(&values, 10.0) - 1.3).abs() < 1e-6);
        assert!((compute(&values, 1e-9) - 1.0).abs() < 1e-6);
        assert_eq!(compute(&[7.0], 99.0), 7.0);
        assert_eq!(compute(&[], 99.0), 0.0);
    }

    #[test]
    fn numbers_are_standardised_by_mean_and_deviation() {
        let spread = Spread::new(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(spread, Spread { mean: 5.0, deviation: 2.0 });
        assert_eq!((spread.standardise(9.0), spread.standardise(5.0)), (2.0, 0.0));
        // Numbers that are equal, or equal up to rounding, have a deviation of 1.
        assert_eq!(Spread::new(&[0.1; 3]), Spread { mean: 0.1, deviation: 1.0 });
        assert_eq!(Spread::new(&[1e30, 1e30 * (1.0 + 1e-15)]).deviation, 1.0);
        assert_eq!(Spread::new(&[]), Spread { mean: 0.0, deviation: 1.0 });
        let huge = Spread::new(&[1e300, -1e300]);
        assert!(huge.mean.is_finite() && huge.deviation.is_finite());
    }

    #[test]
    fn one_percent_of_rows_are_unfamiliar_and_none_of_few_rows() {
        let (train, validation) = (values(200, 0), values(400, 5));
        let classifier = Classifier::new(3, &[], 2, 1);
        for (rows, percentile, expected) in [(400, 99.0, 4), (400, 75.0, 100), (400, 100.0, 0), (99, 50.0, 0)] {
            let data = data(&train, &validation[..rows]);
            let config = config(TemperatureMode::Auto, percentile);
            let calibration = Calibration::fit(&classifier, &data.validation, &FittedCentroids::fit(&data), &config);
            let scores = calibration.par_scores(&classifier, &data.validation);
            let unfamiliar = scores.iter().filter(|&&score| calibration.is_unfamiliar(score)).count();
            assert_eq!(unfamiliar, expected, "{rows} {percentile}");
            if rows < MIN_ROWS {
                assert_eq!(calibration.constants.temperature, 1.0);
                assert_eq!(calibration.constants.threshold, scores.iter().copied().fold(f32::MIN, f32::max));
            }
            assert_eq!(calibration.constants.problem(), None);
        }
    }

    #[test]
    fn the_score_is_the_sum_of_standardised_energy_and_distance() {
        let (train, validation) = (values(200, 0), values(150, 5));
        let data = data(&train, &validation);
        let classifier = Classifier::new(3, &[], 2, 1);
        let fitted = FittedCentroids::fit(&data);
        let config = config(TemperatureMode::Auto, 99.0);
        let calibration = Calibration::fit(&classifier, &data.validation, &fitted, &config);
        let logits = classifier.logits(&data.validation.features);
        let energies: Vec<f64> =
            logits.chunks_exact(2).map(|row| -row.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln()).collect();
        let distances: Vec<f64> = fitted.validation_distances.iter().map(|&distance| f64::from(distance)).collect();
        let standardised = |values: &[f64], value: f64| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
            (value - mean) / variance.sqrt()
        };
        let scores = calibration.scores(&data.validation.features, &logits);
        assert_eq!(scores, calibration.par_scores(&classifier, &data.validation));
        for (k, score) in scores.into_iter().enumerate() {
            let expected = standardised(&energies, energies[k]) + standardised(&distances, distances[k]);
            assert!((f64::from(score) - expected).abs() < 1e-4, "{score} {expected}");
        }
        // The score does not depend on the temperature.
        assert_ne!(calibration.constants.temperature, 1.0);
        let off = CalibrationConfig { temperature: TemperatureMode::Off, ..config };
        let off = Calibration::fit(&classifier, &data.validation, &fitted, &off);
        let temperature = calibration.constants.temperature;
        assert_eq!(Constants { temperature, ..off.constants }, calibration.constants);
        assert_eq!(off.constants.temperature, 1.0);
    }

    #[test]
    fn constants_outside_their_range_are_errors() {
        let spread = Spread { mean: 0.0, deviation: 1.0 };
        let good = Constants { temperature: 1.0, threshold: 3.0, energy: spread, distance: spread };
        assert_eq!(good.problem(), None);
        for (wrong, name) in [
            (Constants { temperature: 0.2, ..good }, "temperature"),
            (Constants { temperature: f32::NAN, ..good }, "temperature"),
            (Constants { threshold: f32::INFINITY, ..good }, "threshold"),
            (Constants { energy: Spread { mean: f32::NAN, ..spread }, ..good }, "energy"),
            (Constants { distance: Spread { deviation: 0.0, ..spread }, ..good }, "distance"),
            (Constants { distance: Spread { deviation: f32::INFINITY, ..spread }, ..good }, "distance"),
        ] {
            assert!(wrong.problem().unwrap().starts_with(name), "{wrong:?}");
        }
    }
}
