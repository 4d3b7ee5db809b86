//! Adam (Kingma and Ba 2014), as Keras computes it (keras/src/optimizers/adam.py).

use rayon::prelude::*;

use crate::kernels::Cores;
use crate::layers::Classifier;
use crate::settings::Positive;
use crate::simd::dispatch;

/// Keras's defaults. Note the epsilon: other libraries have 1e-8.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-7;
/// `1 - β`, rounded once: taken from the float32 β it would be off in the fifth digit.
const REST_1: f32 = (1.0 - 0.9f64) as f32;
const REST_2: f32 = (1.0 - 0.999f64) as f32;

/// Fewer parameters are not worth another core.
const MIN_PER_CORE: usize = 1024;

/// The optimizer's state: the moments of a classifier's gradients, and the number of steps taken.
#[derive(Debug, Clone)]
pub struct Adam {
    /// Steps taken: t of the paper.
    step: i32,
    weight_decay: Option<f32>,
    clip_norm: Option<f32>,
    /// The decaying mean of each parameter's gradient: m of the paper.
    first: Classifier,
    /// The decaying mean of its square: v of the paper.
    second: Classifier,
}

/// A tensor of parameters with its gradients and moments, all of one length.
struct Tensor<'a> {
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Adam {
    /// The state before the first step: no steps taken, all moments 0.
    pub fn new(classifier: &Classifier, weight_decay: Option<Positive>, clip_norm: Option<Positive>) -> Self {
        Self {
            step: 0,
            weight_decay: weight_decay.map(|decay| decay.get() as f32),
            clip_norm: clip_norm.map(|norm| norm.get() as f32),
            first: classifier.zeros(),
            second: classifier.zeros(),
        }
    }

    /// Moves the parameters one step down the gradients, which are clipped in place.
    ///
    /// `m += (g - m) (1 - β₁)`, `v += (g² - v) (1 - β₂)`, `p -= α m / (√v + ε)` with
    /// `α = learning_rate √(1 - β₂ᵗ) / (1 - β₁ᵗ)`: the paper's algorithm with the bias corrections moved into α. Before
    /// it, gradients whose norm over all parameters is above the limit are scaled down to it (Keras's
    /// `global_clipnorm`), and `p -= p learning_rate weight_decay` (keras/src/optimizers/base_optimizer.py).
    pub fn step(&mut self, cores: Cores, learning_rate: f32, classifier: &mut Classifier, gradients: &mut Classifier) {
        self.step += 1;
        if let Some(limit) = self.clip_norm {
            clip(gradients, limit);
        }
        if let Some(decay) = self.weight_decay {
            for value in classifier.parameters_mut().flatten() {
                *value -= *value * decay * learning_rate;
            }
        }
        let alpha = learning_rate * (1.0 - BETA_2.powi(self.step)).sqrt() / (1.0 - BETA_1.powi(self.step));
        for k in 0..classifier.layers.len() {
            let (layer, gradient) = (&mut classifier.layers[k], &gradients.layers[k]);
            let (first, second) = (&mut self.first.layers[k], &mut self.second.layers[k]);
            let weights = Tensor {
                parameters: &mut layer.weights,
                gradients: &gradient.weights,
                first: &mut first.weights,
                second: &mut second.weights,
            };
            weights.update(cores, alpha);
            let bias = Tensor {
                parameters: &mut layer.bias,
                gradients: &gradient.bias,
                first: &mut first.bias,
                second: &mut second.bias,
            };
            bias.update(cores, alpha);
        }
    }
}

impl Tensor<'_> {
    fn update(self, cores: Cores, alpha: f32) {
        let share = cores.share(self.parameters.len(), MIN_PER_CORE);
        if share >= self.parameters.len() {
            return dispatch(|| self.update_here(alpha));
        }
        let Self { parameters, gradients, first, second } = self;
        let shares = (
            parameters.par_chunks_mut(share),
            gradients.par_chunks(share),
            first.par_chunks_mut(share),
            second.par_chunks_mut(share),
        );
        shares.into_par_iter().for_each(|(parameters, gradients, first, second)| {
            let part = Tensor { parameters, gradients, first, second };
            dispatch(|| part.update_here(alpha));
        });
    }

    /// On the caller's core; inlined into the dispatch, so that it is compiled for the processor's vectors.
    #[inline(always)]
    fn update_here(self, alpha: f32) {
        let count = self.parameters.len();
        // Of one length for all to see: no index is checked in the loop.
        let (parameters, gradients) = (&mut self.parameters[..count], &self.gradients[..count]);
        let (first, second) = (&mut self.first[..count], &mut self.second[..count]);
        for k in 0..count {
            let gradient = gradients[k];
            first[k] += (gradient - first[k]) * REST_1;
            second[k] += (gradient * gradient - second[k]) * REST_2;
            parameters[k] -= alpha * first[k] / (second[k].sqrt() + EPSILON);
        }
    }
}

/// Scales gradients whose norm over all parameters is above the limit down to it.
fn clip(gradients: &mut Classifier, limit: f32) {
    let mut squares = 0.0;
    for &value in gradients.parameters().flatten() {
        squares += f64::from(value) * f64::from(value);
    }
    let norm = squares.sqrt() as f32;
    if norm > limit {
        for value in gradients.parameters_mut().flatten() {
            *value *= limit / norm;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Dense;

    /// One weight and one bias; gradients 0.5 and -2, then 1 and 1; computed by hand in double precision. float32 has
    /// 1 - 0.999 to five digits.
    #[test]
    fn two_steps_are_those_of_the_paper() {
        let layer = |weight: f32, bias: f32| {
            Classifier::from_layers(vec![Dense::from_keras(1, &[weight], &[bias]).unwrap()]).unwrap()
        };
        let mut classifier = layer(1.0, 0.0);
        let mut adam = Adam::new(&classifier, None, None);
        let mut expected = [1.0f64, 0.0];
        let (mut m, mut v) = ([0.0f64; 2], [0.0f64; 2]);
        for (t, gradient) in [(1, [0.5f64, -2.0]), (2, [1.0, 1.0])] {
            adam.step(Cores::One, 0.1, &mut classifier, &mut layer(gradient[0] as f32, gradient[1] as f32));
            for k in 0..2 {
                m[k] = 0.9 * m[k] + 0.1 * gradient[k];
                v[k] = 0.999 * v[k] + 0.001 * gradient[k] * gradient[k];
                let corrected = (m[k] / (1.0 - 0.9f64.powi(t)), v[k] / (1.0 - 0.999f64.powi(t)));
                expected[k] -= 0.1 * corrected.0 / (corrected.1.sqrt() + 1e-7);
            }
            let found = [classifier.layers[0].weights[0], classifier.layers[0].bias[0]];
            for k in 0..2 {
                assert!((f64::from(found[k]) - expected[k]).abs() < 3e-6, "step {t}: {found:?}, expected {expected:?}");
            }
        }
    }

    #[test]
    fn decay_shrinks_the_parameters_and_clipping_the_gradients() {
        let layer = |weight: f32, bias: f32| {
            Classifier::from_layers(vec![Dense::from_keras(1, &[weight], &[bias]).unwrap()]).unwrap()
        };
        let positive = |value| Positive::new("number", value).ok();
        let mut classifier = layer(2.0, -4.0);
        Adam::new(&classifier, positive(0.5), None).step(Cores::One, 0.1, &mut classifier, &mut layer(0.0, 0.0));
        assert_eq!(classifier, layer(1.9, -3.8));

        let mut gradients = layer(3.0, -4.0);
        Adam::new(&classifier, None, positive(1.0)).step(Cores::One, 0.1, &mut classifier, &mut gradients);
        assert!(gradients.parameters().flatten().zip([0.6, -0.8]).all(|(a, b)| (a - b).abs() < 1e-6), "{gradients:?}");
        let mut gradients = layer(3.0, -4.0);
        Adam::new(&classifier, None, positive(5.0)).step(Cores::One, 0.1, &mut classifier, &mut gradients);
        assert_eq!(gradients, layer(3.0, -4.0), "short enough");
    }

    #[test]
    fn any_number_of_cores_takes_the_same_step() {
        let start = Classifier::new(700, &[9], 4, 1);
        let step = |cores| {
            let (mut classifier, mut gradients) = (start.clone(), Classifier::new(700, &[9], 4, 2));
            let mut adam = Adam::new(&classifier, None, None);
            adam.step(cores, 0.1, &mut classifier, &mut gradients);
            adam.step(cores, 0.1, &mut classifier, &mut gradients);
            classifier
        };
        for cores in [2, 3, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build().unwrap();
            assert_eq!(pool.install(|| step(Cores::All)), step(Cores::One), "{cores}");
        }
        assert_ne!(step(Cores::One), start);
    }
}
