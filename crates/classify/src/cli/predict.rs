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
use classify::answer::{Answer, AnswerOptions, UNSURE};
use classify::by_folder::ByFolder;
use classify::model::AnswerError;
use classify::photos::{NamedPhoto, photos_at};
use classify::sort::{SortError, Sorter, Transfer};
use command_line::{LimitsArgs, cancel_on_signals, limits_hint};
use feature_cache::ClassNames;
use head::prediction::Prediction;
use head::run::Chosen;
use head::text::{shown, shown_path};
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

fn probability(value: &str) -> Result<f32, String> {
    let probability = value.parse().ok().filter(|probability| (0.0..=1.0).contains(probability));
    probability.ok_or_else(|| "expected a probability from 0 to 1".to_owned())
}

pub fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let named = args.run.as_ref().expect("clap requires it");
    let chosen = Chosen::open(named)?;
    if chosen.path != *named {
        note!("note: answers are from {}", shown_path(&chosen.path));
    }
    let photos = args.listed_photos()?;
    let model = args.model.load(&chosen, args.limits.limits())?;
    ensure!(
        args.threshold == 0.0 || model.classes().label(UNSURE).is_none(),
        "class {UNSURE:?} has the name that --threshold gives to photos below the threshold"
    );
    let transfer = if args.link { Transfer::HardLink } else { Transfer::Copy };
    let sorter = match &args.sort_into {
        Some(folder) => Some(Sorter::new(folder, transfer, model.classes())?),
        None => None,
    };

    let options = AnswerOptions { top: args.top, threshold: args.threshold };
    let mut sink = AnswerSink {
        classes: model.classes(),
        options,
        output: Output::new(args.format(), &photos, model.classes(), options)?,
        by_folder: args.by_folder.then(|| ByFolder::new(model.predictor())),
        sorter,
        tally: Tally::default(),
        progress: Progress::start("classifying", photos.len(), "photos"),
    };
    let cancel = cancel_on_signals()?;
    let paths = photos.iter().map(|photo| photo.path.clone());
    let report = model.answer(paths, &cancel, |number, prediction| {
        match sink.receive(&photos[number], prediction) {
            Ok(()) => ControlFlow::Continue(()),
            // If an answer cannot be written, the others cannot be written either.
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    let AnswerSink { output, by_folder, tally, progress, .. } = sink;
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

/// Receives the predictions one by one: counts and prints each answer, compares it with the photo's folder, and sorts
/// the photo, as the options say.
struct AnswerSink<'a> {
    classes: &'a ClassNames,
    options: AnswerOptions,
    output: Output,
    /// Only with --by-folder.
    by_folder: Option<ByFolder<'a>>,
    /// Only with --sort-into.
    sorter: Option<Sorter>,
    tally: Tally,
    progress: Progress,
}

impl AnswerSink<'_> {
    /// Takes the prediction for the next photo, or why there is none.
    ///
    /// # Errors
    /// When the answer cannot be printed, or the photo's folder cannot be written.
    fn receive(&mut self, photo: &NamedPhoto, prediction: Result<Prediction, AnswerError>) -> anyhow::Result<()> {
        if let (Some(by_folder), Ok(prediction)) = (&mut self.by_folder, &prediction) {
            by_folder.add(photo, prediction);
        }
        let answer = prediction.map(|prediction| Answer::new(&prediction, self.classes, self.options));
        self.tally.count(&answer);
        self.progress.suspend(|| self.output.write(&photo.path, answer.as_ref()))?;
        if let (Some(sorter), Ok(answer)) = (&mut self.sorter, &answer) {
            match sorter.put(&photo.path, answer.folder()) {
                Ok(_) => {}
                // The photo was removed after it was classified: the others can still be sorted.
                Err(error @ SortError::Photo { .. }) => self.tally.not_sorted(&error),
                Err(error) => return Err(error.into()),
            }
        }
        self.progress.advance(1);
        Ok(())
    }
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
                note!("note: {}: no photos here", shown_path(path));
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
    /// Counts an answer, or a photo without one.
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

    /// Counts a photo that has an answer but could not be sorted, and prints a warning.
    fn not_sorted(&mut self, error: &SortError) {
        self.not_sorted += 1;
        note!("warning: {}", shown(&error.to_string()));
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
            note!("sorted into {}", shown_path(folder));
        }
    }
}
