//! JPEG through mozjpeg, whose decoder is libjpeg-turbo's, like Pillow's: the pixels are identical.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use image::metadata::Orientation as Turn;
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::color;
use super::exif::{EXIF_PREFIX, upright_turn};
use super::limits::PixelError;
use super::picture::RgbPicture;

/// The maximum number of scans. Encoders write about ten; libjpeg-turbo's cjpeg writes at most 100. libjpeg walks
/// over all blocks of the picture for each scan, even for one that has no data.
const MAX_SCANS: usize = 200;

/// The contents of a JPEG's header, and what follows from them for decoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Width of the decoded picture, which may be scaled down.
    pub decoded_width: u32,
    /// Height of the decoded picture.
    pub decoded_height: u32,
    /// The maximum memory of decoding in bytes, including the decoded picture.
    pub memory: u64,
}

/// Reads the header. With `min_side`, the JPEG will be scaled down while it is decoded, as long as width and height
/// stay at least `min_side`.
///
/// # Errors
/// When the header is damaged, or there are more than [`MAX_SCANS`] scans.
pub(super) fn read_header(bytes: &[u8], min_side: Option<u32>) -> Result<Header, PixelError> {
    let several_scans = has_several_scans(bytes);
    if several_scans && has_more_scans_than(MAX_SCANS, bytes) {
        return Err(PixelError::TooManyScans { limit: MAX_SCANS });
    }
    catch_fatal(bytes, |source| {
        let jpeg = Decompress::new_reader(source)?;
        let (width, height) = (jpeg.width() as u32, jpeg.height() as u32);
        let eighths = min_side.map_or(8, |side| eighths(jpeg.size(), side as usize).into());
        let (decoded_width, decoded_height) = ((width * eighths).div_ceil(8), (height * eighths).div_ceil(8));
        // Bytes per pixel while decoding and while converting. CMYK is converted after the decoder is dropped.
        let (decoding, converting) = if is_cmyk(&jpeg) { (4, 7) } else { (3, 3) };
        let pixels = u64::from(decoded_width) * u64::from(decoded_height);
        let coefficients = if several_scans { coefficients_memory(&jpeg) } else { 0 };
        let row_memory = ROW_BYTES_PER_PIXEL * u64::from(width);
        let memory = (decoding * pixels + coefficients + row_memory).max(converting * pixels);
        Ok(Header { width, height, decoded_width, decoded_height, memory })
    })
}

/// Decodes to RGB, scaled down as in [`read_header`].
///
/// # Errors
/// When it is damaged or truncated.
pub(super) fn decode(bytes: &[u8], min_side: Option<u32>) -> Result<RgbPicture, PixelError> {
    let (mut picture, is_cmyk) = catch_fatal(bytes, |source| {
        let mut jpeg = Decompress::new_reader(source)?;
        if let Some(side) = min_side {
            jpeg.scale(eighths(jpeg.size(), side as usize));
        }
        let is_cmyk = is_cmyk(&jpeg);
        let mut rows = jpeg.to_colorspace(if is_cmyk { ColorSpace::JCS_CMYK } else { ColorSpace::JCS_RGB })?;
        let (width, height) = (rows.width() as u32, rows.height() as u32);
        Ok((RgbPicture { width, height, pixels: rows.read_scanlines()? }, is_cmyk))
    })?;
    if is_cmyk {
        picture.pixels = color::inverted_cmyk_to_rgb(&picture.pixels);
    }
    Ok(picture)
}

/// The transform that turns the picture upright, from its APP1 markers (PIL/JpegImagePlugin.py, `APP`).
pub(super) fn orientation(bytes: &[u8]) -> Turn {
    const XMP_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    let found = catch_fatal(bytes, |source| {
        let jpeg = Decompress::builder().with_markers(&[Marker::APP(1)]).from_reader(source)?;
        let (mut exif, mut xmp): (Vec<u8>, &[u8]) = (Vec::new(), &[]);
        for marker in jpeg.markers() {
            if let Some(block) = marker.data.strip_prefix(EXIF_PREFIX) {
                // A block of more than 64 KiB is in several markers.
                exif.extend_from_slice(block);
            } else if let Some(packet) = marker.data.strip_prefix(XMP_PREFIX) {
                xmp = packet;
            }
        }
        Ok(upright_turn(&exif, xmp))
    });
    // If the header is damaged, decoding will report it.
    found.unwrap_or(Turn::NoTransforms)
}

fn is_cmyk<R>(jpeg: &Decompress<R>) -> bool {
    matches!(jpeg.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK)
}

/// The smallest of 1, 2 and 4 eighths of the picture's size that is at least `side` in width and height, or 8 if there
/// is none, as Pillow's `Image.draft` chooses (PIL/JpegImagePlugin.py).
fn eighths((width, height): (usize, usize), side: usize) -> u8 {
    let max_reduction = (width / side.max(1)).min(height / side.max(1));
    [1, 2, 4].into_iter().find(|eighths| 8 / eighths <= max_reduction).unwrap_or(8) as u8
}

/// The maximum memory of libjpeg for the rows that it is working on, in bytes per pixel of a row: 12 rows of blocks and
/// 4 rows of pixels for each of 4 components.
const ROW_BYTES_PER_PIXEL: u64 = 4 * (12 * 4 + 4);

/// Memory for the whole picture's coefficients in bytes: 64 of two bytes each per block, in whole groups of blocks for
/// each component (libjpeg's jdcoefct.c, `jinit_d_coef_controller`).
fn coefficients_memory<R>(jpeg: &Decompress<R>) -> u64 {
    let mut bytes = 0;
    for component in jpeg.components() {
        let across = component.width_in_blocks.next_multiple_of(component.h_samp_factor as u32);
        let down = component.height_in_blocks.next_multiple_of(component.v_samp_factor as u32);
        bytes += 128 * u64::from(across) * u64::from(down);
    }
    bytes
}

/// Whether libjpeg holds the whole picture's coefficients: for progressive JPEGs, and for those whose first scan lacks
/// a component. `true` if the markers are damaged.
fn has_several_scans(bytes: &[u8]) -> bool {
    let mut components = None;
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        let [0xFF, marker, after @ ..] = rest else { return true };
        match marker {
            // A fill byte, and markers without a length.
            0xFF => rest = &rest[1..],
            0x01 | 0xD0..=0xD7 => rest = after,
            // No markers: libjpeg searches for the next one.
            0x00 | 0x02..=0xBF => return true,
            _ => {
                let Some(length) = after.first_chunk().map(|&length| usize::from(u16::from_be_bytes(length))) else {
                    return true;
                };
                let (Some(segment), Some(next)) = (after.get(2..length), after.get(length..)) else { return true };
                match marker {
                    // The start of a sequential, Huffman-coded picture, and of its first scan.
                    0xC0 | 0xC1 => components = segment.get(5),
                    0xDA => return segment.first() != components,
                    // Huffman tables; then the starts of all other kinds of picture.
                    0xC4 => {}
                    0xC2..=0xCF => return true,
                    _ => {}
                }
                rest = next;
            }
        }
    }
}

/// Whether libjpeg finds more than `max` scans.
fn has_more_scans_than(max: usize, bytes: &[u8]) -> bool {
    let mut scans = 0;
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some(place) = rest.iter().position(|&byte| byte == 0xFF) {
        rest = &rest[place + 1..];
        match rest {
            // The end of the picture.
            [0xD9, ..] => return false,
            // Markers with a length, which counts itself.
            &[marker @ (0xC0..=0xCF | 0xDA..=0xFE), high, low, ..] => {
                scans += usize::from(marker == 0xDA);
                if scans > max {
                    return true;
                }
                let length = usize::from(u16::from_be_bytes([high, low])).max(2);
                rest = rest.get(1 + length..).unwrap_or_default();
            }
            // Within a scan's data: a zero after the value 0xFF, restart markers; a fill byte; or no marker.
            _ => {}
        }
    }
    false
}

/// Runs the decoder on `bytes`. libjpeg reports a fatal error by a call that must not return; mozjpeg unwinds from it,
/// without the panic hook, up to here. A panic, which is a bug, goes on.
fn catch_fatal<T>(bytes: &[u8], decode: impl FnOnce(WholeFile<'_>) -> io::Result<T>) -> Result<T, PixelError> {
    let ended = Cell::new(false);
    let source = WholeFile { rest: bytes, ended: &ended };
    let damaged = |problem| {
        if ended.get() { PixelError::Truncated } else { PixelError::Damaged { format: "JPEG", problem } }
    };
    match catch_unwind(AssertUnwindSafe(|| decode(source))) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(unwound) => {
            // mozjpeg's src/errormgr.rs, `unwind_error_exit`.
            let message = unwound.downcast_ref::<String>().and_then(|text| text.strip_prefix("libjpeg fatal error: "));
            match message {
                Some(problem) => Err(damaged(problem.to_owned())),
                None => resume_unwind(unwound),
            }
        }
    }
}

/// Reads a file's bytes and fails at their end. At the end of a plain slice, libjpeg would fill the rest with grey.
struct WholeFile<'a> {
    rest: &'a [u8],
    ended: &'a Cell<bool>,
}

impl Read for WholeFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl BufRead for WholeFile<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            self.ended.set(true);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest = self.rest.get(amount..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_with_several_scans_is_recognised() {
        let fixture = |name: &str| {
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels").join(name)).unwrap()
        };
        for (name, several) in [
            ("rgb_420.jpg", false),
            ("grey.jpg", false),
            ("cmyk.jpg", false),
            ("restart.jpg", false),
            ("progressive.jpg", true),
        ] {
            assert_eq!(has_several_scans(&fixture(name)), several, "{name}");
        }
        let whole = fixture("rgb_420.jpg");
        let scan = whole.windows(2).position(|marker| marker == [0xFF, 0xDA]).unwrap();
        // A byte of filling before the marker; then fewer components in the scan; then nothing but a part of the
        // header.
        let filled = [&whole[..scan], &[0xFF], &whole[scan..]].concat();
        assert!(!has_several_scans(&filled));
        let mut fewer = whole.clone();
        fewer[scan + 4] = 1;
        assert!(has_several_scans(&fewer));
        for length in 0..scan {
            assert!(has_several_scans(&whole[..length]), "{length}");
        }
    }

    /// Such a panic was reported as a damaged JPEG.
    #[test]
    fn a_panic_is_not_taken_for_a_fatal_error_of_libjpeg() {
        let bug = || catch_fatal(b"", |_| -> io::Result<()> { panic!("a bug") });
        assert_eq!(catch_unwind(bug).unwrap_err().downcast_ref::<&str>(), Some(&"a bug"));
        let error = catch_fatal(b"\xFF\xD8\xFF\x02", |source| Decompress::new_reader(source).map(drop)).unwrap_err();
        assert!(matches!(error, PixelError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_jpeg_of_very_many_scans_is_refused() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels/progressive.jpg");
        let whole = fs::read(file).unwrap();
        let scans = whole.windows(2).filter(|marker| **marker == [0xFF, 0xDA]).count();
        assert!(scans > 1 && has_more_scans_than(scans - 1, &whole) && !has_more_scans_than(scans, &whole), "{scans}");

        // The last scan several times more, before the end of the picture.
        let last = whole.windows(2).rposition(|marker| marker == [0xFF, 0xDA]).unwrap();
        let (before_end, end) = whole.split_at(whole.len() - 2);
        let repeated = |times: usize| [before_end, &before_end[last..].repeat(times), end].concat();
        assert!(read_header(&repeated(MAX_SCANS - scans), None).is_ok());
        let error = read_header(&repeated(MAX_SCANS - scans + 1), None).unwrap_err();
        assert_eq!(error.to_string(), "is a JPEG of more than 200 scans");

        // Not counted in the data of a segment, and after the end; counted after what is no marker.
        let scan = b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0";
        let in_segment = [&b"\xFF\xD8\xFF\xE1\0\x20"[..], &scan.repeat(3)].concat();
        assert!(!has_more_scans_than(0, &in_segment));
        assert!(!has_more_scans_than(0, &[&b"\xFF\xD8\xFF\xD9"[..], scan].concat()));
        assert!(has_more_scans_than(2, &[&b"\xFF\xD8\xFF\x02\0\x20"[..], &scan.repeat(3)].concat()));
    }

    #[test]
    fn coefficients_are_counted_only_where_they_are_held() {
        let fixture = |name: &str| {
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels").join(name)).unwrap()
        };
        // 23 x 17 pixels: 3 x 3 blocks of each component in 4:4:4, 4 x 4 and twice 2 x 2 in 4:2:0.
        let pixels = 23 * 17;
        assert_eq!(read_header(&fixture("rgb_444.jpg"), None).unwrap().memory, 3 * pixels + 23 * ROW_BYTES_PER_PIXEL);
        let progressive = read_header(&fixture("progressive.jpg"), None).unwrap();
        assert_eq!(progressive.memory, 3 * pixels + 128 * (16 + 4 + 4) + 23 * ROW_BYTES_PER_PIXEL);
    }
}
