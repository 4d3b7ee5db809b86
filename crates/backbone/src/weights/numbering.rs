//! The names that Keras gives to layers and groups by counting: `conv2d`, `conv2d_1`, ….

use super::tensors::LayerKind;

/// A class of the network, and the number behind it: 0 for `conv2d`, 1 for `conv2d_1`.
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

/// Keras's class in snake case.
pub(super) fn class_of(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Convolution { .. } => "conv2d",
        LayerKind::Separable { .. } => "separable_conv2d",
        LayerKind::Norm { .. } => "batch_normalization",
    }
}
