//! A sweep.json of any bytes: its report.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| untrusted::sweep(bytes));
