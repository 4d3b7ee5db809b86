//! What runs a network's layers: our own kernels, or libtorch. A recorder runs nothing and lists them.

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

/// A computation that works with any backend.
pub(crate) trait WithBackend {
    /// Its result.
    type Output;

    /// Runs it.
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
