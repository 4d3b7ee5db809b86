//! Which device a name means on this machine.

use std::str::FromStr;

use anyhow::{bail, ensure};
use tch::{Cuda, Device};

/// A device as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The first GPU if libtorch sees one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU by number.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match (name, name.strip_prefix("cuda")) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some("")) => Ok(Self::Cuda(0)),
            (_, Some(number)) => {
                let number = number.strip_prefix(':').and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or_else(|| "expected a number, as in cuda:0".to_owned())
            }
            _ => Err("expected auto, cpu or cuda:N".to_owned()),
        }
    }
}

impl DeviceName {
    /// The device, if this libtorch has it.
    pub fn device(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(Device::cuda_if_available()),
            Self::Cuda(number) => {
                if !Cuda::is_available() {
                    bail!(
                        "--device cuda:{number}: this libtorch sees no GPU (it is a CPU build, or there is no driver); \
                         set LIBTORCH to a CUDA build and compile again, or use --device cpu"
                    );
                }
                let devices = Cuda::device_count();
                let there = i64::try_from(number).is_ok_and(|number| number < devices);
                ensure!(there, "--device cuda:{number}: there are {devices} GPUs, counted from 0");
                Ok(Device::Cuda(number))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_in_torch() {
        assert_eq!("auto".parse(), Ok(DeviceName::Auto));
        assert_eq!("cpu".parse(), Ok(DeviceName::Cpu));
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceName::Cuda(3)));
        for wrong in ["gpu", "cuda3", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
