//! The k nearest neighbours by cosine: what a photo is, by the photos whose vectors point the same way. Nothing is
//! learnt, so it is what a trained head has to beat.

use rayon::prelude::*;

use crate::data::Rows;
use crate::kernels::{Cores, dots};

/// Neighbours that vote.
pub const NEIGHBOURS: usize = 5;

/// Rows that are compared with all others at a time.
const BLOCK: usize = 16;

/// The fraction of the validation rows whose [`NEIGHBOURS`] nearest training rows have mostly their label; of classes
/// with as many votes the one with the nearer neighbours counts.
pub fn accuracy(train: &Rows<'_>, validation: &Rows<'_>, classes: usize) -> f64 {
    let units: Vec<f32> = train.features.iter().flat_map(|row| unit(row)).collect();
    let right: usize = validation
        .features
        .par_chunks(BLOCK)
        .zip(validation.labels.par_chunks(BLOCK))
        .map(|(rows, labels)| {
            // A row's own length changes none of its neighbours.
            let mut similarities = vec![0.0; rows.len() * train.len()];
            dots(Cores::One, rows, &units, &mut similarities);
            let each = similarities.chunks_exact(train.len()).zip(labels);
            each.filter(|(similarities, label)| vote(similarities, &train.labels, classes) == **label).count()
        })
        .sum();
    right as f64 / validation.len() as f64
}

fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    row.iter().map(move |value| value * scale)
}

fn vote(similarities: &[f32], labels: &[usize], classes: usize) -> usize {
    let mut nearest: Vec<usize> = (0..similarities.len()).collect();
    let nearer = |a: &usize, b: &usize| similarities[*b].total_cmp(&similarities[*a]).then(a.cmp(b));
    let count = NEIGHBOURS.min(nearest.len());
    if count < nearest.len() {
        nearest.select_nth_unstable_by(count - 1, nearer);
    }
    let mut votes = vec![(0usize, 0.0f32); classes];
    for &row in &nearest[..count] {
        votes[labels[row]].0 += 1;
        votes[labels[row]].1 += similarities[row];
    }
    let better = |best: usize, class: usize| if votes[class] > votes[best] { class } else { best };
    (1..classes).fold(0, better)
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
        assert_eq!(accuracy(&train, &right, 2), 1.0);
        let half = rows(&[[1.0, 0.0], [1.0, 0.0]], &[0, 1]);
        assert_eq!(accuracy(&train, &half, 2), 0.5);
    }

    #[test]
    fn of_equal_votes_the_nearer_neighbours_count() {
        assert_eq!(vote(&[0.9, 0.2, 0.7, 0.6], &[1, 0, 0, 1], 2), 1);
        assert_eq!(vote(&[0.5, 0.8, 0.7, 0.6], &[1, 0, 0, 1], 2), 0);
        assert_eq!(vote(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.9], &[0, 0, 0, 1, 1, 1], 2), 1);
    }
}
