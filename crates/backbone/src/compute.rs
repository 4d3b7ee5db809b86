//! How the network is run: device, kernels, precision, batch size and threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;

use crate::processor::{self, Instructions, SimdLevel};

/// The number format that the network computes in. The sums of a convolution are always kept in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats, as in Keras.
    #[default]
    F32,
    /// bfloat16 as libtorch computes it, for CPUs and GPUs that have it (NVIDIA's since Ampere): nearly twice as fast.
    /// Features are about 2 % off (relative L2), heads as accurate.
    Bf16,
    /// bfloat16 as our own kernels compute it, for CPUs with avx512_bf16. They round only feature maps and the factors
    /// of matrix products, so features are nearer to those in f32 than libtorch's.
    OwnBf16,
    /// Half precision, for GPUs: features are about 0.3 % off (relative L2).
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

/// A name that no precision or device has, or a text that is no batch size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct UnknownName {
    /// What is accepted, in words.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName { expected: "f32, bf16, bf16 with own kernels, or f16", found: name.to_owned() };
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(unknown)
    }
}

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

/// Whose kernels run the network's layers. Their rows differ by rounding.
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

/// Pictures per forward pass. On the CPU rows do not depend on it; on a GPU they differ by rounding, since cuDNN
/// chooses its algorithm by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchSize {
    /// 8 on the CPU, where more are no faster and take more memory; on a GPU the largest of 256, 128, 64, … that fits.
    #[default]
    Auto,
    /// This many pictures, at most [`Self::MAX`].
    Of(NonZeroUsize),
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
        size.map(Self::Of).ok_or_else(unknown)
    }
}

/// What the user asks for: how rows are computed. None of it changes rows of one precision by more than rounding, but
/// bf16 has two kinds, and [`Self::resolve`] chooses one by the kernels.
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
    Libtorch(Device, Precision),
}

/// Why this machine or build cannot compute the rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// A GPU, f16, libtorch's kernels or its bf16 were asked for, and this build has no libtorch.
    #[error(
        "{wanted} needs libtorch, and this build has none: it has only icebox's own kernels, for f32 and bf16 on the CPU"
    )]
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
    #[error("{precision} on {device} is computed by libtorch's kernels, not by icebox's own")]
    OnlyLibtorch {
        /// The precision that was asked for.
        precision: Precision,
        /// The device.
        device: Device,
    },
    /// A precision that only our own kernels have, and only on the CPU.
    #[error("rows in {precision:?} are computed by icebox's own kernels on the CPU, not by {kernels} on {device}", precision = .precision.name())]
    OnlyOwnKernels {
        /// The precision that was asked for.
        precision: Precision,
        /// The name of the kernels that were asked for.
        kernels: &'static str,
        /// The device.
        device: Device,
    },
    /// bfloat16 on a CPU without instructions for it.
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

    /// The precision in which rows are computed if the user asks for `precision`: on the CPU [`Precision::Bf16`]
    /// becomes [`Precision::OwnBf16`] where our own kernels are chosen, or are faster than libtorch's.
    pub fn resolve(self, precision: Precision) -> Precision {
        let own = match self.kernels {
            Kernels::Own => true,
            Kernels::Auto => {
                Instructions::bf16().is_some() && (cfg!(not(feature = "libtorch")) || !processor::has_amx())
            }
            Kernels::Libtorch => false,
        };
        match (precision, self.device) {
            (Precision::Bf16, Device::Cpu) if own => Precision::OwnBf16,
            _ => precision,
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

    /// What runs the network for rows of this precision, which [`Self::resolve`] returned or an existing cache has.
    ///
    /// # Errors
    /// When this machine or build cannot compute them.
    pub fn engine(self, precision: Precision) -> Result<Engine, ComputeError> {
        let Self { device, kernels, .. } = self;
        match (precision, device, kernels) {
            (Precision::OwnBf16, Device::Cpu, Kernels::Auto | Kernels::Own) => {
                Instructions::bf16().map(Engine::Own).ok_or(ComputeError::NoBf16)
            }
            (Precision::OwnBf16, ..) => {
                Err(ComputeError::OnlyOwnKernels { precision, kernels: kernels.name(), device })
            }
            (Precision::F32, Device::Cpu, Kernels::Own) => Ok(Engine::Own(Instructions::best_f32())),
            (Precision::F32, Device::Cpu, Kernels::Auto) if prefer_own_f32() => {
                Ok(Engine::Own(Instructions::best_f32()))
            }
            (_, _, Kernels::Own) => Err(ComputeError::OnlyLibtorch { precision, device }),
            _ => self.libtorch(precision),
        }
    }

    #[cfg(feature = "libtorch")]
    fn libtorch(self, precision: Precision) -> Result<Engine, ComputeError> {
        match (self.device, precision) {
            (device @ Device::Cuda(number), _) if number >= gpus() => {
                Err(ComputeError::NoGpu { device, available: gpus() })
            }
            (Device::Cpu, Precision::Bf16) if !processor::has_bf16() => Err(ComputeError::NoBf16),
            (Device::Cpu, Precision::F16) => Err(ComputeError::NoF16),
            (device, precision) => Ok(Engine::Libtorch(device, precision)),
        }
    }

    #[cfg(not(feature = "libtorch"))]
    fn libtorch(self, precision: Precision) -> Result<Engine, ComputeError> {
        let wanted = match (self.kernels, self.device) {
            (Kernels::Libtorch, _) => "kernels libtorch".to_owned(),
            (_, Device::Cpu) => format!("precision {precision}"),
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
