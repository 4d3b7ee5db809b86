//! `head train CACHE`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{Rows, TrainingData};
use head::fit::{FitConfig, LearningRate, RowOrder, fit};
use head::history::Epoch;
use head::layers::Classifier;
use head::metrics::SplitMetrics;
use head::run::{Run, RunConfig, check_free, next_free};

/// Where runs go that are not told where.
const RUNS: &str = "runs";

/// `head train CACHE`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// Adam's learning rate
    #[arg(long, value_name = "RATE", default_value_t = 0.01, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Passes over the training rows
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// Rows per step
    #[arg(long, value_name = "ROWS", default_value_t = 32)]
    batch_size: usize,
    /// Widths of hidden layers with ReLU, as in 100 or 256,64; 0 for none
    #[arg(long, value_name = "WIDTHS", default_value = "0", value_delimiter = ',')]
    hidden: Vec<usize>,
    /// Part of each class to hold out for validation, if the cache has no validation split
    #[arg(long, value_name = "FRACTION", default_value_t = 0.2, allow_negative_numbers = true)]
    validation_split: f64,
    /// What the start of the weights, the shuffling and the held-out part are drawn from
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    /// Folder to write the run into [default: runs/CACHE-1, -2, …]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Print the result as JSON, and no lines by epoch
    #[arg(long)]
    json: bool,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let fit_config = args.fit_config()?;
    let hidden = args.hidden()?;
    let cache = FeatureCache::open(&args.cache)?;
    let out = args.out.clone().unwrap_or_else(|| next_free(RUNS.as_ref(), &name_of(&args.cache)));
    check_free(&out)?;
    let data = TrainingData::from_cache(&cache, args.validation_split, args.seed)?;
    if let Some(fraction) = data.held_out {
        eprintln!(
            "no validation split in the cache: {} of {} rows held out (--validation-split {fraction}, by class)",
            data.validation.len(),
            data.validation.len() + data.train.len(),
        );
    }

    let mut classifier = Classifier::new(cache.columns(), &hidden, cache.classes().len(), args.seed);
    let mut number = 0;
    let print = |epoch: Epoch| {
        number += 1;
        if !args.json {
            println!("{}", line(number, args.epochs, epoch));
        }
    };
    let order = RowOrder::Shuffled { seed: args.seed };
    let history = fit(&mut classifier, &data.train, &data.validation, &fit_config, order, print)?;

    let run = Run {
        config: RunConfig {
            version: env!("CARGO_PKG_VERSION"),
            cache: args.cache.clone(),
            cache_digest: cache.digest().to_owned(),
            fingerprint: cache.fingerprint().clone(),
            class_indices: cache.classes().clone(),
            hidden,
            fit: fit_config,
            validation_split: data.held_out,
            seed: args.seed,
        },
        metrics: measure(&classifier, &data, &cache)?,
        history,
        classifier,
    };
    run.save(&out)?;
    report(&run, &out, args.json, start);
    Ok(())
}

impl TrainArgs {
    fn fit_config(&self) -> anyhow::Result<FitConfig> {
        let learning_rate = LearningRate::try_from(self.learning_rate)?;
        let positive =
            |name, value| NonZeroUsize::new(value).ok_or_else(|| anyhow::anyhow!("{name} 0: must be 1 or more"));
        let epochs = positive("--epochs", self.epochs)?;
        let batch_size = positive("--batch-size", self.batch_size)?;
        Ok(FitConfig { learning_rate, epochs, batch_size })
    }

    /// The widths of the hidden layers; a single 0 stands for none.
    fn hidden(&self) -> anyhow::Result<Vec<usize>> {
        const WIDEST: usize = 1 << 16;
        if self.hidden == [0] {
            return Ok(Vec::new());
        }
        let width = self.hidden.iter().find(|width| !(1..=WIDEST).contains(*width));
        ensure!(width.is_none(), "--hidden {}: a layer has 1 to {WIDEST} units", width.copied().unwrap_or_default());
        Ok(self.hidden.clone())
    }
}

fn name_of(cache: &Path) -> String {
    let path = cache.canonicalize().unwrap_or_else(|_| cache.to_owned());
    path.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// As Keras prints an epoch.
fn line(number: usize, epochs: usize, epoch: Epoch) -> String {
    let Epoch { loss, accuracy, val_loss, val_accuracy } = epoch;
    format!(
        "Epoch {number}/{epochs} - loss: {loss:.4} - accuracy: {accuracy:.4} - val_loss: {val_loss:.4} - val_accuracy: {val_accuracy:.4}"
    )
}

fn measure(
    classifier: &Classifier,
    data: &TrainingData<'_>,
    cache: &FeatureCache,
) -> anyhow::Result<BTreeMap<&'static str, SplitMetrics>> {
    let measure = |rows: &Rows<'_>| SplitMetrics::measure(classifier, rows, cache.classes());
    let mut metrics = BTreeMap::from([("train", measure(&data.train)), ("validation", measure(&data.validation))]);
    if let Some(test) = Rows::of_split(cache, Split::Test)? {
        metrics.insert("test", measure(&test));
    }
    Ok(metrics)
}

fn report(run: &Run, out: &Path, json: bool, start: Instant) {
    let best = run.history.best_epoch();
    let seconds = start.elapsed().as_secs_f64();
    if json {
        let last = run.history.epochs().last();
        let result = serde_json::json!({
            "run": out,
            "learning_rate": run.config.fit.learning_rate,
            "loss": last.map(|epoch| epoch.loss),
            "accuracy": last.map(|epoch| epoch.accuracy),
            "val_loss": last.map(|epoch| epoch.val_loss),
            "val_accuracy": last.map(|epoch| epoch.val_accuracy),
            "best_epoch": best.map(|(number, _)| number),
            "best_val_accuracy": best.map(|(_, epoch)| epoch.val_accuracy),
            "seconds": seconds,
        });
        println!("{result}");
        return;
    }
    if let Some((number, epoch)) = best {
        println!("\nbest validation accuracy {:.4} in epoch {number}; {seconds:.2} s in all", epoch.val_accuracy);
    }
    println!("run in {}: curves.svg, metrics.json, head.safetensors", out.display());
    println!("\nnext: try another rate, as in: cargo head train {} --learning-rate 0.001", run.config.cache.display());
}
