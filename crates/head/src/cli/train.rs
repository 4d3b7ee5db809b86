//! `head train CACHE`.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use feature_cache::Split;
use head::calibration::FittedCentroids;
use head::data::{Rows, TrainValSplit};
use head::fit::{FitData, HeadSpec, fit};
use head::history::Epoch;
use head::layers::Classifier;
use head::run::{Run, RunInputs, check_writable};
use head::sampler::{EpochOrder, ViewSampler};
use head::settings::{FitConfig, Fraction, HeadConfig};
use head::team;
use head::tensorboard;
use head::text::accuracy_line;
use stdio::{OutputError, invocation, note, output, shell_word};

use super::default_paths::Destination;
use super::shared::{
    SharedArgs, Widths, check_count, check_hidden, check_learning_rate, check_weight_decay, note_few_rows, note_views,
    open_to_train, view_count,
};
use super::sparkline;

/// `head train CACHE`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// Adam's learning rate
    #[arg(long, value_name = "RATE", default_value_t = 0.01, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Batch size, in rows
    #[arg(long, value_name = "ROWS", default_value_t = 32)]
    batch_size: usize,
    /// Widths of hidden layers with ReLU, as in 100, or 256,64 or 256x64 for two; 0 for none
    #[arg(long, value_name = "WIDTHS", default_value = "0", value_delimiter = ',')]
    hidden: Vec<Widths>,
    /// Dropout rate of each hidden layer's outputs (of the features in a linear head)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, allow_negative_numbers = true)]
    dropout: f64,
    /// Decoupled weight decay, as in Keras's Adam(weight_decay=…)
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, allow_negative_numbers = true)]
    weight_decay: f64,
    /// Label smoothing: the part of each target that is spread over all classes
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, allow_negative_numbers = true)]
    label_smoothing: f64,
    /// Train on the first N augmented views of each photo, one drawn each epoch; 0: on the photos
    /// [default: all views that the cache has]
    #[arg(long, value_name = "N")]
    views: Option<usize>,
    #[command(flatten)]
    shared: SharedArgs,
    /// Seed of the initial weights, the shuffling, the views, the dropout and the held-out part
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    /// Folder to write the run into [default: runs/CACHE-1, -2, …]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Also write event files for TensorBoard, into DIR/train and DIR/validation
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Print the result as JSON, without a line per epoch
    #[arg(long)]
    json: bool,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    // The helpers stay for the whole command, so that its loops need not start threads of their own.
    team::with_helpers(|| train_and_save(args))
}

fn train_and_save(args: &TrainArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let hidden = check_hidden(args.hidden.iter().flat_map(|Widths(widths)| widths).copied().collect())?;
    let batch_size = check_count("--batch-size", args.batch_size)?;
    let fit_config = args.fit_config()?;
    let calibration = args.shared.calibration()?;
    let cache = open_to_train(&args.cache)?;
    let config = HeadConfig { hidden, batch_size, view_count: view_count(&cache, args.views)?, fit: fit_config };
    let destination = Destination::new(args.out.as_deref(), &args.cache, "");
    destination.take(check_writable)?;
    let data = TrainValSplit::from_cache(&cache, args.shared.validation_split, args.seed)?;
    let test = Rows::from_split(&cache, Split::Test)?;
    if let Some(fraction) = data.held_out {
        note!(
            "no validation split in the cache: {} of {} rows held out (--validation-split {fraction}, by class)",
            data.validation.len(),
            data.validation.len() + data.train.len(),
        );
    }
    note_views(config.view_count);

    let epochs = config.fit.epochs.get();
    let mut number = 0;
    let print = |epoch: Epoch| {
        number += 1;
        if !args.json {
            // A failed write is reported at the end, after the run is saved.
            let _ = output!("{}", epoch_line(number, epochs, epoch));
        }
    };
    let head = HeadSpec {
        classifier: Classifier::new(cache.columns(), &config.hidden, data.classes, args.seed),
        config: config.fit,
        seed: args.seed,
    };
    let fit_data = FitData {
        train: &data.train,
        validation: &data.validation,
        order: EpochOrder::Shuffled { seed: args.seed },
        view_sampler: ViewSampler::new(config.view_count, args.seed),
        batch_size: config.batch_size,
    };
    let trained = fit(head, fit_data, print)?;
    note_few_rows(&data);
    let kept_epoch = trained.kept_epoch;
    let centroids = FittedCentroids::fit(&data);
    let inputs = RunInputs {
        cache: &cache,
        data: &data,
        test: test.as_ref(),
        config: &config,
        seed: args.seed,
        centroids: &centroids,
        calibration,
    };
    let run = Run::new(&inputs, trained);
    // Unmapping the rows takes a while, so do it while the run is saved.
    let (out, ()) =
        team::join(|| destination.take(|path| run.save(path).map(|()| path.to_owned())), || cache.release());
    let out = out?;
    if args.json {
        output!("{}", to_json(&run, &config, &out, start))?;
    } else {
        print_summary(&run, kept_epoch, epochs, &args.cache, &out, start)?;
    }
    // Last, so that an error does not hide where the run is.
    if let Some(folder) = &args.tensorboard {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        tensorboard::write(folder, &run.history, now.as_secs_f64())
            .with_context(|| format!("{}: cannot be written", folder.display()))?;
    }
    Ok(())
}

impl TrainArgs {
    /// The settings of training, checked.
    fn fit_config(&self) -> anyhow::Result<FitConfig> {
        Ok(FitConfig {
            dropout: Fraction::new("--dropout", self.dropout)?,
            weight_decay: check_weight_decay(self.weight_decay)?,
            label_smoothing: Fraction::new("--label-smoothing", self.label_smoothing)?,
            ..self.shared.fit_config()?.fit_config(check_learning_rate(self.learning_rate)?)
        })
    }
}

/// The line of an epoch, as Keras prints it.
fn epoch_line(number: usize, epochs: usize, epoch: Epoch) -> String {
    let Epoch { loss, accuracy, val_loss, val_accuracy } = epoch;
    format!(
        "Epoch {number}/{epochs} - loss: {loss:.4} - accuracy: {accuracy:.4} - val_loss: {val_loss:.4} - \
         val_accuracy: {val_accuracy:.4}"
    )
}

fn to_json(run: &Run, config: &HeadConfig, out: &Path, start: Instant) -> serde_json::Value {
    let (last, best) = (run.history.epochs().last(), run.history.best_epoch());
    serde_json::json!({
        "run": out.to_string_lossy(),
        "learning_rate": config.fit.learning_rate,
        "views": config.view_count,
        "loss": last.map(|epoch| epoch.loss),
        "accuracy": last.map(|epoch| epoch.accuracy),
        "val_loss": last.map(|epoch| epoch.val_loss),
        "val_accuracy": last.map(|epoch| epoch.val_accuracy),
        "best_epoch": best.map(|(number, _)| number),
        "best_val_accuracy": best.map(|(_, epoch)| epoch.val_accuracy),
        "kept_epoch": run.metrics.kept_epoch,
        "temperature": run.calibration.as_ref().map(|calibration| calibration.constants.temperature),
        "seconds": start.elapsed().as_secs_f64(),
    })
}

/// Prints the curves, the accuracies and what to do next.
fn print_summary(
    run: &Run,
    kept_epoch: usize,
    epochs: usize,
    cache: &Path,
    out: &Path,
    start: Instant,
) -> Result<(), OutputError> {
    if run.history.loss.len() < epochs {
        output!("stopped early: no better epoch since {kept_epoch}")?;
    }
    let history = &run.history;
    output!("\n{}", sparkline::pair("loss", &history.loss, &history.val_loss))?;
    output!("{}", sparkline::pair("accuracy", &history.accuracy, &history.val_accuracy))?;
    let seconds = start.elapsed().as_secs_f64();
    if let Some((number, epoch)) = run.history.best_epoch() {
        output!("\nbest validation accuracy {:.4} in epoch {number}; {seconds:.2} s in all", epoch.val_accuracy)?;
    }
    if let Some(validation) = run.metrics.validation() {
        output!("{}", accuracy_line(validation, &format!("the weights of epoch {kept_epoch} are kept:")))?;
    }
    output!("saved to {}: curves.svg, metrics.json, head.safetensors", out.display())?;
    let (head, out, cache) = (invocation("head"), shell_word(out), shell_word(cache));
    output!("\nnext: {} {out} PHOTO…, to classify new photos", invocation("classify"))?;
    output!("      {head} report {out}, to look at the run")?;
    output!("      {head} sweep {cache} --learning-rates 0.0001,0.001,0.01,0.1, to try several rates at once")
}
