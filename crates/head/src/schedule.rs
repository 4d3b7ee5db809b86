//! Learning rate schedules.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::UnknownName;

/// The factor of the learning rate in each step. As text: `constant`, `cosine` or `step:EPOCHS[:FACTOR]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// Always 1.
    #[default]
    Constant,
    /// From 1 down to 0 along half a cosine over the whole training (Loshchilov and Hutter 2016, without restarts;
    /// Keras's `CosineDecay`).
    Cosine,
    /// Multiplied by `factor` after every `epochs` epochs (PyTorch's StepLR). Keras's `ExponentialDecay` with
    /// `staircase=True` changes one step later for some numbers of steps between two changes, such as 110: in `fit`,
    /// TensorFlow multiplies the step by the rounded reciprocal of that number instead of dividing by it.
    StepDecay {
        /// Epochs between two changes.
        epochs: NonZeroUsize,
        /// The factor of each change: above 0, at most 1.
        factor: f64,
    },
}

/// The factor of a step schedule when none is given.
const DEFAULT_STEP_FACTOR: f64 = 0.1;

/// The position of a step in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done, over all epochs.
    pub step: usize,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// Epochs of the whole training.
    pub epochs: usize,
}

impl Schedule {
    /// The factor of the learning rate for the next step, from 0 to 1.
    pub fn factor(self, progress: Progress) -> f64 {
        let Progress { step, steps_per_epoch, epochs } = progress;
        match self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let done = step as f64 / (steps_per_epoch * epochs).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
            Self::StepDecay { epochs: epochs_per_change, factor } => {
                factor.powi((step / steps_per_epoch.max(1) / epochs_per_change) as i32)
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Cosine => f.write_str("cosine"),
            Self::StepDecay { epochs, factor } => write!(f, "step:{epochs}:{factor}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName {
            expected: "constant, cosine, or step:EPOCHS[:FACTOR], as in step:5:0.1".to_owned(),
            found: text.to_owned(),
        };
        let mut parts = text.split(':');
        let schedule = match parts.next() {
            Some("constant") => Self::Constant,
            Some("cosine") => Self::Cosine,
            Some("step") => {
                let epochs = parts.next().and_then(|epochs| epochs.parse().ok()).ok_or_else(unknown)?;
                let factor = match parts.next() {
                    Some(factor) => factor.parse().map_err(|_| unknown())?,
                    None => DEFAULT_STEP_FACTOR,
                };
                if !(factor > 0.0 && factor <= 1.0) {
                    return Err(unknown());
                }
                Self::StepDecay { epochs, factor }
            }
            _ => return Err(unknown()),
        };
        if parts.next().is_none() { Ok(schedule) } else { Err(unknown()) }
    }
}

impl TryFrom<String> for Schedule {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Self, UnknownName> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_survive_a_round_trip_through_text() {
        let step = Schedule::StepDecay { epochs: NonZeroUsize::new(5).unwrap(), factor: 0.1 };
        assert_eq!("step:5".parse(), Ok(step));
        for schedule in [Schedule::Constant, Schedule::Cosine, step] {
            assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
        for wrong in ["", "linear", "step", "step:0", "step:5:2", "step:5:-1", "step:5:nan", "cosine:1", "step:5:0.1:1"]
        {
            assert!(wrong.parse::<Schedule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn factors_by_hand() {
        let at = |schedule: Schedule, step| schedule.factor(Progress { step, steps_per_epoch: 10, epochs: 4 });
        assert_eq!(at(Schedule::Constant, 39), 1.0);
        let cosine = [(0, 1.0), (20, 0.5), (30, 0.5 - 0.5 * std::f64::consts::FRAC_1_SQRT_2), (40, 0.0)];
        for (step, factor) in cosine {
            assert!((at(Schedule::Cosine, step) - factor).abs() < 1e-12, "{step}");
        }
        let step = Schedule::StepDecay { epochs: NonZeroUsize::new(2).unwrap(), factor: 0.5 };
        assert_eq!([0, 19, 20, 39].map(|k| at(step, k)), [1.0, 1.0, 0.5, 0.5]);
    }
}
