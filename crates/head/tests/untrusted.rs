//! Runs and sweeps as a fault or an attacker may leave them. The inputs that fuzzing begins with, and all that it has
//! found, are tried here, too, and mangled.

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

fn write_run(folder: &Path) {
    for (name, content) in untrusted::RUN {
        fs::write(folder.join(name), content).unwrap();
    }
}

#[test]
fn the_whole_run_is_read() {
    let folder = temporary();
    write_run(folder.path());
    let run = Run::load(folder.path()).unwrap();
    assert_eq!(run.classifier.inputs(), 5);
    assert_eq!(run.calibration.unwrap().centroids.len(), 2);
}

/// A cell that is listed several times has the sum of its rows, which once wrapped around.
#[test]
fn a_confusion_matrix_of_more_rows_than_can_be_counted_is_damage() {
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
    let message = "metrics.json: damaged: a confusion matrix has more than 18446744073709551615 rows of class 1 predicted \
                   as 0";
    assert!(error.contains(message), "{error}");
}

/// The number of heads of such a sweep once wrapped around.
#[test]
fn a_sweep_of_more_heads_than_can_be_counted_is_damage() {
    let mut json: Value = serde_json::from_slice(&seeds("sweep")[0]).unwrap();
    json["settings"][0]["diverged"] = json!(usize::MAX);
    let error = serde_json::from_value::<SweepResults>(json).unwrap_err().to_string();
    assert!(error.contains("18446744073709551615"), "{error}");
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
