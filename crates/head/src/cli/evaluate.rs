//! `head evaluate RUN`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::confusion::MAX_DENSE;
use head::data::{DataError, Rows, TrainingData};
use head::metrics::SplitMetrics;
use head::prediction::Predictor;
use head::run::Run;
use serde::Serialize;
use stdio::{OutputError, note, output};

use super::text::{accuracy_line, table};

/// With more classes than this the most frequent mistakes are shown in place of the confusion matrix.
const MAX_IN_A_MATRIX: usize = 30;
/// Of many, so many classes and mistakes are shown.
const SHOWN: usize = 20;

/// `head evaluate RUN`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Run that head train has made
    run: PathBuf,
    /// Which rows to evaluate it on: train, validation, test or all [default: test, or validation if the cache has no
    /// test split]
    #[arg(long, value_parser = split)]
    split: Option<Split>,
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
    let wanted = match &args.split {
        Some(split) => std::slice::from_ref(split),
        None => &[Split::Test, Split::Validation],
    };
    let mut evaluated = None;
    for &split in wanted {
        evaluated = rows_of(&run, &cache, split)?;
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
    if cache.digest() != run.config.cache_digest {
        note!("note: {} has changed since the head was trained, or is another cache", named.display());
    }
    if args.split.is_none() && cache.split(Split::Test).is_none() {
        note!("note: the cache has no test split: evaluated on {name}");
    }
    let predictor = Predictor::new(&run);
    let temperature = run.calibration.as_ref().map(|calibration| calibration.constants.temperature);
    let evaluation = Evaluation {
        metrics: SplitMetrics::measure(&run.classifier, &rows, cache.classes(), temperature),
        temperature,
        unfamiliar: predictor.unfamiliar_fraction(&rows),
    };
    if args.json {
        output!("{}", serde_json::to_string(&evaluation)?)?;
    } else {
        report(&evaluation, &name)?;
    }
    Ok(())
}

/// What is shown of a head on a split.
#[derive(Debug, Serialize)]
struct Evaluation {
    #[serde(flatten)]
    metrics: SplitMetrics,
    /// Of the probabilities; none of a head without one.
    temperature: Option<f32>,
    /// The fraction of the rows that are unlike the training rows; none of a head that cannot tell.
    unfamiliar: Option<f64>,
}

/// Rows, and what the user calls them.
struct NamedRows<'a> {
    name: String,
    rows: Rows<'a>,
}

/// The rows of a split of the cache. Where it has no such split, training and validation rows are those of the run, as
/// long as the cache is the one that they were split from.
fn rows_of<'a>(run: &Run, cache: &'a FeatureCache, split: Split) -> Result<Option<NamedRows<'a>>, DataError> {
    if let Some(rows) = Rows::of_split(cache, split)? {
        return Ok(Some(NamedRows { name: split.to_string(), rows }));
    }
    let Some(fraction) = run.config.validation_split else { return Ok(None) };
    if cache.digest() != run.config.cache_digest || matches!(split, Split::Test | Split::All) {
        return Ok(None);
    }
    let data = TrainingData::from_cache(cache, fraction, run.config.seed)?;
    let of = data.validation_origin.split;
    Ok(Some(if split == Split::Train {
        NamedRows { name: format!("train ({of} but for the held-out {fraction})"), rows: data.train }
    } else {
        NamedRows { name: format!("validation (the held-out {fraction} of {of})"), rows: data.validation }
    }))
}

fn report(evaluation: &Evaluation, name: &str) -> Result<(), OutputError> {
    let Evaluation { metrics, temperature, unfamiliar } = evaluation;
    output!("{}", accuracy_line(metrics, name))?;
    output!("loss {:.4}, top-3 accuracy {:.4}", metrics.loss, metrics.top_3)?;
    let mut calibration = format!("expected calibration error {:.4}", metrics.calibration_error);
    if let (Some(temperature), Some(error)) = (temperature, metrics.calibration_error_with_temperature) {
        calibration += &format!(", with temperature {temperature:.3} {error:.4}");
    }
    output!("{calibration}")?;
    if let Some(unfamiliar) = unfamiliar {
        output!("unfamiliar (unlike the training photos): {:.1} % of the photos", 100.0 * unfamiliar)?;
    }
    output!("")?;

    let count = metrics.classes.len();
    let mut classes = Vec::new();
    if count <= MAX_DENSE {
        classes.extend(&metrics.classes);
    } else {
        output!("the {SHOWN} of {count} classes with the lowest F1 (--json has all)\n")?;
        classes.extend(metrics.weakest_classes().into_iter().take(SHOWN));
    }
    let rows = classes.into_iter().map(|class| {
        let ratio = |value: f64| format!("{value:.3}");
        let ratios = [class.precision, class.recall, class.f1].map(ratio);
        [class.class.clone()].into_iter().chain(ratios).chain([class.support.to_string()]).collect()
    });
    output!("{}", table(&["class", "precision", "recall", "F1", "photos"], rows))?;

    let class = |k: usize| metrics.classes[k].class.as_str();
    if count <= MAX_IN_A_MATRIX {
        let header: Vec<&str> = std::iter::once("class \\ predicted").chain((0..count).map(class)).collect();
        let rows = (0..count).map(|k| {
            let counts = (0..count).map(|predicted| metrics.confusion.rows(k, predicted).to_string());
            std::iter::once(class(k).to_owned()).chain(counts).collect()
        });
        return output!("\n{}", table(&header, rows));
    }
    let mistakes = metrics.confusion.mistakes();
    if mistakes.is_empty() {
        return Ok(());
    }
    let rows = mistakes
        .iter()
        .take(SHOWN)
        .map(|cell| vec![class(cell.class).to_owned(), class(cell.predicted).to_owned(), cell.rows.to_string()]);
    output!("\nthe most frequent mistakes\n\n{}", table(&["class", "predicted", "photos"], rows))
}
