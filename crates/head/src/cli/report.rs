//! `head report RUN`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use feature_cache::{CachedSplit, Durability, FeatureCache, write_atomically};
use head::data::TrainingData;
use head::prediction::Predictor;
use head::report::{Gallery, mistakes, most_unfamiliar, of_run, of_sweep};
use head::run::{Run, SweepFolder};
use stdio::{note, output};

/// Photos that are shown as most unlike the training photos: a row of them.
const MAX_UNFAMILIAR: usize = 6;

/// `head report RUN`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run or sweep that head has made
    run: PathBuf,
    /// The data set, to show the photos of the most confident mistakes and the most unfamiliar ones
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
    let html = if let Some(sweep) = SweepFolder::find(&args.run) {
        of_sweep(&sweep.results()?, &title)
    } else {
        let run = Run::load(&args.run)?;
        if let Some(photos) = &args.photos {
            ensure!(photos.is_dir(), "{}: no such folder of photos", photos.display());
        }
        let gallery = gallery(&run, args)?;
        if args.photos.is_none() && !(gallery.mistakes.is_empty() && gallery.unfamiliar.is_empty()) {
            note!("note: photos are listed by their paths; --photos DATASET shows them");
        }
        of_run(&run, &title, &gallery)
    };
    let out = args.out.clone().unwrap_or_else(|| args.run.join("report.html"));
    write_atomically(&out, Durability::Unsynced, |file| file.write_all(html.as_bytes()))
        .with_context(|| format!("{}: cannot be written", out.display()))?;
    output!("{}", out.display())?;
    Ok(())
}

/// The most confident mistakes among the validation photos, and those most unlike the training photos; none, with a note,
/// when the cache is no longer what it was.
fn gallery<'a>(run: &Run, args: &'a ReportArgs) -> anyhow::Result<Gallery<'a>> {
    let Some(from) = run.config.trained() else {
        note!("note: an imported head: its training and its validation photos are not known");
        return Ok(Gallery::default());
    };
    let named = &from.cache;
    let cache = match FeatureCache::open(named) {
        Ok(cache) if cache.digest() == from.cache_digest => cache,
        Ok(_) => {
            note!("note: {} has changed since the head was trained: no photos are shown", named.display());
            return Ok(Gallery::default());
        }
        Err(error) => {
            note!("note: no photos are shown: {error}");
            return Ok(Gallery::default());
        }
    };
    run.check_cache(&cache)?;
    let fraction = from.validation_split.unwrap_or_default();
    let data = TrainingData::from_cache(&cache, fraction, from.seed)?;
    let predictor = Predictor::new(run);
    let mut gallery = Gallery {
        mistakes: mistakes(&predictor, &data.validation, args.mistakes),
        unfamiliar: most_unfamiliar(&predictor, &data.validation, MAX_UNFAMILIAR),
        photos: args.photos.as_deref(),
    };

    // The cache's index has the paths.
    let origin = &data.validation_origin;
    let index = cache.split(origin.split).map_or(Ok(&[][..]), CachedSplit::index)?;
    let path = |row: usize| Some(index.get(*origin.rows.get(row)?)?.path.clone());
    for mistake in &mut gallery.mistakes {
        mistake.path = path(mistake.row).unwrap_or_default();
    }
    for unfamiliar in &mut gallery.unfamiliar {
        unfamiliar.path = path(unfamiliar.row).unwrap_or_default();
    }
    Ok(gallery)
}
