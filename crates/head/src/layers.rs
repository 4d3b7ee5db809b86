//! Dense layers, and a stack of them with ReLU between: the classifier.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dropout::Dropout;
use crate::kernels::{Backward, Cores, Keep, OfInputs, Sink, dots, give_all};
use crate::simd::{LANES, Strip, copy_rows, cut, strips};

/// A dense layer: `outputs = weights · inputs + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    inputs: usize,
    outputs: usize,
    /// (strips of inputs, outputs): that of an input and an output is in Keras's kernel at the same input and output.
    pub(crate) weights: Vec<Strip>,
    /// (strips of outputs,)
    pub(crate) bias: Vec<Strip>,
}

/// Dense layers with ReLU between; the last one gives the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    pub(crate) layers: Vec<Dense>,
}

/// What a forward pass over a batch leaves for the backward pass. Used again for the next batch, it allocates nothing.
#[derive(Debug, Default)]
pub struct Activations {
    /// (rows, strips): the rows, where the first layer takes copies of them; otherwise empty.
    copies: Vec<Strip>,
    /// Of each layer, ReLU and dropout applied to all but the last: (rows, classes), and (rows, outputs) in whole strips
    /// for the others.
    outputs: Vec<Vec<f32>>,
    /// Room for the sums of [`dots`].
    sums: Vec<f32>,
    /// What dropout multiplied the values by that it kept.
    scale: f32,
}

/// A batch that has gone forward, with the gradient of its logits.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// (rows, inputs)
    pub rows: &'a [&'a [f32]],
    /// What [`Classifier::forward`] made of them.
    pub activations: &'a Activations,
    /// (rows, classes)
    pub of_logits: &'a [f32],
    /// The rows that are read next, to be fetched during the backward pass; they may be none.
    pub next_rows: &'a [&'a [f32]],
}

/// Where the gradients of a layer's parameters go.
pub(crate) struct LayerSinks<T> {
    /// Of the weights, (strips of inputs, outputs).
    pub weights: T,
    /// Of the bias, (strips of outputs,).
    pub bias: T,
    /// The layer's inputs.
    pub inputs: usize,
    /// The layer's outputs.
    pub outputs: usize,
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
    /// A layer whose parameters are all 0.
    fn zeros(inputs: usize, outputs: usize) -> Self {
        let (weights, bias) = (vec![[0.0; LANES]; strips(inputs) * outputs], vec![[0.0; LANES]; strips(outputs)]);
        Self { inputs, outputs, weights, bias }
    }

    /// Keras's default start: weights uniform in ± sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010), bias zero.
    pub fn glorot(inputs: usize, outputs: usize, random: &mut ChaCha8Rng) -> Self {
        let limit = (6.0 / (inputs + outputs) as f32).sqrt();
        let mut layer = Self::zeros(inputs, outputs);
        for output in 0..outputs {
            for input in 0..inputs {
                *layer.weight_mut(input, output) = random.random_range(-limit..limit);
            }
        }
        layer
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
        let mut layer = Self::zeros(inputs, outputs);
        for (k, &weight) in kernel.iter().enumerate() {
            *layer.weight_mut(k / outputs, k % outputs) = weight;
        }
        layer.bias.as_flattened_mut()[..outputs].copy_from_slice(bias);
        Ok(layer)
    }

    /// Keras's kernel, (inputs, outputs) row-major.
    pub fn kernel(&self) -> Vec<f32> {
        let mut kernel = Vec::with_capacity(self.inputs * self.outputs);
        for input in 0..self.inputs {
            let strip = input / LANES * self.outputs;
            kernel.extend(self.weights[strip..][..self.outputs].iter().map(|strip| strip[input % LANES]));
        }
        kernel
    }

    /// The bias, (outputs,).
    pub fn bias(&self) -> &[f32] {
        &self.bias.as_flattened()[..self.outputs]
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    fn weight_mut(&mut self, input: usize, output: usize) -> &mut f32 {
        &mut self.weights[input / LANES * self.outputs + output][input % LANES]
    }

    /// The layer whose output k is this one's output `order[k]`.
    ///
    /// # Panics
    /// When an element of `order` is not less than the number of outputs.
    pub fn reordered(&self, order: &[usize]) -> Self {
        let mut reordered = Self::zeros(self.inputs, order.len());
        reordered.weights.clear();
        for of_strip in self.weights.chunks_exact(self.outputs) {
            reordered.weights.extend(order.iter().map(|&output| of_strip[output]));
        }
        for (bias, &output) in reordered.bias.as_flattened_mut().iter_mut().zip(order) {
            *bias = self.bias()[output];
        }
        reordered
    }

    /// The outputs of these rows without an activation, (rows, outputs), each row of `out` being `stride` long.
    fn forward(&self, cores: Cores, rows: &[&[Strip]], stride: usize, sums: &mut Vec<f32>, out: &mut Vec<f32>) {
        dots(cores, rows, &self.weights, self.outputs, sums);
        out.resize(rows.len() * stride, 0.0);
        for (row, sums) in out.chunks_exact_mut(stride).zip(sums.chunks_exact(self.outputs)) {
            for ((value, sum), bias) in row.iter_mut().zip(sums).zip(self.bias()) {
                *value = sum + bias;
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
        let Activations { copies, outputs, sums, scale } = activations;
        *scale = dropout.as_ref().map_or(1.0, |dropout| dropout.scale());
        outputs.resize_with(self.layers.len(), Vec::new);
        let last = self.layers.len() - 1;

        // The rows are the cache's. Copies of them are dropped from where there is no hidden layer, or cut into strips.
        copies.clear();
        let dropout_of_rows = dropout.as_mut().filter(|_| last == 0);
        if dropout_of_rows.is_some() || self.inputs() % LANES > 0 {
            copy_rows(rows, copies);
        }
        if let Some(dropout) = dropout_of_rows {
            drop_out(dropout, copies.as_flattened_mut(), self.inputs());
        }

        for (k, layer) in self.layers.iter().enumerate() {
            let (before, rest) = outputs.split_at_mut(k);
            let output = &mut rest[0];
            if k == last {
                layer.forward(cores, &input_rows(rows, copies, before), layer.outputs, sums, output);
                return;
            }
            let stride = strips(layer.outputs) * LANES;
            layer.forward(cores, &input_rows(rows, copies, before), stride, sums, output);
            relu(output);
            if let Some(dropout) = &mut dropout {
                drop_out(dropout, output, layer.outputs);
            }
        }
    }

    /// The gradients of all parameters for a batch, into a classifier of the same shape, which is overwritten.
    pub fn gradients(&self, cores: Cores, batch: Batch<'_>, gradients: &mut Self) {
        let mut sinks = Vec::new();
        for (layer, gradient) in self.layers.iter().zip(&mut gradients.layers) {
            sinks.push(LayerSinks {
                weights: Keep { parameters: &layer.weights, gradients: &mut gradient.weights },
                bias: Keep { parameters: &layer.bias, gradients: &mut gradient.bias },
                inputs: layer.inputs,
                outputs: layer.outputs,
            });
        }
        batch.backward(cores, sinks);
    }

    /// A classifier of the same shape whose parameters are all 0: where gradients and moments begin.
    pub fn zeros(&self) -> Self {
        Self { layers: self.layers.iter().map(|layer| Dense::zeros(layer.inputs, layer.outputs)).collect() }
    }

    /// Every tensor of parameters, layer after layer: weights, then bias.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &[f32]> {
        self.layers.iter().flat_map(|layer| [layer.weights.as_flattened(), layer.bias.as_flattened()])
    }

    /// [`Classifier::parameters`], to be changed.
    pub(crate) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.layers.iter_mut().flat_map(|layer| [layer.weights.as_flattened_mut(), layer.bias.as_flattened_mut()])
    }
}

impl Activations {
    /// The last layer's outputs, (rows, classes) row-major; empty before the first forward pass.
    pub fn logits(&self) -> &[f32] {
        self.outputs.last().map_or(&[], Vec::as_slice)
    }
}

impl Batch<'_> {
    /// Goes backward through the layers, from the last one to the first, and gives each one's sinks the gradients of its
    /// parameters.
    pub(crate) fn backward<T: Sink>(self, cores: Cores, layers: Vec<LayerSinks<T>>) {
        let Batch { rows, activations, of_logits, next_rows } = self;
        let mut of_outputs = of_logits.to_vec();
        for (k, layer) in layers.into_iter().enumerate().rev() {
            let outputs = layer.outputs;

            // The bias is added to each row: its gradient is the sum over the rows.
            let mut of_bias = vec![[0.0; LANES]; strips(outputs)];
            for row in of_outputs.chunks_exact(outputs) {
                for (sum, value) in of_bias.as_flattened_mut().iter_mut().zip(row) {
                    *sum += value;
                }
            }
            give_all(layer.bias, &of_bias);

            let before = &activations.outputs[..k];
            let inputs = input_rows(rows, &activations.copies, before);
            let pass =
                Backward { rows: &inputs, of_outputs: &of_outputs, sink: layer.weights, of_inputs: None, next_rows };
            let Some(hidden) = before.last() else { return pass.run(cores) };

            // The gradient of the inputs, which are the outputs of the layer before.
            let by_output = transposed(&of_outputs, outputs);
            let mut of_inputs = vec![[0.0; LANES]; hidden.len() / LANES];
            let of_inputs_too = OfInputs { of_outputs: &by_output, out: &mut of_inputs };
            Backward { of_inputs: Some(of_inputs_too), next_rows: &[], ..pass }.run(cores);
            of_outputs = of_hidden(&of_inputs, hidden, layer.inputs, activations.scale);
        }
    }
}

/// The inputs of a layer, (rows, strips): the outputs of the layer before it, or else the copies of the rows, if there are
/// any, or else the rows.
fn input_rows<'a>(rows: &[&'a [f32]], copies: &'a [Strip], before: &'a [Vec<f32>]) -> Vec<&'a [Strip]> {
    let whole = match before.last() {
        Some(hidden) => hidden.as_chunks().0,
        None if copies.is_empty() => return cut(rows),
        None => copies,
    };
    whole.chunks_exact((whole.len() / rows.len().max(1)).max(1)).collect()
}

/// Applies dropout to rows of this length, each in whole strips.
fn drop_out(dropout: &mut Dropout, values: &mut [f32], length: usize) {
    for row in values.chunks_exact_mut(strips(length) * LANES) {
        dropout.apply(&mut row[..length]);
    }
}

/// The gradient of a hidden layer's outputs before ReLU and dropout, (rows, outputs): `gradient` is that of the outputs
/// after them, (strips, rows), and `hidden` those outputs, (rows, outputs) in whole strips.
fn of_hidden(gradient: &[Strip], hidden: &[f32], outputs: usize, scale: f32) -> Vec<f32> {
    let stride = strips(outputs) * LANES;
    let rows = hidden.len() / stride;
    let mut result = Vec::with_capacity(rows * outputs);
    for (r, hidden) in hidden.chunks_exact(stride).enumerate() {
        for n in 0..outputs {
            // What ReLU or dropout made 0 stays 0 when its input changes a little.
            let scale = if hidden[n] > 0.0 { scale } else { 0.0 };
            result.push(gradient[n / LANES * rows + r][n % LANES] * scale);
        }
    }
    result
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
        let weights = classifier.layers[0].kernel();
        assert!(weights.iter().all(|weight| weight.abs() <= limit));
        assert!(weights.iter().any(|weight| weight.abs() > 0.95 * limit));
        assert!(classifier.layers.iter().all(|layer| layer.bias().iter().all(|&bias| bias == 0.0)));
        assert_eq!(classifier, Classifier::new(64, &[32], 10, 7));
        assert_ne!(classifier, Classifier::new(64, &[32], 10, 8));
    }

    #[test]
    fn gradients_are_the_losss_finite_differences() {
        for hidden in [&[][..], &[5], &[6, 4]] {
            for rate in [0.0, 0.3] {
                let mut classifier = Classifier::new(7, hidden, 3, 1);
                let features: Vec<f32> = (0..4 * 7).map(|k| ((k * 13) % 11) as f32 / 5.0 - 1.0).collect();
                let rows: Vec<&[f32]> = features.chunks_exact(7).collect();
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
                let batch = Batch { rows: &rows, activations: &activations, of_logits: &of_logits, next_rows: &[] };
                classifier.gradients(Cores::One, batch, &mut gradients);

                let gradients: Vec<Vec<f32>> = gradients.parameters().map(<[f32]>::to_vec).collect();
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
