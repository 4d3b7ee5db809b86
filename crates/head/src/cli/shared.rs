//! Options that `train` and `sweep` share, and checks of typed numbers.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use feature_cache::FeatureCache;
use head::calibration::MIN_ROWS;
use head::data::{DataError, TrainingData, check_views};
use head::names::UnknownName;
use head::schedule::Schedule;
use head::settings::{
    CalibrationConfig, ClassWeights, FitConfig, Keep, Monitor, OutOfRange, Percentile, Positive, TemperatureMode,
};
use stdio::note;

/// Settings that all heads of a command have in common.
#[derive(Debug, Args)]
pub struct TrainingArgs {
    /// Passes over the training rows
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// How the learning rate changes: constant, cosine (down to 0 at the end), step:EPOCHS[:FACTOR]
    #[arg(long, default_value_t)]
    schedule: Schedule,
    /// How much a row counts by its class: none, all the same; balanced, rows / (classes * rows of its class) as in
    /// scikit-learn
    #[arg(long, default_value_t, value_parser = one_of::<ClassWeights>(ClassWeights::NAMES))]
    class_weights: ClassWeights,
    /// Scale gradients down to this norm when theirs is larger [default: no limit]
    #[arg(long, value_name = "NORM", allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// End when no epoch has been better for N epochs, and keep the best one's weights [default: train to the end]
    #[arg(long, value_name = "N")]
    early_stopping: Option<NonZeroUsize>,
    /// Keep the best epoch's weights instead of the last one's
    #[arg(long)]
    save_best: bool,
    /// What best means for --early-stopping and --save-best: the lowest validation loss or the highest accuracy
    #[arg(long, default_value_t, value_parser = one_of::<Monitor>(Monitor::NAMES))]
    monitor: Monitor,
    /// Part of each class to hold out for validation, if the cache has no validation split
    #[arg(long, value_name = "FRACTION", default_value_t = 0.2, allow_negative_numbers = true)]
    pub validation_split: f64,
    /// Calibrate probabilities by a temperature: auto, the one from 0.25 to 4 that fits the validation rows best (1 if they
    /// are fewer than 100); off, plain softmax
    #[arg(long, default_value_t, value_parser = one_of::<TemperatureMode>(TemperatureMode::NAMES))]
    temperature: TemperatureMode,
    /// Call a photo unfamiliar when it is more unlike the training photos than this percentage of the validation photos (if
    /// those are fewer than 100: than all of them)
    #[arg(long, value_name = "PERCENTILE", default_value_t = 99.0, allow_negative_numbers = true)]
    unfamiliar_above: f64,
}

impl TrainingArgs {
    /// The training's configuration at this learning rate.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn fit_config(&self, learning_rate: Positive) -> anyhow::Result<FitConfig> {
        let keep = match (self.early_stopping, self.save_best) {
            (None, false) => Keep::Last,
            (patience, _) => Keep::Best { monitor: self.monitor, patience },
        };
        Ok(FitConfig {
            schedule: self.schedule,
            class_weights: self.class_weights,
            clip_norm: self.clip_norm.map(|norm| Positive::new("--clip-norm", norm)).transpose()?,
            keep,
            ..FitConfig::new(learning_rate, count("--epochs", self.epochs)?)
        })
    }

    /// How the heads are calibrated.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn calibration(&self) -> Result<CalibrationConfig, OutOfRange> {
        let unfamiliar_above = Percentile::new("--unfamiliar-above", self.unfamiliar_above)?;
        Ok(CalibrationConfig { temperature: self.temperature, unfamiliar_above })
    }
}

/// A parser of names, which lists them in --help and when another one is typed.
fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownName> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// Checks a learning rate.
pub fn learning_rate(value: f64) -> Result<Positive, OutOfRange> {
    Positive::new("learning rate", value)
}

/// Checks a weight decay; 0 is none.
pub fn weight_decay(value: f64) -> Result<Option<Positive>, OutOfRange> {
    if value == 0.0 { Ok(None) } else { Positive::new("--weight-decay", value).map(Some) }
}

/// Checks a number of epochs, rows or seeds; `name` is its option.
pub fn count(name: &str, typed: usize) -> anyhow::Result<NonZeroUsize> {
    NonZeroUsize::new(typed).with_context(|| format!("{name} 0: must be 1 or more"))
}

/// Checks the number of views of each photo to train on; by default all that the cache has.
pub fn views(cache: &FeatureCache, typed: Option<usize>) -> Result<usize, DataError> {
    let views = typed.unwrap_or_else(|| cache.views().map_or(0, |views| views.count.get()));
    check_views(cache, views)?;
    Ok(views)
}

/// Says that training is on views and not on the photos themselves.
pub fn note_views(views: usize) {
    if views > 0 {
        note!("training on {views} augmented views of each photo, one drawn each epoch (--views 0: on the photos)");
    }
}

/// Says that there are too few validation rows to calibrate on.
pub fn note_few_rows(data: &TrainingData<'_>) {
    let rows = data.validation.len();
    if rows < MIN_ROWS {
        note!(
            "note: {rows} validation photos are too few to calibrate on (fewer than {MIN_ROWS}): the temperature is 1, and \
             photos are unfamiliar that are more unlike the training photos than all of them"
        );
    }
}

/// Checks the widths of hidden layers; a single 0 is none.
pub fn hidden(typed: &[usize]) -> anyhow::Result<Vec<usize>> {
    const MAX_WIDTH: usize = 1 << 16;
    if typed == [0] {
        return Ok(Vec::new());
    }
    for width in typed {
        ensure!((1..=MAX_WIDTH).contains(width), "--hidden {width}: a layer has 1 to {MAX_WIDTH} units");
    }
    Ok(typed.to_vec())
}
