//! What the command lines of `extract` and `classify` share, since both run the network: options, hints, and how the
//! process begins and ends. No library uses it.

mod choice;
mod compute;
mod limits;
mod weights;
mod hint;
mod process;
mod version;

pub use choice::choice;
pub use compute::{DeviceArg, KernelsArg, ThreadsArg, all_cores};
pub use hint::{compute_hint, embedder_hint, limits_hint};
pub use limits::LimitsArgs;
pub use process::{cancel_on_signals, catch_file_size_signal, run_command};
pub use version::long_version;
pub use weights::{WeightsArg, default_weights};
