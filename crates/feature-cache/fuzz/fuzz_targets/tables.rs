//! index.csv, skipped.csv and hashes.csv of any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| feature_cache::fuzzing::tables(bytes));
