//! k nearest neighbours: predicts the most frequent class of the 5 training rows with the highest cosine similarity. A
//! baseline without training.

use rayon::prelude::*;

use crate::cosine::{Vectors, inverse_length};
use crate::data::Rows;

/// Neighbours that vote.
pub const NEIGHBOURS: usize = 5;

/// Validation rows of one task.
const BLOCK: usize = 16;
/// Training rows that a task compares them with at a time: these fit into the second-level cache.
const TRAIN_BLOCK: usize = 64;

/// Accuracy on the validation rows; ties go to the higher sum of similarities.
///
/// At most a window of training rows and a window of validation rows are in memory.
pub fn accuracy(train: &Rows<'_>, validation: &Rows<'_>) -> f64 {
    let mut correct = 0;
    validation.for_each_window(|rows, labels| {
        let mut nearest = vec![Nearest::default(); rows.len()];
        train.for_each_window(|train_rows, train_labels| {
            let inverse_lengths: Vec<f32> = train_rows.par_iter().map(|row| inverse_length(row)).collect();
            nearest.par_chunks_mut(BLOCK).zip(rows.par_chunks(BLOCK)).for_each(|(nearest, rows)| {
                add_neighbours(nearest, rows, train_rows, &inverse_lengths, train_labels);
            });
        });
        correct += nearest.iter().zip(labels).filter(|(nearest, label)| nearest.vote() == Some(**label)).count();
    });
    correct as f64 / validation.len() as f64
}

/// Compares each of the validation rows `rows` with each of `train_rows`, which may be among its `nearest`.
fn add_neighbours(
    nearest: &mut [Nearest],
    rows: &[&[f32]],
    train_rows: &[&[f32]],
    inverse_lengths: &[f32],
    train_labels: &[usize],
) {
    let units = Vectors::units(rows);
    let mut similarities = Vec::new();
    for start in (0..train_rows.len()).step_by(TRAIN_BLOCK) {
        let block = start..train_rows.len().min(start + TRAIN_BLOCK);
        units.products(&train_rows[block.clone()], &mut similarities);
        for (train_row, similarities) in block.zip(similarities.chunks_exact(rows.len())) {
            for (nearest, similarity) in nearest.iter_mut().zip(similarities) {
                nearest.add(similarity * inverse_lengths[train_row], train_labels[train_row]);
            }
        }
    }
}

/// The nearest training rows so far, by descending similarity.
#[derive(Debug, Clone, Default)]
struct Nearest {
    neighbours: Vec<Neighbour>,
}

#[derive(Debug, Clone, Copy)]
struct Neighbour {
    /// Cosine similarity.
    similarity: f32,
    label: usize,
}

/// The votes for a class; more votes win, then the higher sum of similarities.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
struct Votes {
    count: usize,
    similarity: f32,
}

impl Nearest {
    /// Adds a row if it is among the nearest; ties keep the earlier one.
    fn add(&mut self, similarity: f32, label: usize) {
        if self.neighbours.len() == NEIGHBOURS && self.neighbours[NEIGHBOURS - 1].similarity >= similarity {
            return;
        }
        let place = self.neighbours.partition_point(|neighbour| neighbour.similarity >= similarity);
        self.neighbours.insert(place, Neighbour { similarity, label });
        self.neighbours.truncate(NEIGHBOURS);
    }

    /// The label with the most votes; ties go to the higher sum of similarities, then to the lower label. `None` if
    /// there are no neighbours.
    fn vote(&self) -> Option<usize> {
        let mut labels: Vec<usize> = self.neighbours.iter().map(|neighbour| neighbour.label).collect();
        labels.sort_unstable();
        let mut best = None;
        let mut best_votes = Votes::default();
        for label in labels {
            let votes = self.votes(label);
            if best.is_none() || votes > best_votes {
                (best, best_votes) = (Some(label), votes);
            }
        }
        best
    }

    /// The votes for a label.
    fn votes(&self, label: usize) -> Votes {
        let mut votes = Votes::default();
        for neighbour in self.neighbours.iter().filter(|neighbour| neighbour.label == label) {
            votes.count += 1;
            votes.similarity += neighbour.similarity;
        }
        votes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_depends_on_direction_and_not_on_length() {
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
    fn ties_go_to_the_higher_sum_of_similarities() {
        let vote = |similarities: &[f32], labels: &[usize]| {
            let mut nearest = Nearest::default();
            for (&similarity, &label) in similarities.iter().zip(labels) {
                nearest.add(similarity, label);
            }
            nearest.vote()
        };
        assert_eq!(vote(&[], &[]), None);
        assert_eq!(vote(&[0.9, 0.2, 0.7, 0.6], &[1, 0, 0, 1]), Some(1));
        assert_eq!(vote(&[0.5, 0.8, 0.7, 0.6], &[1, 0, 0, 1]), Some(0));
        assert_eq!(vote(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.9], &[0, 0, 0, 1, 1, 1]), Some(1));
        assert_eq!(vote(&[0.5, 0.5], &[7, 3]), Some(3), "the lower label");
    }

    /// 211 rows are several blocks; the last one is not full.
    #[test]
    fn neighbours_are_found_in_all_blocks() {
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
