//! `head mislabels CACHE`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{DataError, Rows};
use head::mislabels::{CrossValidation, predict_out_of_fold};
use head::settings::FitConfig;
use head::text::table;
use serde_json::json;
use stdio::output;

use super::shared::{check_count, check_learning_rate};

const MIN_FOLDS: usize = 2;

/// `head mislabels CACHE`.
#[derive(Debug, Args)]
pub struct MislabelsArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// How many photos to list, the most doubtful first
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Number of cross-validation folds
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
    /// Seed of the folds, the initial weights and the shuffling
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &MislabelsArgs) -> anyhow::Result<()> {
    ensure!(args.folds >= MIN_FOLDS, "--folds {}: must be {MIN_FOLDS} or more", args.folds);
    let settings = CrossValidation {
        config: FitConfig::new(check_learning_rate(args.learning_rate)?, check_count("--epochs", args.epochs)?),
        batch_size: check_count("--batch-size", args.batch_size)?,
        folds: args.folds,
        seed: args.seed,
    };
    let cache = FeatureCache::open(&args.cache)?;
    ensure!(cache.classes().len() > 1, DataError::OneClass { cache: args.cache.display().to_string() });
    let mut listed = Vec::new();
    let (mut photos, mut checked) = (0, 0);
    // Not the test split: correcting its labels only where heads disagree with them would bias all later results on it.
    for split in [Split::All, Split::Train, Split::Validation] {
        let (Some(cached), Some(rows)) = (cache.split(split), Rows::from_split(&cache, split)?) else { continue };
        let index = cached.index()?;
        photos += rows.len();
        let predictions = predict_out_of_fold(&rows, cache.classes().len(), &settings)?;
        checked += predictions.len();
        for prediction in predictions.into_iter().take(args.top) {
            listed.push((prediction, index[prediction.row].path.clone()));
        }
    }
    ensure!(photos > 0, DataError::NoTrain { cache: args.cache.display().to_string() });
    listed.sort_by(|(a, _), (b, _)| b.loss.total_cmp(&a.loss));
    listed.truncate(args.top);

    let name = |label: usize| cache.classes().name(label).expect("labels are indices of the classes");
    if args.json {
        let mut list = Vec::with_capacity(listed.len());
        for (prediction, path) in &listed {
            list.push(json!({
                "path": path.to_string_lossy(),
                "label": name(prediction.label),
                "predicted": name(prediction.predicted),
                "confidence": prediction.confidence,
                "loss": prediction.loss,
            }));
        }
        output!("{}", serde_json::Value::from(list))?;
        return Ok(());
    }
    let mut rows = Vec::with_capacity(listed.len());
    for (prediction, path) in &listed {
        rows.push(vec![
            path.display().to_string(),
            name(prediction.label).to_owned(),
            name(prediction.predicted).to_owned(),
            format!("{:.3}", prediction.confidence),
            format!("{:.2}", prediction.loss),
        ]);
    }
    output!("{}", table(&["photo", "label", "predicted", "probability", "loss"], rows))?;
    output!(
        "\n{checked} photos checked, each by a head that was not trained on it. The most doubtful come first: they may \
         be mislabelled, or hard."
    )?;
    output!("\nnext: move mislabelled photos to the folders of their classes and extract again; rows are reused")?;
    Ok(())
}
