//! Which way up a PNG is, read from its chunks.

use image::metadata::Orientation as Turn;

use super::exif::upright;

/// What turns the picture upright. Its metadata may come after its pixels, where its decoder does not look. Texts that
/// are compressed and the EXIF blocks in hexadecimal that ImageMagick once wrote are not read.
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
    upright(exif, xmp)
}

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
}

/// The whole chunks of a PNG, one after the other.
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
