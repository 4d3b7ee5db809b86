//! The trait of what is packed into panels.

use std::ops::Range;

use super::microkernel::{Microkernel, PanelRow};

/// The left factor of a layer's matrix product: for each pixel of the output, the inputs that the weights multiply.
pub(super) trait PackPixels {
    /// Packs a range of the inputs of some output pixels of one picture, a pixel in each row of `panel`. Pixels are
    /// counted row by row. The inputs are padded with zeros to a multiple of [`Microkernel::UNROLL`]; only those of the
    /// network's input need it.
    ///
    /// `inputs` starts at a group of channels, and ends with one except for the network's input.
    fn pack<K: Microkernel>(
        &self,
        kernel: K,
        picture: usize,
        pixels: Range<usize>,
        inputs: Range<usize>,
        panel: &mut [PanelRow<K>],
    );
}

/// The part of a band of pixels that is in one picture.
pub(super) struct PartOfBand {
    pub picture: usize,
    /// Pixels of the picture.
    pub pixels: Range<usize>,
    /// The same pixels, counted from the start of the band: their rows in its panel.
    pub rows: Range<usize>,
}

/// Cuts a band of pixels, counted through all pictures, where the next picture begins. Each picture has `picture_len`
/// pixels.
pub(super) fn cut_by_picture(band: Range<usize>, picture_len: usize) -> impl Iterator<Item = PartOfBand> {
    (band.start / picture_len..band.end.div_ceil(picture_len)).map(move |picture| {
        let first = picture * picture_len;
        let part = band.start.max(first)..band.end.min(first + picture_len);
        PartOfBand {
            picture,
            pixels: part.start - first..part.end - first,
            rows: part.start - band.start..part.end - band.start,
        }
    })
}
