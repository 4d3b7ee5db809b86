//! A photo's orientation from its metadata, as Pillow's `Image.getexif` finds it.

use image::metadata::Orientation as Turn;

/// The prefix of the EXIF block in a JPEG; some encoders write it in other formats too.
pub(super) const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// The transform that turns a photo upright, from its EXIF block, with or without prefix, and its XMP packet; each is
/// empty if the photo has none. As in Pillow, XMP counts only if EXIF has no orientation, and damaged metadata is
/// ignored.
pub(super) fn upright_turn(exif: &[u8], xmp: &[u8]) -> Turn {
    // Some programs write the prefix twice.
    let exif = exif.strip_prefix(EXIF_PREFIX).unwrap_or(exif);
    let exif = exif.strip_prefix(EXIF_PREFIX).unwrap_or(exif);
    Turn::from_exif_chunk(exif).or_else(|| orientation_in_xmp(xmp)).unwrap_or(Turn::NoTransforms)
}

/// The digit after the first `tiff:Orientation="` or `tiff:Orientation>`, as Pillow's regular expression finds it.
fn orientation_in_xmp(xmp: &[u8]) -> Option<Turn> {
    const NAME: &[u8] = b"tiff:Orientation";
    for start in 0..xmp.len() {
        let Some(after) = xmp[start..].strip_prefix(NAME) else { continue };
        let value = after.strip_prefix(b"=\"").or_else(|| after.strip_prefix(b">"));
        if let Some([digit @ b'0'..=b'9', ..]) = value {
            return Turn::from_exif(digit - b'0');
        }
    }
    None
}
