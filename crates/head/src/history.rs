//! Loss and accuracy by epoch: Keras's `history.history`.

use serde::{Deserialize, Serialize};

/// Loss and accuracy by epoch, under Keras's names; all lists are of one length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Mean training loss, each batch measured before its step.
    pub loss: Vec<f64>,
    /// Fraction of training rows predicted correctly, each batch measured before its step.
    pub accuracy: Vec<f64>,
    /// Mean validation loss after the epoch.
    pub val_loss: Vec<f64>,
    /// Fraction of validation rows predicted correctly after the epoch.
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

    /// The epoch with the highest validation accuracy, counted from 1, the first of equal ones; none before the first.
    pub fn best_epoch(&self) -> Option<(usize, Epoch)> {
        let numbered = (1..).zip(self.epochs());
        numbered.reduce(|best, next| if next.1.val_accuracy > best.1.val_accuracy { next } else { best })
    }

    /// The lowest validation loss and its epoch, counted from 1, the first of equal ones; none before the first.
    pub fn lowest_val_loss(&self) -> Option<(usize, f64)> {
        let numbered = (1..).zip(self.val_loss.iter().copied());
        numbered.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }
}
