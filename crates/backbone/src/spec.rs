//! Everything that a row depends on, and the fingerprint made of it.

use feature_cache::{Difference, Fingerprint, UPRIGHT_COLOR};

use crate::compute::Device;
use crate::pixels::{Interpolation, Limits, Orientation, Preprocess};
use crate::precision::Precision;
use crate::xception;

/// How pictures become RGB with [`Orientation::Stored`]: as in Pillow. [`UPRIGHT_COLOR`] is that with
/// [`Orientation::Exif`].
const COLOR: &str = "RGB as Pillow's convert, EXIF orientation ignored";

/// The decoder: Pillow's pixels.
const DECODER: &str = "JPEG as libjpeg-turbo (islow, fancy upsampling), others as the image crate";

/// The decoder with [`EmbedSpec::fast_decode`]: Pillow's pixels after `Image.draft`.
const FAST_DECODER: &str =
    "JPEG as libjpeg-turbo (islow, fancy upsampling), scaled down while decoding; others as the image crate";

/// Suffix of every interpolation except nearest. A fingerprint without it is of rows whose photos were resized as in
/// earlier versions of Pillow, always the width first; Pillow 13 begins with the height of tall photos.
const AS_PILLOW_13: &str = " as Pillow 13";

/// Suffix of the precision of rows that a GPU computed.
const ON_GPU: &str = " on CUDA";

/// Everything that a row depends on besides the photo's bytes, the weights, and the kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedSpec {
    /// Width and height of the network's input in pixels, [`MIN_SIDE`](crate::xception::MIN_SIDE) or more.
    pub side: u32,
    /// How photos are resized to it.
    pub interpolation: Interpolation,
    /// Whether photos are turned upright.
    pub orientation: Orientation,
    /// Whether JPEGs are scaled down while they are decoded, as long as `side` pixels are left both ways.
    pub fast_decode: bool,
    /// The number format that the network computes in.
    pub precision: Precision,
}

/// What Keras does by default: 150 x 150 pixels, the nearest ones, of photos as they are stored, in f32.
impl Default for EmbedSpec {
    fn default() -> Self {
        Self {
            side: 150,
            interpolation: Interpolation::Nearest,
            orientation: Orientation::Stored,
            fast_decode: false,
            precision: Precision::F32,
        }
    }
}

/// A fingerprint of rows that this version cannot compute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, which this version cannot compute", list(fields))]
pub struct UnsupportedFingerprint {
    /// Each field that has a value of which this version does not know the meaning.
    pub fields: Vec<UnsupportedField>,
}

/// A field of a fingerprint with a value that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedField {
    /// The field's name.
    pub field: String,
    /// Its value.
    pub found: String,
}

fn list(fields: &[UnsupportedField]) -> String {
    let field = |UnsupportedField { field, found }: &UnsupportedField| format!("{field} is {found:?}");
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

impl EmbedSpec {
    /// The fingerprint of the rows that are computed with the weights of this digest on the device.
    ///
    /// The batch size, the number of threads and the order of the photos are not part of it: on the CPU rows do not
    /// depend on them, except that libtorch's kernels round differently in batches of another size. Nor are the
    /// kernels, which change rows in f32 only by rounding; in bf16 they are two precisions. GPU rows get their own
    /// fingerprint.
    pub fn fingerprint(&self, weights: blake3::Hash, device: Device) -> Fingerprint {
        let color = match self.orientation {
            Orientation::Stored => COLOR,
            Orientation::Exif => UPRIGHT_COLOR,
        };
        let on_gpu = if device == Device::Cpu { "" } else { ON_GPU };
        Fingerprint {
            backbone: xception::NAME.to_owned(),
            weights: weights.to_hex().to_string(),
            size: self.side,
            interpolation: interpolation_word(self.interpolation),
            scaling: xception::SCALING.to_owned(),
            color: color.to_owned(),
            decoder: if self.fast_decode { FAST_DECODER } else { DECODER }.to_owned(),
            pooling: xception::POOLING.to_owned(),
            precision: format!("{}{on_gpu}", self.precision),
        }
    }

    /// The spec and device (the CPU, or the first GPU) that compute rows with this fingerprint.
    ///
    /// # Errors
    /// Names each field whose value this version cannot compute.
    pub fn from_fingerprint(fingerprint: &Fingerprint) -> Result<(Self, Device), UnsupportedFingerprint> {
        // A value that this version does not know becomes the default, and then differs in the comparison below.
        let is_meant = |candidate: &Interpolation| interpolation_word(*candidate) == fingerprint.interpolation;
        let interpolation = Interpolation::ALL.into_iter().find(is_meant).unwrap_or(Self::default().interpolation);
        let (precision, device) = match fingerprint.precision.strip_suffix(ON_GPU) {
            Some(precision) => (precision, Device::Cuda(0)),
            None => (fingerprint.precision.as_str(), Device::Cpu),
        };
        // Our own kernels do not run on a GPU.
        let exists = |precision: &Precision| device == Device::Cpu || *precision != Precision::OwnBf16;
        let precision = precision.parse().ok().filter(exists).unwrap_or(Self::default().precision);
        let orientation = if fingerprint.color == UPRIGHT_COLOR { Orientation::Exif } else { Orientation::Stored };
        let fast_decode = fingerprint.decoder == FAST_DECODER;
        let spec = Self { side: fingerprint.size, interpolation, orientation, fast_decode, precision };
        let known = Fingerprint { weights: fingerprint.weights.clone(), ..spec.fingerprint(blake3::hash(b""), device) };
        let mut fields = Vec::new();
        for Difference { field, other, .. } in known.differences(fingerprint) {
            fields.push(UnsupportedField { field, found: other });
        }
        if fields.is_empty() { Ok((spec, device)) } else { Err(UnsupportedFingerprint { fields }) }
    }

    /// How photos become the network's input.
    pub fn preprocess(&self, limits: Limits) -> Preprocess {
        let Self { side, interpolation, orientation, fast_decode, .. } = *self;
        Preprocess { side, interpolation, orientation, fast_decode, limits }
    }
}

/// The interpolation as a fingerprint has it.
fn interpolation_word(interpolation: Interpolation) -> String {
    let suffix = if interpolation == Interpolation::Nearest { "" } else { AS_PILLOW_13 };
    format!("{interpolation}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_says_all_that_its_spec_does() {
        let weights = blake3::hash(b"weights");
        for interpolation in Interpolation::ALL {
            for precision in Precision::ALL {
                for fast_decode in [false, true] {
                    for orientation in Orientation::ALL {
                        let on_gpu = (precision != Precision::OwnBf16).then_some(Device::Cuda(0));
                        for device in [Device::Cpu].into_iter().chain(on_gpu) {
                            let spec = EmbedSpec { side: 299, interpolation, orientation, fast_decode, precision };
                            let fingerprint = spec.fingerprint(weights, device);
                            assert_eq!(EmbedSpec::from_fingerprint(&fingerprint), Ok((spec, device)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_fingerprint_that_cannot_be_computed_names_each_field() {
        let known = EmbedSpec::default().fingerprint(blake3::hash(b"weights"), Device::Cpu);
        type Change = fn(&mut Fingerprint);
        let changes: [(&str, Change); 10] = [
            ("backbone", |fingerprint| fingerprint.backbone = "other".to_owned()),
            ("interpolation", |fingerprint| fingerprint.interpolation = "other".to_owned()),
            ("interpolation", |fingerprint| fingerprint.interpolation = "bilinear".to_owned()),
            ("interpolation", |fingerprint| fingerprint.interpolation = "nearest as Pillow 13".to_owned()),
            ("scaling", |fingerprint| fingerprint.scaling = "other".to_owned()),
            ("color", |fingerprint| fingerprint.color = "other".to_owned()),
            ("decoder", |fingerprint| fingerprint.decoder = "other".to_owned()),
            ("pooling", |fingerprint| fingerprint.pooling = "other".to_owned()),
            ("precision", |fingerprint| fingerprint.precision = "other on CUDA".to_owned()),
            ("precision", |fingerprint| fingerprint.precision = "bf16, own kernels on CUDA".to_owned()),
        ];
        for (field, change) in changes {
            let mut changed = known.clone();
            change(&mut changed);
            let error = EmbedSpec::from_fingerprint(&changed).unwrap_err();
            let (_, found) = changed.fields().into_iter().find(|(name, _)| *name == field).unwrap();
            assert_eq!(error.fields, [UnsupportedField { field: field.to_owned(), found }]);
        }
        let changed = Fingerprint { scaling: "none".to_owned(), interpolation: "sinc".to_owned(), ..known };
        let message = "interpolation is \"sinc\", scaling is \"none\", which this version cannot compute";
        assert_eq!(EmbedSpec::from_fingerprint(&changed).unwrap_err().to_string(), message);
    }
}
