//! How the network is run: device, kernels, batch size and threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;

use crate::precision::{NumberFormat, Precision, UnknownName};
use crate::processor::{self, Instructions, SimdLevel};

/// What the network runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by number, from 0.
    Cuda(usize),
}

impl Device {
    /// The first GPU if libtorch sees one, else the CPU.
    pub fn auto() -> Self {
        if gpus() > 0 { Self::Cuda(0) } else { Self::Cpu }
    }
}

/// `cpu`, `cuda` (the first GPU) or `cuda:N`.
impl FromStr for Device {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { expected: "cpu or cuda:N", found: name.to_owned() };
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or_else(unknown)
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Whose kernels run the network's layers. In f32 their rows differ only by the order of sums. In bf16 they also round
/// different values, so bf16 is two precisions, [`Precision::OwnBf16`] and [`Precision::Bf16`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kernels {
    /// Our own where they are faster, else libtorch's.
    #[default]
    Auto,
    /// Our own: f32 and bf16 on the CPU.
    Own,
    /// libtorch's: on the CPU those of oneDNN.
    Libtorch,
}

impl Kernels {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Own, Self::Libtorch];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Own => "own",
            Self::Libtorch => "libtorch",
        }
    }
}

/// Pictures per forward pass. Rows of our own kernels do not depend on it. Those of libtorch's differ by rounding: on
/// the CPU (by 5e-6, relative L2), where oneDNN packs weights for it, and on a GPU, where cuDNN chooses its algorithm
/// by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchSize {
    /// 8 on the CPU, where more are no faster and take more memory; on a GPU the largest of 256, 128, 64, … that fits.
    #[default]
    Auto,
    /// This many pictures, at most [`Self::MAX`].
    Fixed(NonZeroUsize),
}

impl BatchSize {
    /// The largest batch size that is accepted.
    pub const MAX: usize = 1024;
}

impl FromStr for BatchSize {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        let size = name.parse().ok().filter(|size: &NonZeroUsize| size.get() <= Self::MAX);
        let unknown = || UnknownName { expected: "auto, or a number from 1 to 1024", found: name.to_owned() };
        size.map(Self::Fixed).ok_or_else(unknown)
    }
}

/// What the user asks for: how rows are computed. None of it changes rows of one precision by more than rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    /// What the network runs on.
    pub device: Device,
    /// Whose kernels run it.
    pub kernels: Kernels,
    /// Pictures per forward pass.
    pub batch_size: BatchSize,
    /// Cores to use for decoding, and on the CPU for the network.
    pub threads: NonZeroUsize,
}

/// What runs the network's layers on this machine: [`Compute`] with `auto` resolved, checked.
#[derive(Debug, Clone, Copy)]
pub enum Engine {
    /// Our own kernels.
    Own(Instructions),
    /// libtorch on a device.
    #[cfg(feature = "libtorch")]
    Libtorch(Device, NumberFormat),
}

/// Why this machine or build cannot compute the rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// A GPU, libtorch's kernels or its bf16 were asked for, and this build has no libtorch.
    #[error("{wanted} needs libtorch, and this build has none: it has only icebox's own kernels, for the CPU")]
    NoLibtorch {
        /// What was asked for.
        wanted: String,
    },
    /// A GPU that is not there.
    #[error("{device}: libtorch sees {}", count_gpus(*.available))]
    NoGpu {
        /// The GPU.
        device: Device,
        /// How many GPUs there are.
        available: usize,
    },
    /// A precision or device that only libtorch's kernels have.
    #[error("rows in {precision} on {device} are computed by libtorch's kernels, not by icebox's own")]
    OnlyLibtorch {
        /// The precision that was asked for.
        precision: Precision,
        /// The device.
        device: Device,
    },
    /// A precision that only our own kernels have, and only on the CPU.
    #[error("rows in {0} are computed by icebox's own kernels on the CPU, and by no others")]
    OnlyOwnKernels(Precision),
    /// bfloat16 on a CPU without instructions for it, or without those that our own kernels use.
    #[error("bf16: this processor has no instructions for it (avx512_bf16), so it would be slower than f32")]
    NoBf16,
    /// Half precision without a GPU.
    #[error("f16 needs a GPU, and the network runs on the CPU")]
    NoF16,
}

fn count_gpus(available: usize) -> String {
    match available {
        0 => "no GPU (it is a CPU build, or there is no driver)".to_owned(),
        1 => "one GPU, cuda:0".to_owned(),
        count => format!("{count} GPUs, counted from 0"),
    }
}

impl Compute {
    /// On the first GPU if there is one, else on all cores.
    pub fn auto() -> Self {
        Self { device: Device::auto(), ..Self::cpu() }
    }

    /// On all cores of the processor.
    pub fn cpu() -> Self {
        let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { device: Device::Cpu, kernels: Kernels::Auto, batch_size: BatchSize::Auto, threads }
    }

    /// The precision of new rows in a number format. bf16 on the CPU is that of our own kernels where they are chosen,
    /// or are faster than libtorch's.
    pub fn precision(self, format: NumberFormat) -> Precision {
        let own_is_faster = Instructions::bf16().is_some() && !processor::has_amx();
        let own = match self.kernels {
            Kernels::Own => true,
            Kernels::Auto => own_is_faster || cfg!(not(feature = "libtorch")),
            Kernels::Libtorch => false,
        };
        match format {
            NumberFormat::F32 => Precision::F32,
            NumberFormat::Bf16 if own && self.device == Device::Cpu => Precision::OwnBf16,
            NumberFormat::Bf16 => Precision::Bf16,
            NumberFormat::F16 => Precision::F16,
        }
    }

    /// Checks that this machine and build can compute the precision on the device with the kernels.
    ///
    /// # Errors
    /// If they cannot. GPUs are assumed to have every precision.
    pub fn check(self, precision: Precision) -> Result<(), ComputeError> {
        self.engine(precision).map(drop)
    }

    /// Forward passes that run in parallel: on the CPU one for each of `threads`, on a GPU one.
    pub fn workers(self) -> NonZeroUsize {
        match self.device {
            Device::Cpu => self.threads,
            Device::Cuda(_) => NonZeroUsize::MIN,
        }
    }

    /// What runs the network for rows of this precision.
    ///
    /// # Errors
    /// When this machine or build cannot compute them.
    pub fn engine(self, precision: Precision) -> Result<Engine, ComputeError> {
        match (precision, self.device, self.kernels) {
            (Precision::OwnBf16, Device::Cpu, Kernels::Auto | Kernels::Own) => {
                Instructions::bf16().map(Engine::Own).ok_or(ComputeError::NoBf16)
            }
            (Precision::OwnBf16, ..) => Err(ComputeError::OnlyOwnKernels(precision)),
            (Precision::F16, Device::Cpu, _) => Err(ComputeError::NoF16),
            (Precision::F32, Device::Cpu, Kernels::Own) => Ok(Engine::Own(Instructions::best_f32())),
            (Precision::F32, Device::Cpu, Kernels::Auto) if prefer_own_f32() => {
                Ok(Engine::Own(Instructions::best_f32()))
            }
            (_, device, Kernels::Own) => Err(ComputeError::OnlyLibtorch { precision, device }),
            (Precision::F32, ..) => self.libtorch(NumberFormat::F32),
            (Precision::Bf16, ..) => self.libtorch(NumberFormat::Bf16),
            (Precision::F16, ..) => self.libtorch(NumberFormat::F16),
        }
    }

    #[cfg(feature = "libtorch")]
    fn libtorch(self, format: NumberFormat) -> Result<Engine, ComputeError> {
        match (self.device, format) {
            (device @ Device::Cuda(number), _) if number >= gpus() => {
                Err(ComputeError::NoGpu { device, available: gpus() })
            }
            (Device::Cpu, NumberFormat::Bf16) if !processor::has_bf16() => Err(ComputeError::NoBf16),
            (device, format) => Ok(Engine::Libtorch(device, format)),
        }
    }

    #[cfg(not(feature = "libtorch"))]
    fn libtorch(self, format: NumberFormat) -> Result<Engine, ComputeError> {
        let wanted = match (self.kernels, self.device) {
            (Kernels::Libtorch, _) => "kernels libtorch".to_owned(),
            (_, Device::Cpu) => format!("libtorch's {}", format.name()),
            (_, device) => format!("device {device}"),
        };
        Err(ComputeError::NoLibtorch { wanted })
    }
}

/// Whether our own kernels are preferred for f32: they are faster than libtorch's on CPUs with vectors of 8 values or
/// more. A build without libtorch has no other kernels.
fn prefer_own_f32() -> bool {
    cfg!(not(feature = "libtorch")) || SimdLevel::best().lanes() >= 8
}

/// How many GPUs libtorch sees.
fn gpus() -> usize {
    #[cfg(feature = "libtorch")]
    return usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    #[cfg(not(feature = "libtorch"))]
    return 0;
}

/// The libtorch that this build is linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkedLibtorch {
    /// Its version; `of unknown version` if libtorch's folder does not say it.
    pub version: &'static str,
    /// Whether it has oneDNN.
    pub onednn: bool,
}

/// The libtorch that this build is linked with, if it is linked with one.
pub fn libtorch() -> Option<LinkedLibtorch> {
    #[cfg(feature = "libtorch")]
    return Some(LinkedLibtorch {
        version: option_env!("LINKED_LIBTORCH").unwrap_or("of unknown version"),
        onednn: tch::utils::has_mkldnn(),
    });
    #[cfg(not(feature = "libtorch"))]
    return None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_bf16_is_computed_depends_on_kernels_and_device() {
        let gpu = Device::Cuda(0);
        let own = Instructions::bf16().is_some() && !processor::has_amx() || cfg!(not(feature = "libtorch"));
        let auto = if own { Precision::OwnBf16 } else { Precision::Bf16 };
        let expected = [
            (Device::Cpu, Kernels::Auto, auto),
            (Device::Cpu, Kernels::Own, Precision::OwnBf16),
            (Device::Cpu, Kernels::Libtorch, Precision::Bf16),
            (gpu, Kernels::Auto, Precision::Bf16),
            (gpu, Kernels::Own, Precision::Bf16),
            (gpu, Kernels::Libtorch, Precision::Bf16),
        ];
        for (device, kernels, precision) in expected {
            let compute = Compute { device, kernels, ..Compute::cpu() };
            assert_eq!(compute.precision(NumberFormat::Bf16), precision, "{device}, {}", kernels.name());
            assert_eq!(compute.precision(NumberFormat::F32), Precision::F32);
            assert_eq!(compute.precision(NumberFormat::F16), Precision::F16);
        }
    }

    #[test]
    fn what_cannot_be_computed_is_an_error_that_says_why() {
        let on_gpu = |kernels| Compute { device: Device::Cuda(0), kernels, ..Compute::cpu() };
        let on_cpu = |kernels| Compute { kernels, ..Compute::cpu() };
        let only_libtorch = |precision, device| ComputeError::OnlyLibtorch { precision, device };
        let only_own = ComputeError::OnlyOwnKernels(Precision::OwnBf16);
        let own_bf16 = if Instructions::bf16().is_some() { Ok(()) } else { Err(ComputeError::NoBf16) };
        let cases = [
            (on_cpu(Kernels::Own), Precision::F32, Ok(())),
            (on_cpu(Kernels::Auto), Precision::F32, Ok(())),
            (on_cpu(Kernels::Own), Precision::OwnBf16, own_bf16.clone()),
            (on_cpu(Kernels::Auto), Precision::OwnBf16, own_bf16),
            (on_cpu(Kernels::Libtorch), Precision::OwnBf16, Err(only_own.clone())),
            (on_cpu(Kernels::Own), Precision::Bf16, Err(only_libtorch(Precision::Bf16, Device::Cpu))),
            (on_cpu(Kernels::Own), Precision::F16, Err(ComputeError::NoF16)),
            (on_cpu(Kernels::Libtorch), Precision::F16, Err(ComputeError::NoF16)),
            (on_gpu(Kernels::Own), Precision::F32, Err(only_libtorch(Precision::F32, Device::Cuda(0)))),
            (on_gpu(Kernels::Auto), Precision::OwnBf16, Err(only_own)),
        ];
        for (compute, precision, expected) in cases {
            assert_eq!(compute.check(precision), expected, "{compute:?}, {precision}");
        }
    }
}
