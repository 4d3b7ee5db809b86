//! The memory that decoding a WebP takes in addition to its pixels, and its orientation, read from its chunks before
//! the decoder sees them.

use image::metadata::Orientation as Turn;

use super::exif::upright;

/// Bytes per pixel for the frame of a lossy picture: planes of 1.5 bytes, and data of each macroblock.
const LOSSY: u64 = 2;
/// For a lossless one: 4 bytes, and its transforms and its map of prefix codes.
const LOSSLESS: u64 = 5;
/// For a channel of alpha: a lossless picture, of which one byte in four is kept.
const ALPHA: u64 = LOSSLESS + 1;
/// For an animation: its canvas, and a frame as large as that.
const ANIMATION: u64 = 8;

/// What turns the picture upright.
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
    upright(exif, xmp)
}

/// Most bytes that decoding takes in addition to a picture of `pixels` pixels. The prefix codes of lossless pictures
/// count as four times their chunk, which is what libwebp's take; crafted ones may take more.
pub(super) fn memory(bytes: &[u8], pixels: u64) -> u64 {
    let mut chunks = Chunks { rest: bytes.get(12..).unwrap_or_default() };
    let frame = chunks.clone().find(|chunk| &chunk.name == b"ANMF");
    let animation = if frame.is_some() { ANIMATION * pixels } else { 0 };
    if let Some(frame) = frame {
        chunks = Chunks { rest: frame.data.get(16..).unwrap_or_default() };
    }
    let chunk = |name: &[u8; 4]| chunks.clone().find(|chunk| &chunk.name == name).map(|chunk| chunk.data);
    let lossy = chunk(b"VP8 ").map_or(0, |data| LOSSY * frame_pixels(data) + 2 * data.len() as u64);
    let lossless = chunk(b"VP8L").map_or(0, |data| LOSSLESS * pixels + 4 * data.len() as u64);
    let alpha = chunk(b"ALPH").map_or(0, |data| ALPHA * pixels + 4 * data.len() as u64);
    animation + lossy + lossless + alpha
}

/// The pixels of a lossy frame by its own header, in whole macroblocks: the decoder takes memory for them before it
/// compares with the size of the picture.
fn frame_pixels(data: &[u8]) -> u64 {
    let Some(&[_, _, _, _, _, _, a, b, c, d]) = data.first_chunk() else { return 0 };
    let length = |low, high| u64::from(u16::from_le_bytes([low, high]) & 0x3FFF).next_multiple_of(16);
    length(a, b) * length(c, d)
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
