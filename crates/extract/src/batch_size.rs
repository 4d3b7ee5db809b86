//! How many pictures go through the network at a time.
//!
//! On a CPU eight: more are no faster, since each worker has a core to itself, and take more memory. A GPU wants as many
//! as its memory takes; how many that is depends on its model, the pictures' side and who else uses it, so it is tried.

use std::num::NonZeroUsize;
use std::str::FromStr;

use tch::Device;

use crate::arithmetic::Arithmetic;
use crate::pipeline::{Network, NetworkError};
use crate::weights::Weights;
use crate::xception::Xception;

/// The most that can be asked for.
const MOST: usize = 1024;
const ON_CPU: usize = 8;
/// Larger batches keep no GPU busier.
const MOST_ON_GPU: usize = 256;

/// Pictures per forward pass. On the CPU rows do not depend on it; on a GPU they differ by rounding, since cuDNN chooses by
/// it how to sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// What suits the device.
    Auto,
    /// So many.
    Of(NonZeroUsize),
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        if typed == "auto" {
            return Ok(Self::Auto);
        }
        let size = typed.parse().ok().filter(|size: &NonZeroUsize| size.get() <= MOST);
        size.map(Self::Of).ok_or_else(|| format!("expected auto, or a number from 1 to {MOST}"))
    }
}

impl BatchSize {
    /// The network for batches of this size.
    ///
    /// # Errors
    /// When it cannot be run; on a GPU, when not even one picture fits into its memory.
    pub fn network(self, weights: &Weights, side: u32, arithmetic: Arithmetic) -> Result<Xception, NetworkError> {
        match (self, arithmetic.device()) {
            (Self::Of(size), _) => Xception::new(weights, side, size.get(), arithmetic),
            (Self::Auto, Device::Cpu) => Xception::new(weights, side, ON_CPU, arithmetic),
            (Self::Auto, _) => largest(MOST_ON_GPU, |batch| {
                let network = Xception::new(weights, side, batch, arithmetic)?;
                network.rows(&vec![0; batch * 3 * (side as usize).pow(2)])?;
                Ok(network)
            }),
        }
    }
}

/// What `attempt` gives for the first of `most`, its half, its quarter, … that works; the last error where none does. Any
/// error may be one that fewer pictures would not meet: cuDNN has many words for too little memory.
fn largest<T, E>(most: usize, attempt: impl Fn(usize) -> Result<T, E>) -> Result<T, E> {
    let mut batch = most;
    loop {
        match attempt(batch) {
            Err(_) if batch > 1 => batch /= 2,
            attempted => return attempted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_auto_or_sensible_numbers() {
        assert_eq!("auto".parse(), Ok(BatchSize::Auto));
        assert_eq!("32".parse(), Ok(BatchSize::Of(NonZeroUsize::new(32).unwrap())));
        for wrong in ["", "0", "-1", "1025", "many", "Auto"] {
            let message = wrong.parse::<BatchSize>().unwrap_err();
            assert_eq!(message, "expected auto, or a number from 1 to 1024", "{wrong:?}");
        }
    }

    #[test]
    fn a_batch_is_halved_until_it_fits() {
        let memory_for = |room: usize| move |batch: usize| if batch <= room { Ok(batch) } else { Err(batch) };
        assert_eq!(largest(256, memory_for(1000)), Ok(256));
        assert_eq!(largest(256, memory_for(40)), Ok(32));
        assert_eq!(largest(256, memory_for(1)), Ok(1));
        assert_eq!(largest(256, memory_for(0)), Err(1), "what a single picture failed with");
    }
}
