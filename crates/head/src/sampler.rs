//! The order of the training rows in an epoch, and which augmented view of its photo replaces each.
//!
//! Rows are shuffled for each epoch. If there are more rows than fit into memory, they are shuffled in two steps: first
//! blocks of neighbouring rows, then, window by window, the rows of the blocks in the window. So the file is read in
//! blocks and a window's memory is released before the next window is read, while a batch still mixes rows from the
//! whole file.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Neighbouring rows that are read together if there are more than fit into memory: 2 MiB of 2048 features.
const BLOCK: usize = 256;

/// The order of the training rows in each epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum EpochOrder {
    /// Shuffled for each epoch.
    Shuffled {
        /// The same seed gives the same orders.
        seed: u64,
    },
    /// These row numbers in this order, in every epoch.
    Fixed(Vec<usize>),
}

/// The order of the rows, epoch by epoch.
#[derive(Debug, Clone)]
pub struct RowSampler {
    row_numbers: Vec<usize>,
    random: Option<ChaCha8Rng>,
    window: usize,
}

impl RowSampler {
    /// For `row_count` rows, of which at most a `window` should be in memory
    /// ([`Rows::window`](crate::data::Rows::window)).
    pub fn new(order: EpochOrder, row_count: usize, window: usize) -> Self {
        match order {
            EpochOrder::Fixed(row_numbers) => Self { row_numbers, random: None, window },
            EpochOrder::Shuffled { seed } => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                // Stream 0 draws the initial weights.
                random.set_stream(1);
                Self { row_numbers: (0..row_count).collect(), random: Some(random), window }
            }
        }
    }

    /// The row numbers of the next epoch, in order.
    pub fn next_epoch(&mut self) -> &[usize] {
        let Some(random) = &mut self.random else { return &self.row_numbers };
        let row_count = self.row_numbers.len();
        if row_count > self.window {
            let mut block_starts: Vec<usize> = (0..row_count).step_by(BLOCK).collect();
            block_starts.shuffle(random);
            self.row_numbers.clear();
            for start in block_starts {
                self.row_numbers.extend(start..row_count.min(start + BLOCK));
            }
        }
        for window in self.row_numbers.chunks_mut(self.window) {
            window.shuffle(random);
        }
        &self.row_numbers
    }
}

/// Draws a view number for each training row.
#[derive(Debug, Clone)]
pub struct ViewSampler {
    random: ChaCha8Rng,
    view_count: usize,
}

impl ViewSampler {
    /// Draws from the first `view_count` views; `None` for 0: heads train on the photos themselves. The same seed draws
    /// the same views.
    pub fn new(view_count: usize, seed: u64) -> Option<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Stream 0 draws the initial weights, stream 1 the order of the rows, stream 2 dropout.
        random.set_stream(3);
        (view_count > 0).then_some(Self { random, view_count })
    }

    /// The view number for the next row.
    pub(crate) fn draw(&mut self) -> usize {
        self.random.random_range(0..self.view_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::WINDOW;

    #[test]
    fn views_are_drawn_evenly_and_differ_between_epochs() {
        assert!(ViewSampler::new(0, 5).is_none());
        let mut sampler = ViewSampler::new(4, 5).unwrap();
        let mut again = sampler.clone();
        let mut epoch = || -> Vec<usize> { (0..1000).map(|_| sampler.draw()).collect() };
        let (first, second) = (epoch(), epoch());
        assert!(first.iter().copied().eq((0..1000).map(|_| again.draw())));
        let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!((200..300).contains(&same), "a quarter by chance: {same}");
        for view in 0..4 {
            let count = first.iter().filter(|&&drawn| drawn == view).count();
            assert!((200..300).contains(&count), "{count}");
        }
        assert!(first.iter().all(|&view| view < 4));
    }

    #[test]
    fn an_epoch_has_each_row_once_and_few_blocks_in_a_window() {
        let count = 2 * WINDOW + 1000;
        let mut sampler = RowSampler::new(EpochOrder::Shuffled { seed: 5 }, count, WINDOW);
        let (first, second) = (sampler.next_epoch().to_vec(), sampler.next_epoch().to_vec());
        assert_ne!(first, second);
        for order in [first, second] {
            let blocks = |rows: &[usize]| {
                let mut blocks: Vec<usize> = rows.iter().map(|row| row / BLOCK).collect();
                blocks.sort_unstable();
                blocks.dedup();
                blocks
            };
            // A window has few blocks, from the whole file; a batch mixes many of them.
            let window = blocks(&order[..WINDOW]);
            assert!(window.len() <= WINDOW / BLOCK + 1, "{}", window.len());
            assert!(window.iter().any(|&block| block > count / BLOCK / 2));
            assert!(blocks(&order[..32]).len() > 16);
            let mut all = order;
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count));
        }
    }
}
