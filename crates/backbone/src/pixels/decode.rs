//! Which format it is, what decoding it takes, and formats other than JPEG.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::ImageError;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageResult};

use super::limits::{Limits, PixelError};
use super::picture::RgbPicture;
use super::{color, jpeg, tiff, webp};

/// Tables and small buffers of any decoder, in bytes.
pub(super) const TABLES: u64 = 1 << 20;

/// No PNG's profiles and texts come near this many bytes.
const MAX_PNG_METADATA: u64 = 32 << 20;

/// A photo whose header has been read.
pub(super) struct Photo<'a> {
    /// Width of the decoded picture.
    pub width: u32,
    /// Height of the decoded picture.
    pub height: u32,
    format: ImageFormat,
    limits: Limits,
    source: Source<'a>,
}

enum Source<'a> {
    Jpeg { bytes: &'a [u8], at_least: Option<u32> },
    Other(Box<dyn ImageDecoder + 'a>),
}

/// A decoder that has read its header.
struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    /// Bytes that it takes at most beside the decoded picture.
    beside: u64,
}

impl<'a> Photo<'a> {
    /// Reads the header, and refuses what is over the limits. The format shows in the content; the file's name does not
    /// matter. A JPEG is scaled down to a half, a quarter or an eighth while it is decoded, as long as `at_least` pixels
    /// are left both ways, if that is given: Pillow's pixels after `Image.draft("RGB", (at_least, at_least))`.
    ///
    /// # Errors
    /// When it is no picture, a larger one than allowed, or its header is damaged.
    pub(super) fn open(bytes: &'a [u8], limits: Limits, at_least: Option<u32>) -> Result<Self, PixelError> {
        let format = format(bytes)?;
        let photo = |width, height, source| Self { width, height, format, limits, source };
        if format == ImageFormat::Jpeg {
            let header = jpeg::header(bytes, at_least)?;
            limits.check_pixels(header.width, header.height)?;
            limits.check_bytes(header.width, header.height, header.memory.saturating_add(TABLES))?;
            return Ok(photo(header.decoded_width, header.decoded_height, Source::Jpeg { bytes, at_least }));
        }
        let Opened { decoder, beside } = open(bytes, format, limits)?;
        let (width, height) = decoder.dimensions();
        limits.check_pixels(width, height)?;
        let pixels = u64::from(width) * u64::from(height);
        let converted = if decoder.color_type() == ColorType::Rgb8 { 0 } else { pixels.saturating_mul(3) };
        let needed = decoder.total_bytes().saturating_add(beside.max(converted)).saturating_add(TABLES);
        limits.check_bytes(width, height, needed)?;
        if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
            return Err(PixelError::Unsupported("holds floating-point values, which have no 8-bit form"));
        }
        Ok(photo(width, height, Source::Other(decoder)))
    }

    /// Decodes to RGB as Pillow's `Image.open(…).convert("RGB")` does; of an animation, the first frame.
    ///
    /// JPEG, PNG, BMP, GIF, lossless WebP and TIFF give Pillow's pixels exactly, with these exceptions: lossy WebP
    /// differs by a few grey levels (image-webp's arithmetic is not libwebp's), CMYK TIFF by one; TIFF with a palette or
    /// with JPEGs within is refused, and so is a JPEG without its end-of-image marker, which Pillow takes if nothing else
    /// is missing.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn decode(self) -> Result<RgbPicture, PixelError> {
        let Self { width, height, format, limits, source } = self;
        let picture = match source {
            Source::Jpeg { bytes, at_least } => jpeg::decode(bytes, at_least)?,
            Source::Other(decoder) => {
                let picture = DynamicImage::from_decoder(decoder).map_err(|error| failed(format, &error, limits))?;
                RgbPicture { width, height, pixels: color::to_rgb(picture)? }
            }
        };
        let expected = 3 * u64::from(width) * u64::from(height);
        if (picture.width, picture.height) != (width, height) || picture.pixels.len() as u64 != expected {
            return Err(PixelError::Damaged { format: name(format), problem: "its size changes".to_owned() });
        }
        Ok(picture)
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

/// Reads the header of any format but JPEG.
fn open(bytes: &[u8], format: ImageFormat, limits: Limits) -> Result<Opened<'_>, PixelError> {
    let damaged = |error: ImageError| failed(format, &error, limits);
    match format {
        ImageFormat::Png => open_png(bytes, limits).map_err(damaged),
        ImageFormat::Gif => open_gif(bytes, limits).map_err(damaged),
        ImageFormat::Tiff => open_tiff(bytes, limits),
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            let (width, height) = decoder.dimensions();
            let problem = "its prefix codes are damaged".to_owned();
            let beside =
                webp::memory(bytes, width, height).ok_or(PixelError::Damaged { format: name(format), problem })?;
            Ok(Opened { decoder: Box::new(decoder), beside })
        }
        _ => {
            let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            let beside = 8 * u64::from(decoder.dimensions().0);
            Ok(Opened { decoder: Box::new(decoder), beside })
        }
    }
}

/// Metadata are decompressed within a limit of their own. The decoder works on some rows at a time.
fn open_png(bytes: &[u8], limits: Limits) -> ImageResult<Opened<'_>> {
    const ROWS: u64 = 12;
    const MAX_BYTES_PER_PIXEL: u64 = 8;
    let width = bytes.get(16..20).map_or(0, |width| width.iter().fold(0, |width, &byte| width << 8 | u64::from(byte)));
    let metadata = (limits.max_bytes / 8).min(MAX_PNG_METADATA);
    let allowed = allocation_limit(metadata + MAX_BYTES_PER_PIXEL * width);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), allowed)?;
    let row = u64::from(decoder.dimensions().0) * u64::from(decoder.color_type().bytes_per_pixel());
    Ok(Opened { decoder: Box::new(decoder), beside: ROWS * row + metadata })
}

/// A frame is decoded to indices and then to RGBA, in a buffer of its own where it is not as wide as the screen. Only the
/// decoder gets to know its size; it is given what is left.
fn open_gif(bytes: &[u8], limits: Limits) -> ImageResult<Opened<'_>> {
    let mut decoder = GifDecoder::new(Cursor::new(bytes))?;
    let metadata = 2 * bytes.len() as u64;
    let left = limits.max_bytes.saturating_sub(4 * pixels(&decoder)).saturating_sub(metadata + TABLES);
    decoder.set_limits(allocation_limit(left / 5 * 4))?;
    let beside = pixels(&decoder) + metadata;
    Ok(Opened { decoder: Box::new(decoder), beside })
}

/// A TIFF is decoded to a buffer of its own, then copied.
fn open_tiff(bytes: &[u8], limits: Limits) -> Result<Opened<'_>, PixelError> {
    let damaged = |problem: String| PixelError::Damaged { format: name(ImageFormat::Tiff), problem };
    if tiff::directory_memory(bytes) > limits.max_bytes {
        return Err(PixelError::TooMuchMemory { limit: limits.max_bytes });
    }
    let directory = tiff::directory(bytes).map_err(|error| damaged(error.to_string()))?;
    if directory.holds_jpeg {
        return Err(PixelError::Unsupported("is a TIFF with JPEGs within, which is not supported"));
    }
    let failed = |error: ImageError| failed(ImageFormat::Tiff, &error, limits);
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    // Its own limits are replaced by one for the buffer, of the buffer's size.
    decoder.set_limits(image::Limits::no_limits()).map_err(failed)?;
    let bytes_per_pixel = match decoder.original_color_type() {
        ExtendedColorType::Cmyk8 => 4,
        ExtendedColorType::Cmyk16 => 8,
        _ => decoder.color_type().bytes_per_pixel().into(),
    };
    let beside = pixels(&decoder).saturating_mul(bytes_per_pixel).saturating_add(directory.memory);
    Ok(Opened { decoder: Box::new(decoder), beside })
}

fn pixels(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    u64::from(width) * u64::from(height)
}

fn allocation_limit(bytes: u64) -> image::Limits {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

fn failed(format: ImageFormat, error: &ImageError, limits: Limits) -> PixelError {
    match error {
        ImageError::Limits(_) => PixelError::TooMuchMemory { limit: limits.max_bytes },
        _ => PixelError::Damaged { format: name(format), problem: error.to_string() },
    }
}
