//! Where the network runs, and in which numbers.

use std::fmt;

use clap::ValueEnum;
use tch::{Cuda, Device, Kind};

/// The numbers that the network calculates with; sums are always kept in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floats: Keras's numbers.
    F32,
    /// bfloat16: nearly twice as fast where the processor has it; features are about 2 % off.
    Bf16,
    /// Half precision, for GPUs: features are about 0.3 % off.
    F16,
}

impl Precision {
    /// As the fingerprint has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// How far apart the same row can be on two machines, relative to its length: processors with other vector
    /// instructions sum in another order.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::F32 => 1e-5,
            Self::Bf16 => 3e-2,
            Self::F16 => 1e-2,
        }
    }
}

/// A device and a precision that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    device: Device,
    precision: Precision,
}

/// An arithmetic that this machine has not, or that would only be slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// bfloat16 on a processor that has to emulate it.
    #[error(
        "--precision bf16: this processor has no instructions for it (avx512_bf16), so it would be slower; use f32"
    )]
    Bf16,
    /// Half precision on a processor.
    #[error("--precision f16: is for GPUs, and would be slower on this processor; use f32")]
    F16,
    /// Rows of a GPU, and none here.
    #[error(
        "its rows were computed on a GPU, and this libtorch sees none; leave out --sample, or check them where there is one"
    )]
    Gpu,
}

/// Of rows that a GPU computed.
const ON_GPU: &str = " on CUDA";

impl Arithmetic {
    /// The precision on the device.
    ///
    /// # Errors
    /// When it would only be slower there.
    pub fn new(device: Device, precision: Precision) -> Result<Self, Unavailable> {
        match (device, precision) {
            (Device::Cpu, Precision::Bf16) if !cpu_has_bf16() => Err(Unavailable::Bf16),
            (Device::Cpu, Precision::F16) => Err(Unavailable::F16),
            _ => Ok(Self { device, precision }),
        }
    }

    /// What a fingerprint names, on this machine's CPU or first GPU; f32 where this version does not know the name.
    ///
    /// # Errors
    /// When there is no GPU, or it would only be slower here.
    pub fn named(name: &str) -> Result<Self, Unavailable> {
        let (name, device) = match name.strip_suffix(ON_GPU) {
            Some(_) if !Cuda::is_available() => return Err(Unavailable::Gpu),
            Some(name) => (name, Device::Cuda(0)),
            None => (name, Device::Cpu),
        };
        let known = Precision::value_variants().iter().find(|precision| precision.name() == name);
        Self::new(device, known.copied().unwrap_or(Precision::F32))
    }

    /// The numbers.
    pub fn precision(self) -> Precision {
        self.precision
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
            Precision::F16 => Kind::Half,
        }
    }
}

/// As the fingerprint has it.
impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.precision.name())?;
        match self.device {
            Device::Cpu => Ok(()),
            _ => f.write_str(ON_GPU),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprints_words_name_the_arithmetic_that_they_come_from() {
        let f32s = Arithmetic::new(Device::Cpu, Precision::F32).unwrap();
        assert_eq!(Arithmetic::named(&f32s.to_string()), Ok(f32s));
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let on_gpu = Arithmetic::new(Device::Cuda(0), precision).unwrap();
            let expected = if Cuda::is_available() { Ok(on_gpu) } else { Err(Unavailable::Gpu) };
            assert_eq!(Arithmetic::named(&on_gpu.to_string()), expected);
        }
    }

    #[test]
    fn half_precision_is_refused_on_a_processor() {
        assert_eq!(Arithmetic::new(Device::Cpu, Precision::F16), Err(Unavailable::F16));
        assert_eq!(Arithmetic::named("f16"), Err(Unavailable::F16));
    }
}
