//! A backend that computes nothing and records the calls: the network as a list of operations.

use std::sync::{Arc, Mutex, MutexGuard};

use super::interface::{Backend, Conv2dParams, SeparableConv2dParams, Shape, output_side};
use crate::network::NetworkError;

/// An operation of a network. `x` and `y` are the indices in the list of the operations whose results it takes.
#[derive(Debug, Clone)]
pub enum Operation {
    /// The network's input, (side, side, 3): `pixel / HALF_RANGE - 1`, with
    /// [`HALF_RANGE`](super::interface::HALF_RANGE).
    Input,
    /// A convolution and its activation.
    Conv2d {
        /// Its kernel, bias, stride and activation.
        layer: Arc<Conv2dParams>,
        /// Its input.
        x: usize,
    },
    /// A separable convolution and its activations.
    SeparableConv2d {
        /// Its kernels, bias and activations.
        layer: Arc<SeparableConv2dParams>,
        /// Its input.
        x: usize,
    },
    /// Max pooling 3x3 with stride 2 and TensorFlow's 'same' padding: an even side is padded only right and below.
    MaxPool {
        /// Its input.
        x: usize,
        /// Width and height of its input.
        side: usize,
    },
    /// The elementwise sum of two results.
    Add {
        /// The first summand.
        x: usize,
        /// The second summand.
        y: usize,
    },
    /// The mean of each channel.
    GlobalAveragePool {
        /// Its input.
        x: usize,
    },
}

/// Records the operations of a network. Clones share the record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    operations: Arc<Mutex<Vec<Operation>>>,
}

/// The result of an operation, in place of feature maps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    operation: usize,
    /// Width and height.
    side: usize,
}

impl Recorder {
    /// Returns the recorded operations and clears the record.
    pub(crate) fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.record())
    }

    fn record(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().expect("nothing panics while it holds the lock")
    }

    /// Records an operation whose result has this side.
    fn add(&self, operation: Operation, side: usize) -> Recorded {
        let mut record = self.record();
        record.push(operation);
        Recorded { operation: record.len() - 1, side }
    }

    fn add_sum(&self, x: Recorded, y: Recorded) -> Recorded {
        self.add(Operation::Add { x: x.operation, y: y.operation }, x.side)
    }
}

impl Backend for Recorder {
    type FeatureMaps = Recorded;
    type Conv2d = Arc<Conv2dParams>;
    type SeparableConv2d = Arc<SeparableConv2dParams>;
    const ENTRY_PICTURES: usize = 1;

    fn describe(&self) -> String {
        "none (recorder)".to_owned()
    }

    fn prepare_conv2d(&self, params: &Conv2dParams, _: Shape) -> Result<Arc<Conv2dParams>, NetworkError> {
        Ok(Arc::new(params.clone()))
    }

    fn prepare_separable_conv2d(
        &self,
        params: &SeparableConv2dParams,
        _: Shape,
    ) -> Result<Arc<SeparableConv2dParams>, NetworkError> {
        Ok(Arc::new(params.clone()))
    }

    fn input(&self, _: &[u8], shape: Shape) -> Result<Recorded, NetworkError> {
        Ok(self.add(Operation::Input, shape.side))
    }

    fn conv2d(&self, layer: &Arc<Conv2dParams>, x: &Recorded) -> Result<Recorded, NetworkError> {
        let side = output_side(x.side, layer.weights.side, layer.stride);
        Ok(self.add(Operation::Conv2d { layer: Arc::clone(layer), x: x.operation }, side))
    }

    fn conv2d_accumulate(
        &self,
        layer: &Arc<Conv2dParams>,
        x: &Recorded,
        sum: Recorded,
    ) -> Result<Recorded, NetworkError> {
        let x = self.conv2d(layer, x)?;
        Ok(self.add_sum(x, sum))
    }

    fn separable_conv2d(&self, layer: &Arc<SeparableConv2dParams>, x: &Recorded) -> Result<Recorded, NetworkError> {
        Ok(self.add(Operation::SeparableConv2d { layer: Arc::clone(layer), x: x.operation }, x.side))
    }

    fn separable_conv2d_accumulate(
        &self,
        layer: &Arc<SeparableConv2dParams>,
        x: &Recorded,
        sum: Recorded,
    ) -> Result<Recorded, NetworkError> {
        let x = self.separable_conv2d(layer, x)?;
        Ok(self.add_sum(x, sum))
    }

    fn max_pool(&self, x: &Recorded) -> Result<Recorded, NetworkError> {
        Ok(self.add(Operation::MaxPool { x: x.operation, side: x.side }, x.side.div_ceil(2)))
    }

    /// Only one picture is recorded, so there is one part.
    fn concat(&self, parts: Vec<Recorded>) -> Result<Recorded, NetworkError> {
        Ok(*parts.first().expect("there is at least one part"))
    }

    /// Returns an empty row.
    fn global_average_pool(&self, x: &Recorded) -> Result<Vec<f32>, NetworkError> {
        self.add(Operation::GlobalAveragePool { x: x.operation }, 1);
        Ok(Vec::new())
    }
}
