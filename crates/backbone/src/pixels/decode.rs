//! Which format it is, and formats other than JPEG.

use std::io::Cursor;

use image::error::ImageError;
use image::{ImageFormat, ImageReader};

use super::{Limits, PixelError, RgbPicture, color, jpeg};

/// Bytes per pixel of the largest form that a picture takes while it is decoded: 16-bit RGBA.
const MOST_BYTES_PER_PIXEL: u64 = 8;

/// Looks at the header only: is it a picture, and within the limits? The format shows in the content; the file's
/// name does not matter. Gives width and height.
///
/// # Errors
/// When it is no picture, a larger one than allowed, or its header is damaged.
pub fn probe(bytes: &[u8], limits: Limits) -> Result<(u32, u32), PixelError> {
    let (width, height) = match format(bytes)? {
        ImageFormat::Jpeg => jpeg::dimensions(bytes)?,
        format => reader(bytes, format, limits).into_dimensions().map_err(|error| damaged(format, &error))?,
    };
    limits.check(width, height)?;
    Ok((width, height))
}

/// Decodes to RGB as Pillow's `Image.open(…).convert("RGB")` does; of an animation, the first frame.
///
/// JPEG, PNG, BMP, GIF, lossless WebP and TIFF give Pillow's pixels exactly, with these exceptions: lossy WebP differs by
/// a few grey levels (image-webp's arithmetic is not libwebp's), CMYK TIFF by one; palette TIFF is refused, and so is a
/// JPEG without its end-of-image marker, which Pillow takes if nothing else is missing.
///
/// # Errors
/// When it is no picture, a damaged one, or over the limits.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<RgbPicture, PixelError> {
    decode_scaled(bytes, limits, None)
}

/// The same, but JPEGs are scaled down to a half, a quarter or an eighth while they are decoded, as long as `side` pixels
/// are left both ways: Pillow's pixels after `Image.draft("RGB", (side, side))`. Several times faster for large photos.
///
/// # Errors
/// As [`decode`].
pub fn decode_fast(bytes: &[u8], limits: Limits, side: u32) -> Result<RgbPicture, PixelError> {
    decode_scaled(bytes, limits, Some(side))
}

fn decode_scaled(bytes: &[u8], limits: Limits, at_least: Option<u32>) -> Result<RgbPicture, PixelError> {
    let (mut width, mut height) = probe(bytes, limits)?;
    let pixels = match format(bytes)? {
        ImageFormat::Jpeg => {
            let pixels;
            (width, height, pixels) = jpeg::decode(bytes, at_least)?;
            pixels
        }
        format => {
            let picture = reader(bytes, format, limits).decode().map_err(|error| damaged(format, &error))?;
            color::to_rgb(picture)?
        }
    };
    match pixels.len() as u64 == 3 * u64::from(width) * u64::from(height) {
        true => Ok(RgbPicture { width, height, pixels }),
        false => Err(PixelError::Damaged { format: name(format(bytes)?), problem: "its size changes".to_owned() }),
    }
}

fn format(bytes: &[u8]) -> Result<ImageFormat, PixelError> {
    match image::guess_format(bytes) {
        Ok(format) if !name(format).is_empty() => Ok(format),
        _ => Err(PixelError::NotAPicture),
    }
}

/// The format's name, empty for one that we do not read.
fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        _ => "",
    }
}

fn reader(bytes: &[u8], format: ImageFormat, limits: Limits) -> ImageReader<Cursor<&[u8]>> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut memory = image::Limits::default();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(MOST_BYTES_PER_PIXEL));
    reader.limits(memory);
    reader
}

fn damaged(format: ImageFormat, error: &ImageError) -> PixelError {
    PixelError::Damaged { format: name(format), problem: error.to_string() }
}
