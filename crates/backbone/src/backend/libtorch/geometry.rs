//! Stride, padding and groups of a convolution.

/// Stride, padding and groups of a convolution, as PyTorch's `Conv2d` takes them; the same in width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
}
