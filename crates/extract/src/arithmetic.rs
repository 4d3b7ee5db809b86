//! Where the network runs, and in which numbers.

use std::fmt;

use tch::{Device, Kind};

/// The numbers that the network calculates with; sums are always kept in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// 32-bit floats: Keras's numbers.
    F32,
    /// bfloat16: nearly twice as fast where the processor has it; features are about 2 % off.
    Bf16,
}

impl Precision {
    /// As the fingerprint has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The precision of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16].into_iter().find(|precision| precision.name() == name)
    }

    /// How far apart the same row can be on two machines, relative to its length: processors with other vector
    /// instructions sum in another order.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::F32 => 1e-5,
            Self::Bf16 => 3e-2,
        }
    }
}

/// A device and a precision that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    device: Device,
    precision: Precision,
}

/// bfloat16 where it would only be slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("--precision bf16: this processor has no instructions for it (avx512_bf16), so it would be slower; use f32")]
pub struct NoBf16;

impl Arithmetic {
    /// The precision on the device.
    ///
    /// # Errors
    /// When the processor would have to emulate it.
    pub fn new(device: Device, precision: Precision) -> Result<Self, NoBf16> {
        match (device, precision) {
            (Device::Cpu, Precision::Bf16) if !cpu_has_bf16() => Err(NoBf16),
            _ => Ok(Self { device, precision }),
        }
    }

    /// Where the network runs.
    pub fn device(self) -> Device {
        self.device
    }

    /// The type of weights and activations.
    pub fn kind(self) -> Kind {
        match self.precision {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        }
    }
}

/// As the fingerprint has it.
impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.precision.name())?;
        match self.device {
            Device::Cpu => Ok(()),
            _ => f.write_str(" on CUDA"),
        }
    }
}

/// Whether the processor multiplies bfloat16 numbers itself; those with AMX have these instructions too.
fn cpu_has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
