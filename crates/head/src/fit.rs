//! The training loop, as Keras's `fit`, for one head or for several that train on the same batches.

use std::num::NonZeroUsize;

use crate::adam::Adam;
use crate::data::Rows;
use crate::dropout::Dropout;
use crate::history::{Epoch, History};
use crate::layers::{Activations, Batch, Classifier, FirstProduct};
use crate::loss::{BatchLoss, CrossEntropy};
use crate::sampler::{EpochOrder, RowSampler, ViewSampler};
use crate::schedule::Progress;
use crate::settings::{FitConfig, KeepWeights, Monitor};
use crate::team;

/// Batch size for evaluation.
const EVALUATION_BATCH: usize = 32;
/// How many batches for each thread are evaluated before their results are passed on.
const BATCHES_PER_THREAD: usize = 8;

/// What [`fit`] reads: rows, and how they are batched; with PyTorch a Dataset plus a DataLoader's settings. Heads that
/// train together share it.
#[derive(Debug, Clone)]
pub struct FitData<'a> {
    /// The training rows.
    pub train: &'a Rows<'a>,
    /// The validation rows.
    pub validation: &'a Rows<'a>,
    /// The order of the training rows in each epoch.
    pub order: EpochOrder,
    /// Draws a view in place of each training row; `None`: the photos themselves.
    pub view_sampler: Option<ViewSampler>,
    /// Batch size, in rows; the last batch of an epoch may be smaller.
    pub batch_size: NonZeroUsize,
}

/// A head to train.
#[derive(Debug, Clone)]
pub struct HeadSpec {
    /// The initial weights.
    pub classifier: Classifier,
    /// The settings of its training.
    pub config: FitConfig,
    /// The seed of its dropout.
    pub seed: u64,
}

/// A trained head.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The weights after `kept_epoch`.
    pub classifier: Classifier,
    /// Loss and accuracy of each epoch.
    pub history: History,
    /// The epoch whose weights are kept, counted from 1: the last or the best one ([`KeepWeights`]).
    pub kept_epoch: usize,
}

/// Why training failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The training or the validation loss is infinite or not a number.
    #[error("the loss is no longer finite in epoch {epoch}; try a lower learning rate")]
    Diverged {
        /// Counted from 1.
        epoch: usize,
    },
}

/// Trains one head, each step on all threads, and calls `on_epoch` after each epoch.
///
/// As in Keras, training loss and accuracy are means over the epoch's batches, weighted by size, each measured before
/// its optimizer step.
///
/// # Errors
/// When the loss is no longer finite.
pub fn fit(head: HeadSpec, data: FitData<'_>, on_epoch: impl FnMut(Epoch)) -> Result<Trained, FitError> {
    let mut trainer = Trainer::new(head, &data);
    let trainers = std::slice::from_mut(&mut trainer);
    team::with_helpers(|| train(trainers, data, on_epoch));
    trainer.finish()
}

/// Trains heads together, so that each batch is read from memory once for all of them. Each result is bit-identical to
/// that of [`fit`] for the head alone.
pub fn fit_together(heads: Vec<HeadSpec>, data: FitData<'_>) -> Vec<Result<Trained, FitError>> {
    let mut trainers: Vec<Trainer> = heads.into_iter().map(|head| Trainer::new(head, &data)).collect();
    team::with_helpers(|| train(&mut trainers, data, |_| {}));
    trainers.into_iter().map(Trainer::finish).collect()
}

/// Trains each head until its last epoch, or until it stops early or diverges. Calls `on_epoch` after each epoch of each
/// head.
fn train(trainers: &mut [Trainer], data: FitData<'_>, mut on_epoch: impl FnMut(Epoch)) {
    let FitData { train, validation, order, mut view_sampler, batch_size } = data;
    // Only with a view sampler, so that otherwise the order does not depend on whether the cache has views.
    let window = train.window(view_sampler.is_some());
    let mut sampler = RowSampler::new(order, train.len(), window);
    let (mut batch, mut next_batch) = (BatchRows::default(), BatchRows::default());
    while let Some(last) = trainers.iter().rposition(Trainer::is_active) {
        let mut rows_done = 0;
        let mut batches = sampler.next_epoch().chunks(batch_size.get());
        next_batch.read(batches.next(), train, &mut view_sampler);
        while !next_batch.labels.is_empty() {
            std::mem::swap(&mut batch, &mut next_batch);
            next_batch.read(batches.next(), train, &mut view_sampler);
            // A window's memory is released before the batch that completes it; that batch is then paged in again.
            let rows_after = rows_done + batch.labels.len();
            let completes_window = rows_done / window < rows_after / window;
            if completes_window {
                train.release(window);
            }
            rows_done = rows_after;

            for (k, trainer) in trainers.iter_mut().enumerate().filter(|(_, trainer)| trainer.is_active()) {
                // Only the last head prefetches the next batch: the others still need this one in the processor's cache.
                let next_rows = if k == last { &next_batch.rows[..] } else { &[] };
                trainer.train_step(&batch, next_rows);
            }
        }
        // The last rows, which may be less than a window.
        train.release(window);
        for trainer in trainers.iter_mut().filter(|trainer| trainer.is_active()) {
            if let Some(epoch) = trainer.end_epoch(train.len(), validation) {
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
    /// Replaces the batch by the rows with these numbers; `None` empties it.
    fn read(&mut self, row_numbers: Option<&[usize]>, rows: &Rows<'a>, view_sampler: &mut Option<ViewSampler>) {
        self.rows.clear();
        self.labels.clear();
        for &row in row_numbers.unwrap_or_default() {
            self.rows.push(rows.input_row(row, view_sampler.as_mut().map(ViewSampler::draw)));
            self.labels.push(rows.labels[row]);
        }
    }
}

/// Mean loss and accuracy over the rows.
pub fn evaluate(classifier: &Classifier, loss: &CrossEntropy, rows: &Rows<'_>) -> (f64, f64) {
    let (mut total_loss, mut total_correct) = (0.0, 0);
    let evaluate_batch = |logits: Vec<f32>, labels: &[usize]| {
        let BatchLoss { total, correct, .. } = loss.measure(&logits, labels);
        (total, correct)
    };
    map_batches(classifier, rows, evaluate_batch, |(loss, correct)| {
        total_loss += loss;
        total_correct += correct;
    });
    let count = rows.len() as f64;
    (total_loss / count, total_correct as f64 / count)
}

/// Calls `work` with the logits, (rows, classes), and the labels of each batch of rows, on all threads, and then
/// `on_result` with the results in order. At most a window of rows is in memory.
pub fn map_batches<R: Send>(
    classifier: &Classifier,
    rows: &Rows<'_>,
    work: impl Fn(Vec<f32>, &[usize]) -> R + Sync,
    mut on_result: impl FnMut(R),
) {
    team::with_helpers(|| {
        let batches_at_once = match team::threads() {
            1 => 1,
            threads => BATCHES_PER_THREAD * threads,
        };
        let rows_at_once = EVALUATION_BATCH * batches_at_once;
        rows.for_each_window(|features, labels| {
            for (features, labels) in features.chunks(rows_at_once).zip(labels.chunks(rows_at_once)) {
                let batches = features.chunks(EVALUATION_BATCH).zip(labels.chunks(EVALUATION_BATCH)).collect();
                let results = team::map(batches, |(features, labels): (&[&[f32]], &[usize])| {
                    work(classifier.logits(features), labels)
                });
                results.into_iter().for_each(&mut on_result);
            }
        });
    });
}

/// Calls `on_batch` with the logits, (rows, classes), and the labels of each batch of rows in order. At most a window of
/// rows is in memory.
pub fn for_each_batch(classifier: &Classifier, rows: &Rows<'_>, mut on_batch: impl FnMut(&[f32], &[usize])) {
    let keep = |logits: Vec<f32>, labels: &[usize]| (logits, labels.to_vec());
    map_batches(classifier, rows, keep, |(logits, labels)| on_batch(&logits, &labels));
}

/// A head in training.
struct Trainer {
    config: FitConfig,
    classifier: Classifier,
    adam: Adam,
    dropout: Option<Dropout>,
    /// The training loss, with class weights.
    loss: CrossEntropy,
    /// The validation loss, without class weights.
    validation_loss: CrossEntropy,
    activations: Activations,
    /// The beginning of the next batch's forward pass, if the last step has computed it.
    next_product: Option<FirstProduct>,
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
    fn new(head: HeadSpec, data: &FitData<'_>) -> Self {
        let HeadSpec { classifier, config, seed } = head;
        let steps_per_epoch = data.train.len().div_ceil(data.batch_size.get());
        let validation_loss = CrossEntropy::smoothed(classifier.classes(), config.label_smoothing);
        Self {
            adam: Adam::new(&classifier, config.weight_decay, config.clip_norm),
            dropout: Dropout::new(config.dropout, seed),
            loss: validation_loss.clone().weighted(config.class_weights, &data.train.labels),
            validation_loss,
            activations: Activations::default(),
            next_product: None,
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

    /// Whether it trains for another epoch.
    fn is_active(&self) -> bool {
        let epochs_done = self.history.loss.len();
        let out_of_patience = match (&self.best, self.config.keep) {
            (Some(best), KeepWeights::Best { patience: Some(patience), .. }) => {
                epochs_done - best.epoch >= patience.get()
            }
            _ => false,
        };
        self.diverged.is_none() && epochs_done < self.config.epochs.get() && !out_of_patience
    }

    /// One step of Adam on a batch. `next_rows` are those of the next batch, or empty.
    fn train_step(&mut self, batch: &BatchRows<'_>, next_rows: &[&[f32]]) {
        let BatchRows { rows, labels } = batch;
        let (dropout, activations) = (self.dropout.as_mut(), &mut self.activations);
        match self.next_product.take() {
            Some(product) => self.classifier.forward_from(product, dropout, activations),
            None => self.classifier.forward(rows, dropout, activations),
        }
        let BatchLoss { total, correct, gradient } = self.loss.measure(self.activations.logits(), labels);
        self.total_loss += total;
        self.total_correct += correct;
        let learning_rate = self.config.learning_rate.get() * self.config.schedule.factor(self.progress);
        let batch = Batch { rows, activations: &self.activations, logits_gradient: &gradient, next_rows };
        self.next_product = self.adam.step(learning_rate as f32, &mut self.classifier, batch);
        self.progress.step += 1;
    }

    /// Evaluates the head on the validation rows and adds the epoch to the history; `None` if a loss is no longer
    /// finite.
    fn end_epoch(&mut self, row_count: usize, validation: &Rows<'_>) -> Option<Epoch> {
        let (val_loss, val_accuracy) = evaluate(&self.classifier, &self.validation_loss, validation);
        let (loss, accuracy) = (self.total_loss / row_count as f64, self.total_correct as f64 / row_count as f64);
        (self.total_loss, self.total_correct) = (0.0, 0);
        let number = self.history.loss.len() + 1;
        if !(loss.is_finite() && val_loss.is_finite()) {
            self.diverged = Some(FitError::Diverged { epoch: number });
            return None;
        }
        let epoch = Epoch { loss, accuracy, val_loss, val_accuracy };
        self.history.push(epoch);
        if let KeepWeights::Best { monitor, .. } = self.config.keep {
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

    /// Two classes, distinguished by which of two features is larger.
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

    fn data<'a>(train: &'a Rows<'a>, validation: &'a Rows<'a>, seed: u64) -> FitData<'a> {
        let batch_size = NonZeroUsize::new(8).unwrap();
        FitData { train, validation, order: EpochOrder::Shuffled { seed }, view_sampler: None, batch_size }
    }

    #[test]
    fn evaluation_is_bit_identical_on_any_number_of_threads() {
        let values = values(2 * EVALUATION_BATCH * BATCHES_PER_THREAD * 3 + 5);
        let rows = rows(&values);
        let classifier = Classifier::new(2, &[], 2, 7);
        let evaluate = || evaluate(&classifier, &CrossEntropy::new(2), &rows);
        let alone = team::with_threads(1, evaluate);
        assert_eq!(team::with_threads(3, evaluate), alone);

        let mut logits = Vec::new();
        team::with_threads(3, || for_each_batch(&classifier, &rows, |batch, _| logits.extend_from_slice(batch)));
        assert_eq!(logits, classifier.logits(&rows.features));
    }

    /// With 2048 columns and two or four threads, a step of a linear head without dropout or clipping begins the next
    /// batch's forward pass; with a hidden layer on two threads.
    #[test]
    fn training_is_bit_identical_on_any_number_of_threads_and_with_other_heads() {
        for columns in [2048, 1000] {
            let values: Vec<f32> = (0..100 * columns).map(|k| ((k * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let labels = (0..100).map(|row| row * row % 10).collect();
            let rows = Rows::new(values.chunks_exact(columns).collect(), labels);
            let batch_size = NonZeroUsize::new(32).unwrap();
            let data = FitData { batch_size, ..data(&rows, &rows, 3) };
            let plain = FitConfig { epochs: NonZeroUsize::new(3).unwrap(), ..config(0.01) };
            let dropout = FitConfig { dropout: Fraction::new("dropout", 0.3).unwrap(), ..plain };
            let clipped = FitConfig { clip_norm: Positive::new("norm", 0.1).ok(), ..plain };
            let short = FitConfig { epochs: NonZeroUsize::new(1).unwrap(), ..plain };
            let diverging = config(1e38);
            // The last head that trains, which prefetches the next batch, is another one in each epoch.
            let settings: [(&[usize], FitConfig); 7] = [
                (&[], plain),
                (&[20], plain),
                (&[], dropout),
                (&[20], dropout),
                (&[20], clipped),
                (&[], short),
                (&[], diverging),
            ];
            let mut heads = Vec::new();
            for (hidden, config) in settings {
                heads.push(HeadSpec { classifier: Classifier::new(columns, hidden, 10, 3), config, seed: 3 });
            }
            let each_alone = |threads| -> Vec<_> {
                let fit = |head: &HeadSpec| fit(head.clone(), data.clone(), |_| {});
                team::with_threads(threads, || heads.iter().map(fit).collect())
            };
            let expected = each_alone(1);
            for threads in [2, 3, 4] {
                assert!(each_alone(threads) == expected, "{columns} columns, {threads} threads");
                let together = team::with_threads(threads, || fit_together(heads.clone(), data.clone()));
                assert!(together == expected, "together: {columns} columns, {threads} threads");
            }
        }
    }

    #[test]
    fn training_reduces_the_loss_and_is_reproducible() {
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
    fn training_together_equals_training_alone() {
        let values = values(50);
        let (all, few) = (rows(&values), rows(&values[..9]));
        let dropout = Fraction::new("dropout", 0.2).unwrap();
        let stops = KeepWeights::Best { monitor: Monitor::ValLoss, patience: NonZeroUsize::new(2) };
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
    fn views_stand_in_for_their_photos() {
        let values = values(50);
        // The first view is the photo itself, the second one looks like the other class.
        let views: Vec<[f32; 4]> = values.iter().map(|[a, b]| [*a, *b, *b, *a]).collect();
        let mut all = rows(&values);
        all.views = views.iter().map(|views| &views[..]).collect();
        let train = |count| {
            let data = FitData { view_sampler: ViewSampler::new(count, 1), ..data(&all, &all, 1) };
            fit(head(config(0.05), 1), data, |_| {}).unwrap()
        };
        assert_eq!(train(1), train(0));
        assert!(train(2).history.accuracy[29] < 0.75, "{:?}", train(2));
    }

    #[test]
    fn the_best_weights_are_kept_and_patience_ends() {
        let values = values(50);
        let (all, mut few) = (rows(&values), rows(&values[..9]));
        // A wrong label: the more confident the head, the larger the loss.
        few.labels[0] = 1 - few.labels[0];
        let train = |keep| fit(head(FitConfig { keep, ..config(1.0) }, 1), data(&all, &few, 1), |_| {}).unwrap();
        let all_epochs = train(KeepWeights::Last);
        assert_eq!(all_epochs.kept_epoch, 30);
        for monitor in [Monitor::ValLoss, Monitor::ValAccuracy] {
            let best = train(KeepWeights::Best { monitor, patience: None });
            assert_eq!(best.history, all_epochs.history);
            let (val_loss, val_accuracy) = evaluate(&best.classifier, &CrossEntropy::new(2), &few);
            let kept = best.kept_epoch - 1;
            assert_eq!((val_loss, val_accuracy), (best.history.val_loss[kept], best.history.val_accuracy[kept]));
            assert!(best.history.val_loss.iter().all(|&loss| monitor != Monitor::ValLoss || loss >= val_loss));
            assert!(best.history.val_accuracy.iter().all(|&a| monitor != Monitor::ValAccuracy || a <= val_accuracy));

            let patience = NonZeroUsize::new(3);
            let stopped = train(KeepWeights::Best { monitor, patience });
            let epochs = stopped.history.loss.len();
            assert!(epochs == 30 || epochs == stopped.kept_epoch + 3, "{stopped:?}");
            assert!(epochs < 30, "{stopped:?}");
        }
    }

    #[test]
    fn divergence_is_an_error_with_the_epoch() {
        let values = vec![[1e30, 0.0], [0.0, 1e30]];
        let all = rows(&values);
        let result = fit(head(config(1e30), 1), data(&all, &all, 1), |_| {});
        assert_eq!(result, Err(FitError::Diverged { epoch: 1 }));
    }
}
