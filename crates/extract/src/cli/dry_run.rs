//! `extract DATASET --dry-run`: how many photos there are, and how long extraction would take.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use backbone::{BatchSize, Compute, Embedder, Weights, golden};
use extract::dataset::Dataset;
use extract::extraction::Extraction;
use stdio::output;

use super::count::count;

pub fn run(extraction: &Extraction) -> Result<ExitCode> {
    let dataset = Dataset::scan_shard(&extraction.dataset, extraction.shard)?;
    let mut rows = dataset.len();
    for (split, photos) in &dataset.splits {
        let views = extraction.views.as_ref().filter(|_| split.is_training());
        let views = views.map_or(0, |views| views.manifest_views().count.get());
        rows += views * photos.len();
        let and_views = if views > 0 { format!(", {views} views of each") } else { String::new() };
        output!("{split}: {}{and_views}", count(photos.len(), "photo"))?;
        let mut photos_of_class: BTreeMap<i64, usize> = BTreeMap::new();
        for photo in photos {
            *photos_of_class.entry(photo.label).or_default() += 1;
        }
        for (class, label) in dataset.classes.iter().zip(0..) {
            let photos = photos_of_class.get(&label).copied().unwrap_or_default();
            output!("  {photos:>6}  {class}")?;
        }
    }
    for ignored in &dataset.ignored {
        output!("ignored: {}: {}", ignored.path.display(), ignored.reason)?;
    }
    // Rounded first: 119.7 seconds are 2 min 00 s, not 1 min 60 s.
    let seconds = (seconds_per_row(extraction)? * rows as f64).round();
    output!(
        "about {:.0} min {:02.0} s to compute all rows, estimated from a trial batch",
        (seconds / 60.0).floor(),
        seconds % 60.0
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Measured with the second of two rounds of trial batches; the first one warms up. The batch size is `auto`, since a
/// larger one would take longer to measure.
fn seconds_per_row(extraction: &Extraction) -> Result<f64> {
    let weights = Weights::load(&extraction.weights)?;
    let compute = Compute { batch_size: BatchSize::Auto, ..extraction.compute };
    let embedder = Embedder::new(&extraction.spec, &weights, compute)?;
    let count = embedder.batch_size() * embedder.workers();
    let mut seconds = 0.0;
    for _ in 0..2 {
        let photos = vec![golden::picture(); count];
        let start = Instant::now();
        embedder.embed(photos, &AtomicBool::new(false), |_| ControlFlow::<()>::Continue(()))?;
        seconds = start.elapsed().as_secs_f64();
    }
    Ok(seconds / count as f64)
}
