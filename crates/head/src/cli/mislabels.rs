//! `head mislabels CACHE`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{DataError, Rows};
use head::mislabels::out_of_fold;
use head::settings::FitConfig;
use head::text::table;
use serde_json::json;
use stdio::output;

use super::training::{count, learning_rate};

const MIN_FOLDS: usize = 2;

/// `head mislabels CACHE`.
#[derive(Debug, Args)]
pub struct MislabelsArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// How many photos to list, the most doubtful first
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Folds that the photos are split into; a head trained on the others is evaluated on each
    #[arg(long, value_name = "N", default_value_t = 5)]
    folds: usize,
    /// Adam's learning rate
    #[arg(long, value_name = "RATE", default_value_t = 0.001, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Epochs
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// Batch size, in rows
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
    ensure!(args.folds >= MIN_FOLDS, "--folds {}: must be {MIN_FOLDS} or more", args.folds);
    let config = FitConfig::new(learning_rate(args.learning_rate)?, count("--epochs", args.epochs)?);
    let batch_size = count("--batch-size", args.batch_size)?;
    let cache = FeatureCache::open(&args.cache)?;
    let mut listed = Vec::new();
    let mut photos = 0;
    // The test split is left out: labels that are corrected after looking at it would flatter every later result on it.
    for split in [Split::All, Split::Train, Split::Validation] {
        let (Some(cached), Some(rows)) = (cache.split(split), Rows::of_split(&cache, split)?) else { continue };
        let index = cached.index()?;
        photos += rows.len();
        let predictions = out_of_fold(&rows, cache.classes().len(), config, batch_size, args.folds, args.seed)?;
        for prediction in predictions.into_iter().take(args.top) {
            listed.push((prediction, index[prediction.row].path.clone()));
        }
    }
    ensure!(photos > 0, DataError::NoTrain { cache: args.cache.display().to_string() });
    listed.sort_by(|(a, _), (b, _)| b.loss.total_cmp(&a.loss));
    listed.truncate(args.top);

    let name = |label: usize| cache.classes().name(label).expect("labels are indices of the classes");
    if args.json {
        let each = listed.iter().map(|(prediction, path)| {
            json!({
                "path": path.to_string_lossy(),
                "label": name(prediction.label),
                "predicted": name(prediction.predicted),
                "confidence": prediction.confidence,
                "loss": prediction.loss,
            })
        });
        output!("{}", serde_json::Value::from_iter(each))?;
        return Ok(());
    }
    let rows = listed.iter().map(|(prediction, path)| {
        vec![
            path.display().to_string(),
            name(prediction.label).to_owned(),
            name(prediction.predicted).to_owned(),
            format!("{:.3}", prediction.confidence),
            format!("{:.2}", prediction.loss),
        ]
    });
    output!("{}", table(&["photo", "labelled", "looks like", "probability", "loss"], rows))?;
    output!("\nof {photos} photos, each classified by a head that was not trained on it: mislabelled, or hard")?;
    output!(
        "\nnext: look at them, move those that are wrong to their class, and extract again: nothing is recomputed"
    )?;
    Ok(())
}
