//! Which way up a photo is by its metadata, as Pillow's `Image.getexif` finds it.

use image::metadata::Orientation as Turn;

/// What comes before the EXIF block in a JPEG, and with some encoders in other formats.
pub(super) const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// What turns a photo upright that has this EXIF block, with or without its prefix, and this XMP packet. One that it
/// does not have is empty. As in Pillow, XMP counts where EXIF has no orientation, and damaged metadata say nothing.
pub(super) fn upright(exif: &[u8], xmp: &[u8]) -> Turn {
    // Some programs write the prefix twice.
    let exif = exif.strip_prefix(EXIF_PREFIX).unwrap_or(exif);
    let exif = exif.strip_prefix(EXIF_PREFIX).unwrap_or(exif);
    Turn::from_exif_chunk(exif).or_else(|| orientation_in_xmp(xmp)).unwrap_or(Turn::NoTransforms)
}

/// What follows the first `tiff:Orientation="` or `tiff:Orientation>`: Pillow's regular expression.
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
