//! The matrix product that nearly all of the network's time goes into: (pixels, inputs) x (inputs, outputs), by the
//! algorithm that is faster for its size.

use super::direct::Direct;
use super::epilogue::Output;
use super::microkernel::Microkernel;
use super::pack::PackPixels;
use super::strassen::Strassen;
use super::weight_matrix::WeightMatrix;
use crate::backend::interface::ConvWeights;

/// A matrix of weights, packed for the algorithm that multiplies by it.
#[derive(Debug)]
pub(super) enum PackedMatrix {
    Direct(Direct),
    Strassen(Strassen),
}

/// From this many inputs and outputs on, Strassen is used: seven products of halves in place of eight. Any value between
/// 128 and 400 makes the network as fast.
const MIN_STRASSEN: usize = 256;

impl PackedMatrix {
    /// Packs the weights of a convolution for a microkernel.
    pub(super) fn pack<K: Microkernel>(weights: &ConvWeights) -> Self {
        let weights = WeightMatrix::new(weights);
        if K::SUMS_FIT_ELEMENTS && weights.inputs().min(weights.outputs) >= MIN_STRASSEN {
            Self::Strassen(Strassen::pack::<K>(&weights))
        } else {
            Self::Direct(Direct::pack::<K>(&weights))
        }
    }

    /// Multiplies what `pixels` packs by the weights.
    #[inline(always)]
    pub(super) fn run<K: Microkernel>(&self, kernel: K, pixels: &impl PackPixels, output: Output<'_>) {
        match self {
            Self::Direct(weights) => weights.run(kernel, pixels, output),
            Self::Strassen(weights) => weights.run(kernel, pixels, output),
        }
    }
}
