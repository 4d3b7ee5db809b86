//! Adam (Kingma and Ba 2014), as Keras computes it (keras/src/optimizers/adam.py).

use pulp::Simd;

use crate::kernels::{Receive, Sink, send_all};
use crate::layers::{Batch, Classifier, FirstProduct, LayerSinks};
use crate::settings::Positive;
use crate::simd::{Strip, load, store};

/// Keras's defaults. Other libraries have an epsilon of 1e-8.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-7;
/// As in Keras, 1 - β is computed in float64, since in float32 it is off in the fifth digit; the powers of β are float32.
const ONE_MINUS_BETA_1: f32 = (1.0 - 0.9f64) as f32;
const ONE_MINUS_BETA_2: f32 = (1.0 - 0.999f64) as f32;

/// Adam for one classifier.
#[derive(Debug, Clone)]
pub struct Adam {
    state: State,
    clipping: Option<Clipping>,
}

/// The step count and the moments.
#[derive(Debug, Clone)]
struct State {
    /// Steps taken (t in the paper).
    step: i32,
    weight_decay: f32,
    /// First moments: the decaying mean of each parameter's gradient (m in the paper).
    m: Classifier,
    /// Second moments: the decaying mean of its square (v in the paper).
    v: Classifier,
}

/// Keras's `global_clipnorm`: gradients whose norm over all parameters is above the limit are scaled down to it.
#[derive(Debug, Clone)]
struct Clipping {
    limit: f32,
    /// All gradients, since the norm must be known before the first parameter changes.
    gradients: Classifier,
}

impl Adam {
    /// Adam before its first step; all moments are 0.
    pub fn new(classifier: &Classifier, weight_decay: Option<Positive>, clip_norm: Option<Positive>) -> Self {
        let weight_decay = weight_decay.map_or(0.0, |decay| decay.get() as f32);
        let clipping = |norm: Positive| Clipping { limit: norm.get() as f32, gradients: classifier.zeros_like() };
        Self {
            state: State { step: 0, weight_decay, m: classifier.zeros_like(), v: classifier.zeros_like() },
            clipping: clip_norm.map(clipping),
        }
    }

    /// Runs the backward pass and updates the classifier's parameters.
    ///
    /// `m += (g - m) (1 - β₁)`, `v += (g² - v) (1 - β₂)`, `p -= α m / (√v + ε)`, where
    /// `α = learning_rate √(1 - β₂ᵗ) / (1 - β₁ᵗ)`: the paper's algorithm with the bias corrections moved into α. Weight
    /// decay comes first: `p -= p learning_rate weight_decay` (keras/src/optimizers/base_optimizer.py).
    ///
    /// Each strip of parameters and moments is updated while its gradient is in registers. Only clipping computes all
    /// gradients first.
    ///
    /// Returns the product of the batch's next rows, if it has been computed ([`FirstProduct`]).
    pub fn step(&mut self, learning_rate: f32, classifier: &mut Classifier, batch: Batch<'_>) -> Option<FirstProduct> {
        let Some(Clipping { limit, gradients }) = &mut self.clipping else {
            return batch.backward(self.state.begin_step(learning_rate, classifier));
        };
        classifier.gradients(batch, gradients);
        clip(gradients, *limit);
        self.state.apply(learning_rate, classifier, gradients);
        None
    }
}

impl State {
    /// Takes one step with these gradients.
    fn apply(&mut self, learning_rate: f32, classifier: &mut Classifier, gradients: &Classifier) {
        for (sinks, gradient) in self.begin_step(learning_rate, classifier).into_iter().zip(&gradients.layers) {
            send_all(sinks.weights, &gradient.weights);
            send_all(sinks.bias, &gradient.bias);
        }
    }

    /// Begins the next step: returns the sinks that update each tensor of parameters with its gradient.
    fn begin_step<'a>(&'a mut self, learning_rate: f32, classifier: &'a mut Classifier) -> Vec<LayerSinks<Update<'a>>> {
        self.step += 1;
        let rates = Rates {
            alpha: learning_rate * (1.0 - BETA_2.powi(self.step)).sqrt() / (1.0 - BETA_1.powi(self.step)),
            decay: self.weight_decay * learning_rate,
        };
        let moments = self.m.layers.iter_mut().zip(&mut self.v.layers);
        let mut sinks = Vec::new();
        for (layer, (m, v)) in classifier.layers.iter_mut().zip(moments) {
            let (inputs, outputs) = (layer.inputs(), layer.outputs());
            let (weights, bias) = (&mut layer.weights, &mut layer.bias);
            sinks.push(LayerSinks {
                weights: Update { parameters: weights, m: &mut m.weights, v: &mut v.weights, rates },
                bias: Update { parameters: bias, m: &mut m.bias, v: &mut v.bias, rates },
                inputs,
                outputs,
            });
        }
        sinks
    }
}

/// The factors of one step.
#[derive(Debug, Clone, Copy)]
struct Rates {
    alpha: f32,
    /// learning_rate * weight_decay: the fraction by which a parameter shrinks.
    decay: f32,
}

/// A sink that updates a tensor of parameters and its moments.
struct Update<'a> {
    parameters: &'a mut [Strip],
    m: &'a mut [Strip],
    v: &'a mut [Strip],
    rates: Rates,
}

impl Sink for Update<'_> {
    const UPDATES: bool = true;

    fn split_at(self, strips: usize) -> (Self, Self) {
        let (parameters, other_parameters) = self.parameters.split_at_mut(strips);
        let (m, other_m) = self.m.split_at_mut(strips);
        let (v, other_v) = self.v.split_at_mut(strips);
        let others = Self { parameters: other_parameters, m: other_m, v: other_v, rates: self.rates };
        (Self { parameters, m, v, rates: self.rates }, others)
    }

    fn parameters(&self) -> &[Strip] {
        self.parameters
    }
}

impl Receive for Update<'_> {
    #[inline(always)]
    fn receive<S: Simd>(&mut self, simd: S, strip: usize, gradient: S::f32s) {
        let (p_strip, m_strip, v_strip) = (&mut self.parameters[strip], &mut self.m[strip], &mut self.v[strip]);
        let (mut p, mut m, mut v) = (load::<S>(p_strip), load::<S>(m_strip), load::<S>(v_strip));
        let one_minus_beta_1 = simd.splat_f32s(ONE_MINUS_BETA_1);
        let one_minus_beta_2 = simd.splat_f32s(ONE_MINUS_BETA_2);
        let (alpha, decay) = (simd.splat_f32s(self.rates.alpha), simd.splat_f32s(-self.rates.decay));

        m = simd.mul_add_f32s(simd.sub_f32s(gradient, m), one_minus_beta_1, m);
        v = simd.mul_add_f32s(simd.sub_f32s(simd.mul_f32s(gradient, gradient), v), one_minus_beta_2, v);
        p = simd.mul_add_f32s(p, decay, p);
        let divisor = simd.add_f32s(simd.sqrt_f32s(v), simd.splat_f32s(EPSILON));
        p = simd.sub_f32s(p, simd.div_f32s(simd.mul_f32s(alpha, m), divisor));

        (*p_strip, *m_strip, *v_strip) = (store::<S>(p), store::<S>(m), store::<S>(v));
    }
}

/// Scales the gradients down to the limit if their norm over all parameters is above it.
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
    use crate::layers::{Activations, Dense};
    use crate::team::with_threads;

    fn positive(value: f64) -> Option<Positive> {
        Positive::new("number", value).ok()
    }

    /// One weight and one bias.
    fn layer(weight: f32, bias: f32) -> Classifier {
        Classifier::from_layers(vec![Dense::from_keras(1, &[weight], &[bias]).unwrap()]).unwrap()
    }

    /// Gradients 0.5 and -2, then 1 and 1; the expected values are computed in float64. Weight decay comes first.
    #[test]
    fn two_steps_match_the_paper() {
        for decay in [0.0, 0.5] {
            let mut classifier = layer(1.0, 0.0);
            let mut adam = Adam::new(&classifier, positive(decay), None);
            let mut expected = [1.0f64, 0.0];
            let (mut m, mut v) = ([0.0f64; 2], [0.0f64; 2]);
            for (t, gradient) in [(1, [0.5f64, -2.0]), (2, [1.0, 1.0])] {
                adam.state.apply(0.1, &mut classifier, &layer(gradient[0] as f32, gradient[1] as f32));
                for k in 0..2 {
                    m[k] = 0.9 * m[k] + 0.1 * gradient[k];
                    v[k] = 0.999 * v[k] + 0.001 * gradient[k] * gradient[k];
                    let corrected = (m[k] / (1.0 - 0.9f64.powi(t)), v[k] / (1.0 - 0.999f64.powi(t)));
                    expected[k] -= expected[k] * 0.1 * decay;
                    expected[k] -= 0.1 * corrected.0 / (corrected.1.sqrt() + 1e-7);
                }
                let found = [classifier.layers[0].kernel()[0], classifier.layers[0].bias()[0]];
                for k in 0..2 {
                    let error = (f64::from(found[k]) - expected[k]).abs();
                    assert!(error < 3e-6, "decay {decay}, step {t}: {found:?}, expected {expected:?}");
                }
            }
        }
    }

    #[test]
    fn weight_decay_shrinks_parameters_and_clipping_shrinks_gradients() {
        let mut classifier = layer(2.0, -4.0);
        Adam::new(&classifier, positive(0.5), None).state.apply(0.1, &mut classifier, &layer(0.0, 0.0));
        assert_eq!(classifier, layer(1.9, -3.8));

        let mut gradients = layer(3.0, -4.0);
        clip(&mut gradients, 1.0);
        let found = [gradients.layers[0].kernel()[0], gradients.layers[0].bias()[0]];
        assert!((found[0] - 0.6).abs() < 1e-6 && (found[1] + 0.8).abs() < 1e-6, "{found:?}");
        let mut gradients = layer(3.0, -4.0);
        clip(&mut gradients, 5.0);
        assert_eq!(gradients, layer(3.0, -4.0), "short enough");
    }

    /// Three steps of a classifier on one batch.
    fn steps(hidden: &[usize], clip_norm: Option<Positive>) -> Classifier {
        let features: Vec<f32> = (0..24 * 1500).map(|k| ((k * 13) % 31) as f32 / 15.0 - 1.0).collect();
        let rows: Vec<&[f32]> = features.chunks_exact(1500).collect();
        let mut classifier = Classifier::new(1500, hidden, 70, 1);
        let logits_gradient: Vec<f32> = (0..24 * 70).map(|k| ((k * 7) % 11) as f32 / 50.0 - 0.1).collect();
        let mut adam = Adam::new(&classifier, positive(0.01), clip_norm);
        let mut activations = Activations::default();
        for _ in 0..3 {
            classifier.forward(&rows, None, &mut activations);
            let batch =
                Batch { rows: &rows, activations: &activations, logits_gradient: &logits_gradient, next_rows: &rows };
            adam.step(0.1, &mut classifier, batch);
        }
        classifier
    }

    #[test]
    fn steps_are_bit_identical_on_any_number_of_threads() {
        for hidden in [&[][..], &[90], &[600, 40]] {
            let alone = steps(hidden, None);
            for threads in [2, 3, 8] {
                with_threads(threads, || {
                    // Often enough that helpers take part.
                    for _ in 0..5 {
                        assert!(steps(hidden, None) == alone, "{hidden:?} on {threads} threads");
                    }
                });
            }
        }
    }

    #[test]
    fn the_product_of_a_step_gives_the_logits_of_the_next_rows() {
        for (threads, inputs, hidden, clip_norm, is_expected) in [
            (2, 1024, &[][..], None, true),
            (2, 1024, &[20], None, true),
            (4, 2048, &[], None, true),
            (1, 1024, &[], None, false),
            (2, 1000, &[], None, false),
            (2, 1024, &[], positive(1.0), false),
        ] {
            let features: Vec<f32> = (0..40 * inputs).map(|k| ((k * 13) % 31) as f32 / 15.0 - 1.0).collect();
            let rows: Vec<&[f32]> = features.chunks_exact(inputs).collect();
            let (rows, next_rows) = rows.split_at(32);
            let mut classifier = Classifier::new(inputs, hidden, 10, 1);
            let mut activations = Activations::default();
            with_threads(threads, || {
                classifier.forward(rows, None, &mut activations);
                let logits_gradient: Vec<f32> = (0..320).map(|k| ((k * 7) % 11) as f32 / 50.0 - 0.1).collect();
                let batch = Batch { rows, activations: &activations, logits_gradient: &logits_gradient, next_rows };
                let product = Adam::new(&classifier, None, clip_norm).step(0.1, &mut classifier, batch);
                assert_eq!(product.is_some(), is_expected, "{threads} threads, {inputs} inputs, {hidden:?}");
                if let Some(product) = product {
                    classifier.forward_from(product, None, &mut activations);
                    assert_eq!(activations.logits(), classifier.logits(next_rows));
                }
            });
        }
    }

    #[test]
    fn clipping_above_the_norm_changes_nothing() {
        for hidden in [&[][..], &[90]] {
            assert!(steps(hidden, positive(1e9)) == steps(hidden, None), "{hidden:?}");
        }
    }
}
