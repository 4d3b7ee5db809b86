//! How a convolution goes over a picture.

/// Strides, padding and groups of a convolution, the same in width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
}
