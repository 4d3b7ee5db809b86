//! The training loop: Keras's `fit`, for one head or for several that are trained on the same batches.

use std::num::NonZeroUsize;

use rayon::prelude::*;

use crate::adam::Adam;
use crate::data::{Rows, WINDOW};
use crate::dropout::Dropout;
use crate::history::{Epoch, History};
use crate::kernels::Cores;
use crate::layers::{Activations, Batch, Classifier};
use crate::loss::{CrossEntropy, correct};
use crate::sampler::{EpochOrder, RowSampler, ViewSampler};
use crate::schedule::Progress;
use crate::settings::{FitConfig, Keep, Monitor};

/// Rows whose logits are computed at a time outside training.
const EVALUATION_BATCH: usize = 64;
/// So many of these batches for each core are computed before they are evaluated.
const BATCHES_PER_CORE: usize = 4;

/// What heads are trained and validated on, and in which batches; heads that are trained together share it.
#[derive(Debug, Clone)]
pub struct TrainData<'a> {
    /// The rows to train on.
    pub train: &'a Rows<'a>,
    /// The rows to validate on.
    pub validation: &'a Rows<'a>,
    /// In which order an epoch takes the training rows.
    pub order: EpochOrder,
    /// Draws the augmented view that each training row is; none to train on the photos as they are.
    pub views: Option<ViewSampler>,
    /// Rows of a batch; the last one of an epoch may have fewer.
    pub batch_size: NonZeroUsize,
}

/// A head to train.
#[derive(Debug, Clone)]
pub struct HeadSpec {
    /// The initial weights.
    pub classifier: Classifier,
    /// How it is trained.
    pub config: FitConfig,
    /// The seed of its dropout.
    pub seed: u64,
}

/// A head after its training.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// With the weights of `kept_epoch`.
    pub classifier: Classifier,
    /// Loss and accuracy of each epoch.
    pub history: History,
    /// The epoch that the weights are from, counted from 1: the last or the best one, as [`Keep`] asks.
    pub kept_epoch: usize,
}

/// Why there is no trained head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The training or the validation loss is infinite or not a number.
    #[error("the loss is no longer finite in epoch {epoch}; try a lower learning rate")]
    Diverged {
        /// Counted from 1.
        epoch: usize,
    },
}

/// Trains one head, each step on all threads of the rayon pool, and calls `on_epoch` after each epoch.
///
/// Losses and accuracies are averaged as Keras averages them: in training over the batches as they come, weighted by
/// their rows, each before its step.
///
/// # Errors
/// When the loss is no longer finite.
pub fn fit(head: HeadSpec, data: TrainData<'_>, on_epoch: impl FnMut(Epoch) + Send) -> Result<Trained, FitError> {
    let mut trainer = Trainer::new(head, &data);
    let trainers = std::slice::from_mut(&mut trainer);
    // Within the pool: from outside, each of a step's products would have to wake it.
    rayon::scope(|_| train(trainers, data, Cores::All, on_epoch));
    trainer.finish()
}

/// Trains heads side by side on the caller's core: each batch is fetched once for all of them. A head's result is to the
/// bit what [`fit`] gives for it alone.
pub fn fit_together(heads: Vec<HeadSpec>, data: TrainData<'_>) -> Vec<Result<Trained, FitError>> {
    let mut trainers: Vec<Trainer> = heads.into_iter().map(|head| Trainer::new(head, &data)).collect();
    train(&mut trainers, data, Cores::One, |_| {});
    trainers.into_iter().map(Trainer::finish).collect()
}

/// Trains each head until it has had all of its epochs, stops early, or diverges; `on_epoch` is called after each epoch
/// of each head.
fn train(trainers: &mut [Trainer], data: TrainData<'_>, cores: Cores, mut on_epoch: impl FnMut(Epoch)) {
    let TrainData { train, validation, order, mut views, batch_size } = data;
    // Views that are not drawn take no memory, and change no order.
    let window = if views.is_some() { train.window() } else { WINDOW };
    let mut sampler = RowSampler::new(order, train.len(), window);
    let (mut batch, mut next) = (BatchRows::default(), BatchRows::default());
    while let Some(last) = trainers.iter().rposition(Trainer::goes_on) {
        let mut seen = 0;
        let mut batches = sampler.next_epoch().chunks(batch_size.get());
        next.read(batches.next(), train, &mut views);
        while !next.labels.is_empty() {
            std::mem::swap(&mut batch, &mut next);
            next.read(batches.next(), train, &mut views);
            // At the end of a window its rows are given back: the next batches read others.
            let after = seen + batch.labels.len();
            if seen / window < after / window {
                train.release(window);
            }
            seen = after;

            for (k, trainer) in trainers.iter_mut().enumerate().filter(|(_, trainer)| trainer.goes_on()) {
                // The next batch is fetched when nobody reads this one any more.
                let next_rows = if k == last { &next.rows[..] } else { &[] };
                trainer.train_step(cores, &batch, next_rows);
            }
        }
        for trainer in trainers.iter_mut().filter(|trainer| trainer.goes_on()) {
            if let Some(epoch) = trainer.end_epoch(cores, train.len(), validation) {
                on_epoch(epoch);
            }
        }
    }
}

/// The rows of a batch with their labels.
#[derive(Default)]
struct BatchRows<'a> {
    /// (rows, columns)
    rows: Vec<&'a [f32]>,
    /// (rows,)
    labels: Vec<usize>,
}

impl<'a> BatchRows<'a> {
    /// Takes these of the rows, or none, in place of those it had.
    fn read(&mut self, batch: Option<&[usize]>, rows: &Rows<'a>, views: &mut Option<ViewSampler>) {
        self.rows.clear();
        self.labels.clear();
        for &row in batch.unwrap_or_default() {
            self.rows.push(rows.input_row(row, views.as_mut().map(ViewSampler::draw)));
            self.labels.push(rows.labels[row]);
        }
    }
}

/// Mean loss and accuracy over the rows.
pub fn evaluate(cores: Cores, classifier: &Classifier, loss: &CrossEntropy, rows: &Rows<'_>) -> (f64, f64) {
    let (mut total_loss, mut total_correct) = (0.0, 0);
    each_batch(cores, classifier, rows, |logits, labels| {
        total_loss += loss.loss_and_gradient(logits, labels).0 * labels.len() as f64;
        total_correct += correct(logits, labels, loss.classes());
    });
    let count = rows.len() as f64;
    (total_loss / count, total_correct as f64 / count)
}

/// Calls `on_batch` with the logits, (rows, classes), and the labels of one batch of rows after the other, from the first
/// row to the last. However many rows there are, only a window of them is in memory.
pub fn each_batch(cores: Cores, classifier: &Classifier, rows: &Rows<'_>, mut on_batch: impl FnMut(&[f32], &[usize])) {
    let at_once = match cores {
        Cores::One => EVALUATION_BATCH,
        Cores::All => EVALUATION_BATCH * BATCHES_PER_CORE * rayon::current_num_threads(),
    };
    rows.each_window(|features, labels| {
        for (features, labels) in features.chunks(at_once).zip(labels.chunks(at_once)) {
            let logits: Vec<Vec<f32>> = match cores {
                Cores::One => vec![classifier.logits(features)],
                Cores::All => features.par_chunks(EVALUATION_BATCH).map(|rows| classifier.logits(rows)).collect(),
            };
            for (logits, labels) in logits.iter().zip(labels.chunks(EVALUATION_BATCH)) {
                on_batch(logits, labels);
            }
        }
    });
}

/// A head in training.
struct Trainer {
    config: FitConfig,
    classifier: Classifier,
    adam: Adam,
    dropout: Option<Dropout>,
    /// The training loss, with the weights of the classes.
    loss: CrossEntropy,
    /// The validation loss, where every row counts the same.
    validation_loss: CrossEntropy,
    activations: Activations,
    progress: Progress,
    total_loss: f64,
    total_correct: usize,
    history: History,
    best: Option<Best>,
    diverged: Option<FitError>,
}

/// The best epoch so far.
struct Best {
    /// Counted from 1.
    epoch: usize,
    /// The lower the better.
    score: f64,
    classifier: Classifier,
}

impl Trainer {
    fn new(head: HeadSpec, data: &TrainData<'_>) -> Self {
        let HeadSpec { classifier, config, seed } = head;
        let steps_per_epoch = data.train.len().div_ceil(data.batch_size.get());
        let validation_loss = CrossEntropy::smoothed(classifier.classes(), config.label_smoothing);
        Self {
            adam: Adam::new(&classifier, config.weight_decay, config.clip_norm),
            dropout: Dropout::new(config.dropout, seed),
            loss: validation_loss.clone().weighted(config.class_weights, &data.train.labels),
            validation_loss,
            activations: Activations::default(),
            progress: Progress { step: 0, steps_per_epoch, epochs: config.epochs.get() },
            total_loss: 0.0,
            total_correct: 0,
            history: History::default(),
            best: None,
            diverged: None,
            classifier,
            config,
        }
    }

    /// Whether it is to be trained for another epoch.
    fn goes_on(&self) -> bool {
        let done = self.history.loss.len();
        let waited = match (&self.best, self.config.keep) {
            (Some(best), Keep::Best { patience: Some(patience), .. }) => done - best.epoch >= patience.get(),
            _ => false,
        };
        self.diverged.is_none() && done < self.config.epochs.get() && !waited
    }

    /// One step of Adam on a batch. `next_rows` are those that are read after it.
    fn train_step(&mut self, cores: Cores, batch: &BatchRows<'_>, next_rows: &[&[f32]]) {
        let BatchRows { rows, labels } = batch;
        self.classifier.forward(cores, rows, self.dropout.as_mut(), &mut self.activations);
        let logits = self.activations.logits();
        let (loss, of_logits) = self.loss.loss_and_gradient(logits, labels);
        self.total_loss += loss * labels.len() as f64;
        self.total_correct += correct(logits, labels, self.loss.classes());
        let learning_rate = self.config.learning_rate.get() * self.config.schedule.factor(self.progress);
        let batch = Batch { rows, activations: &self.activations, of_logits: &of_logits, next_rows };
        self.adam.step(cores, learning_rate as f32, &mut self.classifier, batch);
        self.progress.step += 1;
    }

    /// Evaluates the head on the validation rows; none if a loss is no longer finite.
    fn end_epoch(&mut self, cores: Cores, rows: usize, validation: &Rows<'_>) -> Option<Epoch> {
        let (val_loss, val_accuracy) = evaluate(cores, &self.classifier, &self.validation_loss, validation);
        let (loss, accuracy) = (self.total_loss / rows as f64, self.total_correct as f64 / rows as f64);
        (self.total_loss, self.total_correct) = (0.0, 0);
        let number = self.history.loss.len() + 1;
        if !(loss.is_finite() && val_loss.is_finite()) {
            self.diverged = Some(FitError::Diverged { epoch: number });
            return None;
        }
        let epoch = Epoch { loss, accuracy, val_loss, val_accuracy };
        self.history.push(epoch);
        if let Keep::Best { monitor, .. } = self.config.keep {
            let score = match monitor {
                Monitor::ValLoss => val_loss,
                Monitor::ValAccuracy => -val_accuracy,
            };
            if self.best.as_ref().is_none_or(|best| score < best.score) {
                self.best = Some(Best { epoch: number, score, classifier: self.classifier.clone() });
            }
        }
        Some(epoch)
    }

    fn finish(self) -> Result<Trained, FitError> {
        let Self { classifier, history, best, diverged, .. } = self;
        if let Some(error) = diverged {
            return Err(error);
        }
        let last = history.loss.len();
        let (kept_epoch, classifier) = best.map_or((last, classifier), |best| (best.epoch, best.classifier));
        Ok(Trained { classifier, history, kept_epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Fraction, Positive};

    /// Two classes, told apart by which of two features is larger.
    fn rows(values: &[[f32; 2]]) -> Rows<'_> {
        let labels = values.iter().map(|[a, b]| usize::from(b > a)).collect();
        Rows::new(values.iter().map(|row| &row[..]).collect(), labels)
    }

    fn values(count: usize) -> Vec<[f32; 2]> {
        (0..count).map(|k| [((k * 7) % 10) as f32, ((k * 3) % 11) as f32]).collect()
    }

    fn config(learning_rate: f64) -> FitConfig {
        FitConfig::new(Positive::new("learning rate", learning_rate).unwrap(), NonZeroUsize::new(30).unwrap())
    }

    fn head(config: FitConfig, seed: u64) -> HeadSpec {
        HeadSpec { classifier: Classifier::new(2, &[], 2, seed), config, seed }
    }

    fn data<'a>(train: &'a Rows<'a>, validation: &'a Rows<'a>, seed: u64) -> TrainData<'a> {
        let batch_size = NonZeroUsize::new(8).unwrap();
        TrainData { train, validation, order: EpochOrder::Shuffled { seed }, views: None, batch_size }
    }

    #[test]
    fn training_helps_and_the_seed_decides_everything() {
        let values = values(50);
        let (all, few) = (rows(&values), rows(&values[..9]));
        let train = |seed| fit(head(config(0.05), seed), data(&all, &few, seed), |_| {}).unwrap();
        let trained = train(1);
        assert!(trained.history.val_accuracy[29] > 0.85, "{trained:?}");
        assert!(trained.history.loss[29] < trained.history.loss[0]);
        assert_eq!(train(1), trained);
        assert_ne!(train(1).history, train(2).history);
    }

    #[test]
    fn together_each_becomes_what_it_becomes_alone() {
        let values = values(50);
        let (all, few) = (rows(&values), rows(&values[..9]));
        let dropout = Fraction::new("dropout", 0.2).unwrap();
        let stops = Keep::Best { monitor: Monitor::ValLoss, patience: NonZeroUsize::new(2) };
        let configs = [
            config(0.01),
            config(0.5),
            FitConfig { dropout, ..config(0.1) },
            FitConfig { keep: stops, ..config(1.0) },
            config(1e38),
        ];
        let heads = configs.map(|config| head(config, 3));
        let together = fit_together(heads.to_vec(), data(&all, &few, 3));
        for (head, trained) in heads.into_iter().zip(together) {
            assert_eq!(fit(head, data(&all, &few, 3), |_| {}), trained);
        }
    }

    #[test]
    fn views_are_trained_on_in_place_of_their_photos() {
        let values = values(50);
        // The first view is the photo itself, the second one looks like the other class.
        let views: Vec<[f32; 4]> = values.iter().map(|[a, b]| [*a, *b, *b, *a]).collect();
        let mut all = rows(&values);
        all.views = views.iter().map(|views| &views[..]).collect();
        let train = |count| {
            let data = TrainData { views: ViewSampler::new(count, 1), ..data(&all, &all, 1) };
            fit(head(config(0.05), 1), data, |_| {}).unwrap()
        };
        assert_eq!(train(1), train(0));
        assert!(train(2).history.accuracy[29] < 0.75, "{:?}", train(2));
    }

    #[test]
    fn the_best_epochs_weights_are_kept_and_waiting_ends() {
        let values = values(50);
        let (all, mut few) = (rows(&values), rows(&values[..9]));
        // A wrong label: the more confident the head, the larger the loss.
        few.labels[0] = 1 - few.labels[0];
        let train = |keep| fit(head(FitConfig { keep, ..config(1.0) }, 1), data(&all, &few, 1), |_| {}).unwrap();
        let to_the_end = train(Keep::Last);
        assert_eq!(to_the_end.kept_epoch, 30);
        for monitor in [Monitor::ValLoss, Monitor::ValAccuracy] {
            let best = train(Keep::Best { monitor, patience: None });
            assert_eq!(best.history, to_the_end.history);
            let (val_loss, val_accuracy) = evaluate(Cores::One, &best.classifier, &CrossEntropy::new(2), &few);
            let kept = best.kept_epoch - 1;
            assert_eq!((val_loss, val_accuracy), (best.history.val_loss[kept], best.history.val_accuracy[kept]));
            assert!(best.history.val_loss.iter().all(|&loss| monitor != Monitor::ValLoss || loss >= val_loss));
            assert!(best.history.val_accuracy.iter().all(|&a| monitor != Monitor::ValAccuracy || a <= val_accuracy));

            let patience = NonZeroUsize::new(3);
            let stopped = train(Keep::Best { monitor, patience });
            let epochs = stopped.history.loss.len();
            assert!(epochs == 30 || epochs == stopped.kept_epoch + 3, "{stopped:?}");
            assert!(epochs < 30, "{stopped:?}");
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_names_the_epoch() {
        let values = vec![[1e30, 0.0], [0.0, 1e30]];
        let all = rows(&values);
        let result = fit(head(config(1e30), 1), data(&all, &all, 1), |_| {});
        assert_eq!(result, Err(FitError::Diverged { epoch: 1 }));
    }
}
