//! The settings of a head and of its training, checked before any data is read.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::names::named_enum;
use crate::schedule::Schedule;

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} {value}: must be {allowed}")]
pub struct OutOfRange {
    /// The setting: an option (`--dropout`) or words (`learning rate`); for a value in a file, `number` or `fraction`.
    pub name: &'static str,
    /// The value that was given.
    pub value: f64,
    /// The allowed range, in words.
    pub allowed: &'static str,
}

/// A number that is finite and above 0, also as float32: a learning rate, a weight decay, a norm.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Positive(f64);

/// A number in [0, 1): a dropout rate, an amount of label smoothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Fraction(f64);

/// A percentile: more than 0 and at most 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Positive {
    /// Checks the value of the setting called `name`.
    ///
    /// # Errors
    /// When it is not finite and positive, as float64 or as float32.
    pub fn new(name: &'static str, value: f64) -> Result<Self, OutOfRange> {
        // Training computes with the float32 value, which must be neither 0 nor infinite.
        let single = value as f32;
        let allowed = "finite and positive, such as 0.01";
        if single.is_finite() && single > 0.0 { Ok(Self(value)) } else { Err(OutOfRange { name, value, allowed }) }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Fraction {
    /// Checks the value of the setting called `name`.
    ///
    /// # Errors
    /// When it is negative, 1 or more, or not a number.
    pub fn new(name: &'static str, value: f64) -> Result<Self, OutOfRange> {
        let allowed = "0 or more and less than 1";
        if (0.0..1.0).contains(&value) { Ok(Self(value)) } else { Err(OutOfRange { name, value, allowed }) }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Percentile {
    /// Checks the value of the setting called `name`.
    ///
    /// # Errors
    /// When it is 0 or less, more than 100, or not a number.
    pub fn new(name: &'static str, value: f64) -> Result<Self, OutOfRange> {
        let allowed = "more than 0 and at most 100";
        if value > 0.0 && value <= 100.0 { Ok(Self(value)) } else { Err(OutOfRange { name, value, allowed }) }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Positive {
    type Error = OutOfRange;

    fn try_from(value: f64) -> Result<Self, OutOfRange> {
        Self::new("number", value)
    }
}

impl TryFrom<f64> for Fraction {
    type Error = OutOfRange;

    fn try_from(value: f64) -> Result<Self, OutOfRange> {
        Self::new("fraction", value)
    }
}

named_enum! {
    /// The weight of each class in the training loss.
    #[derive(Default)]
    pub enum ClassWeights {
        /// All weights are 1.
        #[default]
        None = "none",
        /// rows / (classes * rows of the class), as scikit-learn's `balanced`.
        Balanced = "balanced",
    }
}

named_enum! {
    /// What the best epoch is chosen by, under Keras's names.
    #[derive(Default)]
    pub enum Monitor {
        /// The validation loss: lower is better.
        #[default]
        ValLoss = "val_loss",
        /// The validation accuracy: higher is better.
        ValAccuracy = "val_accuracy",
    }
}

named_enum! {
    /// Whether probabilities are calibrated by a temperature.
    #[derive(Default)]
    pub enum TemperatureMode {
        /// The temperature that fits the validation rows best.
        #[default]
        Auto = "auto",
        /// The temperature is 1.
        Off = "off",
    }
}

/// How a trained head's predictions are calibrated on the validation rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationConfig {
    /// Whether a temperature is fitted.
    pub temperature: TemperatureMode,
    /// A row is unfamiliar when its score is above this percentile of the validation rows' scores.
    pub unfamiliar_above: Percentile,
}

impl Default for CalibrationConfig {
    /// A fitted temperature, and the 99th percentile.
    fn default() -> Self {
        Self { temperature: TemperatureMode::Auto, unfamiliar_above: Percentile(99.0) }
    }
}

/// Which epoch's weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepWeights {
    /// The last epoch's, as Keras's `fit` does.
    #[default]
    Last,
    /// The best epoch's.
    Best {
        /// What the best epoch is chosen by.
        monitor: Monitor,
        /// Stops after this many epochs without a better one; `None`: trains all epochs.
        patience: Option<NonZeroUsize>,
    },
}

/// How a head is trained, except for its layers and batches. Each setting does what it does in Keras; some names
/// differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Adam's learning rate, before the schedule.
    pub learning_rate: Positive,
    /// How the learning rate changes from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// The number of passes over the training rows; early stopping can end training before.
    pub epochs: NonZeroUsize,
    /// Dropout rate of each hidden layer's outputs (of the input rows in a linear head).
    #[serde(default)]
    pub dropout: Fraction,
    /// Decoupled weight decay (Loshchilov and Hutter 2017), as in Keras's `Adam(weight_decay=…)`; `None`: no decay.
    pub weight_decay: Option<Positive>,
    /// Label smoothing: the part of each target that is spread evenly over all classes.
    #[serde(default)]
    pub label_smoothing: Fraction,
    /// The weight of each class in the training loss.
    #[serde(default)]
    pub class_weights: ClassWeights,
    /// The largest norm of all gradients together, as Keras's `global_clipnorm`; `None`: no limit.
    pub clip_norm: Option<Positive>,
    /// Which epoch's weights are kept.
    #[serde(default)]
    pub keep: KeepWeights,
}

/// The settings that all heads of a sweep share: those of [`FitConfig`] without the ones that a sweep varies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedFitConfig {
    /// How the learning rate changes from step to step.
    pub schedule: Schedule,
    /// The number of passes over the training rows; early stopping can end training before.
    pub epochs: NonZeroUsize,
    /// The weight of each class in the training loss.
    pub class_weights: ClassWeights,
    /// The largest norm of all gradients together; `None`: no limit.
    pub clip_norm: Option<Positive>,
    /// Which epoch's weights are kept.
    pub keep: KeepWeights,
}

/// All settings of one head except the seed: its layers, its batches and how it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadConfig {
    /// Widths of the hidden layers in order; empty for a linear head.
    pub hidden: Vec<usize>,
    /// Batch size, in rows.
    pub batch_size: NonZeroUsize,
    /// How many augmented views of each photo to draw from; 0: train on the photos.
    #[serde(default, rename = "views")]
    pub view_count: usize,
    /// Learning rate, epochs, regularisation.
    #[serde(flatten)]
    pub fit: FitConfig,
}

impl FitConfig {
    /// Keras's defaults: constant learning rate, no dropout, no weight decay, no label smoothing, no class weights, no
    /// clipping.
    pub fn new(learning_rate: Positive, epochs: NonZeroUsize) -> Self {
        Self {
            learning_rate,
            schedule: Schedule::default(),
            epochs,
            dropout: Fraction::default(),
            weight_decay: None,
            label_smoothing: Fraction::default(),
            class_weights: ClassWeights::default(),
            clip_norm: None,
            keep: KeepWeights::default(),
        }
    }
}

impl SharedFitConfig {
    /// All settings of training at this learning rate, without dropout, weight decay and label smoothing.
    pub fn fit_config(self, learning_rate: Positive) -> FitConfig {
        let Self { schedule, epochs, class_weights, clip_norm, keep } = self;
        FitConfig { schedule, class_weights, clip_norm, keep, ..FitConfig::new(learning_rate, epochs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positive_numbers_are_finite_and_above_0() {
        for wrong in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
            assert!(Positive::new("learning rate", wrong).is_err(), "{wrong}");
        }
        let message = Positive::new("learning rate", -0.1).unwrap_err().to_string();
        assert_eq!(message, "learning rate -0.1: must be finite and positive, such as 0.01");
    }

    #[test]
    fn fractions_are_less_than_1() {
        for wrong in [-0.1, 1.0, f64::NAN] {
            assert!(Fraction::new("dropout", wrong).is_err(), "{wrong}");
        }
        assert_eq!(Fraction::new("dropout", 0.5).map(Fraction::get), Ok(0.5));
    }

    #[test]
    fn percentiles_are_above_0_and_at_most_100() {
        for wrong in [0.0, -1.0, 100.1, f64::NAN] {
            assert!(Percentile::new("percentile", wrong).is_err(), "{wrong}");
        }
        assert_eq!(Percentile::new("percentile", 100.0).map(Percentile::get), Ok(100.0));
    }

    #[test]
    fn configs_survive_a_round_trip_through_json() {
        let one = NonZeroUsize::MIN;
        let config = FitConfig {
            schedule: Schedule::Cosine,
            keep: KeepWeights::Best { monitor: Monitor::ValAccuracy, patience: Some(one) },
            ..FitConfig::new(Positive(0.01), one)
        };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<FitConfig>(&json).unwrap(), config);
        assert!(serde_json::from_str::<FitConfig>(&json.replace("0.01", "-1")).is_err());
    }
}
