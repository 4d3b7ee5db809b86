//! The training loop: Keras's `fit`.

use std::num::NonZeroUsize;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::adam::Adam;
use crate::data::Rows;
use crate::history::{Epoch, History};
use crate::layers::{Activations, Classifier};
use crate::loss::{correct, cross_entropy};

/// Rows per step when nothing is learnt: only how often the logits' buffer is used again.
const EVALUATION_BATCH: usize = 256;

/// Adam's learning rate: finite and positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LearningRate(f64);

/// A learning rate that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("learning rate {0}: must be finite and positive, 0.01 say")]
pub struct LearningRateError(f64);

impl LearningRate {
    /// The value.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for LearningRate {
    type Error = LearningRateError;

    fn try_from(rate: f64) -> Result<Self, LearningRateError> {
        // What the arithmetic sees is its float32 value: that too must be neither 0 nor infinite.
        let single = rate as f32;
        if single.is_finite() && single > 0.0 { Ok(Self(rate)) } else { Err(LearningRateError(rate)) }
    }
}

/// How a head is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FitConfig {
    /// Adam's.
    pub learning_rate: LearningRate,
    /// Passes over the training rows.
    pub epochs: NonZeroUsize,
    /// Rows per step; the last batch of an epoch may be smaller.
    pub batch_size: NonZeroUsize,
}

/// In which order the training rows are visited.
#[derive(Debug, Clone, PartialEq)]
pub enum RowOrder {
    /// Another one each epoch, by seed.
    Shuffled {
        /// The same seed gives the same orders.
        seed: u64,
    },
    /// The same one each epoch; each entry a row.
    Fixed(Vec<usize>),
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

/// Trains the classifier in place and calls `on_epoch` after each epoch.
///
/// Losses and accuracies are averaged as Keras averages them: in training over the batches as they come, weighted by
/// their rows, each before its step.
///
/// # Errors
/// When the loss is no longer finite.
pub fn fit(
    classifier: &mut Classifier,
    train: &Rows<'_>,
    validation: &Rows<'_>,
    config: &FitConfig,
    order: RowOrder,
    mut on_epoch: impl FnMut(Epoch),
) -> Result<History, FitError> {
    let classes = classifier.classes();
    let mut adam = Adam::new(config.learning_rate.get() as f32, classifier);
    let mut gradients = classifier.zeros();
    let mut activations = Activations::default();
    let mut visits = Visits::new(order, train.len());
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    let mut history = History::default();
    for number in 1..=config.epochs.get() {
        let (mut total_loss, mut total_correct) = (0.0, 0);
        for batch in visits.next_epoch().chunks(config.batch_size.get()) {
            rows.clear();
            rows.extend(batch.iter().map(|&row| train.features[row]));
            labels.clear();
            labels.extend(batch.iter().map(|&row| train.labels[row]));
            classifier.forward(&rows, &mut activations);
            let (loss, of_logits) = cross_entropy(activations.logits(), &labels, classes);
            total_loss += loss * batch.len() as f64;
            total_correct += correct(activations.logits(), &labels, classes);
            classifier.backward(&rows, &activations, of_logits, &mut gradients);
            adam.step(classifier, &gradients);
        }
        let (val_loss, val_accuracy) = evaluate(classifier, validation);
        let count = train.len() as f64;
        let epoch = Epoch { loss: total_loss / count, accuracy: total_correct as f64 / count, val_loss, val_accuracy };
        if !(epoch.loss.is_finite() && epoch.val_loss.is_finite()) {
            return Err(FitError::Diverged { epoch: number });
        }
        history.push(epoch);
        on_epoch(epoch);
    }
    Ok(history)
}

/// Mean loss and accuracy over the rows.
pub fn evaluate(classifier: &Classifier, rows: &Rows<'_>) -> (f64, f64) {
    let classes = classifier.classes();
    let (mut total_loss, mut total_correct) = (0.0, 0);
    for (features, labels) in rows.features.chunks(EVALUATION_BATCH).zip(rows.labels.chunks(EVALUATION_BATCH)) {
        let logits = classifier.logits(features);
        total_loss += cross_entropy(&logits, labels, classes).0 * labels.len() as f64;
        total_correct += correct(&logits, labels, classes);
    }
    let count = rows.len() as f64;
    (total_loss / count, total_correct as f64 / count)
}

/// The order of the rows, epoch by epoch.
struct Visits {
    rows: Vec<usize>,
    random: Option<ChaCha8Rng>,
}

impl Visits {
    fn new(order: RowOrder, count: usize) -> Self {
        match order {
            RowOrder::Fixed(rows) => Self { rows, random: None },
            RowOrder::Shuffled { seed } => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                // The start of the weights is drawn from stream 0.
                random.set_stream(1);
                Self { rows: (0..count).collect(), random: Some(random) }
            }
        }
    }

    fn next_epoch(&mut self) -> &[usize] {
        if let Some(random) = &mut self.random {
            self.rows.shuffle(random);
        }
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes, told apart by which of two features is larger.
    fn rows(values: &[[f32; 2]]) -> Rows<'_> {
        let labels = values.iter().map(|[a, b]| usize::from(b > a)).collect();
        Rows { features: values.iter().map(|row| &row[..]).collect(), labels }
    }

    fn values(count: usize) -> Vec<[f32; 2]> {
        (0..count).map(|k| [((k * 7) % 10) as f32, ((k * 3) % 11) as f32]).collect()
    }

    fn config(learning_rate: f64) -> FitConfig {
        FitConfig {
            learning_rate: LearningRate::try_from(learning_rate).unwrap(),
            epochs: NonZeroUsize::new(30).unwrap(),
            batch_size: NonZeroUsize::new(8).unwrap(),
        }
    }

    #[test]
    fn it_learns_and_the_seed_decides_everything() {
        let values = values(50);
        let train = |seed| {
            let mut classifier = Classifier::new(2, &[], 2, seed);
            let order = RowOrder::Shuffled { seed };
            let history =
                fit(&mut classifier, &rows(&values), &rows(&values[..9]), &config(0.05), order, |_| {}).unwrap();
            (classifier, history)
        };
        let (classifier, history) = train(1);
        assert!(history.val_accuracy[29] > 0.85, "{history:?}");
        assert!(history.loss[29] < history.loss[0]);
        assert_eq!(train(1), (classifier, history));
        assert_ne!(train(1).1, train(2).1);
    }

    #[test]
    fn a_loss_that_is_not_finite_names_the_epoch() {
        let values = vec![[1e30, 0.0], [0.0, 1e30]];
        let mut classifier = Classifier::new(2, &[], 2, 1);
        let order = RowOrder::Fixed(vec![0, 1]);
        let result = fit(&mut classifier, &rows(&values), &rows(&values), &config(1e30), order, |_| {});
        assert!(matches!(result, Err(FitError::Diverged { .. })), "{result:?}");
    }

    #[test]
    fn only_finite_positive_learning_rates() {
        for wrong in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
            assert!(LearningRate::try_from(wrong).is_err(), "{wrong}");
        }
        let message = LearningRate::try_from(-0.1).unwrap_err().to_string();
        assert_eq!(message, "learning rate -0.1: must be finite and positive, 0.01 say");
    }
}
