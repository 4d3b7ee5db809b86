//! Dense layers, and the classifier: dense layers with ReLU between them.

use std::borrow::Cow;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dropout::Dropout;
use crate::kernels::{Backward, InputsGradient, Sink, StoreGradients, add_groups, matmul_transposed, send_all};
use crate::simd::{LANES, Strip, as_strips, copy_rows, strip_count};

/// A dense layer: `outputs = weights · inputs + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    inputs: usize,
    outputs: usize,
    /// (strips of inputs, outputs): Keras's kernel, (inputs, outputs), with 16 neighbouring inputs in a strip.
    pub(crate) weights: Vec<Strip>,
    /// (strips of outputs,)
    pub(crate) bias: Vec<Strip>,
}

/// Dense layers with ReLU between them; the last layer's outputs are the logits. Gradients and Adam's moments, which
/// have the same shapes, are also stored in a `Classifier`.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    pub(crate) layers: Vec<Dense>,
}

/// The results of a forward pass over a batch, for the backward pass. The next batch reuses most of their memory.
#[derive(Debug, Default)]
pub struct Activations {
    /// (rows, strips): copies of the input rows, if dropout changes them or their length is not a multiple of 16;
    /// otherwise empty.
    row_copies: Vec<Strip>,
    /// The outputs of each layer. Hidden layers: after ReLU and dropout, (rows, outputs) padded to whole strips. Last
    /// layer: (rows, classes).
    outputs: Vec<Vec<f32>>,
    /// The product of a layer's inputs and weights, (rows, outputs), before the bias is added.
    sums: Vec<f32>,
    /// Dropout's factor for kept values, 1 / (1 - rate); 1 without dropout.
    dropout_scale: f32,
}

/// A batch after its forward pass, with the gradient of its logits.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// (rows, inputs)
    pub rows: &'a [&'a [f32]],
    /// The results of [`Classifier::forward`] or [`Classifier::forward_from`].
    pub activations: &'a Activations,
    /// (rows, classes)
    pub logits_gradient: &'a [f32],
    /// The rows of the next batch: the backward pass prefetches them, and may begin their forward pass
    /// ([`FirstProduct`]). May be empty.
    pub next_rows: &'a [&'a [f32]],
}

/// The product of a batch's rows and the first layer's weights, with which its forward pass begins.
///
/// A step of [`Adam`](crate::adam::Adam) computes that of the next batch along with the update of the weights, if
/// several threads share the first layer, each has whole groups of 512 inputs, the rows need no copies, and gradients are
/// not clipped.
#[derive(Debug)]
pub struct FirstProduct {
    /// The number of rows.
    rows: usize,
    /// (groups, rows, outputs), for [`add_groups`].
    sums: Vec<f32>,
}

/// The sinks for the gradients of a layer's parameters.
pub(crate) struct LayerSinks<T> {
    /// For the weights, (strips of inputs, outputs).
    pub weights: T,
    /// For the bias, (strips of outputs,).
    pub bias: T,
    /// The number of the layer's inputs.
    pub inputs: usize,
    /// The number of its outputs.
    pub outputs: usize,
}

/// Parameters whose shapes do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A layer without inputs or outputs, or weights that are not inputs x outputs.
    #[error("{found} weights do not make a dense layer of {inputs} inputs and {outputs} outputs")]
    Kernel {
        /// The layer's inputs.
        inputs: usize,
        /// The layer's outputs: the length of its bias.
        outputs: usize,
        /// The number of weights.
        found: usize,
    },
    /// A layer has another number of inputs than the previous layer has outputs.
    #[error("a layer of {outputs} outputs is followed by one of {inputs} inputs")]
    Chain {
        /// Outputs of the previous layer.
        outputs: usize,
        /// Inputs of the layer.
        inputs: usize,
    },
    /// A classifier without layers.
    #[error("no layers")]
    NoLayers,
}

impl Dense {
    /// A layer whose parameters are all 0.
    fn zeros(inputs: usize, outputs: usize) -> Self {
        let weights = vec![[0.0; LANES]; strip_count(inputs) * outputs];
        let bias = vec![[0.0; LANES]; strip_count(outputs)];
        Self { inputs, outputs, weights, bias }
    }

    /// Keras's default initializer (GlorotUniform): weights uniform in ± sqrt(6 / (inputs + outputs)) (Glorot and
    /// Bengio 2010), bias 0.
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

    /// A layer with Keras's kernel, (inputs, outputs) row-major, and bias, (outputs,).
    ///
    /// # Errors
    /// When there are no inputs or no outputs, or the kernel's length is not inputs * outputs.
    pub fn from_keras(inputs: usize, kernel: &[f32], bias: &[f32]) -> Result<Self, ShapeError> {
        let outputs = bias.len();
        if inputs == 0 || outputs == 0 || inputs.checked_mul(outputs) != Some(kernel.len()) {
            return Err(ShapeError::Kernel { inputs, outputs, found: kernel.len() });
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
        for strip_weights in self.weights.chunks_exact(self.outputs) {
            reordered.weights.extend(order.iter().map(|&output| strip_weights[output]));
        }
        for (bias, &output) in reordered.bias.as_flattened_mut().iter_mut().zip(order) {
            *bias = self.bias()[output];
        }
        reordered
    }

    /// Computes the product of the rows and the weights, (rows, outputs).
    fn multiply(&self, rows: &[&[Strip]], sums: &mut Vec<f32>) {
        matmul_transposed(rows, &self.weights, self.outputs, sums);
    }

    /// Computes the outputs without activation function from the product, (rows, outputs). Rows of `out` are `stride`
    /// values apart.
    fn add_bias(&self, sums: &[f32], stride: usize, out: &mut Vec<f32>) {
        out.resize(sums.len() / self.outputs * stride, 0.0);
        for (row, sums) in out.chunks_exact_mut(stride).zip(sums.chunks_exact(self.outputs)) {
            for ((value, sum), bias) in row.iter_mut().zip(sums).zip(self.bias()) {
                *value = sum + bias;
            }
        }
    }
}

impl Classifier {
    /// A classifier with initial weights, for rows of `inputs` features: a hidden layer for each width in `hidden`,
    /// then one output for each class. The same seed gives the same weights.
    pub fn new(inputs: usize, hidden: &[usize], classes: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let widths: Vec<usize> = [&[inputs], hidden, &[classes]].concat();
        Self { layers: widths.windows(2).map(|pair| Dense::glorot(pair[0], pair[1], &mut random)).collect() }
    }

    /// A classifier with these layers, in order. Each layer's inputs are the outputs of the one before.
    ///
    /// # Errors
    /// When two neighbouring layers do not fit, or there are no layers.
    pub fn from_layers(layers: Vec<Dense>) -> Result<Self, ShapeError> {
        if layers.is_empty() {
            return Err(ShapeError::NoLayers);
        }
        for k in 1..layers.len() {
            let (outputs, inputs) = (layers[k - 1].outputs(), layers[k].inputs);
            if outputs != inputs {
                return Err(ShapeError::Chain { outputs, inputs });
            }
        }
        Ok(Self { layers })
    }

    /// The layers in order.
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

    /// The logits of these rows, (rows, classes) row-major.
    pub fn logits(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut activations = Activations::default();
        self.forward(rows, None, &mut activations);
        activations.outputs.pop().unwrap_or_default()
    }

    /// The forward pass; [`Activations::logits`] are the logits. Dropout, if any, is applied to the outputs of each
    /// hidden layer; in a linear head, to the input rows.
    pub fn forward(&self, rows: &[&[f32]], mut dropout: Option<&mut Dropout>, activations: &mut Activations) {
        let Activations { row_copies, sums, .. } = activations;
        // The rows are in the feature cache's file. They are copied if dropout changes them, or to pad them to whole
        // strips.
        row_copies.clear();
        let is_linear = self.layers.len() == 1;
        let input_dropout = dropout.as_mut().filter(|_| is_linear);
        if input_dropout.is_some() || !self.inputs().is_multiple_of(LANES) {
            copy_rows(rows, row_copies);
        }
        if let Some(dropout) = input_dropout {
            apply_dropout(dropout, row_copies.as_flattened_mut(), self.inputs());
        }
        self.layers[0].multiply(&first_inputs(rows, row_copies, self.inputs()), sums);
        self.finish_forward(dropout, activations);
    }

    /// [`Classifier::forward`] of the product's rows.
    pub fn forward_from(&self, product: FirstProduct, dropout: Option<&mut Dropout>, activations: &mut Activations) {
        activations.row_copies.clear();
        activations.sums = product.sums;
        add_groups(&mut activations.sums, product.rows * self.layers[0].outputs);
        self.finish_forward(dropout, activations);
    }

    /// The forward pass after the first layer's product, which is in `activations.sums`.
    fn finish_forward(&self, mut dropout: Option<&mut Dropout>, activations: &mut Activations) {
        let Activations { outputs, sums, dropout_scale, .. } = activations;
        *dropout_scale = dropout.as_ref().map_or(1.0, |dropout| dropout.scale());
        outputs.resize_with(self.layers.len(), Vec::new);
        let last = self.layers.len() - 1;
        for (k, layer) in self.layers.iter().enumerate() {
            let (previous_outputs, later_outputs) = outputs.split_at_mut(k);
            if let Some(hidden) = previous_outputs.last() {
                layer.multiply(&padded_rows(hidden.as_chunks().0, layer.inputs), sums);
            }
            let output = &mut later_outputs[0];
            if k == last {
                return layer.add_bias(sums, layer.outputs, output);
            }
            layer.add_bias(sums, strip_count(layer.outputs) * LANES, output);
            relu(output);
            if let Some(dropout) = &mut dropout {
                apply_dropout(dropout, output, layer.outputs);
            }
        }
    }

    /// Computes the gradients of all parameters for a batch into `gradients`, a classifier of the same shape.
    pub fn gradients(&self, batch: Batch<'_>, gradients: &mut Self) {
        let mut sinks = Vec::new();
        for (layer, gradient) in self.layers.iter().zip(&mut gradients.layers) {
            sinks.push(LayerSinks {
                weights: StoreGradients { parameters: &layer.weights, gradients: &mut gradient.weights },
                bias: StoreGradients { parameters: &layer.bias, gradients: &mut gradient.bias },
                inputs: layer.inputs,
                outputs: layer.outputs,
            });
        }
        batch.backward(sinks);
    }

    /// A classifier of the same shape whose parameters are all 0.
    pub fn zeros_like(&self) -> Self {
        Self { layers: self.layers.iter().map(|layer| Dense::zeros(layer.inputs, layer.outputs)).collect() }
    }

    /// Every tensor of parameters, layer after layer: weights, then bias.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &[f32]> {
        self.layers.iter().flat_map(|layer| [layer.weights.as_flattened(), layer.bias.as_flattened()])
    }

    /// Every tensor of parameters, mutable, in the order of [`Self::parameters`].
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
    /// The backward pass, from the last layer to the first: passes the gradients of each layer's parameters to its
    /// sinks. Returns the product of the next rows, if the first layer's pass has computed it.
    pub(crate) fn backward<T: Sink>(self, layers: Vec<LayerSinks<T>>) -> Option<FirstProduct> {
        let Batch { rows, activations, logits_gradient, next_rows } = self;
        let mut outputs_gradient = Cow::Borrowed(logits_gradient);
        for (k, layer) in layers.into_iter().enumerate().rev() {
            let outputs = layer.outputs;

            // The bias is added to each row, so its gradient is the sum over the rows.
            let mut bias_gradient = vec![[0.0; LANES]; strip_count(outputs)];
            for row in outputs_gradient.chunks_exact(outputs) {
                for (sum, value) in bias_gradient.as_flattened_mut().iter_mut().zip(row) {
                    *sum += value;
                }
            }
            send_all(layer.bias, &bias_gradient);

            let previous_outputs = &activations.outputs[..k];
            let Some(hidden) = previous_outputs.last() else {
                let pass = Backward {
                    rows: &first_inputs(rows, &activations.row_copies, layer.inputs),
                    outputs_gradient: &outputs_gradient,
                    sink: layer.weights,
                    inputs_gradient: None,
                    next_rows: &as_strips(next_rows),
                };
                // If these rows need copies, the next ones do too, and only the forward pass makes them.
                let sums = pass.run_and_multiply_next(activations.row_copies.is_empty());
                return sums.map(|sums| FirstProduct { rows: next_rows.len(), sums });
            };

            // The inputs are the outputs of the previous layer, so their gradient is needed for its pass.
            let transposed_gradient = transposed(&outputs_gradient, outputs);
            let mut out = vec![[0.0; LANES]; hidden.len() / LANES];
            let pass = Backward {
                rows: &padded_rows(hidden.as_chunks().0, layer.inputs),
                outputs_gradient: &outputs_gradient,
                sink: layer.weights,
                inputs_gradient: Some(InputsGradient { transposed_gradient: &transposed_gradient, out: &mut out }),
                next_rows: &[],
            };
            pass.run();
            outputs_gradient = activation_backward(&out, hidden, layer.inputs, activations.dropout_scale).into();
        }
        None
    }
}

/// The inputs of the first layer, (rows, strips): the copies of the rows or, if there are none, the rows.
fn first_inputs<'a>(rows: &[&'a [f32]], row_copies: &'a [Strip], length: usize) -> Vec<&'a [Strip]> {
    if row_copies.is_empty() { as_strips(rows) } else { padded_rows(row_copies, length) }
}

/// Rows of this length, padded to whole strips, (rows, strips).
fn padded_rows(values: &[Strip], length: usize) -> Vec<&[Strip]> {
    values.chunks_exact(strip_count(length).max(1)).collect()
}

/// Applies dropout to rows of this length, padded to whole strips.
fn apply_dropout(dropout: &mut Dropout, values: &mut [f32], length: usize) {
    for row in values.chunks_exact_mut(strip_count(length) * LANES) {
        dropout.apply(&mut row[..length]);
    }
}

/// The backward pass through dropout and ReLU: the gradient of ReLU's input, (rows, outputs). `gradient` is that of
/// dropout's output, (strips, rows), and `hidden` is dropout's output, (rows, outputs) padded to whole strips.
fn activation_backward(gradient: &[Strip], hidden: &[f32], outputs: usize, dropout_scale: f32) -> Vec<f32> {
    let stride = strip_count(outputs) * LANES;
    let rows = hidden.len() / stride;
    let mut result = Vec::with_capacity(rows * outputs);
    for (r, hidden) in hidden.chunks_exact(stride).enumerate() {
        for n in 0..outputs {
            // Where ReLU or dropout gave 0, the gradient is 0.
            let scale = if hidden[n] > 0.0 { dropout_scale } else { 0.0 };
            result.push(gradient[n / LANES * rows + r][n % LANES] * scale);
        }
    }
    result
}

/// A row-major matrix of this many columns, transposed.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        result.extend(matrix.iter().skip(column).step_by(columns));
    }
    result
}

fn relu(values: &mut [f32]) {
    for value in values {
        // Not `max`, which makes 0 of NaN: the loss of a head that diverges must not be finite.
        *value = if *value < 0.0 { 0.0 } else { *value };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::CrossEntropy;
    use crate::settings::Fraction;

    #[test]
    fn keras_kernels_survive_a_round_trip() {
        let kernel = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let layer = Dense::from_keras(2, &kernel, &[0.5, 0.5, -20.0]).unwrap();
        assert_eq!(layer.kernel(), kernel);
        let classifier = Classifier::from_layers(vec![layer]).unwrap();
        assert_eq!(classifier.logits(&[&[1.0, 10.0]]), [41.5, 52.5, 43.0]);
    }

    /// Otherwise a head that has diverged would have a finite loss.
    #[test]
    fn nan_in_a_hidden_layer_reaches_the_logits() {
        let layers = [Dense::from_keras(1, &[1.0], &[0.0]), Dense::from_keras(1, &[2.0], &[3.0])];
        let classifier = Classifier::from_layers(layers.map(Result::unwrap).to_vec()).unwrap();
        assert_eq!(classifier.logits(&[&[-1.0], &[1.0]]), [3.0, 5.0]);
        assert!(classifier.logits(&[&[f32::NAN]])[0].is_nan());
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let bias = [0.0; 3];
        for (inputs, weights, outputs) in [(2, 6, 1), (2, 6, 0), (0, 0, 3), (5, 0, 0), (usize::MAX / 2 + 1, 0, 2)] {
            let layer = Dense::from_keras(inputs, &vec![1.0; weights], &bias[..outputs]);
            assert_eq!(layer, Err(ShapeError::Kernel { inputs, outputs, found: weights }));
        }
        let layer = Dense::from_keras(2, &[1.0; 6], &bias).unwrap();
        let layers = Classifier::from_layers(vec![layer.clone(), layer]);
        assert_eq!(layers, Err(ShapeError::Chain { outputs: 3, inputs: 2 }));
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
    fn gradients_match_finite_differences() {
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
                    classifier.forward(&rows, dropout.clone().as_mut(), &mut activations);
                    activations
                };
                let activations = forward(&classifier);
                let logits_gradient = loss.measure(activations.logits(), &labels).gradient;
                let mut gradients = classifier.zeros_like();
                let batch =
                    Batch { rows: &rows, activations: &activations, logits_gradient: &logits_gradient, next_rows: &[] };
                classifier.gradients(batch, &mut gradients);

                let gradients: Vec<Vec<f32>> = gradients.parameters().map(<[f32]>::to_vec).collect();
                for (tensor, gradient) in gradients.iter().enumerate() {
                    for (k, gradient) in gradient.iter().enumerate() {
                        let mut loss_at = |offset: f32| {
                            *classifier.parameters_mut().nth(tensor).unwrap().get_mut(k).unwrap() += offset;
                            let at = loss.measure(forward(&classifier).logits(), &labels).total / labels.len() as f64;
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
