//! Interpolations for resizing, under Keras's names.

use std::fmt;
use std::str::FromStr;

/// How a picture is resized. When a picture is shrunk, windows are wider by the same factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel: Keras's default.
    #[default]
    Nearest,
    /// A triangle window, one pixel to either side.
    Bilinear,
    /// A cubic window, two pixels to either side.
    Bicubic,
    /// A Lanczos window, three pixels to either side.
    Lanczos,
    /// The mean of the pixels, a window of half a pixel to either side.
    Box,
    /// A Hamming window, one pixel to either side.
    Hamming,
}

/// A name that is not an interpolation's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an interpolation; expected nearest, bilinear, bicubic, lanczos, box or hamming")]
pub struct UnknownInterpolation(String);

impl Interpolation {
    /// All interpolations.
    pub const ALL: [Self; 6] = [Self::Nearest, Self::Bilinear, Self::Bicubic, Self::Lanczos, Self::Box, Self::Hamming];

    /// Its name in Keras and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
            Self::Box => "box",
            Self::Hamming => "hamming",
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Interpolation {
    type Err = UnknownInterpolation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|interpolation| interpolation.name() == name);
        named.ok_or_else(|| UnknownInterpolation(name.to_owned()))
    }
}
