//! Opens a photo: detects its format, reads its header, checks the limits; decodes the formats other than JPEG.

use std::io::Cursor;

use ::tiff::TiffError;
use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::{ImageError, UnsupportedErrorKind};
use image::metadata::Orientation as Turn;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageResult};

use super::limits::{Limits, PixelError};
use super::orientation::Orientation;
use super::picture::RgbPicture;
use super::{color, jpeg, png, tiff, webp};

/// Memory for tables and small buffers of any decoder, in bytes.
pub(super) const DECODER_OVERHEAD: u64 = 1 << 20;

/// A photo whose header has been read.
pub(super) struct OpenedPhoto<'a> {
    /// Width of the decoded picture, before it is turned.
    width: u32,
    /// Height of the decoded picture, before it is turned.
    height: u32,
    /// The rotation or mirroring that is applied to the decoded picture.
    turn: Turn,
    format: ImageFormat,
    limits: Limits,
    /// The maximum memory of decoding in bytes, including the decoded picture.
    memory: u64,
    decoder: Decoder<'a>,
}

/// The decoder of a photo: mozjpeg for JPEG, one of the image crate's for other formats.
enum Decoder<'a> {
    Jpeg {
        bytes: &'a [u8],
        min_side: Option<u32>,
    },
    Other {
        decoder: Box<dyn ImageDecoder + 'a>,
        /// Whether it is a PNG whose pixels are grey without alpha; one value may be transparent.
        is_grey_png: bool,
    },
}

/// A decoder that has read its header.
struct OpenDecoder<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    /// The maximum memory of decoding in bytes, without the decoded picture.
    extra_memory: u64,
}

impl<'a> OpenedPhoto<'a> {
    /// Reads the header and checks the limits. The format is detected from the content, not from the file name.
    ///
    /// With `min_side`, a JPEG is scaled down to a half, a quarter or an eighth while it is decoded, as long as width
    /// and height stay at least `min_side`: Pillow's pixels after `Image.draft("RGB", (min_side, min_side))`.
    ///
    /// # Errors
    /// When it is not a picture, exceeds a limit, or its header is damaged.
    pub(super) fn open(
        bytes: &'a [u8],
        limits: Limits,
        min_side: Option<u32>,
        orientation: Orientation,
    ) -> Result<Self, PixelError> {
        let format = detect_format(bytes)?;
        let photo =
            |width, height, turn, memory, decoder| Self { width, height, turn, format, limits, memory, decoder };
        if format == ImageFormat::Jpeg {
            let header = jpeg::read_header(bytes, min_side)?;
            limits.check_pixels(header.width, header.height)?;
            let memory = header.memory.saturating_add(DECODER_OVERHEAD);
            limits.check_bytes(header.width, header.height, memory)?;
            let turn = match orientation {
                Orientation::Stored => Turn::NoTransforms,
                Orientation::Exif => {
                    limits.check_bytes(header.width, header.height, memory_to_open(bytes, limits, orientation))?;
                    jpeg::orientation(bytes)
                }
            };
            let decoder = Decoder::Jpeg { bytes, min_side };
            return Ok(photo(header.decoded_width, header.decoded_height, turn, memory, decoder));
        }
        let OpenDecoder { mut decoder, extra_memory } = open_decoder(bytes, format, limits)?;
        let (width, height) = decoder.dimensions();
        limits.check_pixels(width, height)?;
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            let problem = format!("its size is {width} x {height}");
            return Err(PixelError::Damaged { format: format_name(format), problem });
        }
        let converted = if decoder.color_type() == ColorType::Rgb8 { 0 } else { pixels.saturating_mul(3) };
        // The decoder is dropped before the picture is converted, so the larger of the two counts.
        let memory = decoder.total_bytes().saturating_add(extra_memory.max(converted)).saturating_add(DECODER_OVERHEAD);
        limits.check_bytes(width, height, memory)?;
        if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
            return Err(PixelError::Unsupported("holds floating-point values, which have no 8-bit form"));
        }
        let turn = match (orientation, format) {
            (Orientation::Exif, ImageFormat::Png) => png::orientation(bytes),
            (Orientation::Exif, ImageFormat::WebP) => webp::orientation(bytes),
            (Orientation::Exif, ImageFormat::Tiff) => decoder.orientation().unwrap_or(Turn::NoTransforms),
            _ => Turn::NoTransforms,
        };
        let is_grey_png = format == ImageFormat::Png && png_is_grey(bytes);
        Ok(photo(width, height, turn, memory, Decoder::Other { decoder, is_grey_png }))
    }

    /// Width and height of the picture that [`Self::decode`] gives.
    pub(super) fn size(&self) -> (u32, u32) {
        if self.swaps_sides() { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// The maximum memory of [`Self::decode`] in bytes, including its picture.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Whether the decoded picture is turned by 90 degrees, which swaps width and height and needs a second copy in
    /// memory.
    pub(super) fn swaps_sides(&self) -> bool {
        use Turn::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        matches!(self.turn, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
    }

    /// Decodes to RGB as Pillow's `Image.open(…).convert("RGB")`, and applies the orientation as
    /// `ImageOps.exif_transpose`. Of an animation, decodes the first frame.
    ///
    /// JPEG, PNG, BMP, GIF, lossless WebP and TIFF give exactly Pillow's pixels, with these exceptions: lossy WebP
    /// differs by a few grey levels (image-webp rounds differently from libwebp), CMYK TIFF by one. Where a GIF's first
    /// frame does not cover the screen, the pixels are black, and what exceeds the screen is cut off; Pillow fills with
    /// the transparent colour, or else with the first of the palette, and enlarges the picture
    /// (PIL/GifImagePlugin.py). Errors are TIFF with a palette or with JPEG compression, and a JPEG without its
    /// end-of-image marker, which Pillow accepts if nothing else is missing.
    ///
    /// # Errors
    /// When the picture is damaged, or its kind is not supported.
    pub(super) fn decode(self) -> Result<RgbPicture, PixelError> {
        let Self { width, height, turn, format, limits, decoder, .. } = self;
        let picture = match decoder {
            Decoder::Jpeg { bytes, min_side } => jpeg::decode(bytes, min_side)?,
            Decoder::Other { decoder, is_grey_png } => {
                let picture =
                    DynamicImage::from_decoder(decoder).map_err(|error| decoder_error(format, &error, limits))?;
                RgbPicture { width, height, pixels: color::to_rgb(picture, is_grey_png)? }
            }
        };
        let expected = 3 * u64::from(width) * u64::from(height);
        if (picture.width, picture.height) != (width, height) || picture.pixels.len() as u64 != expected {
            return Err(PixelError::Damaged {
                format: format_name(format),
                problem: "decodes to another size than its header has".to_owned(),
            });
        }
        Ok(if turn == Turn::NoTransforms { picture } else { picture.turned(turn) })
    }
}

/// The maximum memory of [`OpenedPhoto::open`] in bytes: some decoders keep metadata when they read a header.
pub(super) fn memory_to_open(bytes: &[u8], limits: Limits, orientation: Orientation) -> u64 {
    let metadata = match detect_format(bytes) {
        // The decoder keeps the metadata, and the parts of the EXIF block are copied into one.
        Ok(ImageFormat::Jpeg) if orientation == Orientation::Exif => 2 * bytes.len() as u64,
        // Twice the file covers the extensions before the first frame.
        Ok(ImageFormat::Gif) => 2 * bytes.len() as u64,
        Ok(ImageFormat::Png) => png_allocation(bytes, limits),
        Ok(ImageFormat::Tiff) => tiff::directory_memory(bytes),
        _ => 0,
    };
    metadata.saturating_add(DECODER_OVERHEAD)
}

/// The format, from the first bytes of the content.
fn detect_format(bytes: &[u8]) -> Result<ImageFormat, PixelError> {
    match image::guess_format(bytes) {
        Ok(format) if !format_name(format).is_empty() => Ok(format),
        _ => Err(PixelError::NotAPicture),
    }
}

/// The format's name, empty for one that is not supported.
fn format_name(format: ImageFormat) -> &'static str {
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
fn open_decoder(bytes: &[u8], format: ImageFormat, limits: Limits) -> Result<OpenDecoder<'_>, PixelError> {
    let damaged = |error: ImageError| decoder_error(format, &error, limits);
    match format {
        ImageFormat::Png => open_png(bytes, limits),
        ImageFormat::Gif => open_gif(bytes, limits).map_err(damaged),
        ImageFormat::Tiff => open_tiff(bytes, limits),
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            let (width, height) = decoder.dimensions();
            // Reading the prefix codes takes time for every pixel that the header claims.
            limits.check_pixels(width, height)?;
            let extra_memory = webp::memory(bytes, width, height)
                .map_err(|problem| PixelError::Damaged { format: format_name(format), problem: problem.to_owned() })?;
            Ok(OpenDecoder { decoder: Box::new(decoder), extra_memory })
        }
        _ => {
            let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            // Covers the row that the decoder reads: at most 4 bytes a pixel, and padding.
            let extra_memory = 8 * u64::from(decoder.dimensions().0);
            Ok(OpenDecoder { decoder: Box::new(decoder), extra_memory })
        }
    }
}

/// Reads the header of a PNG. Its metadata has a limit of its own; the decoder holds a few rows at a time.
fn open_png(bytes: &[u8], limits: Limits) -> Result<OpenDecoder<'_>, PixelError> {
    const ROWS: u64 = 12;
    let metadata = limits.png_metadata();
    let (width, height) = png_size(bytes);
    let allowed = allocation_limit(png_allocation(bytes, limits));
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), allowed).map_err(|error| match error {
        // Pixels whose number of bytes needs more than 64 bits give the same error.
        ImageError::Limits(_) => {
            limits.check_pixels(width, height).err().unwrap_or(PixelError::TooMuchMetadata { limit: metadata })
        }
        error => decoder_error(ImageFormat::Png, &error, limits),
    })?;
    let row = u64::from(decoder.dimensions().0) * u64::from(decoder.color_type().bytes_per_pixel());
    Ok(OpenDecoder { decoder: Box::new(decoder), extra_memory: ROWS * row + metadata })
}

/// What the decoder of a PNG may allocate for its metadata and a row, in bytes.
fn png_allocation(bytes: &[u8], limits: Limits) -> u64 {
    const MAX_BYTES_PER_PIXEL: u64 = 8;
    limits.png_metadata() + MAX_BYTES_PER_PIXEL * u64::from(png_size(bytes).0)
}

/// Width and height in a PNG's header; 0 where the file ends before them.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    let number = |start: usize| bytes.get(start..).and_then(|bytes| bytes.first_chunk());
    let [width, height] = [16, 20].map(|start| number(start).map_or(0, |&number| u32::from_be_bytes(number)));
    (width, height)
}

/// Whether a PNG's header has the color type of grey without alpha, 0.
fn png_is_grey(bytes: &[u8]) -> bool {
    bytes.get(25) == Some(&0)
}

/// Reads the header of a GIF. A frame is decoded to palette indices, then to RGBA. A frame that is narrower than the
/// screen needs its own buffer, whose size only the decoder knows: the decoder's limit is the rest of ours.
fn open_gif(bytes: &[u8], limits: Limits) -> ImageResult<OpenDecoder<'_>> {
    let mut decoder = GifDecoder::new(Cursor::new(bytes))?;
    // Twice the file covers what the decoder copies of it: palettes, extensions, compressed data.
    let metadata = 2 * bytes.len() as u64;
    let rest = limits.max_bytes.saturating_sub(4 * pixel_count(&decoder)).saturating_sub(metadata + DECODER_OVERHEAD);
    // A frame takes five bytes a pixel, one of indices and four of RGBA; the decoder's limit counts only the four.
    decoder.set_limits(allocation_limit(rest / 5 * 4))?;
    let extra_memory = pixel_count(&decoder) + metadata;
    Ok(OpenDecoder { decoder: Box::new(decoder), extra_memory })
}

/// Reads the directory of a TIFF. The picture is decoded to the decoder's buffer, then copied.
fn open_tiff(bytes: &[u8], limits: Limits) -> Result<OpenDecoder<'_>, PixelError> {
    if tiff::directory_memory(bytes) > limits.max_bytes {
        return Err(PixelError::TooMuchOtherMemory { limit: limits.max_bytes });
    }
    let format = format_name(ImageFormat::Tiff);
    let directory = tiff::directory(bytes).map_err(|error| match error {
        TiffError::UnsupportedError(error) => PixelError::UnsupportedKind { format, problem: error.to_string() },
        error => PixelError::Damaged { format, problem: error.to_string() },
    })?;
    if directory.holds_jpeg {
        return Err(PixelError::Unsupported("is a TIFF with JPEG compression, which is not supported"));
    }
    let failed = |error: ImageError| decoder_error(ImageFormat::Tiff, &error, limits);
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    // `no_limits` replaces tiff's default limits: the decoding buffer is then limited to the picture's own size, which
    // our limit covers.
    decoder.set_limits(image::Limits::no_limits()).map_err(failed)?;
    let bytes_per_pixel = match decoder.original_color_type() {
        ExtendedColorType::Cmyk8 => 4,
        ExtendedColorType::Cmyk16 => 8,
        _ => decoder.color_type().bytes_per_pixel().into(),
    };
    let extra_memory = pixel_count(&decoder).saturating_mul(bytes_per_pixel).saturating_add(directory.memory);
    Ok(OpenDecoder { decoder: Box::new(decoder), extra_memory })
}

fn pixel_count(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    u64::from(width) * u64::from(height)
}

fn allocation_limit(bytes: u64) -> image::Limits {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

fn decoder_error(format: ImageFormat, error: &ImageError, limits: Limits) -> PixelError {
    match error {
        ImageError::Limits(_) => PixelError::TooMuchOtherMemory { limit: limits.max_bytes },
        ImageError::Unsupported(error) => {
            let problem = match error.kind() {
                UnsupportedErrorKind::GenericFeature(feature) => feature,
                _ => error.to_string(),
            };
            PixelError::UnsupportedKind { format: format_name(format), problem }
        }
        _ => PixelError::Damaged { format: format_name(format), problem: error.to_string() },
    }
}
