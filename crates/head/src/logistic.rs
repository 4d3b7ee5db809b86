//! Multinomial logistic regression: the optimum of a linear head on the training rows, with an L2 penalty. A baseline
//! that needs no settings.
//!
//! The objective is the mean cross-entropy plus `‖W‖² / (2 C rows)`, scikit-learn's `LogisticRegression` at its default
//! `C = 1`; the bias is not penalised. The optimizer is L-BFGS (Nocedal and Wright 2006, algorithms 7.4 and 7.5) with a
//! backtracking line search. The objective is convex, so a Wolfe search for the curvature condition is not needed.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::data::Rows;
use crate::layers::{Activations, Batch, Classifier};
use crate::loss::{BatchLoss, CrossEntropy};

/// Inverse strength of the penalty.
const C: f64 = 1.0;
/// The number of corrections that L-BFGS keeps.
const MAX_CORRECTIONS: usize = 10;
/// Converged when no component of the gradient is larger, as in scikit-learn.
const TOLERANCE: f64 = 1e-4;
/// An upper limit: real data converges in fewer iterations.
const MAX_ITERATIONS: usize = 300;
/// Rows of one task. The tasks' gradients are added in order, so the number of threads does not change the result.
const BLOCK: usize = 256;
/// Armijo's condition: a step must reach this fraction of the decrease that the slope predicts.
const ARMIJO: f64 = 1e-4;

/// A step with the change of the gradient along it: what L-BFGS approximates the curvature from.
struct Correction {
    step: Vec<f64>,
    gradient_change: Vec<f64>,
}

/// A linear head at the minimum of the objective, or at the best point found within `MAX_ITERATIONS`.
pub fn fit(train: &Rows<'_>, classes: usize) -> Classifier {
    let mut point = Classifier::new(train.columns(), &[], classes, 0).zeros_like();
    let (mut value, mut gradient) = objective(&point, train);
    let mut corrections: VecDeque<Correction> = VecDeque::new();
    for _ in 0..MAX_ITERATIONS {
        if gradient.iter().all(|component| component.abs() <= TOLERANCE) {
            break;
        }
        let mut direction = lbfgs_direction(&gradient, &corrections);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // No descent direction, by rounding: restart with the gradient.
            corrections.clear();
            direction = gradient.iter().map(|component| -component).collect();
            slope = -dot(&gradient, &gradient);
        }

        // Backtracking line search.
        let mut step_size = if corrections.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let (next, next_value, next_gradient) = loop {
            let next = moved_by(&point, &direction, step_size);
            let (next_value, next_gradient) = objective(&next, train);
            if next_value <= value + ARMIJO * step_size * slope {
                break (next, next_value, next_gradient);
            }
            step_size /= 2.0;
            if step_size < 1e-10 {
                // No better point at float32 precision.
                return point;
            }
        };

        let step: Vec<f64> = direction.iter().map(|component| component * step_size).collect();
        let gradient_change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        if dot(&step, &gradient_change) > 0.0 {
            if corrections.len() == MAX_CORRECTIONS {
                corrections.pop_front();
            }
            corrections.push_back(Correction { step, gradient_change });
        }
        (point, value, gradient) = (next, next_value, next_gradient);
    }
    point
}

/// The objective and its gradient, weights first, then the bias. One gradient for each thread and one window of rows
/// are in memory.
fn objective(point: &Classifier, train: &Rows<'_>) -> (f64, Vec<f64>) {
    let loss = CrossEntropy::new(point.classes());
    let rows = train.len() as f64;

    // The penalty. Tensor 0 has the weights, tensor 1 the bias, which is not penalised.
    let penalty = 1.0 / (C * rows);
    let mut squares = 0.0;
    let mut gradient: Vec<f64> = Vec::new();
    for (k, tensor) in point.parameters().enumerate() {
        for &value in tensor {
            let value = if k == 0 { f64::from(value) } else { 0.0 };
            squares += value * value;
            gradient.push(penalty * value);
        }
    }
    let mut total = penalty / 2.0 * squares;

    // The cross-entropy: each thread takes a block of rows, then the blocks are added in order.
    let block_gradient = |(features, labels): (&[&[f32]], &[usize])| {
        let mut activations = Activations::default();
        point.forward(features, None, &mut activations);
        let BatchLoss { total: block_loss, gradient: logits_gradient, .. } = loss.measure(activations.logits(), labels);
        let mut gradients = point.zeros_like();
        let batch =
            Batch { rows: features, activations: &activations, logits_gradient: &logits_gradient, next_rows: &[] };
        point.gradients(batch, &mut gradients);
        (labels.len() as f64, block_loss, gradients)
    };
    let rows_at_once = BLOCK * rayon::current_num_threads();
    train.for_each_window(|features, labels| {
        for (features, labels) in features.chunks(rows_at_once).zip(labels.chunks(rows_at_once)) {
            let blocks: Vec<(f64, f64, Classifier)> =
                features.par_chunks(BLOCK).zip(labels.par_chunks(BLOCK)).map(block_gradient).collect();
            for (block_rows, block_loss, gradients) in blocks {
                total += block_loss / rows;
                for (sum, &component) in gradient.iter_mut().zip(gradients.parameters().flatten()) {
                    *sum += block_rows / rows * f64::from(component);
                }
            }
        }
    });
    (total, gradient)
}

/// The L-BFGS search direction (algorithm 7.4): minus the approximate inverse Hessian times the gradient.
fn lbfgs_direction(gradient: &[f64], corrections: &VecDeque<Correction>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|component| -component).collect();
    let mut factors = Vec::new();
    for Correction { step, gradient_change } in corrections.iter().rev() {
        let factor = dot(step, &direction) / dot(step, gradient_change);
        add(&mut direction, -factor, gradient_change);
        factors.push(factor);
    }
    if let Some(Correction { step, gradient_change }) = corrections.back() {
        let scale = dot(step, gradient_change) / dot(gradient_change, gradient_change);
        for component in &mut direction {
            *component *= scale;
        }
    }
    for (Correction { step, gradient_change }, factor) in corrections.iter().zip(factors.into_iter().rev()) {
        let remainder = factor - dot(gradient_change, &direction) / dot(step, gradient_change);
        add(&mut direction, remainder, step);
    }
    direction
}

/// `point + step_size * direction`.
fn moved_by(point: &Classifier, direction: &[f64], step_size: f64) -> Classifier {
    let mut next = point.clone();
    for (value, component) in next.parameters_mut().flatten().zip(direction) {
        *value = (f64::from(*value) + step_size * component) as f32;
    }
    next
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `sum += factor * values`.
fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::LANES;

    fn rows(values: &[[f32; 2]], labels: Vec<usize>) -> Rows<'_> {
        Rows::new(values.iter().map(|row| &row[..]).collect(), labels)
    }

    #[test]
    fn at_the_minimum_the_gradient_is_0_and_every_step_is_worse() {
        let values: Vec<[f32; 2]> =
            (0..60).map(|k| [((k * 7) % 10) as f32 / 5.0, ((k * 3) % 11) as f32 / 5.0]).collect();
        let labels = values.iter().map(|[a, b]| usize::from(a + b > 1.5) + usize::from(a - b > 0.2)).collect();
        let rows = rows(&values, labels);
        let best = fit(&rows, 3);
        let (value, gradient) = objective(&best, &rows);
        assert!(gradient.iter().all(|component| component.abs() <= TOLERANCE), "{gradient:?}");
        // Three strips of two weights, and one of three biases.
        let is_parameter = |k: usize| if k < 3 * LANES { k % LANES < 2 } else { k % LANES < 3 };
        for k in (0..gradient.len()).filter(|&k| is_parameter(k)) {
            for offset in [-0.05, 0.05] {
                let mut step = vec![0.0; gradient.len()];
                step[k] = offset;
                assert!(objective(&moved_by(&best, &step, 1.0), &rows).0 > value, "{k}");
            }
        }
    }

    #[test]
    fn gradient_matches_finite_differences() {
        let values = [[0.5, -1.0], [2.0, 0.3], [-1.0, 1.0], [0.1, 0.2]];
        let rows = rows(&values, vec![0, 1, 2, 1]);
        let point = Classifier::new(2, &[], 3, 4);
        let (_, gradient) = objective(&point, &rows);
        for k in 0..gradient.len() {
            let at = |offset: f64| {
                let mut step = vec![0.0; gradient.len()];
                step[k] = offset;
                objective(&moved_by(&point, &step, 1.0), &rows).0
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((difference - gradient[k]).abs() < 1e-4, "{k}: {difference} and {}", gradient[k]);
        }
    }
}
