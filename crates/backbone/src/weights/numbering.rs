//! The names that Keras gives to layers without names, and to the groups of Keras 3's files: the class and a number, as
//! in `conv2d`, `conv2d_1`.

use super::tensors::LayerKind;

const CONVOLUTION: &str = "conv2d";
const NORM: &str = "batch_normalization";

/// The class of separable convolutions.
pub(super) const SEPARABLE: &str = "separable_conv2d";

/// The class and the number in a numbered name: (`conv2d`, 0) for `conv2d`, (`conv2d`, 1) for `conv2d_1`. `None` for
/// other names, and for classes that the network does not have.
pub(super) fn numbered(name: &str) -> Option<(&'static str, usize)> {
    [CONVOLUTION, SEPARABLE, NORM].into_iter().find_map(|class| match name.strip_prefix(class)? {
        "" => Some((class, 0)),
        number => Some((class, number.strip_prefix('_')?.parse().ok()?)),
    })
}

/// The name of Keras's class for a kind of layer, in snake case.
pub(super) fn class_of(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Convolution { .. } => CONVOLUTION,
        LayerKind::Separable { .. } => SEPARABLE,
        LayerKind::Norm { .. } => NORM,
    }
}
