//! Hints for the network's errors: the library states what happened, the command line adds which option helps. Each
//! begins with the separator that goes between it and the error.

use std::collections::BTreeSet;

use backbone::pixels::Limit;
use backbone::{ComputeError, EmbedderError};

/// Which option helps if the embedder cannot be made; `None` if none does.
pub fn embedder_hint(error: &EmbedderError) -> Option<String> {
    match error {
        EmbedderError::Compute(error) => Some(compute_hint(error)),
        _ => None,
    }
}

/// Which option helps if this machine or build cannot compute the rows.
pub fn compute_hint(error: &ComputeError) -> String {
    let hint = match error {
        ComputeError::NoLibtorch { .. } => "build with libtorch (scripts/setup), or use the defaults",
        ComputeError::NoGpu { available: 0, .. } => {
            "set LIBTORCH to a CUDA build and compile again, or use --device cpu"
        }
        ComputeError::NoGpu { .. } => "choose another --device",
        ComputeError::OnlyLibtorch { .. } | ComputeError::OnlyOwnKernels { .. } => "use --kernels auto",
        ComputeError::NoBf16 | ComputeError::NoF16 => "use --precision f32",
    };
    format!("; {hint}")
}

/// How to raise the limits that photos exceed; empty if they exceed none.
pub fn limits_hint(exceeded: &BTreeSet<Limit>) -> String {
    let mut options = Vec::new();
    for limit in exceeded {
        options.push(match limit {
            Limit::Pixels => "--max-pixels",
            Limit::Bytes => "--max-picture-bytes",
        });
    }
    if options.is_empty() { String::new() } else { format!("; raise limits with {}", options.join(" and ")) }
}
