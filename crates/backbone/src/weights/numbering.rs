//! The names that Keras gives to layers without names, and to groups: the class and a number, as in `conv2d`,
//! `conv2d_1`.

use super::tensors::LayerKind;

/// The class and the number in a numbered name: (`conv2d`, 0) for `conv2d`, (`conv2d`, 1) for `conv2d_1`. `None` for
/// other names, and for classes that the network does not have.
pub(super) fn numbered(name: &str) -> Option<(&'static str, usize)> {
    let kinds = [
        LayerKind::Convolution { side: 0, inputs: 0, outputs: 0 },
        LayerKind::Separable { inputs: 0, outputs: 0 },
        LayerKind::Norm { channels: 0 },
    ];
    kinds.map(class_of).into_iter().find_map(|class| match name.strip_prefix(class)? {
        "" => Some((class, 0)),
        number => Some((class, number.strip_prefix('_')?.parse().ok()?)),
    })
}

/// The name of Keras's class for a kind of layer, in snake case.
pub(super) fn class_of(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Convolution { .. } => "conv2d",
        LayerKind::Separable { .. } => "separable_conv2d",
        LayerKind::Norm { .. } => "batch_normalization",
    }
}
