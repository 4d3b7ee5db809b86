//! The trait of what is packed into panels.

use std::ops::Range;

use super::microkernel::{Microkernel, PanelRow};

/// The left factor of a layer's matrix product: for each pixel of the output, the inputs that the weights multiply.
pub(super) trait PackPixels {
    /// Packs a range of the inputs of some output pixels of one picture, a pixel in each row of `panel`. Pixels are
    /// counted row by row. The inputs are padded with zeros to a multiple of [`Microkernel::UNROLL`], which matters for
    /// photos only.
    ///
    /// `inputs` starts at a group of channels. Only that of a photo ends within one.
    fn pack<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [PanelRow<K>],
    );
}
