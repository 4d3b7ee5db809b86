//! Reads a feature cache: `cargo run --release --package feature-cache --example read -- CACHE`.
//!
//! Prints how its rows were computed, and the shapes and first rows of each split, with their photos.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;

use feature_cache::FeatureCache;

/// How many rows of each split are printed, and how many values of each row.
const SHOWN: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("expected the folder of a cache")?.into();

    // Checks the manifest, each file's length, the arrays' headers and the labels. Features are mapped, not read.
    let cache = FeatureCache::open(&path)?;
    let fingerprint = cache.fingerprint();
    println!("backbone  {}, {} pixels a side, {}", fingerprint.backbone, fingerprint.size, fingerprint.precision);
    println!("classes   {}", cache.classes().iter().collect::<Vec<_>>().join(", "));

    for (name, split) in cache.splits() {
        // An ndarray view of the mapped file: the operating system reads a row when it is looked at.
        let features = split.features();
        println!("\n{name}: features {:?}, labels [{}]", features.shape(), split.labels().len());

        // The index says which photo each row is of; this parses index.csv.
        for (photo, row) in split.index()?.iter().zip(features.rows()).take(SHOWN) {
            let class = cache.classes().name(photo.label as usize).ok_or("a label without a class")?;
            let values: Vec<f32> = row.iter().copied().take(SHOWN).collect();
            println!("  {}  {class}  {values:.3?} and {} more", photo.path.display(), row.len() - values.len());
        }

        // Augmented views of the same photos, if the split has any: all views of a row are in one slice.
        if let Some(views_of_first_row) = split.views_by_row().next() {
            println!("  {} augmented views of each photo", views_of_first_row.len() / cache.columns());
        }
    }
    Ok(())
}
