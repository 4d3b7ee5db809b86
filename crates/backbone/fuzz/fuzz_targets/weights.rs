//! A file of weights of any bytes, in each format: an error, since no small file has all tensors, and little memory.

#![no_main]

mod memory;

use std::path::Path;

use backbone::Weights;
use libfuzzer_sys::fuzz_target;

use memory::most_allocated;

/// What reading a small file may take, in bytes: some datasets of the size of the network's largest tensors.
const MAX_BYTES: usize = 256 << 20;

fuzz_target!(|bytes: &[u8]| {
    for name in ["weights.h5", "weights.safetensors"] {
        let (weights, memory) = most_allocated(|| Weights::from_bytes(Path::new(name), bytes));
        assert!(weights.is_err());
        assert!(memory <= MAX_BYTES, "{memory} bytes: {weights:?}");
    }
});
