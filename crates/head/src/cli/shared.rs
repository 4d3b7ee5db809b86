//! Options that `train` and `sweep` share, and checks of arguments.

use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use feature_cache::FeatureCache;
use head::calibration::MIN_ROWS;
use head::data::{DataError, TrainValSplit, check_view_count};
use head::names::UnknownName;
use head::schedule::Schedule;
use head::settings::{
    CalibrationConfig, ClassWeights, KeepWeights, Monitor, OutOfRange, Percentile, Positive, SharedFitConfig,
    TemperatureMode,
};
use stdio::note;

/// Options that `train` and `sweep` share.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("keep_best").multiple(true))]
pub struct SharedArgs {
    /// Number of passes over the training rows
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// How the learning rate changes: constant, cosine (down to 0 at the end), or step:EPOCHS[:FACTOR] (times FACTOR,
    /// 0.1 if not given, after every EPOCHS epochs)
    #[arg(long, default_value_t)]
    schedule: Schedule,
    /// Weight of each class in the loss: none (all equal) or balanced (as in scikit-learn)
    #[arg(long, default_value_t, value_parser = one_of::<ClassWeights>(ClassWeights::NAMES))]
    class_weights: ClassWeights,
    /// Largest norm of all gradients together (Keras's global_clipnorm) [default: no limit]
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Stop after N epochs without a better one, and keep the best weights [default: train all epochs]
    #[arg(long, value_name = "N", group = "keep_best")]
    early_stopping: Option<NonZeroUsize>,
    /// Keep the weights of the best epoch instead of the last
    #[arg(long, group = "keep_best")]
    save_best: bool,
    /// What the best epoch is chosen by: the lowest val_loss or the highest val_accuracy; with --early-stopping or
    /// --save-best
    #[arg(long, default_value_t, requires = "keep_best", value_parser = one_of::<Monitor>(Monitor::NAMES))]
    monitor: Monitor,
    /// Fraction of each class to hold out for validation, if the cache has no validation split
    #[arg(long, value_name = "FRACTION", default_value_t = 0.2, allow_negative_numbers = true)]
    pub validation_split: f64,
    /// Temperature of the probabilities: auto (from 0.25 to 4, fitted to the validation rows; 1 if there are fewer than
    /// 100) or off (1)
    #[arg(long, default_value_t, value_parser = one_of::<TemperatureMode>(TemperatureMode::NAMES))]
    temperature: TemperatureMode,
    /// A photo is unfamiliar if its score is above this percentile of the validation photos' scores (with fewer than
    /// 100 validation photos: above all of them)
    #[arg(long, value_name = "PERCENTILE", default_value_t = 99.0, allow_negative_numbers = true)]
    unfamiliar_above: f64,
}

impl SharedArgs {
    /// The settings of training that all heads have.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn fit_config(&self) -> anyhow::Result<SharedFitConfig> {
        let keep = match (self.early_stopping, self.save_best) {
            (None, false) => KeepWeights::Last,
            (patience, _) => KeepWeights::Best { monitor: self.monitor, patience },
        };
        Ok(SharedFitConfig {
            schedule: self.schedule,
            epochs: check_count("--epochs", self.epochs)?,
            class_weights: self.class_weights,
            clip_norm: self.clip_norm.map(|norm| Positive::new("--clip-norm", norm)).transpose()?,
            keep,
        })
    }

    /// How the heads are calibrated.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn calibration(&self) -> Result<CalibrationConfig, OutOfRange> {
        let unfamiliar_above = Percentile::new("--unfamiliar-above", self.unfamiliar_above)?;
        Ok(CalibrationConfig { temperature: self.temperature, unfamiliar_above })
    }
}

/// A parser of names. --help and the error for any other name list them.
fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownName> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// Widths of hidden layers, as in `256x64`; 0 for none.
#[derive(Debug, Clone)]
pub struct Widths(pub Vec<usize>);

impl FromStr for Widths {
    type Err = &'static str;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let widths: Result<Vec<usize>, _> = given.split('x').map(str::parse).collect();
        widths.map(Self).map_err(|_| "expected widths, as in 100 or 256x64")
    }
}

/// Checks a learning rate.
pub fn check_learning_rate(value: f64) -> Result<Positive, OutOfRange> {
    Positive::new("learning rate", value)
}

/// Checks a weight decay; 0 means none.
pub fn check_weight_decay(value: f64) -> Result<Option<Positive>, OutOfRange> {
    if value == 0.0 { Ok(None) } else { Positive::new("--weight-decay", value).map(Some) }
}

/// Checks a number of epochs, rows or seeds; `name` is its option.
pub fn check_count(name: &str, given: usize) -> anyhow::Result<NonZeroUsize> {
    NonZeroUsize::new(given).with_context(|| format!("{name} 0: must be 1 or more"))
}

/// Opens the cache to train on. A run's config.json names it, so its path must be UTF-8.
pub fn open_to_train(path: &Path) -> anyhow::Result<FeatureCache> {
    let cache = FeatureCache::open(path)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    ensure!(absolute.to_str().is_some(), "{}: its path is not UTF-8, which config.json needs", path.display());
    Ok(cache)
}

/// The number of views of each photo to train on, checked; by default all that the cache has.
pub fn view_count(cache: &FeatureCache, given: Option<usize>) -> Result<usize, DataError> {
    let view_count = given.unwrap_or_else(|| cache.views().map_or(0, |views| views.count.get()));
    check_view_count(cache, view_count)?;
    Ok(view_count)
}

/// Prints a note if heads train on views and not on the photos themselves.
pub fn note_views(view_count: usize) {
    if view_count > 0 {
        note!(
            "training on {view_count} augmented views of each photo, one drawn each epoch (--views 0: on the photos)"
        );
    }
}

/// Prints a note if there are too few validation rows to calibrate on.
pub fn note_few_rows(data: &TrainValSplit<'_>) {
    let rows = data.validation.len();
    if rows < MIN_ROWS {
        note!(
            "note: {rows} validation photos are too few to calibrate on (fewer than {MIN_ROWS}): the temperature is \
             1, and a photo is unfamiliar if its score is above all of theirs"
        );
    }
}

/// Checks the widths of hidden layers; a single 0 means none.
pub fn check_hidden(widths: Vec<usize>) -> anyhow::Result<Vec<usize>> {
    const MAX_WIDTH: usize = 1 << 16;
    if widths == [0] {
        return Ok(Vec::new());
    }
    for width in &widths {
        ensure!((1..=MAX_WIDTH).contains(width), "--hidden {width}: a layer has 1 to {MAX_WIDTH} units");
    }
    Ok(widths)
}
