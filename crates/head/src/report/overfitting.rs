//! Whether the head overfits, and whether training was too long or too short, in sentences.

use crate::history::History;
use crate::metrics::SplitMetrics;

/// A change of the loss by less than this part of it counts as none.
const NOTABLE: f64 = 0.01;

/// Whether the head predicts its training photos better than others, by more than chance. `train` is its accuracy on them.
pub(super) fn gap(train: f64, validation: &SplitMetrics) -> String {
    let (percent, more) = (100.0 * train, 100.0 * (train - validation.accuracy));
    if train > validation.accuracy_interval.high {
        format!("The head overfits: its training accuracy is {percent:.1} %, {more:.1} points higher.")
    } else {
        format!("No overfitting shows: its training accuracy is {percent:.1} %.")
    }
}

/// What the course of the losses says; nothing after a single epoch.
pub(super) fn trend(history: &History, kept_epoch: usize) -> Option<String> {
    let (epoch, best) = history.lowest_val_loss()?;
    let [.., before, last] = history.val_loss[..] else { return None };
    let training_loss_fell = history.loss.last()? < history.loss.get(epoch - 1)?;
    Some(if last > best * (1.0 + NOTABLE) {
        let rise = format!("Validation loss was lowest in epoch {epoch} ({best:.4}) and rose to {last:.4}");
        if kept_epoch < history.val_loss.len() {
            format!("{rise}; the weights of epoch {kept_epoch} are kept.")
        } else if training_loss_fell {
            format!(
                "{rise} while training loss kept falling: early stopping would keep better weights, dropout and weight \
                 decay work against it."
            )
        } else {
            format!("{rise}, and training loss is no lower either: a lower learning rate can help.")
        }
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
        assert!(of(&[2.0, 1.0, 0.1], &[2.0, 1.0, 1.2], 2).ends_with("; the weights of epoch 2 are kept."));
        // Kept for its validation accuracy.
        assert!(of(&[2.0, 1.0, 0.1, 0.1], &[2.0, 1.0, 1.1, 1.2], 3).ends_with("the weights of epoch 3 are kept."));
        assert!(of(&[2.0, 1.0, 3.0], &[2.0, 1.0, 1.2], 3).contains("a lower learning rate"));
        assert!(of(&[2.0, 1.0, 0.5], &[2.0, 1.0, 0.8], 3).contains("more epochs can help"));
        assert!(of(&[2.0, 1.0, 0.9], &[2.0, 1.0, 1.005], 3).contains("settled"));
        assert_eq!(of(&[2.0], &[2.0], 1), "");
    }
}
