//! `head mislabels CACHE`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{DataError, Rows};
use head::mislabels::judge;
use head::settings::FitConfig;
use serde_json::json;
use stdio::output;

use super::table;
use super::training::{count, learning_rate};

const FEWEST_FOLDS: usize = 2;

/// `head mislabels CACHE`.
#[derive(Debug, Args)]
pub struct MislabelsArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// How many photos to list, the most doubtful first
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Parts that the photos are dealt into; each is judged by a head trained on the others
    #[arg(long, value_name = "N", default_value_t = 5)]
    folds: usize,
    /// Adam's learning rate
    #[arg(long, value_name = "RATE", default_value_t = 0.001, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Passes over the rows
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// Rows per step
    #[arg(long, value_name = "ROWS", default_value_t = 32)]
    batch_size: usize,
    /// What the folds, the start of the weights and the shuffling are drawn from
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &MislabelsArgs) -> anyhow::Result<()> {
    ensure!(args.folds >= FEWEST_FOLDS, "--folds {}: must be {FEWEST_FOLDS} or more", args.folds);
    let config = FitConfig::new(learning_rate(args.learning_rate)?, count("--epochs", args.epochs)?);
    let batch_size = count("--batch-size", args.batch_size)?;
    let cache = FeatureCache::open(&args.cache)?;
    let mut listed = Vec::new();
    let mut photos = 0;
    // The test split stays unseen: what is mended after looking at it no longer measures anything.
    for split in [Split::All, Split::Train, Split::Validation] {
        let (Some(cached), Some(rows)) = (cache.split(split), Rows::of_split(&cache, split)?) else { continue };
        let index = cached.index()?;
        photos += rows.len();
        for judgement in judge(&rows, cache.classes().len(), config, batch_size, args.folds, args.seed)? {
            listed.extend(index.get(judgement.row).map(|photo| (judgement, photo.path.clone())));
        }
    }
    ensure!(photos > 0, DataError::NoTrain { cache: args.cache.display().to_string() });
    listed.sort_by(|(a, _), (b, _)| b.loss.total_cmp(&a.loss));
    listed.truncate(args.top);

    let name = |label: usize| cache.classes().name(label).unwrap_or_default();
    if args.json {
        let each = listed.iter().map(|(judgement, path)| {
            json!({
                "path": path.to_string_lossy(),
                "label": name(judgement.label),
                "predicted": name(judgement.predicted),
                "confidence": judgement.confidence,
                "loss": judgement.loss,
            })
        });
        output!("{}", serde_json::Value::from_iter(each))?;
        return Ok(());
    }
    let rows = listed.iter().map(|(judgement, path)| {
        vec![
            path.display().to_string(),
            name(judgement.label).to_owned(),
            name(judgement.predicted).to_owned(),
            format!("{:.3}", judgement.confidence),
            format!("{:.2}", judgement.loss),
        ]
    });
    output!("{}", table(&["photo", "labelled", "looks like", "probability", "loss"], rows))?;
    output!("\nof {photos} photos, each judged by a head that has not seen it: mislabelled, or hard")?;
    output!(
        "\nnext: look at them, move those that are wrong to their class, and extract again: nothing is recomputed"
    )?;
    Ok(())
}
