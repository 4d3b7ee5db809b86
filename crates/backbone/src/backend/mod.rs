//! What runs a network's layers: our own kernels, or libtorch.

pub(crate) mod interface;
pub(crate) mod cpu;
#[cfg(feature = "libtorch")]
pub(crate) mod libtorch;

use self::cpu::Cpu;
use self::interface::Backend;
#[cfg(feature = "libtorch")]
use self::libtorch::Libtorch;
use crate::compute::Engine;

/// What is done in a backend, whichever it is.
pub(crate) trait WithBackend {
    /// What it gives.
    type Output;

    /// Does it.
    fn run<B: Backend>(self, backend: B) -> Self::Output;
}

/// Does something in the backend that an engine stands for.
pub(crate) fn with_backend<W: WithBackend>(engine: Engine, work: W) -> W::Output {
    match engine {
        Engine::Own(kernels) => work.run(Cpu::new(kernels)),
        #[cfg(feature = "libtorch")]
        Engine::Libtorch(device, precision) => work.run(Libtorch::new(device, precision)),
    }
}
