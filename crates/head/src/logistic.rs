//! Multinomial logistic regression to convergence: the best that a linear head can do on the training rows, held back
//! only by an L2 penalty. What Adam reaches in a few epochs is measured against it.
//!
//! The objective is the mean cross-entropy plus `‖W‖² / (2 C rows)`, scikit-learn's `LogisticRegression` at its default
//! `C = 1`; the bias is free. L-BFGS (Nocedal and Wright 2006, algorithms 7.4 and 7.5) with backtracking: the objective
//! is convex, so the curvature condition needs no search of its own.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::data::Rows;
use crate::kernels::Cores;
use crate::layers::{Activations, Batch, Classifier};
use crate::loss::CrossEntropy;

/// Inverse strength of the penalty.
const C: f64 = 1.0;
/// Pairs of steps and gradient changes that approximate the curvature.
const MEMORY: usize = 10;
/// Converged when no component of the gradient is larger, as in scikit-learn.
const TOLERANCE: f64 = 1e-4;
/// More than real data takes.
const MAX_ITERATIONS: usize = 300;
/// Rows whose gradient is one task; the gradients are added in order, so the result depends on no number of threads.
const BLOCK: usize = 256;
/// A step must win at least this part of what the slope promises.
const ARMIJO: f64 = 1e-4;

/// A linear head at the minimum of the objective.
pub fn fit(train: &Rows<'_>, classes: usize) -> Classifier {
    let mut point = Classifier::new(train.columns(), &[], classes, 0).zeros();
    let (mut value, mut gradient) = objective(&point, train);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for _ in 0..MAX_ITERATIONS {
        if gradient.iter().all(|component| component.abs() <= TOLERANCE) {
            break;
        }
        let mut direction = two_loops(&gradient, &memory);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding spoilt the curvature: begin again with the plain gradient.
            memory.clear();
            direction = gradient.iter().map(|component| -component).collect();
            slope = -dot(&gradient, &gradient);
        }
        let mut step = if memory.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let (next, next_value, next_gradient) = loop {
            let next = moved(&point, &direction, step);
            let (next_value, next_gradient) = objective(&next, train);
            if next_value <= value + ARMIJO * step * slope {
                break (next, next_value, next_gradient);
            }
            step /= 2.0;
            if step < 1e-10 {
                // Float32 has no better point nearby.
                return point;
            }
        };
        let moved: Vec<f64> = direction.iter().map(|component| component * step).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        if dot(&moved, &change) > 0.0 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((moved, change));
        }
        (point, value, gradient) = (next, next_value, next_gradient);
    }
    point
}

/// The objective and its gradient, weights first, then the bias. One gradient for each thread is in memory, and one window
/// of rows, however many rows there are.
fn objective(point: &Classifier, train: &Rows<'_>) -> (f64, Vec<f64>) {
    let loss = CrossEntropy::new(point.classes());
    let rows = train.len() as f64;

    // The penalty, which leaves the bias free.
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

    // The cross-entropy: each thread takes a block of rows, then the blocks are added.
    let of_block = |(features, labels): (&[&[f32]], &[usize])| {
        let mut activations = Activations::default();
        point.forward(Cores::One, features, None, &mut activations);
        let (mean, of_logits) = loss.loss_and_gradient(activations.logits(), labels);
        let mut gradients = point.zeros();
        let batch = Batch { rows: features, activations: &activations, of_logits: &of_logits, next_rows: &[] };
        point.gradients(Cores::One, batch, &mut gradients);
        (labels.len() as f64 / rows, mean, gradients)
    };
    let at_once = BLOCK * rayon::current_num_threads();
    train.each_window(|features, labels| {
        for (features, labels) in features.chunks(at_once).zip(labels.chunks(at_once)) {
            let blocks: Vec<(f64, f64, Classifier)> =
                features.par_chunks(BLOCK).zip(labels.par_chunks(BLOCK)).map(of_block).collect();
            for (share, mean, gradients) in blocks {
                total += share * mean;
                for (sum, &component) in gradient.iter_mut().zip(gradients.parameters().flatten()) {
                    *sum += share * f64::from(component);
                }
            }
        }
    });
    (total, gradient)
}

/// Algorithm 7.4: minus the gradient times the approximate inverse Hessian.
fn two_loops(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|component| -component).collect();
    let mut factors = Vec::new();
    for (moved, change) in memory.iter().rev() {
        let factor = dot(moved, &direction) / dot(moved, change);
        add(&mut direction, -factor, change);
        factors.push(factor);
    }
    if let Some((moved, change)) = memory.back() {
        let scale = dot(moved, change) / dot(change, change);
        direction.iter_mut().for_each(|component| *component *= scale);
    }
    for ((moved, change), factor) in memory.iter().zip(factors.into_iter().rev()) {
        let correction = factor - dot(change, &direction) / dot(moved, change);
        add(&mut direction, correction, moved);
    }
    direction
}

fn moved(point: &Classifier, direction: &[f64], step: f64) -> Classifier {
    let mut next = point.clone();
    let values = next.parameters_mut().flatten();
    values.zip(direction).for_each(|(value, component)| *value = (f64::from(*value) + step * component) as f32);
    next
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::LANES;

    fn rows(values: &[[f32; 2]], labels: Vec<usize>) -> Rows<'_> {
        Rows::new(values.iter().map(|row| &row[..]).collect(), labels)
    }

    #[test]
    fn at_the_minimum_the_gradient_is_nothing_and_every_step_is_worse() {
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
                let mut aside = vec![0.0; gradient.len()];
                aside[k] = offset;
                assert!(objective(&moved(&best, &aside, 1.0), &rows).0 > value, "{k}");
            }
        }
    }

    #[test]
    fn the_gradient_is_the_objectives_finite_difference() {
        let values = [[0.5, -1.0], [2.0, 0.3], [-1.0, 1.0], [0.1, 0.2]];
        let rows = rows(&values, vec![0, 1, 2, 1]);
        let point = Classifier::new(2, &[], 3, 4);
        let (_, gradient) = objective(&point, &rows);
        for k in 0..gradient.len() {
            let at = |offset: f64| {
                let mut aside = vec![0.0; gradient.len()];
                aside[k] = offset;
                objective(&moved(&point, &aside, 1.0), &rows).0
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((difference - gradient[k]).abs() < 1e-4, "{k}: {difference} and {}", gradient[k]);
        }
    }
}
