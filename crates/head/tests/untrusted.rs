//! Damaged and malicious runs and sweeps. The seeds of fuzzing and everything that it has found are tested here, as
//! they are and mangled.

use std::fs;
use std::path::{Path, PathBuf};

use end_to_end::{mangled, temporary};
use feature_cache::Split;
use head::run::Run;
use head::summary::SweepResults;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

#[path = "../fuzz/untrusted.rs"]
mod untrusted;

/// The seeds of the fuzz target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_ne!(files, Vec::<Vec<u8>>::new(), "{}", folder.display());
    files
}

fn mangled_seed(target: &str) -> impl Strategy<Value = Vec<u8>> {
    select(seeds(target)).prop_flat_map(mangled)
}

fn write_run(folder: &Path) {
    for (name, content) in untrusted::RUN {
        fs::write(folder.join(name), content).unwrap();
    }
}

#[test]
fn the_original_run_is_valid() {
    let folder = temporary();
    write_run(folder.path());
    let run = Run::load(folder.path()).unwrap();
    assert_eq!(run.classifier.inputs(), 5);
    assert_eq!(run.calibration.unwrap().centroids.len(), 2);
}

/// The rows of a cell that is listed several times are added; the sum once wrapped around.
#[test]
fn a_confusion_matrix_whose_row_count_overflows_is_damaged() {
    let folder = temporary();
    write_run(folder.path());
    let metrics = folder.path().join("metrics.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&metrics).unwrap()).unwrap();
    let mut load_with = |cells: Value| {
        json["train"]["confusion"] = json!({ "classes": 2, "cells": cells });
        fs::write(&metrics, json.to_string()).unwrap();
        Run::load(folder.path())
    };
    let run = load_with(json!([[1, 0, usize::MAX - 2], [1, 0, 2]])).unwrap();
    assert_eq!(run.metrics.splits[&Split::Train].confusion.rows(1, 0), usize::MAX);
    let error = load_with(json!([[1, 0, usize::MAX - 2], [1, 0, 3]])).unwrap_err().to_string();
    let message = "metrics.json: damaged: a confusion matrix has more than 18446744073709551615 rows of class 1 \
                   predicted as 0";
    assert!(error.contains(message), "{error}");
}

/// The number of heads once wrapped around.
#[test]
fn a_sweep_whose_head_count_overflows_is_damaged() {
    let mut json: Value = serde_json::from_slice(&seeds("sweep")[0]).unwrap();
    json["settings"][0]["diverged"] = json!(usize::MAX);
    let error = serde_json::from_value::<SweepResults>(json).unwrap_err().to_string();
    assert!(error.contains("18446744073709551615"), "{error}");
}

#[test]
fn seeds_are_handled() {
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
