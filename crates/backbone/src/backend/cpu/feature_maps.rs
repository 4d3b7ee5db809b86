//! Feature maps in memory.
//!
//! Channels are in groups of 16 that fill a cache line, and all pixels of a group are contiguous (oneDNN's layout
//! nChw16c). Kernels go over a few channels of many pixels, so they read and write contiguous memory. In NHWC the next
//! pixel would be kilobytes away, and often in another page.

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::buffers::Buffer;
use super::microkernel::Microkernel;

/// Channels in a group: whole vectors on every processor. Convolutions write whole groups. The channels that pad the
/// last group are zero up to rounding, and the next layer's weights for them are zero.
pub(super) const GROUP: usize = 16;

/// Feature maps of some pictures: (pictures, groups, side, side, channels of a group).
#[derive(Debug)]
pub(crate) struct FeatureMaps {
    pub(super) pictures: usize,
    pub(super) side: usize,
    pub(super) channels: usize,
    /// The microkernel's elements.
    pub(super) bytes: Buffer<u8>,
}

/// Contiguous channels of a pixel. The three of the network's input are one group without padding, which is NHWC.
pub(super) fn group_width(channels: usize) -> usize {
    if channels <= 3 { channels } else { GROUP }
}

impl FeatureMaps {
    /// Maps of the same pictures with another side and number of channels (more than three), not yet written.
    pub(super) fn new_like(&self, side: usize, channels: usize) -> Self {
        debug_assert!(channels > 3, "only the network's input has less than a group of channels");
        let element_size = self.bytes.len() / (self.pictures * self.picture_len());
        let elements = self.pictures * channels.next_multiple_of(GROUP) * side * side;
        let bytes = self.bytes.take_from_pool(elements * element_size);
        Self { pictures: self.pictures, side, channels, bytes }
    }

    /// The microkernel's elements.
    pub(super) fn elements<K: Microkernel>(&self) -> &[K::Element] {
        cast_slice(&self.bytes)
    }

    /// The microkernel's elements, to be written.
    pub(super) fn elements_mut<K: Microkernel>(&mut self) -> &mut [K::Element] {
        cast_slice_mut(&mut self.bytes)
    }

    /// A buffer from the pool of these maps.
    pub(super) fn take_buffer<T: Pod>(&self, length: usize) -> Buffer<T> {
        self.bytes.take_from_pool(length)
    }

    /// Groups of channels.
    pub(super) fn groups(&self) -> usize {
        self.channels.div_ceil(group_width(self.channels))
    }

    /// Elements of one group in one picture.
    pub(super) fn plane_len(&self) -> usize {
        self.side * self.side * group_width(self.channels)
    }

    /// Elements of one picture.
    pub(super) fn picture_len(&self) -> usize {
        self.groups() * self.plane_len()
    }

    /// Where the elements of a group start for a pixel of a picture; pixels are counted row by row.
    pub(super) fn index(&self, picture: usize, group: usize, pixel: usize) -> usize {
        picture * self.picture_len() + group * self.plane_len() + pixel * group_width(self.channels)
    }
}
