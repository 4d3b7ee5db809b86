//! How pixels get into a panel.

use std::ops::Range;

use super::microkernel::{Microkernel, Row};

/// What a layer multiplies by its weights: for each pixel of the result a list of inputs.
pub(super) trait PackPixels {
    /// Packs the inputs number `inputs` of some pixels of a picture of the result, which are counted row by row, into the
    /// rows of `panel`. A photo's inputs are no whole number of turns of the innermost loop: zeros come behind them.
    ///
    /// Inputs start at a group of channels; only those of photos end within one.
    fn pack<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [Row<K>],
    );
}
