//! Probabilities, confidence and energy from logits.

use crate::loss::argmax;

/// The probability of each class, (classes,): the softmax of `logits / temperature`.
pub fn probabilities(logits: &[f32], temperature: f32) -> Vec<f32> {
    let powers: Vec<f64> = powers(logits, temperature).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

/// The probability of the predicted class, the largest of the [`probabilities`].
pub fn confidence(logits: &[f32], temperature: f32) -> f64 {
    1.0 / powers(logits, temperature).sum::<f64>()
}

/// The energy of a row, -ln Σ exp(logit), at temperature 1 (Liu et al. 2020): high if no logit is large.
pub fn energy(logits: &[f32]) -> f64 {
    -(f64::from(max_logit(logits)) + powers(logits, 1.0).sum::<f64>().ln())
}

/// `exp((logit - max_logit) / temperature)` of each logit. The largest is 1, so exp cannot overflow.
fn powers(logits: &[f32], temperature: f32) -> impl Iterator<Item = f64> {
    let (max_logit, temperature) = (f64::from(max_logit(logits)), f64::from(temperature));
    logits.iter().map(move |&logit| ((f64::from(logit) - max_logit) / temperature).exp())
}

fn max_logit(logits: &[f32]) -> f32 {
    logits.get(argmax(logits)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_the_softmax_at_any_temperature() {
        let logits = [1.0, -2.0, 3.5, 0.0];
        for temperature in [0.25f32, 1.0, 1.7, 4.0] {
            let powers = logits.map(|logit: f32| (f64::from(logit) / f64::from(temperature)).exp());
            let found = probabilities(&logits, temperature);
            for (found, power) in found.iter().zip(powers) {
                assert!((f64::from(*found) - power / powers.iter().sum::<f64>()).abs() < 1e-7);
            }
            assert_eq!(found[2], confidence(&logits, temperature) as f32);
        }
        let exact = -logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
        assert!((energy(&logits) - exact).abs() < 1e-12);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        assert_eq!(probabilities(&[3e38, -3e38, 3e38], 0.25), [0.5, 0.0, 0.5]);
        assert_eq!(probabilities(&[f32::NEG_INFINITY, 0.0], 1.0), [0.0, 1.0]);
        assert_eq!(energy(&[3e38, 0.0]), -f64::from(3e38f32));
    }
}
