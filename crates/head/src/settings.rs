//! How a head is trained, checked before any data is read.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::names::named_enum;
use crate::schedule::Schedule;

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} {value}: must be {allowed}")]
pub struct OutOfRange {
    /// The setting, as the caller calls it.
    pub name: &'static str,
    /// The value that was asked for.
    pub value: f64,
    /// The range that it must be in, in words.
    pub allowed: &'static str,
}

/// A finite number above 0, as float32 too: a learning rate, a weight decay, a norm.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Positive(f64);

/// A number from 0 up to, and without, 1: a dropout rate, an amount of label smoothing.
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
        // Training computes with the float32 value: that too must be neither 0 nor infinite.
        let single = value as f32;
        let allowed = "finite and positive, 0.01 say";
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
    /// When it is not more than 0 and at most 100.
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
    /// How much a training row counts by its class.
    #[derive(Default)]
    pub enum ClassWeights {
        /// Every row counts the same.
        #[default]
        None = "none",
        /// A row counts rows / (classes * rows of its class), as scikit-learn's `balanced`.
        Balanced = "balanced",
    }
}

named_enum! {
    /// The number by which epochs are compared, under Keras's names.
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
        /// None: the temperature is 1.
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
pub enum Keep {
    /// The last epoch's, as Keras's `fit` leaves them.
    #[default]
    Last,
    /// The best epoch's.
    Best {
        /// What best means.
        monitor: Monitor,
        /// Training ends when no epoch has been better for so many; none: it never ends early.
        patience: Option<NonZeroUsize>,
    },
}

/// How a head is trained, whatever its layers and batches are. Keras's names and meanings throughout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Adam's learning rate, before the schedule.
    pub learning_rate: Positive,
    /// How the learning rate changes from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// Passes over the training rows, at most.
    pub epochs: NonZeroUsize,
    /// The part of each hidden layer's outputs (of the input rows, for a linear head) that is dropped in each step.
    #[serde(default)]
    pub dropout: Fraction,
    /// Decoupled weight decay (Loshchilov and Hutter 2017), as in Keras's `Adam(weight_decay=…)`; none: no decay.
    pub weight_decay: Option<Positive>,
    /// The part of each target that is spread evenly over all classes.
    #[serde(default)]
    pub label_smoothing: Fraction,
    /// How much a training row counts by its class.
    #[serde(default)]
    pub class_weights: ClassWeights,
    /// The largest norm of all gradients together, as Keras's `global_clipnorm`; none: no limit.
    pub clip_norm: Option<Positive>,
    /// Which epoch's weights are kept.
    #[serde(default)]
    pub keep: Keep,
}

/// All settings of one head but the seed: its layers, its batches and how it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Widths of the hidden layers, the first one first; none for a linear head.
    pub hidden: Vec<usize>,
    /// Rows per step.
    pub batch_size: NonZeroUsize,
    /// Each epoch trains on one of so many augmented views of each photo; 0: on the photos as they are.
    #[serde(default)]
    pub views: usize,
    /// Everything else.
    #[serde(flatten)]
    pub fit: FitConfig,
}

impl FitConfig {
    /// Keras's defaults: constant learning rate, no dropout, decay, smoothing, class weights or clipping.
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
            keep: Keep::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_positive_numbers() {
        for wrong in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
            assert!(Positive::new("learning rate", wrong).is_err(), "{wrong}");
        }
        let message = Positive::new("learning rate", -0.1).unwrap_err().to_string();
        assert_eq!(message, "learning rate -0.1: must be finite and positive, 0.01 say");
    }

    #[test]
    fn fractions_end_before_1() {
        for wrong in [-0.1, 1.0, f64::NAN] {
            assert!(Fraction::new("dropout", wrong).is_err(), "{wrong}");
        }
        assert_eq!(Fraction::new("dropout", 0.5).map(Fraction::get), Ok(0.5));
    }

    #[test]
    fn percentiles_are_above_0_and_may_be_100() {
        for wrong in [0.0, -1.0, 100.1, f64::NAN] {
            assert!(Percentile::new("percentile", wrong).is_err(), "{wrong}");
        }
        assert_eq!(Percentile::new("percentile", 100.0).map(Percentile::get), Ok(100.0));
    }

    #[test]
    fn a_config_survives_json() {
        let one = NonZeroUsize::MIN;
        let config = FitConfig {
            schedule: Schedule::Cosine,
            keep: Keep::Best { monitor: Monitor::ValAccuracy, patience: Some(one) },
            ..FitConfig::new(Positive(0.01), one)
        };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<FitConfig>(&json).unwrap(), config);
        assert!(serde_json::from_str::<FitConfig>(&json.replace("0.01", "-1")).is_err());
    }
}
