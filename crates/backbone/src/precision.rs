//! The number formats that the network computes in, and which rows they give.

use std::fmt;
use std::str::FromStr;

/// A number format. The sums of a convolution are f32 in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumberFormat {
    /// 32-bit floats, as in Keras.
    #[default]
    F32,
    /// bfloat16, for CPUs and GPUs that have it (NVIDIA's since Ampere): twice as fast. Features are about 2 % off
    /// (relative L2), heads as accurate.
    Bf16,
    /// Half precision, for GPUs: features are about 0.3 % off (relative L2).
    F16,
}

impl NumberFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// The number format that a row is computed in, and by whose kernels where rows differ by more than the order of sums.
/// [`Compute::precision`](crate::Compute::precision) makes it of a number format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32, in any kernels.
    #[default]
    F32,
    /// bf16 in libtorch's kernels.
    Bf16,
    /// bf16 in our own kernels, which round feature maps and the factors of matrix products, and nothing else: features
    /// are nearer to those in f32 than libtorch's.
    OwnBf16,
    /// f16.
    F16,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::OwnBf16, Self::F16];

    /// Its name in a fingerprint.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::OwnBf16 => "bf16, own kernels",
            Self::F16 => "f16",
        }
    }

    /// The other kind of bf16.
    pub fn other_bf16(self) -> Option<Self> {
        match self {
            Self::Bf16 => Some(Self::OwnBf16),
            Self::OwnBf16 => Some(Self::Bf16),
            Self::F32 | Self::F16 => None,
        }
    }

    /// The largest relative L2 distance that rounding causes between a row and the same row from another machine or
    /// from Keras: they add in another order, and Keras computes in f32.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::F32 => 1e-5,
            Self::Bf16 | Self::OwnBf16 => 3e-2,
            Self::F16 => 1e-2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { expected: "f32, bf16, \"bf16, own kernels\" or f16", found: name.to_owned() };
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(unknown)
    }
}

/// A name that no precision or device has, or a text that is no batch size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct UnknownName {
    /// What is accepted, in words.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}
