//! The ways to resize a picture, under Keras's names.

use std::fmt;
use std::str::FromStr;

/// How a picture is resized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel: Keras's default.
    #[default]
    Nearest,
    /// A triangle over the pixels.
    Bilinear,
    /// A cubic over the pixels.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
    /// The mean of the pixels.
    Box,
    /// A Hamming window over the pixels.
    Hamming,
}

/// An unknown name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an interpolation; expected nearest, bilinear, bicubic, lanczos, box or hamming")]
pub struct UnknownInterpolation(String);

impl Interpolation {
    /// All of them.
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
