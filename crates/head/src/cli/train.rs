//! `head train CACHE`.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use feature_cache::{FeatureCache, Split};
use head::calibration::Familiar;
use head::data::{Rows, TrainingData};
use head::fit::{HeadSpec, TrainData, fit};
use head::history::Epoch;
use head::layers::Classifier;
use head::run::{Run, Training, check_free};
use head::sampler::{EpochOrder, ViewSampler};
use head::settings::{FitConfig, Fraction, Setting};
use head::tensorboard;
use head::text::accuracy_line;
use stdio::{OutputError, called, note, output};

use super::places::default_out;
use super::sparkline;
use super::training::{TrainingArgs, count, hidden, learning_rate, note_few_rows, note_views, views, weight_decay};

/// `head train CACHE`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Cache that extract has made
    cache: PathBuf,
    /// Adam's learning rate
    #[arg(long, value_name = "RATE", default_value_t = 0.01, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Batch size: rows of a training step
    #[arg(long, value_name = "ROWS", default_value_t = 32)]
    batch_size: usize,
    /// Widths of hidden layers with ReLU, as in 100 or 256,64; 0 for none
    #[arg(long, value_name = "WIDTHS", default_value = "0", value_delimiter = ',')]
    hidden: Vec<usize>,
    /// Dropout rate of each hidden layer's outputs (of the features in a linear head)
    #[arg(long, value_name = "RATE", default_value_t = 0.0, allow_negative_numbers = true)]
    dropout: f64,
    /// Decoupled weight decay, as in Keras's Adam(weight_decay=…)
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, allow_negative_numbers = true)]
    weight_decay: f64,
    /// Label smoothing: the part of each target that is spread over all classes
    #[arg(long, value_name = "PART", default_value_t = 0.0, allow_negative_numbers = true)]
    label_smoothing: f64,
    /// Train on the first N augmented views of each photo, one drawn each epoch; 0 for the photos as they are
    /// [default: all that the cache has]
    #[arg(long, value_name = "N")]
    views: Option<usize>,
    #[command(flatten)]
    training: TrainingArgs,
    /// Seed of the initial weights, the shuffling, the views, the dropout and the held-out part
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    seed: u64,
    /// Folder to write the run into [default: runs/CACHE-1, -2, …]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Also write event files for TensorBoard, into DIR/train and DIR/validation
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Print the result as JSON, and no lines by epoch
    #[arg(long)]
    json: bool,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let setting = args.setting()?;
    let calibration = args.training.calibration()?;
    let cache = FeatureCache::open(&args.cache)?;
    let setting = Setting { views: views(&cache, args.views)?, ..setting };
    let out = args.out.clone().unwrap_or_else(|| default_out(&args.cache, ""));
    check_free(&out)?;
    let data = TrainingData::from_cache(&cache, args.training.validation_split, args.seed)?;
    if let Some(fraction) = data.held_out {
        note!(
            "no validation split in the cache: {} of {} rows held out (--validation-split {fraction}, by class)",
            data.validation.len(),
            data.validation.len() + data.train.len(),
        );
    }
    note_views(setting.views);

    let epochs = setting.fit.epochs.get();
    let mut number = 0;
    let print = |epoch: Epoch| {
        number += 1;
        if !args.json {
            // What is wrong with stdout is said by the report at the end, when the run is saved.
            let _ = output!("{}", line(number, epochs, epoch));
        }
    };
    let head = HeadSpec {
        classifier: Classifier::new(cache.columns(), &setting.hidden, data.classes, args.seed),
        config: setting.fit,
        seed: args.seed,
    };
    let train_data = TrainData {
        train: &data.train,
        validation: &data.validation,
        order: EpochOrder::Shuffled { seed: args.seed },
        views: ViewSampler::new(setting.views, args.seed),
        batch_size: setting.batch_size,
    };
    let trained = fit(head, train_data, print)?;
    note_few_rows(&data);
    let kept_epoch = trained.kept_epoch;
    let test = Rows::of_split(&cache, Split::Test)?;
    let familiar = Familiar::measure(&data);
    let training = Training {
        cache: &cache,
        data: &data,
        test: test.as_ref(),
        setting: &setting,
        seed: args.seed,
        familiar: &familiar,
        calibration,
    };
    let run = Run::new(&training, trained);
    run.save(&out)?;
    if let Some(folder) = &args.tensorboard {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        tensorboard::write(folder, &run.history, now.as_secs_f64())
            .with_context(|| format!("{}: cannot be written", folder.display()))?;
    }
    if args.json {
        output!("{}", to_json(&run, &setting, &out, start))?;
    } else {
        report(&run, kept_epoch, &setting, &args.cache, &out, start)?;
    }
    Ok(())
}

impl TrainArgs {
    /// All but the number of views, which the cache decides.
    fn setting(&self) -> anyhow::Result<Setting> {
        let fit = FitConfig {
            dropout: Fraction::new("--dropout", self.dropout)?,
            weight_decay: weight_decay(self.weight_decay)?,
            label_smoothing: Fraction::new("--label-smoothing", self.label_smoothing)?,
            ..self.training.fit_config(learning_rate(self.learning_rate)?)?
        };
        let batch_size = count("--batch-size", self.batch_size)?;
        Ok(Setting { hidden: hidden(&self.hidden)?, batch_size, views: 0, fit })
    }
}

/// As Keras prints an epoch.
fn line(number: usize, epochs: usize, epoch: Epoch) -> String {
    let Epoch { loss, accuracy, val_loss, val_accuracy } = epoch;
    format!(
        "Epoch {number}/{epochs} - loss: {loss:.4} - accuracy: {accuracy:.4} - val_loss: {val_loss:.4} - val_accuracy: {val_accuracy:.4}"
    )
}

fn to_json(run: &Run, setting: &Setting, out: &Path, start: Instant) -> serde_json::Value {
    let (last, best) = (run.history.epochs().last(), run.history.best_epoch());
    serde_json::json!({
        "run": out,
        "learning_rate": setting.fit.learning_rate,
        "views": setting.views,
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

fn report(
    run: &Run,
    kept_epoch: usize,
    setting: &Setting,
    cache: &Path,
    out: &Path,
    start: Instant,
) -> Result<(), OutputError> {
    if run.history.loss.len() < setting.fit.epochs.get() {
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
    output!("run in {}: curves.svg, metrics.json, head.safetensors", out.display())?;
    let (head, out, cache) = (called("head"), out.display(), cache.display());
    output!("\nnext: {} {out} PHOTO…, to see what new photos show", called("classify"))?;
    output!("      {head} report {out}, to look at the run")?;
    output!("      {head} sweep {cache} --learning-rates 0.0001,0.001,0.01,0.1, to try several rates at once")
}
