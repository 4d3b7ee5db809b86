//! Feature maps in memory.
//!
//! The channels come in groups of a cache line, and all pixels of a group lie one behind the other (oneDNN's nChw16c). The
//! kernels go over a few channels of many pixels: so they read and write one stretch of memory. With all channels of a
//! pixel side by side, the next pixel would be kilobytes away, and often in another page.

use super::buffers::Buffer;

/// Channels of a group. A product gives whole groups: behind the last channel is what rounding leaves of zero.
pub(super) const GROUP: usize = 16;

/// (pictures, groups, side, side, channels of a group).
#[derive(Debug)]
pub(in crate::xception) struct Maps {
    pub(super) pictures: usize,
    pub(super) side: usize,
    pub(super) channels: usize,
    pub(super) values: Buffer,
}

/// Channels that lie side by side. Those of a photo are a small group: NHWC.
pub(super) fn side_by_side(channels: usize) -> usize {
    match channels {
        ..=3 => channels,
        _ => GROUP,
    }
}

impl Maps {
    /// Other maps of the same pictures, with any values; of more than three channels.
    pub(super) fn beside(&self, side: usize, channels: usize) -> Self {
        debug_assert!(channels > 3, "a product gives whole groups");
        let values = self.values.another(self.pictures * channels.next_multiple_of(GROUP) * side * side);
        Self { pictures: self.pictures, side, channels, values }
    }

    /// Groups of channels.
    pub(super) fn groups(&self) -> usize {
        self.channels.div_ceil(side_by_side(self.channels))
    }

    /// Values of a group in one picture.
    pub(super) fn plane(&self) -> usize {
        self.side * self.side * side_by_side(self.channels)
    }

    /// Where the values of a group of channels start for a pixel of a picture, counted row by row.
    pub(super) fn place(&self, picture: usize, group: usize, pixel: usize) -> usize {
        (picture * self.groups() + group) * self.plane() + pixel * side_by_side(self.channels)
    }
}
