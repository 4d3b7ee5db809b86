//! Dense layers, and a stack of them with ReLU between: the classifier.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dropout::Dropout;
use crate::kernels::{Coefficients, Cores, combine, dots};

/// A dense layer: `outputs = weights · inputs + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    inputs: usize,
    /// (outputs, inputs): Keras's kernel transposed, so that every product runs along contiguous rows.
    pub(crate) weights: Vec<f32>,
    /// (outputs,)
    pub(crate) bias: Vec<f32>,
}

/// Dense layers with ReLU between; the last one gives the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    pub(crate) layers: Vec<Dense>,
}

/// What a forward pass over a batch leaves for the backward pass. Used again for the next batch, it allocates nothing.
#[derive(Debug, Default)]
pub struct Activations {
    /// Of each layer (rows, outputs), ReLU and dropout applied to all but the last.
    outputs: Vec<Vec<f32>>,
    /// (rows, inputs) after dropout, which a linear head applies to its input; empty for any other.
    dropped_rows: Vec<f32>,
    /// What dropout multiplied the values by that it kept.
    scale: f32,
}

/// Parameters whose shapes do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A layer of no inputs or no outputs, or weights that are not inputs x outputs.
    #[error("{found} weights do not make a dense layer of {inputs} inputs and {outputs} outputs")]
    Weights {
        /// The layer's inputs.
        inputs: usize,
        /// The layer's outputs, by the length of its bias.
        outputs: usize,
        /// The weights that were given.
        found: usize,
    },
    /// A layer takes other inputs than the one before gives.
    #[error("a dense layer of {inputs} inputs follows one of {outputs} outputs")]
    Sequence {
        /// Outputs of the layer before.
        outputs: usize,
        /// Inputs of the layer.
        inputs: usize,
    },
    /// A classifier without a layer.
    #[error("no layers")]
    NoLayers,
}

impl Dense {
    /// Keras's default start: weights uniform in ± sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010), bias zero.
    pub fn glorot(inputs: usize, outputs: usize, random: &mut ChaCha8Rng) -> Self {
        let limit = (6.0 / (inputs + outputs) as f32).sqrt();
        let weights = (0..inputs * outputs).map(|_| random.random_range(-limit..limit)).collect();
        Self { inputs, weights, bias: vec![0.0; outputs] }
    }

    /// From Keras's kernel, (inputs, outputs) row-major, and its bias, (outputs,).
    ///
    /// # Errors
    /// When there are no inputs or no outputs, or the kernel's length is not inputs * outputs.
    pub fn from_keras(inputs: usize, kernel: &[f32], bias: &[f32]) -> Result<Self, ShapeError> {
        let outputs = bias.len();
        if inputs == 0 || outputs == 0 || inputs.checked_mul(outputs) != Some(kernel.len()) {
            return Err(ShapeError::Weights { inputs, outputs, found: kernel.len() });
        }
        Ok(Self { inputs, weights: transposed(kernel, outputs), bias: bias.to_vec() })
    }

    /// Keras's kernel, (inputs, outputs) row-major.
    pub fn kernel(&self) -> Vec<f32> {
        transposed(&self.weights, self.inputs)
    }

    /// The bias, (outputs,).
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The layer whose output k is this one's output `order[k]`.
    ///
    /// # Panics
    /// When an element of `order` is not less than the number of outputs.
    pub fn reordered(&self, order: &[usize]) -> Self {
        let mut reordered = Self { inputs: self.inputs, weights: Vec::new(), bias: Vec::new() };
        for &output in order {
            reordered.weights.extend_from_slice(&self.weights[output * self.inputs..][..self.inputs]);
            reordered.bias.push(self.bias[output]);
        }
        reordered
    }

    /// The outputs of these rows, (rows, outputs), without an activation.
    fn forward(&self, cores: Cores, rows: &[&[f32]], out: &mut Vec<f32>) {
        out.resize(rows.len() * self.outputs(), 0.0);
        dots(cores, rows, &self.weights, out);
        for row in out.chunks_exact_mut(self.outputs()) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value += bias;
            }
        }
    }
}

impl Classifier {
    /// An untrained classifier of rows of `inputs` features: a layer for each width in `hidden`, then one output for each
    /// class. The same seed gives the same weights.
    pub fn new(inputs: usize, hidden: &[usize], classes: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let widths: Vec<usize> = [&[inputs], hidden, &[classes]].concat();
        Self { layers: widths.windows(2).map(|pair| Dense::glorot(pair[0], pair[1], &mut random)).collect() }
    }

    /// From layers, the first one first; each must take what the one before gives.
    ///
    /// # Errors
    /// When two layers do not fit, or there is none.
    pub fn from_layers(layers: Vec<Dense>) -> Result<Self, ShapeError> {
        if layers.is_empty() {
            return Err(ShapeError::NoLayers);
        }
        for k in 1..layers.len() {
            let (outputs, inputs) = (layers[k - 1].outputs(), layers[k].inputs);
            if outputs != inputs {
                return Err(ShapeError::Sequence { outputs, inputs });
            }
        }
        Ok(Self { layers })
    }

    /// The layers, the first one first.
    pub fn layers(&self) -> &[Dense] {
        &self.layers
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, Dense::inputs)
    }

    /// The number of classes: length of a row of logits.
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, Dense::outputs)
    }

    /// The logits of these rows, (rows, classes) row-major, computed on the caller's core.
    pub fn logits(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut activations = Activations::default();
        self.forward(Cores::One, rows, None, &mut activations);
        activations.outputs.pop().unwrap_or_default()
    }

    /// Runs the rows through all layers; the logits are [`Activations::logits`]. Dropout, where wanted, is applied to the
    /// outputs of each hidden layer, or to the rows themselves where there is none.
    pub fn forward(
        &self,
        cores: Cores,
        rows: &[&[f32]],
        mut dropout: Option<&mut Dropout>,
        activations: &mut Activations,
    ) {
        let Activations { outputs, dropped_rows, scale } = activations;
        outputs.resize_with(self.layers.len(), Vec::new);
        dropped_rows.clear();
        *scale = dropout.as_ref().map_or(1.0, |dropout| dropout.scale());
        let last = self.layers.len() - 1;
        for (k, layer) in self.layers.iter().enumerate() {
            let (before, rest) = outputs.split_at_mut(k);
            let output = &mut rest[0];
            if let Some(hidden) = before.last() {
                layer.forward(cores, &rows_of(hidden, layer.inputs), output);
            } else if let Some(dropout) = &mut dropout
                && k == last
            {
                // A linear head has no hidden layer to drop from. The rows are the cache's: a copy is changed.
                for row in rows {
                    dropped_rows.extend_from_slice(row);
                }
                dropout.apply(dropped_rows);
                layer.forward(cores, &rows_of(dropped_rows, layer.inputs), output);
            } else {
                layer.forward(cores, rows, output);
            }
            if k < last {
                relu(output);
                if let Some(dropout) = &mut dropout {
                    dropout.apply(output);
                }
            }
        }
    }

    /// The gradients of all parameters, given the batch's rows, what [`Classifier::forward`] made of them, and the
    /// gradient of the logits, (rows, classes). `gradients` has the classifier's own shape and is overwritten.
    pub fn backward(
        &self,
        cores: Cores,
        rows: &[&[f32]],
        activations: &Activations,
        gradient_of_logits: Vec<f32>,
        gradients: &mut Self,
    ) {
        let mut of_outputs = gradient_of_logits;
        for k in (0..self.layers.len()).rev() {
            let (layer, gradient) = (&self.layers[k], &mut gradients.layers[k]);
            let outputs = layer.outputs();

            // The bias is added to each row: its gradient is the sum over the rows.
            gradient.bias.fill(0.0);
            for row in of_outputs.chunks_exact(outputs) {
                for (sum, value) in gradient.bias.iter_mut().zip(row) {
                    *sum += value;
                }
            }

            // The weights of an output: the layer's input rows, each times the gradient of that output.
            let by_row = Coefficients { values: &of_outputs, per_row: outputs, per_output: 1 };
            if k == 0 {
                let dropped_rows = rows_of(&activations.dropped_rows, layer.inputs);
                let rows = if dropped_rows.is_empty() { rows } else { &dropped_rows };
                combine(cores, rows, by_row, &mut gradient.weights);
                return;
            }
            let hidden = &activations.outputs[k - 1];
            combine(cores, &rows_of(hidden, layer.inputs), by_row, &mut gradient.weights);

            // The layer's input: its weights' rows, each times the gradient of its output.
            let by_output = Coefficients { values: &of_outputs, per_row: 1, per_output: outputs };
            let mut of_inputs = vec![0.0; hidden.len()];
            combine(cores, &rows_of(&layer.weights, layer.inputs), by_output, &mut of_inputs);
            // What ReLU or dropout made 0 stays 0 when its input changes a little.
            for (gradient, value) in of_inputs.iter_mut().zip(hidden) {
                *gradient *= if *value > 0.0 { activations.scale } else { 0.0 };
            }
            of_outputs = of_inputs;
        }
    }

    /// A classifier of the same shape whose parameters are all 0: where gradients and moments begin.
    pub fn zeros(&self) -> Self {
        let zeros = |layer: &Dense| Dense {
            inputs: layer.inputs,
            weights: vec![0.0; layer.weights.len()],
            bias: vec![0.0; layer.bias.len()],
        };
        Self { layers: self.layers.iter().map(zeros).collect() }
    }

    /// Every tensor of parameters, layer after layer: weights, (outputs, inputs), then bias, (outputs,).
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.layers.iter().flat_map(|layer| [&layer.weights, &layer.bias])
    }

    /// [`Classifier::parameters`], to be changed.
    pub(crate) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.layers.iter_mut().flat_map(|layer| [&mut layer.weights, &mut layer.bias])
    }
}

impl Activations {
    /// The last layer's outputs, (rows, classes) row-major; empty before the first forward pass.
    pub fn logits(&self) -> &[f32] {
        self.outputs.last().map_or(&[], Vec::as_slice)
    }
}

/// The rows of a row-major matrix.
fn rows_of(matrix: &[f32], length: usize) -> Vec<&[f32]> {
    matrix.chunks_exact(length).collect()
}

/// A row-major matrix of so many columns, transposed.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        result.extend(matrix.iter().skip(column).step_by(columns));
    }
    result
}

fn relu(values: &mut [f32]) {
    for value in values {
        *value = value.max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::CrossEntropy;
    use crate::settings::Fraction;

    #[test]
    fn keras_kernels_go_in_and_come_out() {
        let kernel = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let layer = Dense::from_keras(2, &kernel, &[0.5, 0.5, -20.0]).unwrap();
        assert_eq!(layer.kernel(), kernel);
        let classifier = Classifier::from_layers(vec![layer]).unwrap();
        assert_eq!(classifier.logits(&[&[1.0, 10.0]]), [41.5, 52.5, 43.0]);
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        let bias = [0.0; 3];
        for (inputs, weights, outputs) in [(2, 6, 1), (2, 6, 0), (0, 0, 3), (5, 0, 0), (usize::MAX / 2 + 1, 0, 2)] {
            let layer = Dense::from_keras(inputs, &vec![1.0; weights], &bias[..outputs]);
            assert_eq!(layer, Err(ShapeError::Weights { inputs, outputs, found: weights }));
        }
        let layer = Dense::from_keras(2, &[1.0; 6], &bias).unwrap();
        let layers = Classifier::from_layers(vec![layer.clone(), layer]);
        assert_eq!(layers, Err(ShapeError::Sequence { outputs: 3, inputs: 2 }));
        assert_eq!(Classifier::from_layers(Vec::new()), Err(ShapeError::NoLayers));
    }

    #[test]
    fn glorot_kernels_stay_within_their_limit_and_follow_the_seed() {
        let classifier = Classifier::new(64, &[32], 10, 7);
        let limit = (6.0f32 / 96.0).sqrt();
        let weights = &classifier.layers[0].weights;
        assert!(weights.iter().all(|weight| weight.abs() <= limit));
        assert!(weights.iter().any(|weight| weight.abs() > 0.95 * limit));
        assert!(classifier.layers.iter().all(|layer| layer.bias.iter().all(|&bias| bias == 0.0)));
        assert_eq!(classifier, Classifier::new(64, &[32], 10, 7));
        assert_ne!(classifier, Classifier::new(64, &[32], 10, 8));
    }

    #[test]
    fn gradients_are_the_losss_finite_differences() {
        for hidden in [&[][..], &[5], &[6, 4]] {
            for rate in [0.0, 0.3] {
                let mut classifier = Classifier::new(7, hidden, 3, 1);
                let features: Vec<f32> = (0..4 * 7).map(|k| ((k * 13) % 11) as f32 / 5.0 - 1.0).collect();
                let rows = rows_of(&features, 7);
                let labels = [0, 2, 1, 2];
                let loss = CrossEntropy::new(3);
                // The same values are dropped each time.
                let dropout = Dropout::new(Fraction::new("dropout", rate).unwrap(), 9);
                let forward = |classifier: &Classifier| {
                    let mut activations = Activations::default();
                    classifier.forward(Cores::One, &rows, dropout.clone().as_mut(), &mut activations);
                    activations
                };
                let activations = forward(&classifier);
                let (_, of_logits) = loss.loss_and_gradient(activations.logits(), &labels);
                let mut gradients = classifier.zeros();
                classifier.backward(Cores::One, &rows, &activations, of_logits, &mut gradients);

                let gradients: Vec<Vec<f32>> = gradients.parameters().cloned().collect();
                for (tensor, gradient) in gradients.iter().enumerate() {
                    for (k, gradient) in gradient.iter().enumerate() {
                        let mut loss_at = |offset: f32| {
                            *classifier.parameters_mut().nth(tensor).unwrap().get_mut(k).unwrap() += offset;
                            let at = loss.loss_and_gradient(forward(&classifier).logits(), &labels).0;
                            *classifier.parameters_mut().nth(tensor).unwrap().get_mut(k).unwrap() -= offset;
                            at
                        };
                        let difference = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2;
                        let error = (difference - f64::from(*gradient)).abs();
                        assert!(error < 2e-3, "{hidden:?} {rate}: tensor {tensor}[{k}]: {difference} and {gradient}");
                    }
                }
            }
        }
    }
}
