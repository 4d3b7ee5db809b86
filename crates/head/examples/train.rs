//! Trains a linear head on a cache and saves it as a run:
//! `cargo run --release --package head --example train -- CACHE RUN`.
//!
//! With the same cache, `head train CACHE --learning-rate 0.001 --views 0 --out RUN` writes the same files.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use feature_cache::{FeatureCache, Split};
use head::calibration::FittedCentroids;
use head::data::{Rows, TrainValSplit};
use head::fit::{FitData, HeadSpec, fit};
use head::layers::Classifier;
use head::metrics::SplitMetrics;
use head::prediction::Predictor;
use head::run::{Run, RunInputs};
use head::sampler::EpochOrder;
use head::settings::{CalibrationConfig, FitConfig, HeadConfig, Positive};

/// The seed of everything random: the initial weights, the order of the rows, a held-out part.
const SEED: u64 = 42;
/// The fraction of each class that is held out for validation if the cache has no validation split.
const HELD_OUT: f64 = 0.2;
const EPOCHS: NonZeroUsize = NonZeroUsize::new(10).unwrap();
const BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(32).unwrap();

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(cache), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: train CACHE RUN".into());
    };
    let (cache, out) = (PathBuf::from(cache), PathBuf::from(out));

    // The rows are mapped from the cache's files and checked to be finite.
    let cache = FeatureCache::open(&cache)?;
    let data = TrainValSplit::from_cache(&cache, HELD_OUT, SEED)?;
    let (train, validation) = (data.train.len(), data.validation.len());
    println!("{train} training rows, {validation} validation rows, {} features each", cache.columns());

    // No hidden layers, and Keras's defaults for everything else.
    let fit_config = FitConfig::new(Positive::new("learning rate", 0.001)?, EPOCHS);
    let config = HeadConfig { hidden: Vec::new(), batch_size: BATCH_SIZE, view_count: 0, fit: fit_config };

    // A layer from the features to the logits, with Keras's default initializer (GlorotUniform).
    let classifier = Classifier::new(cache.columns(), &config.hidden, data.classes, SEED);
    let head = HeadSpec { classifier, config: config.fit, seed: SEED };
    let fit_data = FitData {
        train: &data.train,
        validation: &data.validation,
        order: EpochOrder::Shuffled { seed: SEED },
        view_sampler: None,
        batch_size: config.batch_size,
    };
    let trained = fit(head, fit_data, |epoch| {
        println!("loss {:.4}, validation accuracy {:.4}", epoch.loss, epoch.val_accuracy);
    })?;

    // Loss, accuracy and its interval, the confusion matrix, precision and recall of each class, calibration.
    let metrics = SplitMetrics::measure(&trained.classifier, &data.validation, cache.classes(), None);
    let interval = metrics.accuracy_interval;
    println!("accuracy {:.4}, on other photos {:.3} to {:.3}", metrics.accuracy, interval.low, interval.high);
    for class in metrics.weakest_classes().into_iter().take(3) {
        println!("  {}: precision {:.3}, recall {:.3}", class.name, class.precision, class.recall);
    }

    // The test split is only used here, at the end.
    let test = Rows::from_split(&cache, Split::Test)?;
    // Calibration on the validation rows: the temperature of the probabilities, and the score of photos unlike the
    // training photos.
    let inputs = RunInputs {
        cache: &cache,
        data: &data,
        test: test.as_ref(),
        config: &config,
        seed: SEED,
        centroids: &FittedCentroids::fit(&data),
        calibration: CalibrationConfig::default(),
    };
    Run::new(&inputs, trained).save(&out)?;

    // The run is all that a prediction needs; here for the first validation row.
    let predictor = Predictor::new(&Run::load(&out)?);
    for prediction in predictor.predict(&data.validation.features[..1]) {
        let class = predictor.classes().name(prediction.class).unwrap_or_default();
        let probability = prediction.probabilities[prediction.class];
        println!("saved to {}; the first validation row: {class} with probability {probability:.3}", out.display());
        println!("unlike the training rows: {:?}", prediction.unfamiliar);
    }
    Ok(())
}
