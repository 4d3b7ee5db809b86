//! `head evaluate RUN`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::data::{DataError, Rows, TrainingData};
use head::evaluation::Evaluation;
use head::prediction::Predictor;
use head::run::{Run, TrainedFrom};
use stdio::{note, output};

/// `head evaluate RUN`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Run that head train has made
    run: PathBuf,
    /// Which rows to evaluate it on: train, validation, test or all [default: test, or validation if the cache has no
    /// test split]
    #[arg(long, value_parser = split)]
    split: Option<Split>,
    /// Another cache of the same kind [default: the one that the head was trained on; an imported head has none]
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
    let trained = run.config.trained();
    let Some(named) = args.cache.as_ref().or(trained.map(|from| &from.cache)) else {
        bail!("{}: an imported head, which names no cache; choose one with --cache", args.run.display());
    };
    let cache = FeatureCache::open(named)?;
    run.check_cache(&cache)?;
    let wanted = match &args.split {
        Some(split) => std::slice::from_ref(split),
        None => &[Split::Test, Split::Validation],
    };
    let mut evaluated = None;
    for &split in wanted {
        evaluated = rows_of(trained, &cache, split)?;
        if evaluated.is_some() {
            break;
        }
    }
    let Some(NamedRows { name, rows }) = evaluated else {
        let wanted: Vec<&str> = wanted.iter().map(|split| split.name()).collect();
        let splits: Vec<&str> = cache.splits().map(|(split, _)| split.name()).collect();
        let (wanted, has) = (wanted.join(" or "), splits.join(", "));
        bail!("{}: has no {wanted} split to evaluate on; choose another --split: it has {has}", named.display());
    };
    if trained.is_some_and(|from| cache.digest() != from.cache_digest) {
        note!("note: {} has changed since the head was trained, or is another cache", named.display());
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

/// Rows, and what the user calls them.
struct NamedRows<'a> {
    name: String,
    rows: Rows<'a>,
}

/// The rows of a split of the cache. Where it has no such split, training and validation rows are those that the head was
/// trained and validated on, as long as the cache is the one that they were split from.
fn rows_of<'a>(
    trained: Option<&TrainedFrom>,
    cache: &'a FeatureCache,
    split: Split,
) -> Result<Option<NamedRows<'a>>, DataError> {
    if let Some(rows) = Rows::of_split(cache, split)? {
        return Ok(Some(NamedRows { name: split.to_string(), rows }));
    }
    let Some(from) = trained else { return Ok(None) };
    let Some(fraction) = from.validation_split else { return Ok(None) };
    if cache.digest() != from.cache_digest || matches!(split, Split::Test | Split::All) {
        return Ok(None);
    }
    let data = TrainingData::from_cache(cache, fraction, from.seed)?;
    let of = data.validation_origin.split;
    Ok(Some(if split == Split::Train {
        NamedRows { name: format!("train ({of} but for the held-out {fraction})"), rows: data.train }
    } else {
        NamedRows { name: format!("validation (the held-out {fraction} of {of})"), rows: data.validation }
    }))
}
