//! Softmax cross-entropy from logits, as Keras's `CategoricalCrossentropy(from_logits=True)`.

use pulp::{Simd, WithSimd};

use crate::settings::{ClassWeights, Fraction};
use crate::simd::{LANES, Strip, dispatch, load, store};

/// The loss over rows of logits, in nats.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy {
    classes: usize,
    /// Label smoothing: the part of each target that is spread over all classes.
    smoothing: f32,
    /// (classes,): the weight of each class's rows; empty if all weights are 1.
    weights: Vec<f32>,
}

impl CrossEntropy {
    /// The loss without class weights and label smoothing.
    pub fn new(classes: usize) -> Self {
        Self { classes, smoothing: 0.0, weights: Vec::new() }
    }

    /// The loss with Keras's `label_smoothing`: `smoothing` of each target is spread over all classes, including the
    /// label's.
    pub fn smoothed(classes: usize, smoothing: Fraction) -> Self {
        Self { smoothing: smoothing.get() as f32, ..Self::new(classes) }
    }

    /// The same loss with each row weighted by its class's weight, from the counts in `labels`.
    pub fn weighted(self, weights: ClassWeights, labels: &[usize]) -> Self {
        if weights == ClassWeights::None {
            return self;
        }
        let mut counts = vec![0usize; self.classes];
        for &label in labels {
            counts[label] += 1;
        }
        let weight = |&count: &usize| labels.len() as f32 / (self.classes * count.max(1)) as f32;
        Self { weights: counts.iter().map(weight).collect(), ..self }
    }

    /// The number of logits in a row.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The loss of a batch of logits, (rows, classes) row-major.
    ///
    /// With the target `t = (1 - s) onehot(label) + s / classes` and the weight `w` of its class, a row's loss is `w
    /// (ln Σ_k exp(z_k) - Σ_k t_k z_k)`, and its gradient is `w (softmax(z) - t) / rows`. The largest logit is
    /// subtracted from all first, so that exp cannot overflow.
    ///
    /// # Panics
    /// When the lengths do not fit together, or a label is not less than the number of classes.
    pub fn measure(&self, logits: &[f32], labels: &[usize]) -> BatchLoss {
        assert_eq!(logits.len(), labels.len() * self.classes, "each label needs a row of logits");
        let mut padded_logits = Vec::with_capacity(logits.len() + LANES);
        padded_logits.extend_from_slice(logits);
        padded_logits.extend([0.0; LANES]);
        dispatch(Measure { loss: self, logits: &padded_logits, labels })
    }
}

/// The loss of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchLoss {
    /// The sum of the rows' losses.
    pub total: f64,
    /// The number of rows whose largest logit is their label's; ties as in [`argmax`]. A row whose loss is NaN is wrong.
    pub correct: usize,
    /// The gradient of the mean loss with respect to the logits, (rows, classes).
    pub gradient: Vec<f32>,
}

/// Computes the loss of a batch. Rows are processed in whole strips. The last strip of a row reaches into the next row:
/// what it reads there is ignored, and what it writes there is overwritten.
struct Measure<'a> {
    loss: &'a CrossEntropy,
    /// (rows, classes), then a strip of padding.
    logits: &'a [f32],
    labels: &'a [usize],
}

impl WithSimd for Measure<'_> {
    type Output = BatchLoss;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> BatchLoss {
        let Self { loss: &CrossEntropy { classes, smoothing, ref weights }, logits, labels } = self;
        let rows = labels.len() as f32;
        let one_hot_part = 1.0 - smoothing;
        let smoothed_part = smoothing / classes as f32;
        let weight_of = |label: usize| weights.get(label).copied().unwrap_or(1.0);

        let (mut total, mut correct) = (0.0, 0);
        let mut gradient = vec![0.0; logits.len()];
        // 16 rows at a time, since their logarithms are computed together.
        for (chunk, labels) in labels.chunks(LANES).enumerate() {
            let (mut sums, mut target_logits) = ([1.0; LANES], [0.0; LANES]);
            for (k, &label) in labels.iter().enumerate() {
                let weight = weight_of(label);
                let start_of_row = (chunk * LANES + k) * classes;
                let (logits, gradient) = (&logits[start_of_row..], &mut gradient[start_of_row..]);
                let (max_logit, max_before_label) = max_logits(simd, logits, classes, label);
                // A row's targets add up to 1, so that the maximum can be subtracted from all logits.
                target_logits[k] = one_hot_part * (logits[..classes][label] - max_logit);
                if smoothing > 0.0 {
                    target_logits[k] +=
                        smoothed_part * logits[..classes].iter().map(|value| value - max_logit).sum::<f32>();
                }

                let mut sum = simd.splat_f32s(0.0);
                for start in (0..classes).step_by(LANES) {
                    let logits = first_values(simd, strip_at(logits, start), classes - start);
                    let exp = exp_of_negative(simd, simd.sub_f32s(logits, simd.splat_f32s(max_logit)));
                    sum = simd.add_f32s(sum, exp);
                    *strip_at_mut(gradient, start) = store::<S>(exp);
                }
                let sum = simd.reduce_sum_f32s(sum);
                sums[k] = sum;
                // `&`, since the processor could not predict the branches of `&&`.
                let is_correct = (logits[label] == max_logit) & (max_before_label < max_logit) & !sum.is_nan();
                correct += usize::from(is_correct);

                let scale = simd.splat_f32s(weight / (sum * rows));
                let offset = simd.splat_f32s(-weight * smoothed_part / rows);
                for start in (0..classes).step_by(LANES) {
                    let strip = strip_at_mut(gradient, start);
                    *strip = store::<S>(simd.mul_add_f32s(load::<S>(strip), scale, offset));
                }
                gradient[label] -= weight * one_hot_part / rows;
            }
            let logs = store::<S>(ln(simd, load::<S>(&sums)));
            for (k, &label) in labels.iter().enumerate() {
                total += f64::from(weight_of(label) * (logs[k] - target_logits[k]));
            }
        }
        gradient.truncate(labels.len() * classes);
        BatchLoss { total, correct, gradient }
    }
}

/// The largest of a row's logits, and the largest of those before the label, -∞ if there are none.
#[inline(always)]
fn max_logits<S: Simd>(simd: S, logits: &[f32], classes: usize, label: usize) -> (f32, f32) {
    let minus_infinity = simd.splat_f32s(f32::NEG_INFINITY);
    let (mut max, mut max_before_label) = (minus_infinity, minus_infinity);
    for start in (0..classes).step_by(LANES) {
        let strip = strip_at(logits, start);
        max = simd.max_f32s(max, first_values(simd, strip, classes - start));
        let before_label = first_values(simd, strip, label.saturating_sub(start));
        max_before_label = simd.max_f32s(max_before_label, before_label);
    }
    (simd.reduce_max_f32s(max), simd.reduce_max_f32s(max_before_label))
}

/// The first `count` values of a strip; -∞ in place of the others, whose exp is 0.
#[inline(always)]
fn first_values<S: Simd>(simd: S, strip: &Strip, count: usize) -> S::f32s {
    let is_first = simd.mask_between_m32s(0, count.min(LANES) as u32).mask();
    simd.select_f32s(is_first, load::<S>(strip), simd.splat_f32s(f32::NEG_INFINITY))
}

/// The natural logarithm of a finite x ≥ 1. Infinity and NaN give NaN.
///
/// `ln(x) = e ln 2 + ln(m)` with m from √½ to √2. The polynomial and the constants are those of Cephes' `logf`
/// (Moshier 1992).
#[inline(always)]
fn ln<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// The bits of √½.
    const SQRT_HALF: u32 = 0x3f35_04f3;
    /// 2²³: the bits of 2²³ + e are those of 2²³, plus e.
    const TWO_23: f32 = 8_388_608.0;
    let bits: S::u32s = pulp::cast(x);
    let mantissa_bits = simd.splat_u32s(23);
    let exponent = simd.wrapping_dyn_shr_u32s(simd.sub_u32s(bits, simd.splat_u32s(SQRT_HALF)), mantissa_bits);
    let m: S::f32s = pulp::cast(simd.sub_u32s(bits, simd.wrapping_dyn_shl_u32s(exponent, mantissa_bits)));
    let e: S::f32s = pulp::cast(simd.add_u32s(exponent, simd.splat_u32s(TWO_23.to_bits())));
    let e = simd.sub_f32s(e, simd.splat_f32s(TWO_23));

    let r = simd.sub_f32s(m, simd.splat_f32s(1.0));
    let square = simd.mul_f32s(r, r);
    let mut polynomial = simd.splat_f32s(7.037_683_6e-2);
    for coefficient in [
        -0.115_146_1,
        0.116_769_99,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_15,
        -0.249_999_94,
        0.333_333_3,
    ] {
        polynomial = simd.mul_add_f32s(polynomial, r, simd.splat_f32s(coefficient));
    }
    let mut result = simd.mul_f32s(simd.mul_f32s(polynomial, r), square);
    result = simd.mul_add_f32s(e, simd.splat_f32s(-2.121_944_4e-4), result);
    result = simd.mul_add_f32s(square, simd.splat_f32s(-0.5), result);
    result = simd.add_f32s(result, r);
    result = simd.mul_add_f32s(e, simd.splat_f32s(0.693_359_4), result);
    // x - x is 0 for finite x, and NaN otherwise.
    simd.add_f32s(result, simd.sub_f32s(x, x))
}

/// The strip that begins at `start`.
#[inline(always)]
fn strip_at(values: &[f32], start: usize) -> &Strip {
    values[start..].first_chunk().expect("a strip of padding follows the rows")
}

/// The strip that begins at `start`, mutable.
#[inline(always)]
fn strip_at_mut(values: &mut [f32], start: usize) -> &mut Strip {
    values[start..].first_chunk_mut().expect("a strip of padding follows the rows")
}

/// `exp(x)` for x ≤ 0, with a relative error of at most 2.4e-7; 0 below -87.3, near the smallest normal number.
///
/// `exp(x) = 2ⁿ exp(r)` with the integer n nearest to x / ln 2. The polynomial and the constants are those of Cephes'
/// `expf` (Moshier 1992).
#[inline(always)]
fn exp_of_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// 1.5 · 2²³: added to a small number, it leaves the nearest integer in the last bits.
    const ROUND: f32 = 12_582_912.0;
    const MIN_X: f32 = -87.3;
    let round = simd.splat_f32s(ROUND);
    let shifted = simd.mul_add_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(shifted, round);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(-0.693_359_4), x);
    let r = simd.mul_add_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);
    let mut polynomial = simd.splat_f32s(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        polynomial = simd.mul_add_f32s(polynomial, r, simd.splat_f32s(coefficient));
    }
    let polynomial = simd.mul_add_f32s(simd.mul_f32s(r, r), polynomial, r);
    let polynomial = simd.add_f32s(polynomial, simd.splat_f32s(1.0));

    // 2ⁿ from its bits: n goes into the exponent.
    let bits: S::u32s = pulp::cast(shifted);
    let exponent = simd.add_u32s(bits, simd.splat_u32s(127));
    let power: S::f32s = pulp::cast(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23)));
    // A comparison with NaN is false, so NaN stays NaN.
    let is_too_small = simd.less_than_f32s(x, simd.splat_f32s(MIN_X));
    simd.select_f32s(is_too_small, simd.splat_f32s(0.0), simd.mul_f32s(polynomial, power))
}

/// The index of the largest value, and the lowest index among equal ones, as numpy's argmax.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for k in 1..row.len() {
        if row[k] > row[best] {
            best = k;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::with_shorter_vectors;

    #[test]
    fn the_loss_is_the_negative_log_probability() {
        let BatchLoss { total, gradient, .. } = CrossEntropy::new(3).measure(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], &[2, 0]);
        let first = -(3f64.exp() / (1f64.exp() + 2f64.exp() + 3f64.exp())).ln();
        assert!((total - (first + 3f64.ln())).abs() < 2e-7);
        for row in gradient.chunks_exact(3) {
            assert!(row.iter().sum::<f32>().abs() < 1e-7);
        }
        assert!((gradient[3] - (1.0 / 3.0 - 1.0) / 2.0).abs() < 1e-7);
    }

    #[test]
    fn exp_is_accurate_and_bit_identical_with_vectors_of_any_length() {
        struct Exp(Strip);
        impl WithSimd for Exp {
            type Output = Strip;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Strip {
                store::<S>(exp_of_negative(simd, load::<S>(&self.0)))
            }
        }
        for k in 0..20_000 {
            let x = -(k as f32) / 200.0;
            let found = dispatch(Exp([x; LANES]));
            let exact = if x >= -87.3 { f64::from(x).exp() } else { 0.0 };
            assert!((f64::from(found[0]) - exact).abs() <= 2.4e-7 * exact, "{x}: {} and {exact}", found[0]);
            for other in with_shorter_vectors(|| Exp([x; LANES])) {
                assert_eq!(other, found);
            }
        }
        assert_eq!(dispatch(Exp([0.0; LANES])), [1.0; LANES]);
        assert_eq!(dispatch(Exp([f32::NEG_INFINITY; LANES])), [0.0; LANES]);
        assert!(dispatch(Exp([f32::NAN; LANES])).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let batch = CrossEntropy::new(2).measure(&[1e30, -1e30], &[0]);
        assert_eq!((batch.total, batch.correct), (0.0, 1));
        assert!(batch.gradient.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn gradients_match_finite_differences_with_smoothing_and_weights() {
        let labels = [0, 2, 2, 1, 2];
        let logits: Vec<f32> = (0..15).map(|k| ((k * 7) % 11) as f32 / 4.0 - 1.0).collect();
        for smoothing in [0.0, 0.1, 0.4] {
            for weights in [ClassWeights::None, ClassWeights::Balanced] {
                let smoothing = Fraction::new("label smoothing", smoothing).unwrap();
                let loss = CrossEntropy::smoothed(3, smoothing).weighted(weights, &labels);
                let gradient = loss.measure(&logits, &labels).gradient;
                for k in 0..logits.len() {
                    let at = |offset: f32| {
                        let mut logits = logits.clone();
                        logits[k] += offset;
                        loss.measure(&logits, &labels).total / labels.len() as f64
                    };
                    let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
                    assert!((difference - f64::from(gradient[k])).abs() < 1e-5, "{loss:?} {k}");
                }
            }
        }
    }

    #[test]
    fn rows_of_any_number_of_classes_agree_with_float64_and_with_vectors_of_any_length() {
        // More than a strip of them.
        const ROWS: usize = 19;
        for classes in [1, 2, 15, 16, 17, 40] {
            let logits: Vec<f32> = (0..ROWS * classes).map(|k| ((k * 37) % 23) as f32 / 3.0 - 2.0).collect();
            let mut labels: Vec<usize> = (0..ROWS).map(|row| row * 7 % classes).collect();
            // Every second row is correct.
            for (label, logits) in labels.iter_mut().zip(logits.chunks_exact(classes)).step_by(2) {
                *label = argmax(logits);
            }
            let smoothing = Fraction::new("label smoothing", 0.2).unwrap();
            let loss = CrossEntropy::smoothed(classes, smoothing).weighted(ClassWeights::Balanced, &labels);
            let batch = loss.measure(&logits, &labels);
            let mut total = 0.0;
            for (row, &label) in labels.iter().enumerate() {
                let weight = f64::from(loss.weights[label]);
                let logits: Vec<f64> = logits[row * classes..][..classes].iter().map(|&z| f64::from(z)).collect();
                let sum: f64 = logits.iter().map(|z| z.exp()).sum();
                for (class, z) in logits.iter().enumerate() {
                    let target = 0.2 / classes as f64 + if class == label { 0.8 } else { 0.0 };
                    total -= weight * target * (z - sum.ln());
                    let exact = weight * (z.exp() / sum - target) / ROWS as f64;
                    let found = f64::from(batch.gradient[row * classes + class]);
                    assert!((found - exact).abs() < 1e-6, "{classes} {row} {class}: {found} and {exact}");
                }
            }
            assert!((batch.total - total).abs() < 1e-5 * ROWS as f64, "{classes}: {}", batch.total);
            let is_correct = |(row, &label): (&[f32], &usize)| argmax(row) == label;
            let correct = logits.chunks_exact(classes).zip(&labels).filter(|&pair| is_correct(pair)).count();
            assert_eq!(batch.correct, correct, "{classes}");
            assert!(correct >= ROWS / 2 && (classes == 1 || correct < ROWS), "{classes}");

            let padded: Vec<f32> = logits.iter().copied().chain([7.0; LANES]).collect();
            for found in with_shorter_vectors(|| Measure { loss: &loss, logits: &padded, labels: &labels }) {
                assert_eq!(found, batch, "{classes}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "index out of bounds: the len is 2 but the index is 2")]
    fn a_label_beyond_the_classes_is_not_read_from_the_next_row() {
        CrossEntropy::new(2).measure(&[0.0; 4], &[2, 0]);
    }

    #[test]
    fn balanced_weights_match_scikit_learn() {
        let loss = CrossEntropy::new(3).weighted(ClassWeights::Balanced, &[0, 0, 0, 1, 1, 2]);
        assert_eq!(loss.weights, [6.0 / 9.0, 1.0, 2.0]);
    }

    #[test]
    fn the_first_of_equal_logits_counts_and_nan_is_wrong() {
        assert_eq!(argmax(&[0.0, 1.0, 1.0]), 1);
        let correct = |logits: &[f32], labels: &[usize]| {
            CrossEntropy::new(logits.len() / labels.len()).measure(logits, labels).correct
        };
        assert_eq!(correct(&[1.0, 1.0, 0.0, 2.0], &[0, 1]), 2);
        assert_eq!(correct(&[1.0, 1.0], &[1]), 0);
        let mut wide = [0.0; 40];
        (wide[3], wide[20], wide[33]) = (1.0, 1.0, 1.0);
        assert_eq!([3, 20, 33].map(|label| correct(&wide, &[label])), [1, 0, 0]);
        wide[20] = 2.0;
        assert_eq!([3, 20, 33].map(|label| correct(&wide, &[label])), [0, 1, 0]);
        assert_eq!(correct(&[f32::NAN, 1.0, 2.0, 3.0, f32::NAN, 1.0], &[2, 0]), 0);
        assert!(CrossEntropy::new(2).measure(&[f32::NAN, 1.0], &[1]).total.is_nan());
    }

    #[test]
    fn logarithms_are_accurate_and_bit_identical_with_vectors_of_any_length() {
        struct Ln(Strip);
        impl WithSimd for Ln {
            type Output = Strip;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Strip {
                store::<S>(ln(simd, load::<S>(&self.0)))
            }
        }
        let close_to_1 = (0..1_000).map(|k| f32::from_bits(1f32.to_bits() + 17 * k));
        for x in close_to_1.chain((0..30_000).map(|k| 1.0005f32.powi(k))) {
            let found = dispatch(Ln([x; LANES]));
            let exact = f64::from(x).ln();
            assert!((f64::from(found[0]) - exact).abs() <= 1.2e-7 * exact, "{x}: {} and {exact}", found[0]);
            for other in with_shorter_vectors(|| Ln([x; LANES])) {
                assert_eq!(other, found);
            }
        }
        for x in [f32::NAN, f32::INFINITY] {
            assert!(dispatch(Ln([x; LANES])).iter().all(|value| value.is_nan()), "{x}");
        }
    }
}
