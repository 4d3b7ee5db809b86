//! Backends, which run a network's layers: our own CPU kernels or libtorch. The recorder only lists the layers.

pub(crate) mod interface;
pub(crate) mod recorder;
pub(crate) mod cpu;
#[cfg(feature = "libtorch")]
pub(crate) mod libtorch;

use self::cpu::Cpu;
use self::interface::Backend;
#[cfg(feature = "libtorch")]
use self::libtorch::Libtorch;
use crate::compute::Engine;

/// Code that is generic over the backend, for [`with_backend`] to call.
pub(crate) trait WithBackend {
    /// The result.
    type Output;

    /// Called with the engine's backend.
    fn run<B: Backend>(self, backend: B) -> Self::Output;
}

/// Runs `work` in the engine's backend.
pub(crate) fn with_backend<W: WithBackend>(engine: Engine, work: W) -> W::Output {
    match engine {
        Engine::Own(instructions) => work.run(Cpu::new(instructions)),
        #[cfg(feature = "libtorch")]
        Engine::Libtorch(device, precision) => work.run(Libtorch::new(device, precision)),
    }
}
