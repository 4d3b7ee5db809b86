//! The training loop: Keras's `fit`, for one head or for several that learn from the same batches.

use std::num::NonZeroUsize;

use crate::adam::Adam;
use crate::data::{Rows, WINDOW};
use crate::dropout::Dropout;
use crate::history::{Epoch, History};
use crate::kernels::Cores;
use crate::layers::{Activations, Classifier};
use crate::loss::{CrossEntropy, correct};
use crate::schedule::Progress;
use crate::settings::{FitConfig, Keep, Monitor};
use crate::visits::{RowOrder, ViewDraw, Visits};

/// Rows per step when nothing is learnt: only how often the logits' buffer is used again.
const EVALUATION_BATCH: usize = 256;

/// What all heads that are trained together are given.
#[derive(Debug, Clone)]
pub struct Lessons<'a> {
    /// The rows to learn from.
    pub train: &'a Rows<'a>,
    /// The rows to judge by.
    pub validation: &'a Rows<'a>,
    /// The order of the training rows.
    pub order: RowOrder,
    /// Which of its photo's views each training row is; none to learn from the photos as they are.
    pub views: Option<ViewDraw>,
    /// Rows per step; the last batch of an epoch may be smaller.
    pub batch_size: NonZeroUsize,
}

/// A head to train.
#[derive(Debug, Clone)]
pub struct Untrained {
    /// Where it starts.
    pub classifier: Classifier,
    /// How it is trained.
    pub config: FitConfig,
    /// What its dropout is drawn from.
    pub seed: u64,
}

/// A head after its training.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// With the weights that were to be kept.
    pub classifier: Classifier,
    /// What each epoch gave.
    pub history: History,
    /// The epoch that the weights are from, counted from 1.
    pub kept_epoch: usize,
}

/// Why training came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The loss is infinite or no number.
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
pub fn fit(head: Untrained, lessons: Lessons<'_>, mut on_epoch: impl FnMut(Epoch) + Send) -> Result<Trained, FitError> {
    // Within the pool: from outside, each of a step's products would have to wake it.
    let mut trained = rayon::scope(|_| teach(vec![head], lessons, Cores::All, |_, epoch| on_epoch(epoch)));
    // One head in, one out.
    trained.pop().unwrap_or(Err(FitError::Diverged { epoch: 0 }))
}

/// Trains heads side by side on the caller's core: each batch is fetched once for all of them. A head's result is to the
/// bit what [`fit`] gives for it alone.
pub fn fit_together(heads: Vec<Untrained>, lessons: Lessons<'_>) -> Vec<Result<Trained, FitError>> {
    teach(heads, lessons, Cores::One, |_, _| {})
}

/// `on_epoch` gets the head's number and what its epoch gave.
fn teach(
    heads: Vec<Untrained>,
    lessons: Lessons<'_>,
    cores: Cores,
    mut on_epoch: impl FnMut(usize, Epoch),
) -> Vec<Result<Trained, FitError>> {
    let Lessons { train, validation, order, mut views, batch_size } = lessons;
    let steps_per_epoch = train.len().div_ceil(batch_size.get());
    let mut students: Vec<Student> = heads.into_iter().map(|head| Student::new(head, train, steps_per_epoch)).collect();
    // Views that are not drawn take no memory, and change no order.
    let window = if views.is_some() { train.window() } else { WINDOW };
    let mut visits = Visits::new(order, train.len(), window);
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    while students.iter().any(Student::goes_on) {
        let mut seen = 0;
        for batch in visits.next_epoch().chunks(batch_size.get()) {
            if seen / window < (seen + batch.len()) / window {
                train.release(window);
            }
            seen += batch.len();
            rows.clear();
            rows.extend(batch.iter().map(|&row| train.input_row(row, views.as_mut().map(ViewDraw::draw))));
            labels.clear();
            labels.extend(batch.iter().map(|&row| train.labels[row]));
            let learners = students.iter_mut().filter(|student| student.goes_on());
            learners.for_each(|student| student.learn(cores, &rows, &labels));
        }
        for (number, student) in students.iter_mut().enumerate().filter(|(_, student)| student.goes_on()) {
            if let Some(epoch) = student.end_epoch(train.len(), validation) {
                on_epoch(number, epoch);
            }
        }
    }
    students.into_iter().map(Student::finish).collect()
}

/// Mean loss and accuracy over the rows.
pub fn evaluate(classifier: &Classifier, loss: &CrossEntropy, rows: &Rows<'_>) -> (f64, f64) {
    let (mut total_loss, mut total_correct) = (0.0, 0);
    each_batch(classifier, rows, |logits, labels| {
        total_loss += loss.loss_and_gradient(logits, labels).0 * labels.len() as f64;
        total_correct += correct(logits, labels, loss.classes());
    });
    let count = rows.len() as f64;
    (total_loss / count, total_correct as f64 / count)
}

/// Calls `judge` with the logits and labels of all rows, batch by batch, from the first to the last.
pub fn each_batch(classifier: &Classifier, rows: &Rows<'_>, mut judge: impl FnMut(&[f32], &[usize])) {
    for (features, labels) in rows.features.chunks(WINDOW).zip(rows.labels.chunks(WINDOW)) {
        for (features, labels) in features.chunks(EVALUATION_BATCH).zip(labels.chunks(EVALUATION_BATCH)) {
            judge(&classifier.logits(features), labels);
        }
        rows.release(WINDOW);
    }
}

/// A head in training.
struct Student {
    config: FitConfig,
    classifier: Classifier,
    adam: Adam,
    dropout: Option<Dropout>,
    /// In training: weighted by class.
    loss: CrossEntropy,
    /// In validation, where every row counts the same.
    validation_loss: CrossEntropy,
    gradients: Classifier,
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

impl Student {
    fn new(head: Untrained, train: &Rows<'_>, steps_per_epoch: usize) -> Self {
        let Untrained { classifier, config, seed } = head;
        let validation_loss = CrossEntropy::smoothed(classifier.classes(), config.label_smoothing);
        Self {
            adam: Adam::new(&classifier, config.weight_decay, config.clip_norm),
            dropout: Dropout::new(config.dropout, seed),
            loss: validation_loss.clone().weighted(config.class_weights, &train.labels),
            validation_loss,
            gradients: classifier.zeros(),
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

    /// Whether there is another epoch for it.
    fn goes_on(&self) -> bool {
        let done = self.history.loss.len();
        let waited = match (&self.best, self.config.keep) {
            (Some(best), Keep::Best { patience: Some(patience), .. }) => done - best.epoch >= patience.get(),
            _ => false,
        };
        self.diverged.is_none() && done < self.config.epochs.get() && !waited
    }

    fn learn(&mut self, cores: Cores, rows: &[&[f32]], labels: &[usize]) {
        self.classifier.forward(cores, rows, self.dropout.as_mut(), &mut self.activations);
        let logits = self.activations.logits();
        let (loss, of_logits) = self.loss.loss_and_gradient(logits, labels);
        self.total_loss += loss * labels.len() as f64;
        self.total_correct += correct(logits, labels, self.loss.classes());
        self.classifier.backward(cores, rows, &self.activations, of_logits, &mut self.gradients);
        let learning_rate = self.config.learning_rate.get() * self.config.schedule.factor(self.progress);
        self.adam.step(cores, learning_rate as f32, &mut self.classifier, &mut self.gradients);
        self.progress.step += 1;
    }

    /// Judges the epoch; none if the loss is no longer finite.
    fn end_epoch(&mut self, rows: usize, validation: &Rows<'_>) -> Option<Epoch> {
        let (val_loss, val_accuracy) = evaluate(&self.classifier, &self.validation_loss, validation);
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
        match (diverged, best) {
            (Some(error), _) => Err(error),
            (None, Some(Best { epoch, classifier, .. })) => Ok(Trained { classifier, history, kept_epoch: epoch }),
            (None, None) => Ok(Trained { kept_epoch: history.loss.len(), classifier, history }),
        }
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

    fn untrained(config: FitConfig, seed: u64) -> Untrained {
        Untrained { classifier: Classifier::new(2, &[], 2, seed), config, seed }
    }

    fn lessons<'a>(train: &'a Rows<'a>, validation: &'a Rows<'a>, seed: u64) -> Lessons<'a> {
        let batch_size = NonZeroUsize::new(8).unwrap();
        Lessons { train, validation, order: RowOrder::Shuffled { seed }, views: None, batch_size }
    }

    #[test]
    fn it_learns_and_the_seed_decides_everything() {
        let values = values(50);
        let (all, few) = (rows(&values), rows(&values[..9]));
        let train = |seed| fit(untrained(config(0.05), seed), lessons(&all, &few, seed), |_| {}).unwrap();
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
        let heads = configs.map(|config| untrained(config, 3));
        let together = fit_together(heads.to_vec(), lessons(&all, &few, 3));
        for (head, trained) in heads.into_iter().zip(together) {
            assert_eq!(fit(head, lessons(&all, &few, 3), |_| {}), trained);
        }
    }

    #[test]
    fn views_are_learnt_from_in_place_of_their_photos() {
        let values = values(50);
        // The first view is the photo itself, the second one looks like the other class.
        let views: Vec<[f32; 4]> = values.iter().map(|[a, b]| [*a, *b, *b, *a]).collect();
        let mut all = rows(&values);
        all.views = views.iter().map(|views| &views[..]).collect();
        let train = |count| {
            let lessons = Lessons { views: ViewDraw::new(count, 1), ..lessons(&all, &all, 1) };
            fit(untrained(config(0.05), 1), lessons, |_| {}).unwrap()
        };
        assert_eq!(train(1), train(0));
        assert!(train(2).history.accuracy[29] < 0.75, "{:?}", train(2));
    }

    #[test]
    fn the_best_epochs_weights_are_kept_and_waiting_ends() {
        let values = values(50);
        let (all, mut few) = (rows(&values), rows(&values[..9]));
        // A label that cannot be learnt: the surer the head, the larger the loss.
        few.labels[0] = 1 - few.labels[0];
        let train =
            |keep| fit(untrained(FitConfig { keep, ..config(1.0) }, 1), lessons(&all, &few, 1), |_| {}).unwrap();
        let to_the_end = train(Keep::Last);
        assert_eq!(to_the_end.kept_epoch, 30);
        for monitor in [Monitor::ValLoss, Monitor::ValAccuracy] {
            let best = train(Keep::Best { monitor, patience: None });
            assert_eq!(best.history, to_the_end.history);
            let (val_loss, val_accuracy) = evaluate(&best.classifier, &CrossEntropy::new(2), &few);
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
        let result = fit(untrained(config(1e30), 1), lessons(&all, &all, 1), |_| {});
        assert!(matches!(result, Err(FitError::Diverged { .. })), "{result:?}");
    }
}
