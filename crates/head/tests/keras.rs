//! Training compared with Keras: the same initial weights and order of rows give the same history, and other seeds the
//! same accuracy on average. The reference runs and the scripts that made them are in the shared folder; without it
//! these tests print that they are skipped.

#![allow(clippy::print_stderr)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use end_to_end::{relative_l2, shared_folder};
use head::data::Rows;
use head::fit::{FitData, HeadSpec, fit};
use head::history::History;
use head::layers::{Classifier, Dense};
use head::sampler::EpochOrder;
use head::settings::{FitConfig, Positive};
use ndarray::{Array1, Array2};
use ndarray_npy::{NpzReader, ReadNpyExt};
use serde_json::Value;

/// The folder of the reference runs.
fn reference() -> Option<PathBuf> {
    shared_folder().map(|shared| shared.join("reference"))
}

/// A split of the clothing data as Keras computed it.
struct Clothing {
    features: Array2<f32>,
    labels: Vec<usize>,
}

impl Clothing {
    fn read(reference: &Path, split: &str) -> Self {
        let open = |what: &str| File::open(reference.join(format!("{split}_{what}.npy"))).unwrap();
        let labels = Array1::<i64>::read_npy(open("labels")).unwrap();
        let labels = labels.iter().map(|&label| usize::try_from(label).unwrap()).collect();
        Self { features: Array2::read_npy(open("features")).unwrap(), labels }
    }

    fn rows(&self) -> Rows<'_> {
        let features = self.features.as_slice().unwrap().chunks_exact(2048).collect();
        Rows::new(features, self.labels.clone())
    }
}

fn config(learning_rate: f64, epochs: usize) -> FitConfig {
    let learning_rate = Positive::new("learning rate", learning_rate).unwrap();
    FitConfig::new(learning_rate, NonZeroUsize::new(epochs).unwrap())
}

/// A training by Keras: its initial and final weights, the order of the rows, the settings and the history.
struct Trajectory {
    start: Classifier,
    end: Classifier,
    order: Vec<usize>,
    config: FitConfig,
    batch_size: NonZeroUsize,
    history: History,
}

impl Trajectory {
    fn read(reference: &Path, name: &str) -> Self {
        let json: Value =
            serde_json::from_reader(File::open(reference.join(format!("trajectory_{name}.json"))).unwrap()).unwrap();
        let mut arrays = NpzReader::new(File::open(reference.join(format!("trajectory_{name}.npz"))).unwrap()).unwrap();
        let names: &[&str] = if json["hidden"] == 0 { &["dense"] } else { &["hidden", "dense"] };
        let mut classifier = |when: &str| {
            let layers = names.iter().map(|layer| {
                let kernel: Array2<f32> = arrays.by_name(&format!("{when}.{layer}.kernel")).unwrap();
                let bias: Array1<f32> = arrays.by_name(&format!("{when}.{layer}.bias")).unwrap();
                Dense::from_keras(kernel.nrows(), kernel.as_slice().unwrap(), bias.as_slice().unwrap()).unwrap()
            });
            Classifier::from_layers(layers.collect()).unwrap()
        };
        let (start, end) = (classifier("init"), classifier("final"));
        let order: Array1<i64> = arrays.by_name("order").unwrap();
        let number = |field: &str| usize::try_from(json[field].as_u64().unwrap()).unwrap();
        Self {
            start,
            end,
            order: order.iter().map(|&row| usize::try_from(row).unwrap()).collect(),
            config: config(json["learning_rate"].as_f64().unwrap(), number("epochs")),
            batch_size: NonZeroUsize::new(number("batch_size")).unwrap(),
            history: serde_json::from_value(json["history"].clone()).unwrap(),
        }
    }
}

/// The largest relative difference.
fn worst_relative(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f64::max)
}

/// Trains from Keras's initial weights on its order of rows, and compares losses, accuracies and final weights.
/// Accuracies that are not exact may differ by one row.
fn follow(name: &str, accuracies_exact: bool) {
    let Some(reference) = reference() else { return };
    let (train, validation) = (Clothing::read(&reference, "train"), Clothing::read(&reference, "validation"));
    let keras = Trajectory::read(&reference, name);
    let (train, validation) = (train.rows(), validation.rows());
    let order = EpochOrder::Fixed(keras.order.clone());
    let data =
        FitData { train: &train, validation: &validation, order, view_sampler: None, batch_size: keras.batch_size };
    let head = HeadSpec { classifier: keras.start.clone(), config: keras.config, seed: 0 };
    let trained = fit(head, data, |_| {}).unwrap();
    let history = trained.history;

    let loss = worst_relative(&history.loss, &keras.history.loss);
    let val_loss = worst_relative(&history.val_loss, &keras.history.val_loss);
    eprintln!("{name}: losses within {loss:.1e}, validation losses within {val_loss:.1e}");
    assert!(loss < 1e-4 && val_loss < 1e-4);
    // One row of the 341 is 0.0029.
    let tolerance = if accuracies_exact { 1e-6 } else { 0.003 };
    for (ours, theirs) in history.val_accuracy.iter().zip(&keras.history.val_accuracy) {
        assert!((ours - theirs).abs() < tolerance, "{ours} and {theirs}");
    }
    for (ours, theirs) in trained.classifier.layers().iter().zip(keras.end.layers()) {
        assert!(relative_l2(&ours.kernel(), &theirs.kernel()) < 1e-3, "the weights end elsewhere");
    }
}

#[test]
fn a_linear_head_follows_keras() {
    follow("linear_lr0.001", true);
    follow("linear_lr0.01", true);
}

#[test]
fn a_head_with_a_hidden_layer_follows_keras() {
    follow("hidden48_lr0.003_b100", false);
}

#[test]
fn shuffled_runs_reach_the_accuracy_of_keras() {
    let Some(reference) = reference() else { return };
    let (train, validation) = (Clothing::read(&reference, "train"), Clothing::read(&reference, "validation"));
    let runs: Vec<Value> = serde_json::from_reader(File::open(reference.join("shuffled_runs.json")).unwrap()).unwrap();
    for learning_rate in [0.0001, 0.001, 0.01, 0.1] {
        let mut keras: Vec<f64> = Vec::new();
        for run in runs.iter().filter(|run| run["learning_rate"] == learning_rate) {
            let history: History = serde_json::from_value(run["history"].clone()).unwrap();
            keras.push(*history.val_accuracy.last().unwrap());
        }
        let mut ours: Vec<f64> = Vec::new();
        for seed in 0..3 {
            let (train, validation) = (train.rows(), validation.rows());
            let (order, batch_size) = (EpochOrder::Shuffled { seed }, NonZeroUsize::new(32).unwrap());
            let data = FitData { train: &train, validation: &validation, order, view_sampler: None, batch_size };
            let classifier = Classifier::new(2048, &[], 10, seed);
            let head = HeadSpec { classifier, config: config(learning_rate, 10), seed };
            ours.push(*fit(head, data, |_| {}).unwrap().history.val_accuracy.last().unwrap());
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (ours, keras) = (mean(&ours), mean(&keras));
        let standard_error = (keras * (1.0 - keras) / validation.labels.len() as f64).sqrt();
        eprintln!("learning rate {learning_rate}: {ours:.4}, Keras {keras:.4}, standard error {standard_error:.4}");
        assert!((ours - keras).abs() < 2.0 * standard_error);
    }
}
