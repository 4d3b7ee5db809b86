//! The memory that decoding a TIFF takes, from its directory, which is read before the decoder does.

use std::io::Cursor;

use tiff::TiffResult;
use tiff::decoder::Decoder;
use tiff::tags::Tag;

/// The value of the tag Compression for JPEG.
const JPEG: u16 = 7;

/// What is known of a TIFF from its directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    /// The maximum memory of the decoder in bytes, without the picture: for the directory, and for a row of a strip or
    /// tile.
    pub memory: u64,
    /// Whether its compression is JPEG.
    pub holds_jpeg: bool,
}

/// The maximum memory of the first picture's directory in the decoder, in bytes; 0 if there is no directory. The
/// decoder reads all values of a tag, however many there are, before it checks them.
pub(super) fn directory_memory(bytes: &[u8]) -> u64 {
    memory_of_entries(bytes).unwrap_or(0)
}

/// [`directory_memory`]; `None` if the file ends within its header.
fn memory_of_entries(bytes: &[u8]) -> Option<u64> {
    /// Bytes for an entry in the decoder's map.
    const ENTRY: u64 = 64;
    /// Bytes for a value: 24, and 8 more if it is copied as an integer.
    const VALUE: u64 = 32;
    /// The last tag that decoding reads; profiles and other metadata have higher numbers.
    const LAST_TAG: u64 = 532;
    /// The type of a text.
    const TEXT: u64 = 2;

    // The number in some bytes of the file, in the file's byte order.
    let number = |start: usize, length: usize| -> Option<u64> {
        let digits = bytes.get(start..start.checked_add(length)?)?;
        let append = |number, &digit: &u8| number << 8 | u64::from(digit);
        Some(match bytes.first()? {
            b'I' => digits.iter().rev().fold(0, append),
            _ => digits.iter().fold(0, append),
        })
    };
    // BigTIFF has 8 bytes where TIFF has 4, and 8 for the number of entries, where TIFF has 2.
    let (start, count_length, word) = match number(2, 2)? {
        43 => (number(8, 8)?, 8, 8),
        _ => (number(4, 4)?, 2, 4),
    };
    let start = usize::try_from(start).ok()?;
    let entries = number(start, count_length)?;
    let mut memory = 0u64;
    for k in 0..usize::try_from(entries).ok()? {
        let entry = start.checked_add(count_length)?.checked_add(k.checked_mul(4 + 2 * word)?)?;
        // At the end of the file the decoder fails.
        let (Some(tag), Some(kind), Some(values)) = (number(entry, 2), number(entry + 2, 2), number(entry + 4, word))
        else {
            break;
        };
        memory += ENTRY;
        if tag <= LAST_TAG && kind != TEXT {
            memory = memory.saturating_add(VALUE.saturating_mul(values));
        }
    }
    Some(memory)
}

/// Reads the directory of the first picture.
///
/// # Errors
/// When it is damaged.
pub(super) fn directory(bytes: &[u8]) -> TiffResult<Directory> {
    let mut decoder = Decoder::new(Cursor::new(bytes))?;
    let samples = decoder.find_tag_unsigned::<u64>(Tag::SamplesPerPixel)?.unwrap_or(1);
    let bits = decoder.find_tag_unsigned_vec::<u64>(Tag::BitsPerSample)?.unwrap_or_default();
    let row = u64::from(decoder.chunk_dimensions().0) * samples * bits.first().unwrap_or(&1).div_ceil(8);
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression)?;
    Ok(Directory { memory: directory_memory(bytes).saturating_add(row), holds_jpeg: compression == Some(JPEG) })
}
