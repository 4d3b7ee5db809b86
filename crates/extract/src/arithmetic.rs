//! Where the network runs, and in which numbers.

use std::fmt;

use clap::ValueEnum;
use tch::{Cuda, Device, Kind};

/// The numbers that the network calculates with; the sums of a convolution are always kept in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floats: Keras's numbers.
    F32,
    /// bfloat16, for processors and GPUs that have it (NVIDIA's since Ampere): nearly twice as fast; features are about
    /// 2 % off, heads as accurate.
    Bf16,
    /// Half precision, for GPUs: features are about 0.3 % off.
    F16,
}

impl Precision {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|variant| variant.name() == name)
    }

    /// As the fingerprint has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// How far a row can be from the same row on another machine, or from Keras's, relative to its length: others sum in
    /// another order, and Keras does in f32.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::F32 => 1e-5,
            Self::Bf16 => 3e-2,
            Self::F16 => 1e-2,
        }
    }
}

/// Whose code runs the network's layers. Rows differ by rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    /// Our own wherever they are faster, libtorch's elsewhere.
    #[default]
    Auto,
    /// Our own: f32 on the CPU.
    Own,
    /// libtorch's: on the CPU those of oneDNN.
    Libtorch,
}

/// A device, a precision and kernels, available on this machine or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    device: Device,
    precision: Precision,
    kernels: Kernels,
}

/// A precision that the device has only slower than f32, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsuitedPrecision {
    /// bfloat16 on a processor that has to emulate it.
    #[error(
        "--precision bf16: this processor has no instructions for it (avx512_bf16), so it would be slower; use f32"
    )]
    Bf16,
    /// Half precision without a GPU.
    #[error("--precision f16: is for GPUs, and here is a processor (--device cpu, or libtorch sees no GPU); use f32")]
    F16,
    /// Our own kernels for anything but f32 on the CPU.
    #[error("--kernels own: they compute f32 on the CPU, nothing else; use --kernels auto")]
    OwnKernels,
}

/// Of rows that a GPU computed.
const ON_GPU: &str = " on CUDA";

impl Arithmetic {
    /// The precision on the device.
    ///
    /// # Errors
    /// When the processor does not suit the precision. A GPU is taken to have each.
    pub fn new(device: Device, precision: Precision, kernels: Kernels) -> Result<Self, UnsuitedPrecision> {
        if kernels == Kernels::Own && (device, precision) != (Device::Cpu, Precision::F32) {
            return Err(UnsuitedPrecision::OwnKernels);
        }
        match (device, precision) {
            (Device::Cpu, Precision::Bf16) if !cpu_has_bf16() => Err(UnsuitedPrecision::Bf16),
            (Device::Cpu, Precision::F16) => Err(UnsuitedPrecision::F16),
            _ => Ok(Self { device, precision, kernels }),
        }
    }

    /// What a fingerprint names, be it here or not: on the CPU, or on the first GPU.
    pub fn named(name: &str) -> Option<Self> {
        let (name, device) = match name.strip_suffix(ON_GPU) {
            Some(name) => (name, Device::Cuda(0)),
            None => (name, Device::Cpu),
        };
        Some(Self { device, precision: Precision::named(name)?, kernels: Kernels::Auto })
    }

    /// The same with these kernels.
    ///
    /// # Errors
    /// When they cannot give the precision on the device.
    pub fn with(self, kernels: Kernels) -> Result<Self, UnsuitedPrecision> {
        Self::new(self.device, self.precision, kernels)
    }

    /// Whether this machine has the device, and the processor suits the precision.
    pub fn is_here(self) -> bool {
        (self.device == Device::Cpu || Cuda::is_available()) && self.with(self.kernels).is_ok()
    }

    /// The numbers.
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// Whose code runs the layers.
    pub fn kernels(self) -> Kernels {
        self.kernels
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
        for &precision in Precision::value_variants() {
            for device in [Device::Cpu, Device::Cuda(0)] {
                let arithmetic = Arithmetic { device, precision, kernels: Kernels::Auto };
                assert_eq!(Arithmetic::named(&arithmetic.to_string()), Some(arithmetic));
            }
        }
        assert_eq!(Arithmetic::named("f8"), None);
        assert_eq!(Arithmetic::named("f32 on an abacus"), None);
    }

    #[test]
    fn our_own_kernels_compute_f32_on_the_cpu_only() {
        assert!(Arithmetic::new(Device::Cpu, Precision::F32, Kernels::Own).is_ok());
        for (device, precision) in [(Device::Cpu, Precision::Bf16), (Device::Cuda(0), Precision::F32)] {
            let refused = Arithmetic::new(device, precision, Kernels::Own);
            assert_eq!(refused, Err(UnsuitedPrecision::OwnKernels));
        }
    }

    #[test]
    fn what_is_here_is_what_can_be_had() {
        let here = |device, precision| Arithmetic { device, precision, kernels: Kernels::Auto }.is_here();
        assert!(here(Device::Cpu, Precision::F32));
        assert!(!here(Device::Cpu, Precision::F16));
        assert_eq!(here(Device::Cpu, Precision::Bf16), cpu_has_bf16());
        assert_eq!(here(Device::Cuda(0), Precision::F16), Cuda::is_available());
    }
}
