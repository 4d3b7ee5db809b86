//! The orientation of a PNG, read from its chunks.

use image::metadata::Orientation as Turn;

use super::exif::upright_turn;

/// The transform that turns the picture upright. The metadata may come after the pixels, where the decoder does not
/// look. Not read are compressed texts, and the hexadecimal EXIF blocks that ImageMagick once wrote.
pub(super) fn orientation(bytes: &[u8]) -> Turn {
    const XMP_KEYWORD: &[u8] = b"XML:com.adobe.xmp\0";
    let (mut exif, mut xmp): (&[u8], &[u8]) = (&[], &[]);
    for chunk in (Chunks { rest: bytes.get(8..).unwrap_or_default() }) {
        match &chunk.name {
            b"eXIf" => exif = chunk.data,
            b"iTXt" => xmp = chunk.data.strip_prefix(XMP_KEYWORD).unwrap_or(xmp),
            _ => {}
        }
    }
    upright_turn(exif, xmp)
}

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
}

/// The chunks of a PNG in order; ends at a chunk that is cut off.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        const CHECKSUM: usize = 4;
        let (&length, rest) = self.rest.split_first_chunk()?;
        let (&name, rest) = rest.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(u32::from_be_bytes(length) as usize)?;
        self.rest = rest.get(CHECKSUM..)?;
        Some(Chunk { name, data })
    }
}
