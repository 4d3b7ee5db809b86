//! Reads any bytes as weights, in each format: an error, since no small file has all tensors, and within a memory
//! limit.

#![no_main]

mod memory;

use std::path::Path;

use backbone::Weights;
use libfuzzer_sys::fuzz_target;

use memory::peak_allocated;

/// The memory that reading a small file may take in bytes: some datasets of the size of the network's largest tensors.
const MAX_BYTES: usize = 256 << 20;

fuzz_target!(|bytes: &[u8]| {
    for name in ["weights.h5", "weights.safetensors"] {
        let (weights, memory) = peak_allocated(|| Weights::from_bytes(Path::new(name), bytes));
        assert!(weights.is_err());
        assert!(memory <= MAX_BYTES, "{memory} bytes: {weights:?}");
    }
});
