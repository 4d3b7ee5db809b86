//! JPEG through mozjpeg, whose decoder is libjpeg-turbo's, as Pillow's is: the same pixels to the last bit.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use super::{PixelError, color};

/// Width and height from the header.
pub(super) fn dimensions(bytes: &[u8]) -> Result<(u32, u32), PixelError> {
    let (width, height) = guarded(bytes, |source| Ok(Decompress::new_reader(source)?.size()))?;
    Ok((width as u32, height as u32))
}

/// Width, height and the pixels as 8-bit RGB, scaled down while decoding if `at_least` allows it. The caller has checked
/// the dimensions.
pub(super) fn decode(bytes: &[u8], at_least: Option<u32>) -> Result<(u32, u32, Vec<u8>), PixelError> {
    let (size, pixels, cmyk) = guarded(bytes, |source| {
        let mut header = Decompress::new_reader(source)?;
        if let Some(side) = at_least {
            header.scale(eighths(header.size(), side as usize));
        }
        let cmyk = matches!(header.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
        let wanted = if cmyk { ColorSpace::JCS_CMYK } else { ColorSpace::JCS_RGB };
        let mut picture = header.to_colorspace(wanted)?;
        Ok(((picture.width() as u32, picture.height() as u32), picture.read_scanlines::<u8>()?, cmyk))
    })?;
    Ok((size.0, size.1, if cmyk { color::inverted_cmyk_to_rgb(&pixels) } else { pixels }))
}

/// The smallest of 8/8, 4/8, 2/8 and 1/8 that leaves `side` pixels both ways, as Pillow's `Image.draft` chooses
/// (PIL/JpegImagePlugin.py).
fn eighths((width, height): (usize, usize), side: usize) -> u8 {
    let times = (width / side.max(1)).min(height / side.max(1));
    [1, 2, 4].into_iter().find(|eighths| 8 / eighths <= times).unwrap_or(8) as u8
}

/// Runs the decoder over `bytes`. libjpeg reports fatal errors by a call that must not return, which mozjpeg turns
/// into an unwinding past the panic hook; this is where it ends.
fn guarded<T>(bytes: &[u8], decode: impl FnOnce(WholeFile<'_>) -> io::Result<T>) -> Result<T, PixelError> {
    let ended = Cell::new(false);
    let source = WholeFile { rest: bytes, ended: &ended };
    let damaged = |problem| match ended.get() {
        true => PixelError::Truncated,
        false => PixelError::Damaged { format: "JPEG", problem },
    };
    match catch_unwind(AssertUnwindSafe(|| decode(source))) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(unwound) => {
            let message = unwound.downcast_ref::<String>().map_or("unknown", String::as_str);
            Err(damaged(message.trim_start_matches("libjpeg fatal error: ").to_owned()))
        }
    }
}

/// A file's bytes that fail at their end, where a plain slice would have libjpeg make up the rest in grey.
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
