//! Runs and sweeps as a fault or an attacker may leave them. The inputs that fuzzing begins with, and all that it has
//! found, are tried here, too, and mangled.

use std::fs;
use std::path::PathBuf;

use end_to_end::{mangled, temporary};
use head::run::Run;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../fuzz/untrusted.rs"]
mod untrusted;

/// The inputs that the fuzz target begins with.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_ne!(files, Vec::<Vec<u8>>::new(), "{}", folder.display());
    files
}

fn mangled_seed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    select(seeds(target)).prop_flat_map(mangled)
}

#[test]
fn the_whole_run_is_read() {
    let folder = temporary();
    for (name, content) in untrusted::RUN {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let run = Run::load(folder.path()).unwrap();
    assert_eq!(run.classifier.inputs(), 5);
    assert_eq!(run.calibration.unwrap().centroids.len(), 2);
}

#[test]
fn every_seed_is_an_input_like_any_other() {
    let folder = temporary();
    seeds("run").iter().for_each(|bytes| untrusted::run(folder.path(), bytes));
    seeds("sweep").iter().for_each(|bytes| untrusted::sweep(bytes));
}

proptest! {
    #[test]
    fn mangled_runs(bytes in mangled_seed("run")) {
        let folder = temporary();
        untrusted::run(folder.path(), &bytes);
    }

    #[test]
    fn mangled_sweeps(bytes in mangled_seed("sweep")) {
        untrusted::sweep(&bytes);
    }
}
