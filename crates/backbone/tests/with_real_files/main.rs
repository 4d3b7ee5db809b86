//! Tests with the weights and photos that scripts/setup fetches.

mod keras_files;
mod network;

use std::fs;
use std::path::{Path, PathBuf};

use backbone::weights::Weights;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name)
}

fn weights() -> Weights {
    Weights::load(&data("weights/xception.safetensors")).expect("run scripts/setup first")
}

/// The 18 photos, in the order of their names.
fn photos() -> Vec<PathBuf> {
    let photos = fs::read_dir(data("kitchenware-photos")).expect("run scripts/setup first");
    let mut photos: Vec<PathBuf> = photos.map(|entry| entry.unwrap().path()).collect();
    photos.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    photos.sort();
    photos
}
