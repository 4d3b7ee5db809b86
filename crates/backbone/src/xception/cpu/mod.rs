//! The layers in f32 on the CPU, in our own kernels.
//!
//! ```text
//! maps ─ layout (windows, or the sums of a depthwise convolution) ─▶ panel ─ product (weights, bias, ReLU) ─▶ maps
//! ```
//!
//! A layer goes over its result band by band: what the weights multiply is laid out for some pixels, in a panel, and
//! multiplied there. So the sums of a depthwise convolution never go through memory, and all convolutions of the network
//! but one (winograd) are the same product. Each call uses one core.
//!
//! oneDNN, which libtorch has for this, does each layer and all of its batch before the next, eight multiplications where
//! the large layers can do with seven (strassen), and 36 where block 1 can do with 16 (winograd). Every value is calculated
//! in one fixed order with fused multiply-adds: a row is the same bits in whatever batch it is.

mod buffers;
mod layout;
mod maps;
mod pool;
mod product;
mod strassen;
mod tile;
mod vectors;
mod winograd;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

use self::buffers::Buffers;
use self::layout::{Depthwise, Layout, Windows};
use self::maps::{GROUP, Maps};
use self::product::Product;
use self::tile::Columns;
use self::winograd::Winograd;
use super::kernel::Kernel;
use super::layers::{Activation, Backend, HALF_RANGE, Layer, Shape, leaving};
use crate::network::NetworkError;

/// The calling thread's core.
#[derive(Debug, Default, Clone)]
pub(super) struct Cpu(Buffers);

/// A convolution without padding.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    side: usize,
    stride: usize,
    outputs: usize,
    weights: Weights,
}

/// What the windows of a convolution are multiplied by.
#[derive(Debug, Clone)]
enum Weights {
    Window(Arc<Product>),
    Block(Arc<Winograd>),
}

/// A depthwise 3x3 convolution, then a pointwise one.
#[derive(Debug, Clone)]
pub(super) struct Separable {
    before: Activation,
    /// (9, channels), zeros up to a whole group.
    depthwise: Arc<[f32]>,
    pointwise: Arc<Product>,
}

impl Backend for Cpu {
    type Maps = Maps;
    type Convolution = Convolution;
    type Separable = Separable;
    const ENTERING: usize = 1;

    fn convolution(
        &self,
        kernel: Kernel,
        stride: usize,
        after: Activation,
        _: Shape,
    ) -> Result<Convolution, NetworkError> {
        let weights = match Winograd::pack(&kernel, stride, after, Arch::new().dispatch(Columns)) {
            Some(winograd) => Weights::Block(Arc::new(winograd)),
            None => Weights::Window(Arc::new(Product::new(&kernel, after))),
        };
        Ok(Convolution { side: kernel.side, stride, outputs: kernel.outputs, weights })
    }

    fn separable(
        &self,
        before: Activation,
        [depthwise, pointwise]: [Kernel; 2],
        after: Activation,
        _: Shape,
    ) -> Result<Separable, NetworkError> {
        let mut taps = Vec::new();
        for of_tap in depthwise.values.chunks_exact(depthwise.inputs) {
            taps.extend_from_slice(of_tap);
            taps.resize(taps.len().next_multiple_of(GROUP), 0.0);
        }
        Ok(Separable { before, depthwise: taps.into(), pointwise: Arc::new(Product::new(&pointwise, after)) })
    }

    fn input(&self, pixels: &[u8], Shape { pictures, side, channels }: Shape) -> Result<Maps, NetworkError> {
        let mut values = self.0.take(pictures * side * side * channels);
        values.iter_mut().zip(pixels).for_each(|(value, &pixel)| *value = f32::from(pixel) / HALF_RANGE - 1.0);
        Ok(Maps { pictures, side, channels, values })
    }

    fn stack(
        &self,
        parts: impl Iterator<Item = Result<Maps, NetworkError>>,
        pictures: usize,
    ) -> Result<Maps, NetworkError> {
        let mut all: Option<Maps> = None;
        let mut stacked = 0;
        for part in parts {
            let part = part?;
            let values = pictures / part.pictures * part.values.len();
            let all = all.get_or_insert_with(|| Maps { pictures, values: self.0.take(values), ..part });
            all.values[stacked..][..part.values.len()].copy_from_slice(&part.values);
            stacked += part.values.len();
        }
        all.ok_or_else(|| NetworkError("a batch without pictures".to_owned()))
    }

    fn halve(x: &Maps) -> Result<Maps, NetworkError> {
        Ok(pool::halve(x))
    }

    fn mean(x: &Maps) -> Result<Vec<f32>, NetworkError> {
        Ok(pool::mean(x))
    }
}

impl Layer<Maps> for Convolution {
    fn forward(&self, x: &Maps) -> Result<Maps, NetworkError> {
        let out = x.beside(leaving(x.side, self.side, self.stride), self.outputs);
        Ok(self.run(x, out, false))
    }

    fn forward_onto(&self, x: &Maps, sum: Maps) -> Result<Maps, NetworkError> {
        Ok(self.run(x, sum, true))
    }
}

impl Convolution {
    /// The results, in `out` or added to what is there.
    fn run(&self, x: &Maps, mut out: Maps, onto: bool) -> Maps {
        match &self.weights {
            Weights::Window(product) => run(Windows { x, side: self.side, stride: self.stride }, product, out, onto),
            Weights::Block(layer) => {
                Arch::new().dispatch(winograd::Run { layer, x, out: &mut out, onto });
                out
            }
        }
    }
}

impl Layer<Maps> for Separable {
    fn forward(&self, x: &Maps) -> Result<Maps, NetworkError> {
        Ok(run(self.sums(x), &self.pointwise, x.beside(x.side, self.pointwise.outputs()), false))
    }

    fn forward_onto(&self, x: &Maps, sum: Maps) -> Result<Maps, NetworkError> {
        Ok(run(self.sums(x), &self.pointwise, sum, true))
    }
}

impl Separable {
    fn sums<'a>(&'a self, x: &'a Maps) -> Depthwise<'a> {
        Depthwise { x, before: self.before, kernel: &self.depthwise }
    }
}

/// The products of what the layout lays out, in `out` or added to what is there.
fn run(layout: impl Layout, product: &Product, mut out: Maps, onto: bool) -> Maps {
    Arch::new().dispatch(Run { layout, product, out: &mut out, onto });
    out
}

struct Run<'a, L> {
    layout: L,
    product: &'a Product,
    out: &'a mut Maps,
    onto: bool,
}

impl<L: Layout> WithSimd for Run<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.product.run(simd, &self.layout, self.out, self.onto);
    }
}
