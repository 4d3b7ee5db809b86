//! `head report RUN`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use feature_cache::{Durability, FeatureCache, UPRIGHT_COLOR, write_atomically};
use head::data::TrainValSplit;
use head::prediction::Predictor;
use head::report::{Gallery, PhotoFolder, mistakes, most_unfamiliar, run_page, sweep_page};
use head::run::{Run, SweepFolder};
use stdio::{note, output};

/// How many of the most unfamiliar photos are shown.
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
        ensure!(args.photos.is_none(), "a sweep's report shows no photos; report one of its runs, or omit --photos");
        sweep_page(&sweep.results()?, &title)
    } else {
        let run = Run::load(&args.run)?;
        if let Some(photos) = &args.photos {
            ensure!(photos.is_dir(), "{}: no such folder of photos", photos.display());
        }
        let gallery = gallery(&run, args)?;
        let mistakes = gallery.mistakes.iter().map(|mistake| &mistake.path);
        let mut listed = mistakes.chain(gallery.unfamiliar.iter().map(|photo| &photo.path)).peekable();
        if listed.peek().is_some() {
            match &args.photos {
                None => note!("note: photos are listed by their paths; --photos DATASET shows them"),
                Some(photos) if listed.all(|path| !photos.join(path).exists()) => {
                    note!("note: {}: has none of the photos to show: is it the data set?", photos.display());
                }
                Some(_) => {}
            }
        }
        run_page(&run, &title, &gallery)
    };
    let out = args.out.clone().unwrap_or_else(|| args.run.join("report.html"));
    write_atomically(&out, Durability::Unsynced, |file| file.write_all(html.as_bytes()))
        .with_context(|| format!("{}: cannot be written", out.display()))?;
    output!("{}", out.display())?;
    Ok(())
}

/// The most confident mistakes among the validation photos, and those most unlike the training photos. If the cache has
/// changed or cannot be read, prints a note and returns an empty gallery.
fn gallery<'a>(run: &Run, args: &'a ReportArgs) -> anyhow::Result<Gallery<'a>> {
    let Some(from) = run.config.trained() else {
        note!("note: an imported head has no validation photos to show");
        return Ok(Gallery::default());
    };
    let cache = match FeatureCache::open(&from.cache) {
        Ok(cache) if cache.digest() == from.cache_digest => cache,
        Ok(_) => {
            note!("note: {} has changed since the head was trained: no photos are shown", from.cache.display());
            return Ok(Gallery::default());
        }
        Err(error) => {
            note!("note: no photos are shown: {error}");
            return Ok(Gallery::default());
        }
    };
    run.check_cache(&cache)?;
    let fraction = from.validation_split.unwrap_or_default();
    let data = TrainValSplit::from_cache(&cache, fraction, from.seed)?;

    // The cache's index has the paths.
    let origin = &data.validation_origin;
    let index = cache.split(origin.split).expect("the validation rows are in this split").index()?;
    let path = |row: usize| index[origin.row_numbers[row]].path.clone();
    let predictor = Predictor::new(run);
    let upright = run.config.fingerprint.color == UPRIGHT_COLOR;
    Ok(Gallery {
        mistakes: mistakes(&predictor, &data.validation, args.mistakes, path),
        unfamiliar: most_unfamiliar(&predictor, &data.validation, MAX_UNFAMILIAR, path),
        photos: args.photos.as_deref().map(|path| PhotoFolder { path, upright }),
    })
}
