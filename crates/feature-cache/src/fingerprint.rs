//! What a feature row depends on besides the photo's bytes.

use serde::{Deserialize, Serialize};

use crate::difference::{Difference, digest};

/// [`Fingerprint::color`] of rows whose photos were turned upright by their EXIF orientation.
pub const UPRIGHT_COLOR: &str = "RGB as Pillow's convert, turned upright as Pillow's exif_transpose";

/// Everything that a row depends on besides the photo's bytes: two caches with equal fingerprints hold interchangeable
/// rows.
///
/// The fields are readable text, so that the manifest and a difference between two fingerprints explain themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The network and the layer whose output is pooled.
    pub backbone: String,
    /// blake3 of the network's weights, in hexadecimal.
    pub weights: String,
    /// Width and height of the network's input, in pixels.
    pub size: u32,
    /// How a picture is resized to that.
    pub interpolation: String,
    /// How 8-bit values become the network's input, as in `x / 127.5 - 1`.
    pub scaling: String,
    /// How grey, palette, alpha and CMYK pictures become RGB.
    pub color: String,
    /// Which decoder the pixels come from.
    pub decoder: String,
    /// How the last feature map becomes one row.
    pub pooling: String,
    /// The number format that the network computes in, as in `f32`.
    pub precision: String,
}

impl Fingerprint {
    /// The fields in which the two differ, in the order of the manifest; empty if rows are interchangeable.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        Difference::between(self.fields(), other.fields())
    }

    /// Every field's name and value, in the order of the manifest.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let Self { backbone, weights, size, interpolation, scaling, color, decoder, pooling, precision } = self;
        vec![
            ("backbone", backbone.clone()),
            ("weights", weights.clone()),
            ("size", size.to_string()),
            ("interpolation", interpolation.clone()),
            ("scaling", scaling.clone()),
            ("color", color.clone()),
            ("decoder", decoder.clone()),
            ("pooling", pooling.clone()),
            ("precision", precision.clone()),
        ]
    }

    /// A hash of its fields: the same for equal fingerprints, and for no others.
    pub fn digest(&self) -> blake3::Hash {
        digest(self.fields())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn fingerprint() -> Fingerprint {
        serde_json::from_str(end_to_end::SAMPLE_FINGERPRINT).unwrap()
    }

    #[test]
    fn differences_name_the_fields_and_both_values() {
        let this = fingerprint();
        let other = Fingerprint { size: 299, precision: "bf16".into(), ..fingerprint() };
        assert!(this.differences(&this).is_empty());
        assert_ne!(this.digest(), other.digest());
        let table = Difference::table(&this.differences(&other), "now", "cache");
        assert_eq!(table, "  size       now: 150  cache: 299\n  precision  now: f32  cache: bf16");
    }

    #[test]
    fn fields_lists_what_the_manifest_holds() {
        let json = serde_json::to_value(fingerprint()).unwrap();
        let mut fields: Vec<&str> = fingerprint().fields().iter().map(|field| field.0).collect();
        fields.sort_unstable();
        let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, fields);
    }
}
