//! The splits of a data set.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A split of a data set, and the folder of the cache that holds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// All photos of a data set without splits.
    All,
    /// Photos to train on.
    Train,
    /// Photos to choose settings with.
    Validation,
    /// Photos for the final evaluation.
    Test,
}

impl Split {
    /// Every split, in the order in which they are listed. (`ALL` would read like the split [`Split::All`].)
    pub const EVERY: [Self; 4] = [Self::All, Self::Train, Self::Validation, Self::Test];

    /// Whether heads are trained on it. The other splits are only evaluated on, so their photos have no augmented
    /// views.
    pub fn is_training(self) -> bool {
        matches!(self, Self::All | Self::Train)
    }

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
