//! features.npy, views.npy and labels.npy of any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| feature_cache::fuzzing::arrays(bytes));
