//! In which order an epoch takes the training rows, and which augmented view of its photo each of them is.
//!
//! Rows are shuffled anew for each epoch. More of them than memory should hold are shuffled in two steps: blocks of
//! neighbouring rows are put in a random order and taken a window at a time, and the rows of a window are shuffled
//! among themselves. So the file is read by blocks and a window's memory is given back before the next one, while a
//! batch still mixes rows from all over the file.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Neighbouring rows that are read together where there are many: 2 MB of 2048 features.
const BLOCK: usize = 256;

/// In which order each epoch takes the training rows.
#[derive(Debug, Clone, PartialEq)]
pub enum EpochOrder {
    /// Shuffled anew for each epoch.
    Shuffled {
        /// The same seed gives the same orders.
        seed: u64,
    },
    /// These rows in this order, in every epoch.
    Fixed(Vec<usize>),
}

/// Gives the order of the rows, epoch by epoch.
#[derive(Debug, Clone)]
pub struct RowSampler {
    rows: Vec<usize>,
    random: Option<ChaCha8Rng>,
    window: usize,
}

impl RowSampler {
    /// For `count` rows, of which memory should hold no more than a `window` ([`WINDOW`](crate::data::WINDOW) where there
    /// are no views).
    pub fn new(order: EpochOrder, count: usize, window: usize) -> Self {
        match order {
            EpochOrder::Fixed(rows) => Self { rows, random: None, window },
            EpochOrder::Shuffled { seed } => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                // The start of the weights is drawn from stream 0.
                random.set_stream(1);
                Self { rows: (0..count).collect(), random: Some(random), window }
            }
        }
    }

    /// The rows of the next epoch.
    pub fn next_epoch(&mut self) -> &[usize] {
        let Some(random) = &mut self.random else { return &self.rows };
        if self.rows.len() > self.window {
            let mut blocks: Vec<usize> = (0..self.rows.len()).step_by(BLOCK).collect();
            blocks.shuffle(random);
            let end = self.rows.len();
            self.rows = blocks.into_iter().flat_map(|start| start..end.min(start + BLOCK)).collect();
        }
        self.rows.chunks_mut(self.window).for_each(|window| window.shuffle(random));
        &self.rows
    }
}

/// Draws which of its photo's augmented views a training row is, row by row.
#[derive(Debug, Clone)]
pub struct ViewSampler {
    random: ChaCha8Rng,
    count: usize,
}

impl ViewSampler {
    /// Draws from the first `count` views; none for 0, when heads train on the photos as they are. The same seed draws the
    /// same views.
    pub fn new(count: usize, seed: u64) -> Option<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Streams 0, 1 and 2 are those of the weights' start, the order of the rows and dropout.
        random.set_stream(3);
        (count > 0).then_some(Self { random, count })
    }

    /// The number of the next row's view.
    pub(crate) fn draw(&mut self) -> usize {
        self.random.random_range(0..self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::WINDOW;

    #[test]
    fn every_epoch_draws_other_views_and_in_the_end_all_of_them() {
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
    fn an_epoch_takes_each_of_many_rows_once_window_by_window() {
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
            // A window reads few blocks, from all over the file; a batch mixes many of them.
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
