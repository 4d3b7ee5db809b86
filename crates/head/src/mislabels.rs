//! Doubtful labels: those that a head trained on other rows finds least probable.
//!
//! The rows are split into folds, each class evenly. For each fold a head is trained on the other folds and predicts
//! the rows of this one, so no head predicts a row that it was trained on (out-of-fold predictions, as in Northcutt et
//! al. 2021).

use std::num::NonZeroUsize;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::data::Rows;
use crate::fit::{FitData, FitError, HeadSpec, fit, for_each_batch};
use crate::layers::Classifier;
use crate::loss::argmax;
use crate::sampler::EpochOrder;
use crate::settings::FitConfig;

/// The prediction for a row by a head that was trained on the other folds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutOfFoldPrediction {
    /// The row's number.
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

/// How the heads of [`predict_out_of_fold`] are trained.
#[derive(Debug, Clone, Copy)]
pub struct CrossValidation {
    /// Settings of training.
    pub config: FitConfig,
    /// Batch size, in rows.
    pub batch_size: NonZeroUsize,
    /// Number of folds.
    pub folds: usize,
    /// Seed of the folds, the initial weights and the shuffling.
    pub seed: u64,
}

/// The out-of-fold prediction for each row, by descending loss: the most doubtful label first. A single row has none,
/// since there is no other row to train on.
///
/// # Errors
/// When a head's loss is no longer finite.
pub fn predict_out_of_fold(
    rows: &Rows<'_>,
    classes: usize,
    settings: &CrossValidation,
) -> Result<Vec<OutOfFoldPrediction>, FitError> {
    let &CrossValidation { config, batch_size, folds, seed } = settings;
    // With more folds than rows, the others would be empty.
    let folds = folds.min(rows.len());
    let fold_by_row = assign_folds(rows, classes, folds, seed);
    let predict_fold = |fold: usize| -> Result<Vec<OutOfFoldPrediction>, FitError> {
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|&row| fold_by_row[row] == fold);
        if inside.is_empty() || outside.is_empty() {
            return Ok(Vec::new());
        }
        let (train, held_out) = (rows.select(&outside), rows.select(&inside));
        let classifier = Classifier::new(train.columns(), &[], classes, seed);
        let order = EpochOrder::Shuffled { seed };
        let data = FitData { train: &train, validation: &held_out, order, view_sampler: None, batch_size };
        let trained = fit(HeadSpec { classifier, config, seed }, data, |_| {})?;

        let mut predictions = Vec::with_capacity(inside.len());
        for_each_batch(&trained.classifier, &held_out, |logits, labels| {
            for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
                let row = inside[predictions.len()];
                predictions.push(OutOfFoldPrediction::new(row, label, logits));
            }
        });
        Ok(predictions)
    };
    let by_fold: Vec<Vec<OutOfFoldPrediction>> =
        (0..folds).into_par_iter().map(predict_fold).collect::<Result<_, _>>()?;
    let mut predictions = by_fold.concat();
    predictions.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.row.cmp(&b.row)));
    Ok(predictions)
}

impl OutOfFoldPrediction {
    fn new(row: usize, label: usize, logits: &[f32]) -> Self {
        let predicted = argmax(logits);
        let total: f64 = logits.iter().map(|logit| f64::from(logit - logits[predicted]).exp()).sum();
        let loss = total.ln() - f64::from(logits[label] - logits[predicted]);
        Self { row, label, predicted, confidence: 1.0 / total, loss }
    }
}

/// The fold of each row: the rows of each class are shuffled by seed and assigned to the folds in turn.
fn assign_folds(rows: &Rows<'_>, classes: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fold_by_row = vec![0; rows.len()];
    let mut next = 0;
    for mut class_rows in rows.by_class(classes) {
        class_rows.shuffle(&mut random);
        for row in class_rows {
            fold_by_row[row] = next % folds;
            next += 1;
        }
    }
    fold_by_row
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
        let settings = CrossValidation { config, batch_size: NonZeroUsize::new(8).unwrap(), folds: 5, seed: 1 };
        let predictions = predict_out_of_fold(&rows, 3, &settings).unwrap();
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
    fn a_single_row_has_no_prediction() {
        let config = FitConfig::new(Positive::new("learning rate", 0.05).unwrap(), NonZeroUsize::MIN);
        let settings = CrossValidation { config, batch_size: NonZeroUsize::MIN, folds: 2, seed: 1 };
        let rows = Rows::new(vec![&[1.0, 0.0][..], &[0.0, 1.0]], vec![0, 1]);
        assert_eq!(predict_out_of_fold(&rows, 2, &settings).unwrap().len(), 2);
        assert_eq!(predict_out_of_fold(&rows.select(&[0]), 2, &settings).unwrap(), []);
    }

    #[test]
    fn folds_have_an_equal_share_of_each_class() {
        let labels: Vec<usize> = (0..103).map(|k| usize::from(k % 4 == 0)).collect();
        let rows = Rows::new(vec![&[][..]; 103], labels.clone());
        let fold_by_row = assign_folds(&rows, 2, 5, 3);
        for class in 0..2 {
            let mut counts = [0; 5];
            for (&label, &fold) in labels.iter().zip(&fold_by_row) {
                counts[fold] += usize::from(label == class);
            }
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }
}
