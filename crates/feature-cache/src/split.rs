//! The parts that a data set comes in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of a data set, and the folder of the cache that holds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Everything, where the data set has no splits.
    All,
    /// What heads learn from.
    Train,
    /// What their settings are chosen by.
    Validation,
    /// What the chosen one is judged by.
    Test,
}

impl Split {
    /// Every split, in the order in which they are listed.
    pub const EVERY: [Self; 4] = [Self::All, Self::Train, Self::Validation, Self::Test];

    /// Whether heads learn from it. The others are only judged by, so there are no augmented views of their photos.
    pub fn is_learnt_from(self) -> bool {
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
