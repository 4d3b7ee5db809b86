//! `head evaluate RUN`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{Rows, TrainingData};
use head::metrics::SplitMetrics;
use head::run::Run;
use stdio::{OutputError, note, output};

use super::{accuracy_line, table};

/// `head evaluate RUN`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Run that head train has made
    run: PathBuf,
    /// Which rows to judge it by: train, validation, test or all
    #[arg(long, default_value = "test", value_parser = split)]
    split: Split,
    /// Another cache of the same kind [default: the one that the head was trained on]
    #[arg(long, value_name = "CACHE")]
    cache: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn split(typed: &str) -> Result<Split, String> {
    let found = Split::EVERY.into_iter().find(|split| split.name() == typed);
    found.ok_or_else(|| "expected train, validation, test or all".to_owned())
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let run = Run::load(&args.run)?;
    let named = args.cache.as_ref().unwrap_or(&run.config.cache);
    let cache = FeatureCache::open(named)?;
    run.check_cache(&cache)?;
    let same = cache.digest() == run.config.cache_digest;
    if !same {
        note!("note: {} has changed since the head was trained, or is another cache", named.display());
    }
    let metrics = match (Rows::of_split(&cache, args.split)?, run.config.validation_split) {
        (Some(rows), _) => SplitMetrics::measure(&run.classifier, &rows, cache.classes()),
        // The part that was held out, as long as it is the same rows that are split.
        (None, Some(fraction)) if same && matches!(args.split, Split::Train | Split::Validation) => {
            let data = TrainingData::from_cache(&cache, fraction, run.config.seed)?;
            let rows = if args.split == Split::Train { &data.train } else { &data.validation };
            SplitMetrics::measure(&run.classifier, rows, cache.classes())
        }
        _ => {
            let splits: Vec<&str> = cache.splits().map(|(split, _)| split.name()).collect();
            let has = splits.join(", ");
            return Err(anyhow::anyhow!("it has {has}")).with_context(|| {
                format!("{}: has no {} split to judge by; choose another --split", named.display(), args.split)
            });
        }
    };
    if args.json {
        output!("{}", serde_json::to_string(&metrics)?)?;
    } else {
        report(&metrics, args.split)?;
    }
    Ok(())
}

fn report(metrics: &SplitMetrics, split: Split) -> Result<(), OutputError> {
    output!("{}", accuracy_line(metrics, split.name()))?;
    output!(
        "loss {:.4}, top-3 accuracy {:.4}, expected calibration error {:.4}\n",
        metrics.loss,
        metrics.top_3,
        metrics.calibration_error
    )?;
    let numbers = metrics.classes.iter().map(|class| {
        let ratio = |value: f64| format!("{value:.3}");
        vec![
            class.class.clone(),
            ratio(class.precision),
            ratio(class.recall),
            ratio(class.f1),
            class.support.to_string(),
        ]
    });
    output!("{}", table(&["class", "precision", "recall", "F1", "photos"], numbers))?;
    const WIDEST: usize = 30;
    if metrics.classes.len() <= WIDEST {
        let names = || metrics.classes.iter().map(|class| class.class.as_str());
        let header: Vec<&str> = std::iter::once("is \\ taken for").chain(names()).collect();
        let rows = names().zip(&metrics.confusion).map(|(name, counts)| {
            std::iter::once(name.to_owned()).chain(counts.iter().map(ToString::to_string)).collect()
        });
        output!("\n{}", table(&header, rows))?;
    }
    Ok(())
}
