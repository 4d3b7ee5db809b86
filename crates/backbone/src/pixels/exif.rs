//! A photo's orientation from its metadata, as Pillow's `Image.getexif` finds it.

use image::metadata::Orientation as Turn;

/// The prefix of the EXIF block in a JPEG; some encoders write it in other formats too.
pub(super) const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// The transform that turns a photo upright, from its EXIF block, with or without prefix, and its XMP packet; each is
/// empty if the photo has none. As in Pillow, XMP counts only if EXIF has no orientation, not even one that does not
/// exist, and damaged metadata is ignored.
pub(super) fn upright_turn(exif: &[u8], xmp: &[u8]) -> Turn {
    // Some programs write the prefix twice.
    let exif = exif.strip_prefix(EXIF_PREFIX).unwrap_or(exif);
    let exif = exif.strip_prefix(EXIF_PREFIX).unwrap_or(exif);
    orientation_in_exif(exif).or_else(|| orientation_in_xmp(xmp)).unwrap_or(Turn::NoTransforms)
}

/// The orientation in an EXIF block, if it is a short integer; no transform for one that does not exist.
fn orientation_in_exif(exif: &[u8]) -> Option<Turn> {
    const ORIENTATION: u64 = 0x112;
    /// The type of a short integer.
    const SHORT: u64 = 3;

    let (header, _) = exif.split_first_chunk::<8>()?;
    let is_little_endian = match &header[..4] {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    // The number in some bytes of the block, in its byte order.
    let number = |bytes: &[u8]| -> u64 {
        let append = |number: u64, &digit: &u8| number << 8 | u64::from(digit);
        if is_little_endian { bytes.iter().rev().fold(0, append) } else { bytes.iter().fold(0, append) }
    };
    let start = usize::try_from(number(&header[4..])).ok()?;
    let (count, entries) = exif.get(start..)?.split_first_chunk::<2>()?;
    for entry in entries.chunks_exact(12).take(number(count) as usize) {
        let (tag, kind, values) = (number(&entry[..2]), number(&entry[2..4]), number(&entry[4..8]));
        if (tag, kind, values) == (ORIENTATION, SHORT, 1) {
            let orientation = number(&entry[8..10]).min(u8::MAX.into()) as u8;
            return Some(Turn::from_exif(orientation).unwrap_or(Turn::NoTransforms));
        }
    }
    None
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
