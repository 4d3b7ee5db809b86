//! `head evaluate RUN`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{DataError, Rows, TrainValSplit};
use head::evaluation::Evaluation;
use head::prediction::Predictor;
use head::run::{Run, TrainedFrom};
use stdio::{note, output};

/// `head evaluate RUN`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Run of head train, head sweep or classify import
    run: PathBuf,
    /// Split to evaluate on: train, validation, test or all [default: test, or validation if the cache has no test
    /// split]
    #[arg(long, value_parser = split)]
    split: Option<Split>,
    /// Another cache with the same fingerprint and classes [default: the one that the head was trained on; an imported
    /// head has none]
    #[arg(long, value_name = "CACHE")]
    cache: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn split(given: &str) -> Result<Split, String> {
    let found = Split::EVERY.into_iter().find(|split| split.name() == given);
    found.ok_or_else(|| "expected train, validation, test or all".to_owned())
}

pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let run = Run::load(&args.run)?;
    let trained = run.config.trained();
    let Some(cache_path) = args.cache.as_ref().or(trained.map(|from| &from.cache)) else {
        bail!("{}: an imported head has no cache; choose one with --cache", args.run.display());
    };
    let cache = FeatureCache::open(cache_path)?;
    run.check_cache(&cache)?;
    let splits = match &args.split {
        Some(split) => std::slice::from_ref(split),
        None => &[Split::Test, Split::Validation],
    };
    let mut found = None;
    for &split in splits {
        found = rows_to_evaluate(trained, &cache, split)?;
        if found.is_some() {
            break;
        }
    }
    let Some(NamedRows { name, rows }) = found else {
        let mut missing = Vec::new();
        for split in splits {
            missing.push(format!("`{split}`"));
        }
        let available: Vec<&str> = cache.splits().map(|(split, _)| split.name()).collect();
        let (missing, available) = (missing.join(" or "), available.join(", "));
        bail!("{}: has no split {missing}; choose another --split: it has {available}", cache_path.display());
    };
    if trained.is_some_and(|from| cache.digest() != from.cache_digest) {
        note!("note: {} has changed since the head was trained, or is another cache", cache_path.display());
    }
    if args.split.is_none() && cache.split(Split::Test).is_none() {
        note!("note: the cache has no test split: evaluated on {name}");
    }
    let evaluation = Evaluation::measure(&Predictor::new(&run), &rows);
    if args.json {
        output!("{}", serde_json::to_string(&evaluation)?)?;
    } else {
        output!("{}", evaluation.text(&name))?;
    }
    Ok(())
}

/// Rows with their name in the output.
struct NamedRows<'a> {
    name: String,
    rows: Rows<'a>,
}

/// The rows of a split of the cache. If it has no such split and is the cache that the head was trained on, `train` and
/// `validation` are the rows that the head was trained and validated on.
fn rows_to_evaluate<'a>(
    trained: Option<&TrainedFrom>,
    cache: &'a FeatureCache,
    split: Split,
) -> Result<Option<NamedRows<'a>>, DataError> {
    if let Some(rows) = Rows::from_split(cache, split)? {
        return Ok(Some(NamedRows { name: split.to_string(), rows }));
    }
    let Some(from) = trained else { return Ok(None) };
    let Some(fraction) = from.validation_split else { return Ok(None) };
    if cache.digest() != from.cache_digest || matches!(split, Split::Test | Split::All) {
        return Ok(None);
    }
    let data = TrainValSplit::from_cache(cache, fraction, from.seed)?;
    let whole = data.validation_origin.split;
    Ok(Some(if split == Split::Train {
        NamedRows { name: format!("train ({whole} without the held-out {fraction})"), rows: data.train }
    } else {
        NamedRows { name: format!("validation (the held-out {fraction} of {whole})"), rows: data.validation }
    }))
}
