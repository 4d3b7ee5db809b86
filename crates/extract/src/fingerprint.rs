//! What the rows of this crate depend on, in words.

use crate::arithmetic::Arithmetic;
use crate::pixels::Preparation;
use crate::weights::Weights;
use feature_cache::Fingerprint;

/// Pillow's pixels.
const DECODER: &str = "JPEG as libjpeg-turbo (islow, fancy upsampling), others as the image crate";

/// Pillow's pixels after `Image.draft`.
pub const FAST_DECODER: &str =
    "JPEG as libjpeg-turbo (islow, fancy upsampling), scaled down while decoding; others as the image crate";

/// The fingerprint of rows made with these weights and settings, in this arithmetic.
///
/// The batch size, the number of threads and the order of the photos are no part of it: on the CPU rows do not depend on
/// them. Processors with other vector instructions sum in another order, those with AVX2 alone in kernels of our own; their
/// rows differ by rounding (some millionths of a row's length), as do those of a GPU, where it depends on the batch size.
/// These are told apart, since more than rounding may differ there.
pub fn fingerprint(weights: &Weights, preparation: Preparation, arithmetic: Arithmetic) -> Fingerprint {
    Fingerprint {
        backbone: "Xception without top (Keras), block14_sepconv2_act".to_owned(),
        weights: weights.digest().to_hex().to_string(),
        size: preparation.side,
        interpolation: preparation.interpolation.name().to_owned(),
        scaling: "x / 127.5 - 1".to_owned(),
        color: "RGB as Pillow's convert, EXIF orientation ignored".to_owned(),
        decoder: if preparation.fast_decode { FAST_DECODER } else { DECODER }.to_owned(),
        pooling: "global average".to_owned(),
        precision: arithmetic.to_string(),
    }
}
