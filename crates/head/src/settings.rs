//! How a head is trained, checked before any data is read.

use std::num::NonZeroUsize;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} {value}: must be {allowed}")]
pub struct OutOfRange {
    /// The setting.
    pub name: &'static str,
    /// What was asked for.
    pub value: f64,
    /// What can be.
    pub allowed: &'static str,
}

/// A finite number above 0, also as float32: a learning rate, a weight decay, a norm.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Positive(f64);

/// A number from 0 up to, and without, 1: a rate of dropout, an amount of label smoothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Fraction(f64);

impl Positive {
    /// The value of the setting called `name`.
    ///
    /// # Errors
    /// When it is not finite and positive.
    pub fn new(name: &'static str, value: f64) -> Result<Self, OutOfRange> {
        // What the arithmetic sees is its float32 value: that too must be neither 0 nor infinite.
        let single = value as f32;
        let allowed = "finite and positive, 0.01 say";
        if single.is_finite() && single > 0.0 { Ok(Self(value)) } else { Err(OutOfRange { name, value, allowed }) }
    }

    /// The value.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Fraction {
    /// The value of the setting called `name`.
    ///
    /// # Errors
    /// When it is negative, or 1 or more.
    pub fn new(name: &'static str, value: f64) -> Result<Self, OutOfRange> {
        let allowed = "0 or more and less than 1";
        if (0.0..1.0).contains(&value) { Ok(Self(value)) } else { Err(OutOfRange { name, value, allowed }) }
    }

    /// The value.
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

/// Whether rare classes count more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// Every row counts the same.
    #[default]
    None,
    /// A row counts rows / (classes * rows of its class), as scikit-learn's `balanced`.
    Balanced,
}

/// What tells a better epoch from a worse one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// The validation loss, the lower the better.
    #[default]
    #[value(name = "val_loss")]
    ValLoss,
    /// The validation accuracy, the higher the better.
    #[value(name = "val_accuracy")]
    ValAccuracy,
}

/// Which epoch's weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The last one's, as Keras's `fit` leaves them.
    #[default]
    Last,
    /// The best one's; training ends when none has been better for `patience` epochs.
    Best {
        /// What best means.
        monitor: Monitor,
        /// Epochs to wait for a better one; none to train to the end.
        patience: Option<NonZeroUsize>,
    },
}

/// How a head is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Adam's, before the schedule.
    pub learning_rate: Positive,
    /// How it changes from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// Passes over the training rows.
    pub epochs: NonZeroUsize,
    /// Part of the activations that is dropped in each step.
    #[serde(default)]
    pub dropout: Fraction,
    /// Decoupled weight decay (Loshchilov and Hutter 2017), as Keras's Adam has it.
    pub weight_decay: Option<Positive>,
    /// Part of the target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: Fraction,
    /// What a row counts.
    #[serde(default)]
    pub class_weights: ClassWeights,
    /// The largest norm of all gradients together, as Keras's `global_clipnorm`.
    pub clip_norm: Option<Positive>,
    /// Which epoch's weights are kept.
    #[serde(default)]
    pub keep: Keep,
}

impl FitConfig {
    /// Keras's defaults at this learning rate.
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
