//! Trains a linear head on a cache and saves it as a run:
//! `cargo run --release --package head --example train -- CACHE RUN`.
//!
//! With the same cache, `head train CACHE --learning-rate 0.001 --out RUN` writes the same files.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use feature_cache::{FeatureCache, Split};
use head::calibration::Familiar;
use head::data::{Rows, TrainingData};
use head::fit::{HeadSpec, TrainData, fit};
use head::layers::Classifier;
use head::metrics::SplitMetrics;
use head::prediction::Predictor;
use head::run::{Run, Training};
use head::sampler::EpochOrder;
use head::settings::{CalibrationConfig, FitConfig, Positive, Setting};

/// Everything random is drawn from it: the initial weights, the order of the rows, a held-out part.
const SEED: u64 = 42;
/// The part of each class that is held out for validation where the cache has no validation split.
const HELD_OUT: f64 = 0.2;
const EPOCHS: NonZeroUsize = NonZeroUsize::new(10).unwrap();
const BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(32).unwrap();

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(cache), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("expected a cache and a place for the run".into());
    };
    let (cache, out) = (PathBuf::from(cache), PathBuf::from(out));

    // The rows are mapped from the cache's files and checked to be finite.
    let cache = FeatureCache::open(&cache)?;
    let data = TrainingData::from_cache(&cache, HELD_OUT, SEED)?;
    let (train, validation) = (data.train.len(), data.validation.len());
    println!("{train} training rows, {validation} validation rows, {} features each", cache.columns());

    // No hidden layers, and Keras's defaults in all that is not said.
    let fit_config = FitConfig::new(Positive::new("learning rate", 0.001)?, EPOCHS);
    let setting = Setting { hidden: Vec::new(), batch_size: BATCH_SIZE, views: 0, fit: fit_config };

    // Initial weights, uniform as Keras draws them, of a network from the features to the logits of the classes.
    let classifier = Classifier::new(cache.columns(), &setting.hidden, data.classes, SEED);
    let head = HeadSpec { classifier, config: setting.fit, seed: SEED };
    let train_data = TrainData {
        train: &data.train,
        validation: &data.validation,
        order: EpochOrder::Shuffled { seed: SEED },
        views: None,
        batch_size: setting.batch_size,
    };
    let trained = fit(head, train_data, |epoch| {
        println!("loss {:.4}, validation accuracy {:.4}", epoch.loss, epoch.val_accuracy);
    })?;

    // Loss, accuracy and its interval, the confusion matrix, precision and recall of each class, calibration.
    let metrics = SplitMetrics::measure(&trained.classifier, &data.validation, cache.classes(), None);
    let interval = metrics.accuracy_interval;
    println!("accuracy {:.4}, on other photos {:.3} to {:.3}", metrics.accuracy, interval.low, interval.high);
    for class in metrics.weakest_classes().into_iter().take(3) {
        println!("  {}: precision {:.3}, recall {:.3}", class.class, class.precision, class.recall);
    }

    // The test split is only looked at here, at the end.
    let test = Rows::of_split(&cache, Split::Test)?;
    // What makes predictions honest: probabilities that are as confident as the head is right, and a score for photos unlike
    // the training photos. Both are measured on the validation rows.
    let training = Training {
        cache: &cache,
        data: &data,
        test: test.as_ref(),
        setting: &setting,
        seed: SEED,
        familiar: &Familiar::measure(&data),
        calibration: CalibrationConfig::default(),
    };
    Run::new(&training, trained).save(&out)?;

    // A run is enough to use its head: the prediction for a row, here for the first one.
    let predictor = Predictor::new(&Run::load(&out)?);
    for prediction in predictor.predict(&data.validation.features[..1]) {
        let class = predictor.classes().name(prediction.class).unwrap_or_default();
        let probability = prediction.probabilities[prediction.class];
        println!("run in {}; the first validation row: {class} with probability {probability:.3}", out.display());
        println!("unlike the training rows: {:?}", prediction.unfamiliar);
    }
    Ok(())
}
