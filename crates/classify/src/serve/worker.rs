//! A worker: takes pictures from the queue and answers them, on a core of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::queue::Queue;
use crate::model::ThreadModel;

/// Answers batches until the queue is closed and empty, and calls `on_batch` with the number of pictures in each. A
/// picture that cannot be used gets an error of its own; if the network fails, every picture of the batch gets that
/// error.
pub fn answer_all(model: &ThreadModel, queue: &Queue, on_batch: impl Fn(usize)) {
    while let Some(jobs) = queue.take(model.batch_size()) {
        let (pictures, senders): (Vec<_>, Vec<_>) = jobs.into_iter().filter_map(|job| job.start()).unzip();
        if pictures.is_empty() {
            continue;
        }
        on_batch(pictures.len());
        // After a panic, which is a bug, the senders are dropped, and that ends the requests.
        let Ok(answers) = catch_unwind(AssertUnwindSafe(|| model.answer(pictures))) else { continue };
        match answers {
            Ok(answers) => {
                for (sender, answer) in senders.into_iter().zip(answers) {
                    // The client may have gone.
                    let _ = sender.send(answer.map_err(Into::into));
                }
            }
            Err(error) => {
                for sender in senders {
                    let _ = sender.send(Err(error.clone().into()));
                }
            }
        }
    }
}
