//! `extract DATASET --dry-run`: what is there, and how long it would take.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use extract::batch_size::BatchSize;
use extract::dataset::Dataset;
use extract::extraction::Extraction;
use extract::pipeline::Network;
use extract::weights::Weights;
use stdio::output;

pub fn run(extraction: &Extraction) -> Result<ExitCode> {
    let dataset = Dataset::scan(&extraction.dataset)?;
    let mut rows = dataset.len();
    for (split, photos) in &dataset.splits {
        let views = extraction.views.as_ref().filter(|_| split.is_learnt_from());
        let views = views.map_or(0, |views| views.in_words().count.get());
        rows += views * photos.len();
        let of_each = if views > 0 { format!(", {views} views of each") } else { String::new() };
        output!("{split}: {} photos{of_each}", photos.len())?;
        for (class, label) in dataset.classes.iter().zip(0..) {
            let count = photos.iter().filter(|photo| photo.label == label).count();
            output!("  {count:>6}  {class}")?;
        }
    }
    for left_out in &dataset.left_out {
        output!("left out: {}: {}", left_out.path.display(), left_out.reason)?;
    }
    let seconds = seconds_per_row(extraction)? * rows as f64;
    output!("about {:.0} min {:02.0} s for all of them, by a trial batch", (seconds / 60.0).floor(), seconds % 60.0)?;
    Ok(ExitCode::SUCCESS)
}

/// By the second of two forward passes; the first one prepares. Larger batches than suit the device would take longer and
/// say the same.
fn seconds_per_row(extraction: &Extraction) -> Result<f64> {
    let weights = Weights::load(&extraction.weights)?;
    let side = extraction.preparation.side;
    let network = BatchSize::Auto.network(&weights, side, extraction.arithmetic)?;
    let batch = network.batch();
    let black = vec![0; batch * 3 * (side as usize).pow(2)];
    network.rows(&black)?;
    let start = Instant::now();
    network.rows(&black)?;
    Ok(start.elapsed().as_secs_f64() / (batch * extraction.workers.get()) as f64)
}
