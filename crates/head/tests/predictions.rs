//! Predictions of a head that is trained on the clothing data, for photos of clothes and of kitchens. The features were
//! computed by Keras and are in the shared folder; without it these tests print that they are skipped.

#![allow(clippy::print_stderr)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use end_to_end::shared_folder;
use feature_cache::{ClassNames, Split};
use head::calibration::{Calibration, FittedCentroids};
use head::data::{HoldOut, RowOrigin, Rows, TrainValSplit};
use head::fit::{FitData, HeadSpec, fit};
use head::layers::Classifier;
use head::metrics::SplitMetrics;
use head::prediction::{Prediction, Predictor};
use head::sampler::EpochOrder;
use head::settings::{CalibrationConfig, FitConfig, Positive, TemperatureMode};
use head::team;
use ndarray::{Array1, Array2};
use ndarray_npy::ReadNpyExt;

const COLUMNS: usize = 2048;
const CLASSES: usize = 10;

/// Features and labels of a part of the reference photos.
struct Photos {
    features: Array2<f32>,
    labels: Vec<usize>,
}

impl Photos {
    fn read(shared: &Path, split: &str) -> Self {
        let labels = File::open(shared.join(format!("reference/{split}_labels.npy"))).unwrap();
        let labels = Array1::<i64>::read_npy(labels).unwrap();
        let labels = labels.iter().map(|&label| usize::try_from(label).unwrap()).collect();
        Self { features: features(shared, split), labels }
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(matrix_rows(&self.features), self.labels.clone())
    }
}

fn features(shared: &Path, name: &str) -> Array2<f32> {
    Array2::read_npy(File::open(shared.join(format!("reference/{name}_features.npy"))).unwrap()).unwrap()
}

fn matrix_rows(features: &Array2<f32>) -> Vec<&[f32]> {
    features.as_slice().unwrap().chunks_exact(COLUMNS).collect()
}

fn names() -> ClassNames {
    ClassNames::new((0..CLASSES).map(|k| format!("class {k}")).collect()).unwrap()
}

/// A linear head as `head train` trains it.
fn trained(data: &TrainValSplit<'_>, learning_rate: f64) -> Classifier {
    let config = FitConfig::new(Positive::new("learning rate", learning_rate).unwrap(), NonZeroUsize::new(10).unwrap());
    let classifier = Classifier::new(COLUMNS, &[], CLASSES, 42);
    let fit_data = FitData {
        train: &data.train,
        validation: &data.validation,
        order: EpochOrder::Shuffled { seed: 42 },
        view_sampler: None,
        batch_size: NonZeroUsize::new(32).unwrap(),
    };
    fit(HeadSpec { classifier, config, seed: 42 }, fit_data, |_| {}).unwrap().classifier
}

fn train_val_split<'a>(train: Rows<'a>, validation: Rows<'a>) -> TrainValSplit<'a> {
    let validation_origin = RowOrigin { split: Split::Validation, row_numbers: (0..validation.len()).collect() };
    TrainValSplit { train, validation, validation_origin, held_out: None, classes: CLASSES }
}

/// The area under the ROC curve: how often a score of `unknown` is higher than one of `known`.
fn area_under_curve(known: &[f32], unknown: &[f32]) -> f64 {
    let mut wins = 0.0;
    for unknown in unknown {
        for known in known {
            wins += match unknown.partial_cmp(known).unwrap() {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / (known.len() * unknown.len()) as f64
}

fn unfamiliar(predictions: &[Prediction]) -> usize {
    predictions.iter().filter(|prediction| prediction.unfamiliar == Some(true)).count()
}

fn scores(predictions: &[Prediction]) -> Vec<f32> {
    predictions.iter().map(|prediction| prediction.unfamiliarity.unwrap()).collect()
}

/// The clothes are held out: the head was neither trained nor calibrated on them.
#[test]
fn kitchen_photos_are_unfamiliar_and_clothes_are_not() {
    let Some(shared) = shared_folder() else { return };
    let (train, validation) = (Photos::read(&shared, "train"), Photos::read(&shared, "validation"));
    let kitchen = features(&shared, "kitchenware");
    let all = train.rows();
    let HoldOut { rest, held_out } = all.hold_out(CLASSES, 0.1, 42);
    let held_out = all.select(&held_out);
    let data = train_val_split(all.select(&rest), validation.rows());
    let fitted = FittedCentroids::fit(&data);
    assert_eq!(fitted.centroids.len(), 200);
    for learning_rate in [0.001, 0.01] {
        let classifier = trained(&data, learning_rate);
        let calibration = Calibration::fit(&classifier, &data.validation, &fitted, &CalibrationConfig::default());
        let temperature = calibration.constants.temperature;
        let predictor = Predictor::from_parts(names(), classifier, Some(calibration));
        let kitchen_predictions = predictor.predict(&matrix_rows(&kitchen));
        let clothes_predictions = predictor.predict(&held_out.features);
        let area = area_under_curve(&scores(&clothes_predictions), &scores(&kitchen_predictions));
        let kitchens = unfamiliar(&kitchen_predictions);
        let clothes = unfamiliar(&clothes_predictions) as f64 / clothes_predictions.len() as f64;
        let metrics = SplitMetrics::measure(predictor.classifier(), &data.validation, &names(), Some(temperature));
        let (before, after) = (metrics.calibration_error, metrics.calibration_error_with_temperature.unwrap());
        eprintln!(
            "learning rate {learning_rate}: AUROC {area:.4}, {kitchens} of {} kitchen photos and {:.2} % of {} clothes \
             unfamiliar; temperature {temperature:.3}, calibration error {before:.4}, then {after:.4}",
            kitchen_predictions.len(),
            100.0 * clothes,
            clothes_predictions.len()
        );
        assert!(area >= 0.99, "{area}");
        assert!(kitchens >= 14, "{kitchens}");
        assert!(clothes <= 0.02, "{clothes}");
        // At the lower rate the temperature is close to 1, and on 341 photos the difference is noise.
        assert!(after < before || learning_rate < 0.01, "{before} {after}");
        assert_eq!(predictor.unfamiliar_fraction(&held_out), Some(clothes));
    }
}

/// Predictions are bit-identical one by one, all at once, in any order and on any number of threads, and match a
/// softmax that is computed in float64.
#[test]
fn a_prediction_depends_only_on_the_row() {
    let Some(shared) = shared_folder() else { return };
    let (train, validation) = (Photos::read(&shared, "train"), Photos::read(&shared, "validation"));
    let data = train_val_split(train.rows(), validation.rows());
    let classifier = trained(&data, 0.01);
    let predictor = |threads: usize| {
        team::with_threads(threads, || {
            let fitted = FittedCentroids::fit(&data);
            let calibration = Calibration::fit(&classifier, &data.validation, &fitted, &CalibrationConfig::default());
            Predictor::from_parts(names(), classifier.clone(), Some(calibration))
        })
    };
    let (one, two) = (predictor(1), predictor(2));
    assert_eq!(one.calibration(), two.calibration());

    let rows = &data.validation.features;
    let all = one.predict(rows);
    let backwards: Vec<&[f32]> = rows.iter().rev().copied().collect();
    assert_eq!(two.predict(&backwards).into_iter().rev().collect::<Vec<_>>(), all);
    for (row, prediction) in rows.iter().zip(&all) {
        assert_eq!(one.predict(&[row]), std::slice::from_ref(prediction));
    }
    assert_eq!(two.unfamiliarity(&data.validation), Some(scores(&all)));

    let layer = &classifier.layers()[0];
    let (kernel, bias) = (layer.kernel(), layer.bias());
    let temperature = f64::from(one.temperature());
    for (row, prediction) in rows.iter().zip(&all) {
        let mut logits = bias.iter().map(|&bias| f64::from(bias)).collect::<Vec<f64>>();
        for (feature, weights) in row.iter().zip(kernel.chunks_exact(CLASSES)) {
            for (logit, weight) in logits.iter_mut().zip(weights) {
                *logit += f64::from(*feature) * f64::from(*weight);
            }
        }
        let softmax = |logits: &[f64]| -> Vec<f64> {
            let powers: Vec<f64> = logits.iter().map(|logit| (logit / temperature).exp()).collect();
            powers.iter().map(|power| power / powers.iter().sum::<f64>()).collect()
        };
        let from_logits = softmax(&prediction.logits.iter().copied().map(f64::from).collect::<Vec<f64>>());
        let from_features = softmax(&logits);
        for (k, &probability) in prediction.probabilities.iter().enumerate() {
            let probability = f64::from(probability);
            assert!((probability - from_logits[k]).abs() < 1e-6, "{probability} and {}", from_logits[k]);
            assert!((probability - from_features[k]).abs() < 1e-5, "{probability} and {}", from_features[k]);
        }
        assert_eq!(prediction.top(1)[0].class, prediction.class);
        assert!(prediction.probabilities.iter().all(|&other| other <= prediction.probabilities[prediction.class]));
    }

    // Without a temperature the same classes and scores, with other probabilities.
    let off = CalibrationConfig { temperature: TemperatureMode::Off, ..CalibrationConfig::default() };
    let off = Calibration::fit(&classifier, &data.validation, &FittedCentroids::fit(&data), &off);
    let plain = Predictor::from_parts(names(), classifier, Some(off)).predict(rows);
    for (plain, calibrated) in plain.iter().zip(&all) {
        assert_eq!((&plain.logits, plain.unfamiliarity), (&calibrated.logits, calibrated.unfamiliarity));
        assert_ne!(plain.probabilities, calibrated.probabilities);
    }
}
