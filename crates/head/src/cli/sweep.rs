//! `head sweep CACHE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::calibration::Familiar;
use head::data::{CheckedRows, DataError, Rows, TrainingData};
use head::fit::{FitError, Trained, evaluate};
use head::kernels::Cores;
use head::loss::CrossEntropy;
use head::run::{Run, RunError, SharedCentroids, SweepFolder, Training, check_free};
use head::settings::{Fraction, OutOfRange, Positive};
use head::summary::{HeadResult, SettingResult, SweepResults, ValidationResult, differing, plain, summarise, verdict};
use head::sweep::{Grid, HeadId, sweep};
use head::text::table;
use head::{knn, logistic};
use indicatif::ProgressBar;
use serde::Serialize;
use signal_hook::consts::SIGINT;
use stdio::{OutputError, called, note, output};

use super::places::default_out;
use super::training::{TrainingArgs, count, hidden, learning_rate, note_few_rows, note_views, views, weight_decay};

/// Each head is saved in a folder of its own.
const MAX_HEADS: u64 = 100_000;

/// `head sweep CACHE`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// Adam's learning rates to try
    #[arg(
        long,
        value_name = "RATES",
        default_value = "0.0001,0.001,0.01,0.1",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    learning_rates: Vec<f64>,
    /// Hidden layers to try: 0 for none, 100, or several as in 256x64
    #[arg(long, value_name = "SHAPES", default_value = "0", value_delimiter = ',')]
    hidden: Vec<String>,
    /// Rates of dropout to try
    #[arg(long, value_name = "RATES", default_value = "0", value_delimiter = ',', allow_negative_numbers = true)]
    dropout: Vec<f64>,
    /// Decoupled weight decays to try
    #[arg(long, value_name = "DECAYS", default_value = "0", value_delimiter = ',', allow_negative_numbers = true)]
    weight_decay: Vec<f64>,
    /// Amounts of label smoothing to try
    #[arg(long, value_name = "PARTS", default_value = "0", value_delimiter = ',', allow_negative_numbers = true)]
    label_smoothing: Vec<f64>,
    /// Batch sizes to try
    #[arg(long, value_name = "ROWS", default_value = "32", value_delimiter = ',')]
    batch_sizes: Vec<usize>,
    /// Numbers of augmented views of each photo to try to train on, one drawn each epoch; 0 for the photos as they are
    /// [default: all that the cache has]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    views: Vec<usize>,
    /// Heads for each combination, from as many seeds
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: usize,
    /// The first of the seeds
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    training: TrainingArgs,
    /// Also show baselines without settings: the 5 nearest neighbours, and logistic regression to convergence
    #[arg(long)]
    baselines: bool,
    /// Folder to write the sweep into, a run for each head [default: runs/CACHE-sweep-1, -2, …]
    #[arg(long, value_name = "SWEEP")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &SweepArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let grid = args.grid()?;
    let calibration = args.training.calibration()?;
    let cache = FeatureCache::open(&args.cache)?;
    let settings = Grid { views: args.views(&cache)?, ..grid }.settings();
    let seeds = count("--seeds", args.seeds)?.get() as u64;
    let heads = settings.len() as u64 * seeds.min(MAX_HEADS + 1);
    ensure!(heads <= MAX_HEADS, "{} settings from {seeds} seeds: more than {MAX_HEADS} heads", settings.len());
    let out = args.out.clone().unwrap_or_else(|| default_out(&args.cache, "-sweep"));
    check_free(&out)?;
    // Every row is read and checked once, whatever the number of seeds and heads.
    let rows = CheckedRows::read(&cache)?;
    let test = Rows::of_split(&cache, Split::Test)?;
    let mut data = Vec::new();
    for k in 0..seeds {
        let seed = args.seed.wrapping_add(k);
        data.push((seed, rows.training_data(args.training.validation_split, seed)?));
    }
    // Where no part is held out, the rows of every seed are the same, and so are their centroids.
    let mut familiar = Vec::new();
    for (_, data) in &data {
        match familiar.first() {
            Some(first) if data.held_out.is_none() => familiar.push(Familiar::clone(first)),
            _ => familiar.push(Familiar::measure(data)),
        }
    }
    if let Some((_, data)) = data.first() {
        note_few_rows(data);
    }

    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&stop))?;
    signal_hook::flag::register(SIGINT, Arc::clone(&stop))?;
    let bar = ProgressBar::new((settings.len() * data.len()) as u64).with_message("heads");
    let folder = SweepFolder::new(&out);
    let shared = SharedCentroids::default();
    // A head is saved as a run when it is trained, unless it diverged.
    let finish = |id: HeadId, trained: Result<Trained, FitError>| -> Result<HeadResult, RunError> {
        let (setting, (seed, data)) = (&settings[id.setting], &data[id.seed]);
        let mut validation = None;
        if let Ok(trained) = trained {
            let training = Training {
                cache: &cache,
                data,
                test: test.as_ref(),
                setting,
                seed: *seed,
                familiar: &familiar[id.seed],
                calibration,
            };
            let run = Run::new(&training, trained);
            run.save_sharing(&folder.run_path(id.setting, *seed), &shared)?;
            let metrics = run.metrics.validation();
            validation = metrics.map(|metrics| ValidationResult { loss: metrics.loss, accuracy: metrics.accuracy });
        }
        bar.inc(1);
        Ok(HeadResult { id, validation })
    };
    let heads = sweep(&settings, &data, &stop, finish);
    bar.finish_and_clear();
    let heads: Vec<HeadResult> = heads.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?;
    ensure!(!heads.is_empty(), "stopped before the first head was trained");

    let photos = data.first().map_or(0, |(_, data)| data.validation.len());
    let results = SweepResults { photos, settings: summarise(&settings, &heads) };
    folder.write_results(&results)?;
    if stop.load(Ordering::Relaxed) {
        note!("stopped: the heads that were trained so far are saved");
    }
    let baselines = if args.baselines { data.first().map(|(_, data)| Baselines::measure(data)) } else { None };
    if args.json {
        let result = serde_json::json!({
            "sweep": out,
            "settings": results.settings,
            "baselines": baselines,
            "seconds": start.elapsed().as_secs_f64(),
        });
        output!("{result}")?;
    } else {
        report(&results, baselines, &out, start)?;
    }
    Ok(())
}

impl SweepArgs {
    fn views(&self, cache: &FeatureCache) -> Result<Vec<usize>, DataError> {
        if !self.views.is_empty() {
            return self.views.iter().map(|&typed| views(cache, Some(typed))).collect();
        }
        let all = views(cache, None)?;
        note_views(all);
        Ok(vec![all])
    }

    /// The grid but for the numbers of views, whose default depends on the cache.
    fn grid(&self) -> anyhow::Result<Grid> {
        let learning_rates =
            self.learning_rates.iter().map(|&rate| learning_rate(rate)).collect::<Result<Vec<Positive>, _>>()?;
        let shape = |typed: &String| -> anyhow::Result<Vec<usize>> {
            let widths = typed.split('x').map(|width| {
                width.parse().with_context(|| format!("--hidden {typed}: expected widths, as in 100 or 256x64"))
            });
            hidden(&widths.collect::<anyhow::Result<Vec<usize>>>()?)
        };
        let fractions = |name, values: &[f64]| -> Result<Vec<Fraction>, OutOfRange> {
            values.iter().map(|&value| Fraction::new(name, value)).collect()
        };
        Ok(Grid {
            common: self.training.fit_config(learning_rates.first().copied().context("no learning rate to try")?)?,
            learning_rates,
            hidden: self.hidden.iter().map(shape).collect::<anyhow::Result<_>>()?,
            dropout: fractions("--dropout", &self.dropout)?,
            weight_decay: self.weight_decay.iter().map(|&decay| weight_decay(decay)).collect::<Result<_, _>>()?,
            label_smoothing: fractions("--label-smoothing", &self.label_smoothing)?,
            batch_sizes: self.batch_sizes.iter().map(|&rows| count("--batch-sizes", rows)).collect::<Result<_, _>>()?,
            views: Vec::new(),
        })
    }
}

/// Validation accuracies of classifiers without settings, on the rows of the first seed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Baselines {
    nearest_neighbours: f64,
    logistic_regression: f64,
}

impl Baselines {
    fn measure(data: &TrainingData<'_>) -> Self {
        let logistic = logistic::fit(&data.train, data.classes);
        let loss = CrossEntropy::new(data.classes);
        Self {
            nearest_neighbours: knn::accuracy(&data.train, &data.validation),
            logistic_regression: evaluate(Cores::of_caller(), &logistic, &loss, &data.validation).1,
        }
    }
}

fn report(results: &SweepResults, baselines: Option<Baselines>, out: &Path, start: Instant) -> Result<(), OutputError> {
    let SweepResults { photos, settings: results } = results;
    let settings: Vec<_> =
        results.iter().filter_map(|result| serde_json::to_value(&result.setting).ok()?.as_object().cloned()).collect();
    let columns = differing(&settings);
    let names = columns.iter().map(|(name, _)| name.as_str());
    let header: Vec<&str> = names.chain(["val_accuracy", "± error", "val_loss", "heads"]).collect();
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let rows = results.iter().enumerate().map(|(k, result)| {
        let heads = match result.diverged {
            0 => result.val_accuracies.len().to_string(),
            diverged => format!("{} ({diverged} diverged)", result.heads()),
        };
        let settings = columns.iter().map(|(_, values)| plain(&values[k]));
        let numbers = [result.val_accuracy, result.val_accuracy_error, result.val_loss].map(number);
        settings.chain(numbers).chain([heads]).collect()
    });
    output!("{}", table(&header, rows))?;
    let accuracies: Vec<f64> = results.iter().filter_map(|result| result.val_accuracy).collect();
    if let Some(verdict) = verdict(&accuracies, *photos) {
        output!("\n{verdict}")?;
    }
    if let Some(Baselines { nearest_neighbours, logistic_regression }) = baselines {
        output!(
            "\nwithout settings: {} nearest neighbours {nearest_neighbours:.4}, logistic regression {logistic_regression:.4}",
            knn::NEIGHBOURS
        )?;
    }
    let heads: u64 = results.iter().map(SettingResult::heads).sum();
    output!("\n{heads} heads in {:.2} s; runs in {}", start.elapsed().as_secs_f64(), out.display())?;
    let (head, out) = (called("head"), out.display());
    output!("\nnext: {} {out} PHOTO…, to see what new photos show by the best head", called("classify"))?;
    output!("      {head} report {out}, or {head} runs {out}, to look at the heads")
}
