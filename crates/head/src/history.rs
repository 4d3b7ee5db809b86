//! Loss and accuracy by epoch: Keras's `history.history`.

use serde::{Deserialize, Serialize};

/// Loss and accuracy by epoch, under Keras's names. All lists have one length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Mean training loss; each batch is measured before its optimizer step.
    pub loss: Vec<f64>,
    /// Training accuracy; each batch is measured before its optimizer step.
    pub accuracy: Vec<f64>,
    /// Mean validation loss after the epoch.
    pub val_loss: Vec<f64>,
    /// Validation accuracy after the epoch.
    pub val_accuracy: Vec<f64>,
}

/// Loss and accuracy of one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Mean training loss.
    pub loss: f64,
    /// Training accuracy.
    pub accuracy: f64,
    /// Validation loss.
    pub val_loss: f64,
    /// Validation accuracy.
    pub val_accuracy: f64,
}

impl History {
    /// Appends an epoch.
    pub fn push(&mut self, epoch: Epoch) {
        self.loss.push(epoch.loss);
        self.accuracy.push(epoch.accuracy);
        self.val_loss.push(epoch.val_loss);
        self.val_accuracy.push(epoch.val_accuracy);
    }

    /// The epochs in order.
    pub fn epochs(&self) -> impl ExactSizeIterator<Item = Epoch> {
        (0..self.loss.len()).map(|k| Epoch {
            loss: self.loss[k],
            accuracy: self.accuracy[k],
            val_loss: self.val_loss[k],
            val_accuracy: self.val_accuracy[k],
        })
    }

    /// The first epoch with the highest validation accuracy, counted from 1; `None` before the first epoch.
    pub fn best_epoch(&self) -> Option<(usize, Epoch)> {
        let numbered = (1..).zip(self.epochs());
        numbered.reduce(|best, next| if next.1.val_accuracy > best.1.val_accuracy { next } else { best })
    }

    /// The first epoch with the lowest validation loss, counted from 1, and that loss; `None` before the first epoch.
    pub fn lowest_val_loss(&self) -> Option<(usize, f64)> {
        let numbered = (1..).zip(self.val_loss.iter().copied());
        numbered.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }
}
