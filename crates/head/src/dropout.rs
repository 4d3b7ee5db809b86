//! Inverted dropout (Srivastava et al. 2014, scaled as in Keras): training sets some values to 0 and scales the others
//! up, so that the mean stays the same. Evaluation changes nothing.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::settings::Fraction;

/// Draws which values to drop, batch by batch.
#[derive(Debug, Clone)]
pub struct Dropout {
    random: ChaCha8Rng,
    /// A value is dropped if its 16 random bits are less than this.
    threshold: u16,
    /// The factor of kept values, 1 / (1 - rate).
    scale: f32,
}

impl Dropout {
    /// Dropout at this rate, rounded to 16 bits; `None` if that is 0. The same seed drops the same values.
    pub fn new(rate: Fraction, seed: u64) -> Option<Self> {
        let steps = f64::from(u16::MAX) + 1.0;
        let threshold = (rate.get() * steps).round().min(steps - 1.0) as u16;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Stream 0 draws the initial weights, stream 1 the order of the rows.
        random.set_stream(2);
        let scale = (1.0 / (1.0 - f64::from(threshold) / steps)) as f32;
        (threshold > 0).then_some(Self { random, threshold, scale })
    }

    /// The factor of kept values.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Sets some of the values to 0 and scales the others.
    pub fn apply(&mut self, values: &mut [f32]) {
        // Each draw of 64 bits decides about four values.
        for four in values.chunks_mut(4) {
            let mut bits = self.random.next_u64();
            for value in four {
                *value *= if (bits as u16) < self.threshold { 0.0 } else { self.scale };
                bits >>= 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_drops_a_fraction_and_keeps_the_mean() {
        let mut dropout = Dropout::new(Fraction::new("dropout", 0.3).unwrap(), 5).unwrap();
        let mut values = vec![1.0f32; 100_000];
        dropout.apply(&mut values);
        let dropped = values.iter().filter(|&&value| value == 0.0).count();
        assert!((29_500..30_500).contains(&dropped), "{dropped}");
        let mean = values.iter().sum::<f32>() / 100_000.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!(values.iter().all(|&value| value == 0.0 || (value - 1.0 / 0.7).abs() < 1e-4));
        assert!(Dropout::new(Fraction::default(), 5).is_none());
    }
}
