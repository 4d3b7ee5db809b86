//! The memory that decoding a WebP takes in addition to its pixels, and its orientation, read from its chunks before
//! the decoder sees them.

use image::metadata::Orientation as Turn;

use super::exif::upright_turn;
use super::prefix_codes;

/// Bytes per pixel for decoding a lossy picture: planes of 1.5 bytes, and data of each macroblock.
const LOSSY: u64 = 2;
/// Bytes per pixel for decoding a lossless picture: 4 bytes, the transforms and the map of prefix codes.
const LOSSLESS: u64 = 5;
/// Bytes per pixel for decoding an alpha channel: a lossless picture, of which one byte in four is kept.
const ALPHA: u64 = LOSSLESS + 1;
/// Bytes per pixel for decoding an animation: its canvas, and a frame of the same size.
const ANIMATION: u64 = 8;

/// The transform that turns the picture upright.
pub(super) fn orientation(bytes: &[u8]) -> Turn {
    let chunks = Chunks { rest: bytes.get(12..).unwrap_or_default() };
    let (mut exif, mut xmp): (&[u8], &[u8]) = (&[], &[]);
    for chunk in chunks {
        match &chunk.name {
            b"EXIF" => exif = chunk.data,
            b"XMP " => xmp = chunk.data,
            _ => {}
        }
    }
    upright_turn(exif, xmp)
}

/// The maximum memory of decoding in bytes, without the decoded picture of `width` x `height` pixels.
///
/// # Errors
/// What is damaged: the prefix codes of a lossless picture, or the size of an animation's first frame.
pub(super) fn memory(bytes: &[u8], width: u32, height: u32) -> Result<u64, &'static str> {
    const DAMAGED_CODES: &str = "its prefix codes are damaged";
    let chunks = Chunks { rest: bytes.get(12..).unwrap_or_default() };
    let mut memory = chunks.memory(width, height).ok_or(DAMAGED_CODES)?;
    // Only the first frame of an animation is decoded. Its header has its width and height minus 1, 24 bits each. The
    // decoder refuses a frame that is larger than the canvas.
    if let Some((header, rest)) = chunks.first(b"ANMF").and_then(<[u8]>::split_first_chunk::<16>) {
        let length = |place: usize| u32::from_le_bytes([header[place], header[place + 1], header[place + 2], 0]) + 1;
        let (frame_width, frame_height) = (length(6).min(width), length(9).min(height));
        let frame = Chunks { rest };
        // image-webp 0.2.4 does not compare the sizes, and panics.
        let lossy_size = frame.first(b"VP8 ").and_then(lossy_size);
        if lossy_size.is_some_and(|size| size != (frame_width, frame_height)) {
            return Err("its first frame holds a picture of another size");
        }
        memory += ANIMATION * u64::from(width) * u64::from(height);
        memory += frame.memory(frame_width, frame_height).ok_or(DAMAGED_CODES)?;
    }
    Ok(memory)
}

/// Width and height in the header of a lossy picture; `None` if it ends before them.
fn lossy_size(data: &[u8]) -> Option<(u32, u32)> {
    let &[_, _, _, _, _, _, a, b, c, d] = data.first_chunk()?;
    let length = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Some((length(a, b), length(c, d)))
}

/// The number of pixels of a lossy frame, in whole macroblocks, from the frame's own header: the decoder allocates
/// memory for them before it compares them with the picture's size.
fn frame_pixels(data: &[u8]) -> u64 {
    let (width, height) = lossy_size(data).unwrap_or_default();
    u64::from(width).next_multiple_of(16) * u64::from(height).next_multiple_of(16)
}

struct Chunk<'a> {
    name: [u8; 4],
    /// Shorter than the chunk's length if the file is truncated.
    data: &'a [u8],
}

/// The chunks of a RIFF file, one after the other.
#[derive(Clone)]
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// The data of the first chunk with this name.
    fn first(&self, name: &[u8; 4]) -> Option<&'a [u8]> {
        self.clone().find(|chunk| &chunk.name == name).map(|chunk| chunk.data)
    }

    /// The maximum memory of decoding the picture in these chunks, in bytes; `None` if its prefix codes are damaged.
    fn memory(&self, width: u32, height: u32) -> Option<u64> {
        let pixels = u64::from(width) * u64::from(height);
        let mut memory = 0;
        if let Some(data) = self.first(b"VP8 ") {
            memory += LOSSY * frame_pixels(data) + 2 * data.len() as u64;
        }
        if let Some(data) = self.first(b"VP8L") {
            memory += LOSSLESS * pixels + prefix_codes::memory(data, None)?;
        }
        if let Some((kind, data)) = self.first(b"ALPH").and_then(<[u8]>::split_first) {
            let is_compressed = kind & 3 == 1;
            let codes = if is_compressed { prefix_codes::memory(data, Some((width, height)))? } else { 0 };
            memory += ALPHA * pixels + codes;
        }
        Some(memory)
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (&name, rest) = self.rest.split_first_chunk()?;
        let (&length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(length) as usize;
        // Chunks begin at even offsets.
        self.rest = rest.get(length.next_multiple_of(2)..).unwrap_or_default();
        Some(Chunk { name, data: &rest[..length.min(rest.len())] })
    }
}
