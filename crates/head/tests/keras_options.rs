//! Each option of training compared with Keras, on a few generated rows (fixtures/make_keras_options.py).

use std::num::NonZeroUsize;

use head::data::Rows;
use head::fit::{FitData, HeadSpec, fit};
use head::history::History;
use head::layers::{Classifier, Dense};
use head::sampler::EpochOrder;
use head::settings::FitConfig;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Fixture {
    learning_rate: f64,
    epochs: usize,
    batch_size: NonZeroUsize,
    kernel: Vec<Vec<f32>>,
    rows: Vec<Vec<f32>>,
    labels: Vec<usize>,
    validation_rows: Vec<Vec<f32>>,
    validation_labels: Vec<usize>,
    runs: Vec<KerasRun>,
}

#[derive(Deserialize)]
struct KerasRun {
    options: serde_json::Map<String, Value>,
    history: History,
    kernel: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

fn rows<'a>(features: &'a [Vec<f32>], labels: &[usize]) -> Rows<'a> {
    Rows::new(features.iter().map(Vec::as_slice).collect(), labels.to_vec())
}

fn assert_close(ours: impl IntoIterator<Item = f64>, theirs: impl IntoIterator<Item = f64>, what: &str) {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = (ours.into_iter().collect(), theirs.into_iter().collect());
    assert!(!ours.is_empty() && ours.len() == theirs.len(), "{what}: {} values, Keras {}", ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs().max(0.1), "{what}: {ours}, Keras {theirs}");
    }
}

#[test]
fn every_option_does_what_it_does_in_keras() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/keras_options.json")).unwrap();
    let (train, validation) =
        (rows(&fixture.rows, &fixture.labels), rows(&fixture.validation_rows, &fixture.validation_labels));
    assert_eq!(fixture.runs.len(), 8);
    for keras in &fixture.runs {
        let mut config = json!({"learning_rate": fixture.learning_rate, "epochs": fixture.epochs});
        config.as_object_mut().unwrap().extend(keras.options.clone());
        let config: FitConfig = serde_json::from_value(config).unwrap();
        let (inputs, classes) = (fixture.kernel.len(), keras.bias.len());
        let start = Dense::from_keras(inputs, &fixture.kernel.concat(), &vec![0.0; classes]).unwrap();
        let classifier = Classifier::from_layers(vec![start]).unwrap();
        let order = EpochOrder::Fixed((0..train.len()).collect());
        let data = FitData {
            train: &train,
            validation: &validation,
            order,
            view_sampler: None,
            batch_size: fixture.batch_size,
        };
        let trained = fit(HeadSpec { classifier, config, seed: 0 }, data, |_| {}).unwrap();

        let what = serde_json::to_string(&keras.options).unwrap();
        let (ours, theirs) = (&trained.history, &keras.history);
        assert_close(ours.loss.clone(), theirs.loss.clone(), &what);
        assert_close(ours.val_loss.clone(), theirs.val_loss.clone(), &what);
        assert_close(ours.accuracy.clone(), theirs.accuracy.clone(), &what);
        assert_close(ours.val_accuracy.clone(), theirs.val_accuracy.clone(), &what);
        let layer = &trained.classifier.layers()[0];
        assert_close(
            layer.kernel().into_iter().map(f64::from),
            keras.kernel.concat().into_iter().map(f64::from),
            &what,
        );
        assert_close(layer.bias().iter().copied().map(f64::from), keras.bias.iter().copied().map(f64::from), &what);
    }
}
