//! Rows whose label is doubtful: those that heads trained on the other rows find least likely.
//!
//! The rows are dealt into folds, each class evenly. A head is trained on all folds but one and judges that one, so that
//! no row is judged by a head that has seen its label (out-of-fold loss, as in Northcutt et al. 2021).

use std::num::NonZeroUsize;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::data::Rows;
use crate::fit::{FitError, Lessons, Untrained, fit_together};
use crate::layers::Classifier;
use crate::loss::largest;
use crate::settings::FitConfig;
use crate::visits::RowOrder;

/// How a row looks to a head that has not seen it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The row.
    pub row: usize,
    /// Its label.
    pub label: usize,
    /// The class that the head finds likeliest.
    pub predicted: usize,
    /// That class's probability.
    pub confidence: f64,
    /// The cross-entropy of the label: the larger, the more doubtful.
    pub loss: f64,
}

/// Every row as a head trained on the other folds sees it, the most doubtful first.
///
/// # Errors
/// When a head's loss is no longer finite.
pub fn judge(
    rows: &Rows<'_>,
    classes: usize,
    config: FitConfig,
    batch_size: NonZeroUsize,
    folds: usize,
    seed: u64,
) -> Result<Vec<Judgement>, FitError> {
    let fold_of = deal(&rows.labels, classes, folds, seed);
    let of_fold = |fold: usize| -> Result<Vec<Judgement>, FitError> {
        let (judged, learnt): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|&row| fold_of[row] == fold);
        let (train, held_out) = (rows.select(&learnt), rows.select(&judged));
        if judged.is_empty() || learnt.is_empty() {
            return Ok(Vec::new());
        }
        let columns = train.features.first().map_or(0, |row| row.len());
        let head = Untrained { classifier: Classifier::new(columns, &[], classes, seed), config, seed };
        let order = RowOrder::Shuffled { seed };
        let lessons = Lessons { train: &train, validation: &held_out, order, views: None, batch_size };
        let mut judgements = Vec::with_capacity(judged.len());
        for trained in fit_together(vec![head], lessons) {
            let logits = trained?.classifier.logits(&held_out.features);
            let each = logits.chunks_exact(classes).zip(&held_out.labels).zip(&judged);
            judgements.extend(each.map(|((logits, &label), &row)| Judgement::new(row, label, logits)));
        }
        Ok(judgements)
    };
    let judged: Vec<Vec<Judgement>> = (0..folds).into_par_iter().map(of_fold).collect::<Result<_, _>>()?;
    let mut judged = judged.concat();
    judged.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.row.cmp(&b.row)));
    Ok(judged)
}

impl Judgement {
    fn new(row: usize, label: usize, logits: &[f32]) -> Self {
        let predicted = largest(logits);
        let total: f64 = logits.iter().map(|logit| f64::from(logit - logits[predicted]).exp()).sum();
        let loss = total.ln() - f64::from(logits[label] - logits[predicted]);
        Self { row, label, predicted, confidence: 1.0 / total, loss }
    }
}

/// The fold of each row: every class shuffled by seed and dealt out in turn.
fn deal(labels: &[usize], classes: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fold_of = vec![0; labels.len()];
    let mut next = 0;
    for class in 0..classes {
        let mut rows: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == class).collect();
        rows.shuffle(&mut random);
        for row in rows {
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
    fn rows_with_another_label_than_their_likes_come_first() {
        let values: Vec<[f32; 3]> = (0..90)
            .map(|k| std::array::from_fn(|c| f32::from(u8::from(c == k % 3)) + (k / 3) as f32 / 200.0))
            .collect();
        let features = values.iter().map(|row| &row[..]).collect();
        let mut rows = Rows::new(features, (0..90).map(|k| k % 3).collect());
        (rows.labels[10], rows.labels[44]) = (2, 0);
        let config = FitConfig::new(Positive::new("learning rate", 0.05).unwrap(), NonZeroUsize::new(20).unwrap());
        let judged = judge(&rows, 3, config, NonZeroUsize::new(8).unwrap(), 5, 1).unwrap();
        assert_eq!(judged.len(), 90);
        let mut suspects = [judged[0].row, judged[1].row];
        suspects.sort_unstable();
        assert_eq!(suspects, [10, 44]);
        assert!(judged[..2].iter().all(|suspect| suspect.predicted == suspect.row % 3));
        assert!(judged[1].loss > 2.0 * judged[2].loss, "{judged:?}");
        let mut all: Vec<usize> = judged.iter().map(|judgement| judgement.row).collect();
        all.sort_unstable();
        assert_eq!(all, (0..90).collect::<Vec<_>>(), "each row once");
    }

    #[test]
    fn folds_have_their_share_of_each_class() {
        let labels: Vec<usize> = (0..103).map(|k| usize::from(k % 4 == 0)).collect();
        let fold_of = deal(&labels, 2, 5, 3);
        for class in 0..2 {
            let counts: Vec<usize> =
                (0..5).map(|fold| (0..103).filter(|&k| labels[k] == class && fold_of[k] == fold).count()).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }
}
