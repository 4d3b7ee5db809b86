//! The k nearest neighbours by cosine: the predicted class is the one of most of the training rows that point the same way.
//! Nothing is trained, so it is what a trained head has to beat.

use rayon::prelude::*;

use crate::cosine::{Vectors, inverse_length, unit};
use crate::data::Rows;

/// Neighbours that vote.
pub const NEIGHBOURS: usize = 5;

/// Validation rows that a task compares with the training rows.
const BLOCK: usize = 16;
/// Training rows that it compares them with at a time: those fit into the second-level cache.
const TRAIN_BLOCK: usize = 64;

/// The fraction of the validation rows whose [`NEIGHBOURS`] nearest training rows have mostly their label; of classes
/// with as many votes the one with the nearer neighbours counts.
///
/// Both are read a window at a time, in place: however many rows there are, only a window of each is in memory.
pub fn accuracy(train: &Rows<'_>, validation: &Rows<'_>) -> f64 {
    let mut correct = 0;
    validation.each_window(|rows, labels| {
        let mut nearest = vec![Nearest::default(); rows.len()];
        train.each_window(|train_rows, train_labels| {
            let inverse_lengths: Vec<f32> = train_rows.par_iter().map(|row| inverse_length(row)).collect();
            nearest.par_chunks_mut(BLOCK).zip(rows.par_chunks(BLOCK)).for_each(|(nearest, rows)| {
                compare(nearest, rows, train_rows, &inverse_lengths, train_labels);
            });
        });
        correct += nearest.iter().zip(labels).filter(|(nearest, label)| nearest.vote() == Some(**label)).count();
    });
    correct as f64 / validation.len() as f64
}

/// Offers every training row to the nearest of each of the `rows`.
fn compare(
    nearest: &mut [Nearest],
    rows: &[&[f32]],
    train_rows: &[&[f32]],
    inverse_lengths: &[f32],
    train_labels: &[usize],
) {
    let units: Vec<f32> = rows.iter().flat_map(|row| unit(row)).collect();
    let units = Vectors::new(rows.first().map_or(0, |row| row.len()), &[units]);
    let mut similarities = Vec::new();
    for start in (0..train_rows.len()).step_by(TRAIN_BLOCK) {
        let block = start..train_rows.len().min(start + TRAIN_BLOCK);
        units.products(&train_rows[block.clone()], &mut similarities);
        for (row, similarities) in block.zip(similarities.chunks_exact(rows.len())) {
            for (nearest, similarity) in nearest.iter_mut().zip(similarities) {
                nearest.offer(similarity * inverse_lengths[row], train_labels[row]);
            }
        }
    }
}

/// The training rows nearest to a row among those seen so far, the nearest first.
#[derive(Debug, Clone, Default)]
struct Nearest {
    neighbours: Vec<Neighbour>,
}

#[derive(Debug, Clone, Copy)]
struct Neighbour {
    /// The cosine of the angle between the two rows.
    similarity: f32,
    label: usize,
}

impl Nearest {
    /// Takes another row into account; of equally near ones the first offered stays ahead.
    fn offer(&mut self, similarity: f32, label: usize) {
        if self.neighbours.len() == NEIGHBOURS && self.neighbours[NEIGHBOURS - 1].similarity >= similarity {
            return;
        }
        let place = self.neighbours.partition_point(|neighbour| neighbour.similarity >= similarity);
        self.neighbours.insert(place, Neighbour { similarity, label });
        self.neighbours.truncate(NEIGHBOURS);
    }

    /// The label of most of them; of labels with as many votes the one with the larger similarities, then the lower one.
    /// None before the first row was offered.
    fn vote(&self) -> Option<usize> {
        let votes = |label: usize| {
            let similarities =
                self.neighbours.iter().filter(|other| other.label == label).map(|other| other.similarity);
            (similarities.clone().count(), similarities.sum::<f32>())
        };
        let mut labels: Vec<usize> = self.neighbours.iter().map(|neighbour| neighbour.label).collect();
        labels.sort_unstable();
        labels.into_iter().reduce(|best, label| if votes(label) > votes(best) { label } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_count_and_lengths_do_not() {
        let train: Vec<[f32; 2]> =
            (0..12).map(|k| if k < 6 { [1.0, k as f32 / 20.0] } else { [0.1, k as f32] }).collect();
        let rows = |values: &'static [[f32; 2]], labels: &[usize]| {
            Rows::new(values.iter().map(|row| &row[..]).collect(), labels.to_vec())
        };
        let labels = (0..12).map(|k| usize::from(k >= 6)).collect();
        let train = Rows::new(train.iter().map(|row| &row[..]).collect(), labels);
        let right = rows(&[[0.01, 0.001], [500.0, 1.0], [0.0, 1e-3]], &[0, 0, 1]);
        assert_eq!(accuracy(&train, &right), 1.0);
        let half = rows(&[[1.0, 0.0], [1.0, 0.0]], &[0, 1]);
        assert_eq!(accuracy(&train, &half), 0.5);
    }

    #[test]
    fn of_equal_votes_the_nearer_neighbours_count() {
        let vote = |similarities: &[f32], labels: &[usize]| {
            let mut nearest = Nearest::default();
            for (&similarity, &label) in similarities.iter().zip(labels) {
                nearest.offer(similarity, label);
            }
            nearest.vote()
        };
        assert_eq!(vote(&[], &[]), None);
        assert_eq!(vote(&[0.9, 0.2, 0.7, 0.6], &[1, 0, 0, 1]), Some(1));
        assert_eq!(vote(&[0.5, 0.8, 0.7, 0.6], &[1, 0, 0, 1]), Some(0));
        assert_eq!(vote(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.9], &[0, 0, 0, 1, 1, 1]), Some(1));
        assert_eq!(vote(&[0.5, 0.5], &[7, 3]), Some(3), "of equal classes the first");
    }

    /// Each row's neighbours are found among all rows, wherever the blocks end.
    #[test]
    fn blocks_miss_no_neighbour() {
        let angle = |k: usize| (k * 37 % 211) as f32 * 0.02;
        let values: Vec<[f32; 2]> = (0..211).map(|k| [angle(k).cos() * 3.0, angle(k).sin() * 3.0]).collect();
        let labels: Vec<usize> = (0..211).map(|k| (angle(k) * 50.0).round() as usize / 10).collect();
        let rows = Rows::new(values.iter().map(|row| &row[..]).collect(), labels.clone());
        let mut right = 0;
        for (k, &label) in labels.iter().enumerate() {
            let mut by_distance: Vec<usize> = (0..211).collect();
            by_distance.sort_by(|a, b| (angle(*a) - angle(k)).abs().total_cmp(&(angle(*b) - angle(k)).abs()));
            let votes = |label| by_distance[..NEIGHBOURS].iter().filter(|&&row| labels[row] == label).count();
            right += usize::from(votes(label) > NEIGHBOURS / 2);
        }
        assert!(right < 211);
        assert_eq!(accuracy(&rows, &rows), right as f64 / 211.0);
    }
}
