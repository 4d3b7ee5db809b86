//! How the learning rate changes while a head is trained.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// By what the learning rate is multiplied, step by step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// By 1.
    #[default]
    Constant,
    /// From 1 to 0 along half a cosine over the whole training (Loshchilov and Hutter 2016, without restarts; Keras's
    /// `CosineDecay`).
    Cosine,
    /// By `factor` once more every so many epochs.
    Step {
        /// Epochs between two changes.
        epochs: NonZeroUsize,
        /// What each change multiplies by.
        factor: f64,
    },
}

/// What a step schedule multiplies by, where nothing is said.
const STEP_FACTOR: f64 = 0.1;

/// Where in its training a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Epochs of the whole training.
    pub epochs: usize,
}

impl Schedule {
    /// The factor for the step that comes next.
    pub fn factor(self, progress: Progress) -> f64 {
        let Progress { step, steps_per_epoch, epochs } = progress;
        match self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let done = step as f64 / (steps_per_epoch * epochs).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
            Self::Step { epochs, factor } => factor.powi((step / steps_per_epoch.max(1) / epochs) as i32),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Cosine => f.write_str("cosine"),
            Self::Step { epochs, factor } => write!(f, "step:{epochs}:{factor}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected constant, cosine, or step:EPOCHS[:FACTOR], as in step:5:0.1".to_owned();
        let mut parts = text.split(':');
        let schedule = match parts.next() {
            Some("constant") => Self::Constant,
            Some("cosine") => Self::Cosine,
            Some("step") => {
                let epochs = parts.next().and_then(|epochs| epochs.parse().ok()).ok_or_else(wrong)?;
                let factor = parts.next().map_or(Ok(STEP_FACTOR), |factor| factor.parse().map_err(|_| wrong()))?;
                if !(factor > 0.0 && factor <= 1.0) {
                    return Err(wrong());
                }
                Self::Step { epochs, factor }
            }
            _ => return Err(wrong()),
        };
        parts.next().map_or(Ok(schedule), |_| Err(wrong()))
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
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
    fn schedules_are_read_as_they_are_written() {
        let step = Schedule::Step { epochs: NonZeroUsize::new(5).unwrap(), factor: 0.1 };
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
        let step = Schedule::Step { epochs: NonZeroUsize::new(2).unwrap(), factor: 0.5 };
        assert_eq!([0, 19, 20, 39].map(|k| at(step, k)), [1.0, 1.0, 0.5, 0.5]);
    }
}
