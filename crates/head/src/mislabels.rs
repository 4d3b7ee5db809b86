//! Rows whose label is doubtful: those that heads trained on the other rows find least probable.
//!
//! The rows are split into folds, each class evenly. A head is trained on all folds but one and evaluated on that one, so
//! that no row is evaluated by a head that was trained on its label (out-of-fold loss, as in Northcutt et al. 2021).

use std::num::NonZeroUsize;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::data::Rows;
use crate::fit::{FitError, HeadSpec, TrainData, each_batch, fit_together};
use crate::kernels::Cores;
use crate::layers::Classifier;
use crate::loss::largest;
use crate::sampler::EpochOrder;
use crate::settings::FitConfig;

/// What a head that was trained on the other folds predicts for a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutOfFold {
    /// The row.
    pub row: usize,
    /// Its label.
    pub label: usize,
    /// The class with the largest probability.
    pub predicted: usize,
    /// That class's probability.
    pub confidence: f64,
    /// The cross-entropy of the label: the larger, the more doubtful.
    pub loss: f64,
}

/// The out-of-fold prediction for each row, the most doubtful label first.
///
/// # Errors
/// When a head's loss is no longer finite.
pub fn out_of_fold(
    rows: &Rows<'_>,
    classes: usize,
    config: FitConfig,
    batch_size: NonZeroUsize,
    folds: usize,
    seed: u64,
) -> Result<Vec<OutOfFold>, FitError> {
    let fold_of = assign_folds(rows, classes, folds, seed);
    let of_fold = |fold: usize| -> Result<Vec<OutOfFold>, FitError> {
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|&row| fold_of[row] == fold);
        if inside.is_empty() || outside.is_empty() {
            return Ok(Vec::new());
        }
        let (train, held_out) = (rows.select(&outside), rows.select(&inside));
        let classifier = Classifier::new(train.columns(), &[], classes, seed);
        let order = EpochOrder::Shuffled { seed };
        let data = TrainData { train: &train, validation: &held_out, order, views: None, batch_size };
        let trained = fit_together(vec![HeadSpec { classifier, config, seed }], data);

        let mut predictions = Vec::with_capacity(inside.len());
        for trained in trained {
            each_batch(Cores::One, &trained?.classifier, &held_out, |logits, labels| {
                for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
                    predictions.push(OutOfFold::new(inside[predictions.len()], label, logits));
                }
            });
        }
        Ok(predictions)
    };
    let by_fold: Vec<Vec<OutOfFold>> = (0..folds).into_par_iter().map(of_fold).collect::<Result<_, _>>()?;
    let mut predictions = by_fold.concat();
    predictions.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.row.cmp(&b.row)));
    Ok(predictions)
}

impl OutOfFold {
    fn new(row: usize, label: usize, logits: &[f32]) -> Self {
        let predicted = largest(logits);
        let total: f64 = logits.iter().map(|logit| f64::from(logit - logits[predicted]).exp()).sum();
        let loss = total.ln() - f64::from(logits[label] - logits[predicted]);
        Self { row, label, predicted, confidence: 1.0 / total, loss }
    }
}

/// The fold of each row: the rows of each class are shuffled by seed and assigned to the folds in turn.
fn assign_folds(rows: &Rows<'_>, classes: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fold_of = vec![0; rows.len()];
    let mut next = 0;
    for mut of_class in rows.by_class(classes) {
        of_class.shuffle(&mut random);
        for row in of_class {
            fold_of[row] = next % folds;
            next += 1;
        }
    }
    fold_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Positive;

    #[test]
    fn rows_with_a_wrong_label_come_first() {
        let values: Vec<[f32; 3]> = (0..90)
            .map(|k| std::array::from_fn(|c| f32::from(u8::from(c == k % 3)) + (k / 3) as f32 / 200.0))
            .collect();
        let features = values.iter().map(|row| &row[..]).collect();
        let mut rows = Rows::new(features, (0..90).map(|k| k % 3).collect());
        (rows.labels[10], rows.labels[44]) = (2, 0);
        let config = FitConfig::new(Positive::new("learning rate", 0.05).unwrap(), NonZeroUsize::new(20).unwrap());
        let predictions = out_of_fold(&rows, 3, config, NonZeroUsize::new(8).unwrap(), 5, 1).unwrap();
        assert_eq!(predictions.len(), 90);
        let mut suspects = [predictions[0].row, predictions[1].row];
        suspects.sort_unstable();
        assert_eq!(suspects, [10, 44]);
        assert!(predictions[..2].iter().all(|suspect| suspect.predicted == suspect.row % 3));
        assert!(predictions[1].loss > 2.0 * predictions[2].loss, "{predictions:?}");
        let mut all: Vec<usize> = predictions.iter().map(|prediction| prediction.row).collect();
        all.sort_unstable();
        assert_eq!(all, (0..90).collect::<Vec<_>>(), "each row once");
    }

    #[test]
    fn folds_have_their_share_of_each_class() {
        let labels: Vec<usize> = (0..103).map(|k| usize::from(k % 4 == 0)).collect();
        let rows = Rows::new(vec![&[][..]; 103], labels.clone());
        let fold_of = assign_folds(&rows, 2, 5, 3);
        for class in 0..2 {
            let counts: Vec<usize> =
                (0..5).map(|fold| (0..103).filter(|&k| labels[k] == class && fold_of[k] == fold).count()).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }
}
