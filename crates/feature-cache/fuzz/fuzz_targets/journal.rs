//! The journal of an unfinished run of any bytes: opened and continued.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|bytes: &[u8]| feature_cache::fuzzing::journal(&FOLDER.path().join("rows"), bytes));
