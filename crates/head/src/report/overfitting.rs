//! Sentences on overfitting, and on whether training was too long or too short.

use crate::history::History;
use crate::metrics::SplitMetrics;

/// Smaller relative changes of the loss are ignored.
const MIN_CHANGE: f64 = 0.01;

/// A sentence that compares the training accuracy with the validation accuracy. The head overfits if the training
/// accuracy is above the interval of the validation accuracy.
pub(super) fn gap(train_accuracy: f64, validation: &SplitMetrics) -> String {
    let (percent, points) = (100.0 * train_accuracy, 100.0 * (train_accuracy - validation.accuracy));
    if train_accuracy > validation.accuracy_interval.high {
        format!(
            "The head overfits: its training accuracy is {percent:.1} %, {points:.1} percentage points above the \
             validation accuracy."
        )
    } else {
        format!("No sign of overfitting: the training accuracy is {percent:.1} %.")
    }
}

/// A sentence on how the losses changed during training; `None` after one epoch.
pub(super) fn trend(history: &History, kept_epoch: usize) -> Option<String> {
    let (epoch, best) = history.lowest_val_loss()?;
    let (&last, earlier) = history.val_loss.split_last()?;
    let best_before = earlier.iter().copied().reduce(f64::min)?;
    if last <= best * (1.0 + MIN_CHANGE) {
        // Compared with the epoch before alone, noise would look like a fall.
        return Some(if last < best_before * (1.0 - MIN_CHANGE) {
            format!("Validation loss was still falling in the last epoch, to {last:.4}: more epochs can help.")
        } else {
            format!("Validation loss has settled at {last:.4}: more epochs would change little.")
        });
    }

    let rise = format!("Validation loss was lowest in epoch {epoch} ({best:.4}) and rose to {last:.4}");
    if kept_epoch < history.val_loss.len() {
        return Some(format!("{rise}; the weights of epoch {kept_epoch} are kept."));
    }
    let training_loss_fell = history.loss.last()? < history.loss.get(epoch - 1)?;
    Some(if training_loss_fell {
        format!(
            "{rise} while training loss kept falling: early stopping would keep better weights; dropout or weight \
             decay can reduce overfitting."
        )
    } else {
        format!("{rise}, and training loss did not fall either: a lower learning rate can help.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_advise_by_the_losses() {
        let sentence = |loss: &[f64], val_loss: &[f64], kept| {
            let (loss, val_loss) = (loss.to_vec(), val_loss.to_vec());
            trend(&History { loss, val_loss, ..History::default() }, kept).unwrap_or_default()
        };
        let rising = sentence(&[2.0, 1.0, 0.1], &[2.0, 1.0, 1.2], 3);
        assert!(rising.contains("lowest in epoch 2 (1.0000) and rose to 1.2000 while training loss"), "{rising}");
        assert!(sentence(&[2.0, 1.0, 0.1], &[2.0, 1.0, 1.2], 2).ends_with("; the weights of epoch 2 are kept."));
        // Kept for its validation accuracy.
        let kept_earlier = sentence(&[2.0, 1.0, 0.1, 0.1], &[2.0, 1.0, 1.1, 1.2], 3);
        assert!(kept_earlier.ends_with("the weights of epoch 3 are kept."), "{kept_earlier}");
        assert!(sentence(&[2.0, 1.0, 3.0], &[2.0, 1.0, 1.2], 3).contains("a lower learning rate"));
        assert!(sentence(&[2.0, 1.0, 0.5], &[2.0, 1.0, 0.8], 3).contains("more epochs can help"));
        assert!(sentence(&[2.0, 1.0, 0.9], &[2.0, 1.0, 1.005], 3).contains("settled"));
        assert!(sentence(&[2.0, 1.0, 0.9, 0.8], &[2.0, 1.0, 1.05, 1.005], 4).contains("settled"));
        assert_eq!(sentence(&[2.0], &[2.0], 1), "");
    }
}
