//! `head report RUN`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use feature_cache::{CachedSplit, Durability, FeatureCache, write_atomically};
use head::data::TrainingData;
use head::report::{Mistake, mistakes, of_run, of_sweep};
use head::run::Run;
use head::summary::SweepResults;
use stdio::{note, output};

use super::sweep::SWEEP;

/// `head report RUN`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run or sweep that head has made
    run: PathBuf,
    /// The data set, to show the photos of the most confident mistakes
    #[arg(long, value_name = "DATASET")]
    photos: Option<PathBuf>,
    /// How many mistakes to show
    #[arg(long, value_name = "N", default_value_t = 12)]
    mistakes: usize,
    /// File to write [default: RUN/report.html]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let title = args.run.display().to_string();
    let sweep = args.run.join(SWEEP);
    let html = if sweep.is_file() {
        let bytes = fs::read(&sweep).with_context(|| format!("{}: cannot be read", sweep.display()))?;
        let results: SweepResults =
            serde_json::from_slice(&bytes).with_context(|| format!("{}: damaged; sweep again", sweep.display()))?;
        of_sweep(&results, &title)
    } else {
        let run = Run::load(&args.run)?;
        if let Some(photos) = &args.photos {
            ensure!(photos.is_dir(), "{}: no such folder of photos", photos.display());
        }
        let mistakes = most_confident_mistakes(&run, args.mistakes)?;
        if args.photos.is_none() && !mistakes.is_empty() {
            note!("note: the mistakes are listed without their photos; --photos DATASET shows them");
        }
        of_run(&run, &title, &mistakes, args.photos.as_deref())
    };
    let out = args.out.clone().unwrap_or_else(|| args.run.join("report.html"));
    write_atomically(&out, Durability::Unsynced, |file| file.write_all(html.as_bytes()))
        .with_context(|| format!("{}: cannot be written", out.display()))?;
    output!("{}", out.display())?;
    Ok(())
}

/// The most confident mistakes among the validation rows; none, with a note, when the cache is no longer what it was.
fn most_confident_mistakes(run: &Run, count: usize) -> anyhow::Result<Vec<Mistake>> {
    let named = &run.config.cache;
    let cache = match FeatureCache::open(named) {
        Ok(cache) if cache.digest() == run.config.cache_digest => cache,
        Ok(_) => {
            note!("note: {} has changed since the head was trained: no mistakes are shown", named.display());
            return Ok(Vec::new());
        }
        Err(error) => {
            note!("note: no mistakes are shown: {error}");
            return Ok(Vec::new());
        }
    };
    run.check_cache(&cache)?;
    let fraction = run.config.validation_split.unwrap_or_default();
    let data = TrainingData::from_cache(&cache, fraction, run.config.seed)?;
    let origin = &data.validation_origin;
    let index = cache.split(origin.split).map_or(Ok(&[][..]), CachedSplit::index)?;
    let name = |label: usize| cache.classes().name(label).unwrap_or_default().to_owned();
    let mut found = mistakes(&run.classifier, &data.validation, count, name);
    for mistake in &mut found {
        if let Some(entry) = origin.rows.get(mistake.row).and_then(|&row| index.get(row)) {
            mistake.path.clone_from(&entry.path);
        }
    }
    Ok(found)
}
