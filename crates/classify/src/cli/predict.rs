//! `classify RUN PHOTO…`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use backbone::EndReason;
use backbone::pixels::Limit;
use clap::{ArgGroup, Args};
use classify::answer::{Answer, UNSURE, Wanted};
use classify::by_folder::ByFolder;
use classify::model::AnswerError;
use classify::photos::{NamedPhoto, photos_at};
use classify::sort::{SortError, Sorter, Transfer};
use command_line::{LimitsArgs, cancel_on_signals, limits_hint};
use head::prediction::Prediction;
use head::run::Chosen;
use stdio::{Progress, note};

use super::model::ModelArgs;
use super::output::{Format, Output};

/// Names standard input in place of a photo.
const STDIN: &str = "-";

/// `classify RUN PHOTO…`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("format").args(["json", "csv"])))]
pub struct PredictArgs {
    /// Run of head train or classify import, or a sweep: then its best setting's head from the first seed that did not
    /// diverge
    #[arg(required = true)]
    run: Option<PathBuf>,
    /// Photos, folders (searched recursively, without hidden files), or - to read paths from standard input, one per line
    #[arg(required = true, value_name = "PHOTO|FOLDER")]
    photos: Vec<PathBuf>,
    /// Paths on standard input are separated by NUL (find -print0), not by newlines
    #[arg(short = '0', long)]
    null: bool,
    /// Classes to list for each photo, the most probable first
    #[arg(long, value_name = "K", default_value = "3")]
    top: NonZeroUsize,
    /// Answer unsure where the most probable class is less probable than P (0 to 1)
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    threshold: f32,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Print comma-separated values with a header
    #[arg(long)]
    csv: bool,
    /// Compare predictions with folder names: after the answers, print accuracy, confusion matrix and misclassified photos
    #[arg(long)]
    by_folder: bool,
    /// Copy each photo to DIR/CLASS/, DIR/unfamiliar/ or DIR/unsure/; nothing is overwritten
    #[arg(long, value_name = "DIR")]
    sort_into: Option<PathBuf>,
    /// Make hard links instead of copies (needs --sort-into)
    #[arg(long, requires = "sort_into")]
    link: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limits: LimitsArgs,
}

fn probability(given: &str) -> Result<f32, String> {
    let probability = given.parse().ok().filter(|probability| (0.0..=1.0).contains(probability));
    probability.ok_or_else(|| "expected a probability from 0 to 1".to_owned())
}

pub fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let named = args.run.as_ref().expect("clap requires it");
    let chosen = Chosen::open(named)?;
    if chosen.path != *named {
        note!("note: answers are from {}", chosen.path.display());
    }
    let photos = args.listed_photos()?;
    let model = args.model.load(&chosen, args.limits.limits())?;
    ensure!(
        args.threshold == 0.0 || model.classes().label(UNSURE).is_none(),
        "class {UNSURE:?} has the name that --threshold gives to photos below the threshold"
    );
    let transfer = if args.link { Transfer::HardLink } else { Transfer::Copy };
    let mut sorter = match &args.sort_into {
        Some(folder) => Some(Sorter::new(folder, transfer, model.classes())?),
        None => None,
    };

    let wanted = Wanted { top: args.top, threshold: args.threshold };
    let output = Output::new(args.format(), &photos, model.classes(), wanted)?;
    let progress = Progress::start("classifying", photos.len(), "photos");
    let mut tally = Tally::default();
    let cancel = cancel_on_signals()?;
    let mut by_folder = args.by_folder.then(|| ByFolder::new(model.predictor()));
    let mut on_answer = |number: usize, prediction: Result<Prediction, AnswerError>| -> anyhow::Result<()> {
        let photo = &photos[number];
        if let (Some(by_folder), Ok(prediction)) = (&mut by_folder, &prediction) {
            by_folder.add(photo, prediction);
        }
        let answer = prediction.map(|prediction| Answer::new(&prediction, model.classes(), wanted));
        tally.count(&answer);
        progress.suspend(|| output.write(&photo.path, answer.as_ref()))?;
        if let (Some(sorter), Ok(answer)) = (&mut sorter, &answer) {
            match sorter.put(&photo.path, answer.folder()) {
                Ok(_) => {}
                // The photo has gone since it was classified: the others can still be sorted.
                Err(error @ SortError::Photo { .. }) => tally.not_sorted(&error),
                Err(error) => return Err(error.into()),
            }
        }
        progress.advance(1);
        Ok(())
    };
    let paths = photos.iter().map(|photo| photo.path.clone());
    let report = model.answer(paths, &cancel, |number, prediction| {
        match on_answer(number, prediction) {
            Ok(()) => ControlFlow::Continue(()),
            // Without a place to write to there is no point in going on.
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    drop(progress);
    match report.end {
        EndReason::Finished => {}
        EndReason::Cancelled => bail!("cancelled after {} of {} photos", tally.answered + tally.failed, photos.len()),
        EndReason::ByCaller(error) => return Err(error),
    }
    if let Some(by_folder) = by_folder {
        output.write_comparison(&by_folder.finish())?;
    }
    tally.report(args.sort_into.as_deref());
    Ok(if tally.failed + tally.not_sorted == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl PredictArgs {
    /// All photos to classify, in the order given, without those in the folder of --sort-into.
    fn listed_photos(&self) -> anyhow::Result<Vec<NamedPhoto>> {
        let mut paths = Vec::new();
        for path in &self.photos {
            if path == Path::new(STDIN) {
                paths.extend(paths_on_stdin(if self.null { 0 } else { b'\n' })?);
            } else {
                paths.push(path.clone());
            }
        }
        ensure!(!paths.is_empty(), "standard input: no paths");
        let sorted_into = self.sort_into.as_ref().and_then(|folder| folder.canonicalize().ok());
        let mut photos = Vec::new();
        for path in &paths {
            let found = photos_at(path, sorted_into.as_deref());
            if found.is_empty() {
                note!("note: {}: no photos here", path.display());
            }
            photos.extend(found);
        }
        ensure!(
            !photos.is_empty(),
            "no photos; in folders, files named *.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif and .tiff count"
        );
        Ok(photos)
    }

    fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else if self.csv {
            Format::Csv
        } else {
            Format::Table
        }
    }
}

/// The paths on standard input, separated by this byte; empty ones are skipped.
fn paths_on_stdin(end: u8) -> anyhow::Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).context("standard input: cannot be read")?;
    let mut paths = Vec::new();
    for path in bytes.split(|&byte| byte == end) {
        if !path.is_empty() {
            paths.push(PathBuf::from(OsString::from_vec(path.to_vec())));
        }
    }
    Ok(paths)
}

/// Counts for the closing notes and the exit code.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    unfamiliar: usize,
    failed: usize,
    not_sorted: usize,
    exceeded: BTreeSet<Limit>,
}

impl Tally {
    fn count(&mut self, answer: &Result<Answer<'_>, AnswerError>) {
        match answer {
            Ok(answer) => {
                self.answered += 1;
                self.unfamiliar += usize::from(answer.unfamiliar == Some(true));
            }
            Err(error) => {
                self.failed += 1;
                self.exceeded.extend(error.limit());
            }
        }
    }

    /// Counts a photo that was answered and is not in its folder.
    fn not_sorted(&mut self, error: &SortError) {
        self.not_sorted += 1;
        note!("warning: {error}");
    }

    /// Prints the closing notes to stderr.
    fn report(&self, sorted_into: Option<&Path>) {
        let total = self.answered + self.failed;
        if self.failed > 0 {
            note!("{} of {total} photos could not be used{}", self.failed, limits_hint(&self.exceeded));
        }
        if self.unfamiliar > 0 {
            note!(
                "{} of {total} photos are unlike all training photos: their predicted class is unreliable",
                self.unfamiliar
            );
        }
        if let Some(folder) = sorted_into {
            note!("sorted into {}", folder.display());
        }
    }
}
