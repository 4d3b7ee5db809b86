//! Feature maps in memory.
//!
//! Channels come in groups that fill a cache line, and all pixels of a group lie one behind the other (oneDNN's layout
//! nChw16c). Kernels go over a few channels of many pixels, so they read and write one stretch of memory. With all channels
//! of a pixel side by side, the next pixel would be kilobytes away, and often in another page.

use super::buffers::Buffer;

/// Channels of a group: whole vectors on every processor. Convolutions give whole groups; behind the last channel is what
/// rounding leaves of zero, and the next layer's weights for it are zero.
pub(super) const GROUP: usize = 16;

/// Feature maps of some pictures: (pictures, groups, side, side, channels of a group).
#[derive(Debug)]
pub(crate) struct FeatureMaps {
    pub(super) pictures: usize,
    pub(super) side: usize,
    pub(super) channels: usize,
    pub(super) values: Buffer<f32>,
}

/// How many channels lie side by side. The three of a photo are a group of their own, without padding: NHWC.
pub(super) fn group_width(channels: usize) -> usize {
    if channels <= 3 { channels } else { GROUP }
}

impl FeatureMaps {
    /// Maps of the same pictures with another side and number of channels (more than three), not yet written.
    pub(super) fn new_like(&self, side: usize, channels: usize) -> Self {
        debug_assert!(channels > 3, "only the network's input has channels in no whole group");
        let values = self.values.another(self.pictures * channels.next_multiple_of(GROUP) * side * side);
        Self { pictures: self.pictures, side, channels, values }
    }

    /// Groups of channels.
    pub(super) fn groups(&self) -> usize {
        self.channels.div_ceil(group_width(self.channels))
    }

    /// Values of one group in one picture.
    pub(super) fn plane_len(&self) -> usize {
        self.side * self.side * group_width(self.channels)
    }

    /// Values of one picture.
    pub(super) fn picture_len(&self) -> usize {
        self.groups() * self.plane_len()
    }

    /// Where the values of a group start for a pixel of a picture; pixels are counted row by row.
    pub(super) fn index(&self, picture: usize, group: usize, pixel: usize) -> usize {
        picture * self.picture_len() + group * self.plane_len() + pixel * group_width(self.channels)
    }
}
