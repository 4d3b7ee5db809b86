//! Whether the head overfits, and whether training was too long or too short, in sentences.

use crate::history::History;
use crate::metrics::SplitMetrics;

/// A change of the loss by less than this part of it is none.
const NOTABLE: f64 = 0.01;

/// The epoch with the smallest of the values, counted from 1, the first of equal ones.
pub(super) fn lowest(values: &[f64]) -> Option<(usize, f64)> {
    (1..).zip(values.iter().copied()).reduce(|best, next| if next.1 < best.1 { next } else { best })
}

/// Whether the head knows the photos it was trained on better than others, by more than chance.
pub(super) fn gap(train: f64, validation: &SplitMetrics) -> String {
    let (percent, more) = (100.0 * train, 100.0 * (train - validation.accuracy));
    if train > validation.accuracy_interval.high {
        format!("The head overfits: of its training photos {percent:.1} % are right, {more:.1} points more.")
    } else {
        format!("No overfitting shows: of its training photos {percent:.1} % are right.")
    }
}

/// What the losses say; nothing after a single epoch.
pub(super) fn trend(history: &History, kept_epoch: usize) -> Option<String> {
    let (epoch, best) = lowest(&history.val_loss)?;
    let [.., before, last] = history.val_loss[..] else { return None };
    let learnt_on = history.loss.last()? < history.loss.get(epoch - 1)?;
    Some(if last > best * (1.0 + NOTABLE) {
        let meanwhile = if kept_epoch == epoch {
            "; the weights are those of its lowest."
        } else if kept_epoch < history.val_loss.len() {
            &format!("; the weights are those of epoch {kept_epoch}.")
        } else if learnt_on {
            " while training loss went on falling: early stopping keeps better weights, dropout and weight decay hold \
             against it."
        } else {
            ", and training loss is no lower either: a lower learning rate can help."
        };
        format!("Validation loss was lowest in epoch {epoch} ({best:.4}) and rose to {last:.4}{meanwhile}")
    } else if last < before * (1.0 - NOTABLE) {
        format!("Validation loss was still falling in the last epoch, to {last:.4}: more epochs can help.")
    } else {
        format!("Validation loss has settled at {last:.4}: more epochs would change little.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_losses_tell_what_to_do() {
        let of = |loss: &[f64], val_loss: &[f64], kept| {
            let (loss, val_loss) = (loss.to_vec(), val_loss.to_vec());
            trend(&History { loss, val_loss, ..History::default() }, kept).unwrap_or_default()
        };
        let rising = of(&[2.0, 1.0, 0.1], &[2.0, 1.0, 1.2], 3);
        assert!(rising.contains("lowest in epoch 2 (1.0000) and rose to 1.2000 while training loss"), "{rising}");
        assert!(of(&[2.0, 1.0, 0.1], &[2.0, 1.0, 1.2], 2).contains("the weights are those of its lowest"));
        // Kept for its validation accuracy.
        assert!(of(&[2.0, 1.0, 0.1, 0.1], &[2.0, 1.0, 1.1, 1.2], 3).ends_with("the weights are those of epoch 3."));
        assert!(of(&[2.0, 1.0, 3.0], &[2.0, 1.0, 1.2], 3).contains("a lower learning rate"));
        assert!(of(&[2.0, 1.0, 0.5], &[2.0, 1.0, 0.8], 3).contains("more epochs can help"));
        assert!(of(&[2.0, 1.0, 0.9], &[2.0, 1.0, 1.005], 3).contains("settled"));
        assert_eq!(of(&[2.0], &[2.0], 1), "");
    }
}
