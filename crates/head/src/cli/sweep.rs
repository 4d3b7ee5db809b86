//! `head sweep CACHE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::calibration::FittedCentroids;
use head::data::{CheckedRows, DataError, Rows, TrainValSplit};
use head::fit::{FitError, Trained, evaluate};
use head::loss::CrossEntropy;
use head::run::{Run, RunError, RunInputs, SharedCentroids, SweepFolder, check_free};
use head::settings::{Fraction, OutOfRange};
use head::summary::{
    ConfigResult, HeadResult, SweepResults, ValidationResult, differing_fields, json_fields, significance_sentence,
    summarise, value_text,
};
use head::sweep::{Grid, HeadId, SeedData, sweep};
use head::text::table;
use head::{knn, logistic};
use indicatif::ProgressBar;
use serde::Serialize;
use signal_hook::consts::SIGINT;
use stdio::{OutputError, invocation, note, output, shell_word};

use super::default_paths::Destination;
use super::shared::{
    SharedArgs, Widths, check_count, check_hidden, check_learning_rate, check_weight_decay, note_few_rows, note_views,
    open_to_train, view_count,
};

/// The most heads, since each head is saved in its own folder.
const MAX_HEADS: usize = 100_000;

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
    hidden: Vec<Widths>,
    /// Dropout rates to try
    #[arg(long, value_name = "RATES", default_value = "0", value_delimiter = ',', allow_negative_numbers = true)]
    dropout: Vec<f64>,
    /// Decoupled weight decays to try
    #[arg(long, value_name = "DECAYS", default_value = "0", value_delimiter = ',', allow_negative_numbers = true)]
    weight_decay: Vec<f64>,
    /// Amounts of label smoothing to try
    #[arg(long, value_name = "AMOUNTS", default_value = "0", value_delimiter = ',', allow_negative_numbers = true)]
    label_smoothing: Vec<f64>,
    /// Batch sizes to try
    #[arg(long, value_name = "ROWS", default_value = "32", value_delimiter = ',')]
    batch_sizes: Vec<usize>,
    /// Numbers of views to try; 0: train on the photos [default: all views that the cache has]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    views: Vec<usize>,
    /// Number of seeds; each combination is trained once per seed
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: usize,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    shared: SharedArgs,
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
    let calibration = args.shared.calibration()?;
    let cache = open_to_train(&args.cache)?;
    let view_counts = args.view_counts(&cache)?;
    let combinations = grid.combinations(view_counts.len());
    let seed_count = check_count("--seeds", args.seeds)?.get();
    let head_count = combinations.saturating_mul(seed_count);
    ensure!(
        head_count <= MAX_HEADS,
        "{combinations} combinations of settings with {seed_count} seeds: more than {MAX_HEADS} heads"
    );
    let destination = Destination::new(args.out.as_deref(), &args.cache, "-sweep");
    destination.take(check_free)?;
    let configs = grid.configs(&view_counts);
    // Every row is read and checked once, whatever the number of seeds and heads.
    let rows = CheckedRows::read(&cache)?;
    let test = Rows::from_split(&cache, Split::Test)?;
    let seeds: Vec<u64> = (0..seed_count).map(|k| args.seed.wrapping_add(k as u64)).collect();
    // Without a held-out part all seeds have the same rows, and so the same centroids.
    let seeds_with_own_rows = if rows.has_validation() { &seeds[..1] } else { &seeds };
    let mut splits = Vec::new();
    for &seed in seeds_with_own_rows {
        splits.push(rows.train_val_split(args.shared.validation_split, seed)?);
    }
    let centroids: Vec<FittedCentroids> = splits.iter().map(FittedCentroids::fit).collect();
    // The index in `splits` and `centroids` for each seed.
    let split_index = |seed_index: usize| seed_index.min(splits.len() - 1);
    let mut seed_data = Vec::new();
    for (k, &seed) in seeds.iter().enumerate() {
        seed_data.push(SeedData { seed, data: &splits[split_index(k)] });
    }
    let folder = destination.take(SweepFolder::create)?;
    let first_data = &splits[0];
    note_few_rows(first_data);

    // The first Ctrl-C lets the heads that are being trained finish, the second ends the program.
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&stop))?;
    signal_hook::flag::register(SIGINT, Arc::clone(&stop))?;
    let bar = ProgressBar::new(head_count as u64).with_message("heads");
    let shared_centroids = SharedCentroids::default();
    // A head is saved as a run as soon as it is trained, unless it diverged.
    let finish = |id: HeadId, trained: Result<Trained, FitError>| -> Result<HeadResult, RunError> {
        let SeedData { seed, data } = seed_data[id.seed_index];
        let mut validation = None;
        if let Ok(trained) = trained {
            let inputs = RunInputs {
                cache: &cache,
                data,
                test: test.as_ref(),
                config: &configs[id.config_index],
                seed,
                centroids: &centroids[split_index(id.seed_index)],
                calibration,
            };
            let run = Run::new(&inputs, trained);
            // The sweep fails with the first error, so no other heads begin.
            run.save_sharing(&folder.run_path(id.config_index, seed), &shared_centroids)
                .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            let metrics = run.metrics.validation();
            validation = metrics.map(|metrics| ValidationResult { loss: metrics.loss, accuracy: metrics.accuracy });
        }
        bar.inc(1);
        Ok(HeadResult { id, validation })
    };
    let heads = sweep(&configs, &seed_data, &stop, finish);
    bar.finish_and_clear();
    let heads: Vec<HeadResult> = heads.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?;
    ensure!(!heads.is_empty(), "stopped before the first head was trained");

    let results = SweepResults { photos: first_data.validation.len(), configs: summarise(&configs, &heads) };
    folder.write_results(&results)?;
    if stop.load(Ordering::Relaxed) {
        note!("stopped: the heads that were trained so far are saved");
    }
    let baselines = args.baselines.then(|| Baselines::measure(first_data));
    if args.json {
        let result = serde_json::json!({
            "sweep": folder.path().to_string_lossy(),
            "settings": results.configs,
            "baselines": baselines,
            "seconds": start.elapsed().as_secs_f64(),
        });
        output!("{result}")?;
    } else {
        print_summary(&results, baselines, folder.path(), start)?;
    }
    Ok(())
}

impl SweepArgs {
    /// The numbers of views to try, checked.
    fn view_counts(&self, cache: &FeatureCache) -> Result<Vec<usize>, DataError> {
        if !self.views.is_empty() {
            return self.views.iter().map(|&given| view_count(cache, Some(given))).collect();
        }
        let all = view_count(cache, None)?;
        note_views(all);
        Ok(vec![all])
    }

    /// The values to try, except the numbers of views, checked.
    fn grid(&self) -> anyhow::Result<Grid> {
        let fractions = |name, values: &[f64]| -> Result<Vec<Fraction>, OutOfRange> {
            values.iter().map(|&value| Fraction::new(name, value)).collect()
        };
        let mut grid = Grid {
            learning_rates: Vec::new(),
            hidden: Vec::new(),
            dropout: fractions("--dropout", &self.dropout)?,
            weight_decay: Vec::new(),
            label_smoothing: fractions("--label-smoothing", &self.label_smoothing)?,
            batch_sizes: Vec::new(),
            shared: self.shared.fit_config()?,
        };
        for &rate in &self.learning_rates {
            grid.learning_rates.push(check_learning_rate(rate)?);
        }
        for Widths(widths) in &self.hidden {
            grid.hidden.push(check_hidden(widths.clone())?);
        }
        for &decay in &self.weight_decay {
            grid.weight_decay.push(check_weight_decay(decay)?);
        }
        for &rows in &self.batch_sizes {
            grid.batch_sizes.push(check_count("--batch-sizes", rows)?);
        }
        Ok(grid)
    }
}

/// Validation accuracies of the baselines, on the rows of the first seed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Baselines {
    nearest_neighbours: f64,
    logistic_regression: f64,
}

impl Baselines {
    fn measure(data: &TrainValSplit<'_>) -> Self {
        let logistic = logistic::fit(&data.train, data.classes);
        let loss = CrossEntropy::new(data.classes);
        Self {
            nearest_neighbours: knn::accuracy(&data.train, &data.validation),
            logistic_regression: evaluate(&logistic, &loss, &data.validation).1,
        }
    }
}

/// Prints a table of the results, the baselines and what to do next.
fn print_summary(
    sweep: &SweepResults,
    baselines: Option<Baselines>,
    out: &Path,
    start: Instant,
) -> Result<(), OutputError> {
    let SweepResults { photos, configs: results } = sweep;
    let configs: Vec<_> = results.iter().map(|result| json_fields(&result.config)).collect();
    let fields = differing_fields(&configs);
    let mut header: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    header.extend(["val_accuracy", "± error", "val_loss", "heads"]);
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let mut rows = Vec::with_capacity(results.len());
    for (k, result) in results.iter().enumerate() {
        let mut row: Vec<String> = fields.iter().map(|field| value_text(&field.values[k])).collect();
        row.extend([result.val_accuracy, result.val_accuracy_error, result.val_loss].map(number));
        row.push(match result.diverged {
            0 => result.heads().to_string(),
            diverged => format!("{} ({diverged} diverged)", result.heads()),
        });
        rows.push(row);
    }
    output!("{}", table(&header, rows))?;
    let accuracies: Vec<f64> = results.iter().filter_map(|result| result.val_accuracy).collect();
    if let Some(sentence) = significance_sentence(&accuracies, *photos) {
        output!("\n{sentence}")?;
    }
    if let Some(Baselines { nearest_neighbours, logistic_regression }) = baselines {
        output!(
            "\nbaselines: {} nearest neighbours {nearest_neighbours:.4}, logistic regression {logistic_regression:.4}",
            knn::NEIGHBOURS
        )?;
    }
    let heads: u64 = results.iter().map(ConfigResult::heads).sum();
    output!("\n{heads} heads in {:.2} s, saved to {}", start.elapsed().as_secs_f64(), out.display())?;
    let (head, out) = (invocation("head"), shell_word(out));
    output!("\nnext: {} {out} PHOTO…, to classify new photos with the best head", invocation("classify"))?;
    output!("      {head} report {out}, or {head} runs {out}, to look at the heads")
}
