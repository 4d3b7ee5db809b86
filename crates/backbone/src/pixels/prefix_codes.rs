//! The memory that the decoder of lossless WebP takes for prefix codes. It makes tables of all codes before it decodes
//! the first pixel. A file of a few hundred kilobytes can have so many codes that their tables take gigabytes, so the
//! codes are read here first.
//!
//! The names are those of the format's specification,
//! <https://developers.google.com/speed/webp/docs/webp_lossless_bitstream_specification>. The sizes of tables are those
//! of image-webp's huffman.rs.

/// Bytes for a group of codes, without their tables: 5 codes of 56 bytes. Three times that, since an array that grows
/// is copied into one of twice its size.
const GROUP_BYTES: u64 = 3 * 5 * 56;
/// Bytes that the allocator can add to a code's two arrays, its table and its tree, by rounding up their lengths.
const ARRAYS_BYTES: u64 = 128;
/// Bytes for an entry of a code's table, which has 2 ^ n entries if the longest code in it has n bits.
const TABLE_ENTRY_BYTES: u64 = 4;
/// Codes of more bits than this are not in the table but in a tree.
const MAX_TABLE_BITS: usize = 10;
/// Bytes for such a code: two nodes of the tree.
const LONG_CODE_BYTES: u64 = 32;

/// The maximum length of a code in bits.
const MAX_LENGTH: usize = 15;
/// The symbols of the code length code, in the order in which a file has their lengths (`kCodeLengthCodeOrder`).
const LENGTH_ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// The first symbol of the green code that is the length of a copy; those before are values of green.
const FIRST_COPY: u32 = 256;
/// The first symbol of the green code that is an index into the colour cache.
const FIRST_CACHED: u32 = FIRST_COPY + 24;

/// The numbers of the transforms; the fourth, 3, is color indexing.
const PREDICTOR_TRANSFORM: u32 = 0;
const COLOR_TRANSFORM: u32 = 1;
const SUBTRACT_GREEN_TRANSFORM: u32 = 2;

/// The memory in bytes for the prefix codes of a lossless picture. `data` is the content of a VP8L chunk or, if the
/// picture's `size` (width, height) is given, of an ALPH chunk after its first byte. `None` if the data ends before the
/// last code, or a code is invalid.
pub(super) fn memory(data: &[u8], size: Option<(u32, u32)>) -> Option<u64> {
    let mut bits = Bits { bytes: data, next: 0 };
    let (mut width, height) = match size {
        Some(size) => size,
        None => {
            // The signature; width and height, each minus 1; the alpha flag and the version.
            bits.read(8)?;
            let size = (bits.read(14)? + 1, bits.read(14)? + 1);
            bits.read(4)?;
            size
        }
    };
    // The transforms, each at most once. Most have an image of their own: a pixel for each block, or a palette.
    let mut seen = [false; 4];
    while bits.read(1)? == 1 {
        let transform = bits.read(2)?;
        if std::mem::replace(&mut seen[transform as usize], true) {
            return None;
        }
        match transform {
            PREDICTOR_TRANSFORM | COLOR_TRANSFORM => {
                let block_side = 1 << (bits.read(3)? + 2);
                skip_image(&mut bits, width.div_ceil(block_side), height.div_ceil(block_side))?;
            }
            SUBTRACT_GREEN_TRANSFORM => {}
            // Color indexing: pixels are indices of a palette, several in a byte if there are few colours.
            _ => {
                let colors = bits.read(8)? + 1;
                skip_image(&mut bits, colors, 1)?;
                let pixels_per_byte = match colors {
                    ..=2 => 8,
                    3..=4 => 4,
                    5..=16 => 2,
                    _ => 1,
                };
                width = width.div_ceil(pixels_per_byte);
            }
        }
    }
    let color_cache_size = read_color_cache_size(&mut bits)?;
    // The entropy image has a pixel for each block: the number of the group of codes that the block uses.
    let mut groups = 1;
    if bits.read(1)? == 1 {
        let block_side = 1 << (bits.read(3)? + 2);
        groups += skip_image(&mut bits, width.div_ceil(block_side), height.div_ceil(block_side))?;
    }
    let mut memory = 0;
    for _ in 0..groups {
        memory += CodeGroup::read(&mut bits, color_cache_size)?.memory();
    }
    Some(memory)
}

/// Reads the image of a transform, or the entropy image. Returns the largest value of `red << 8 | green` of its pixels,
/// in an entropy image the highest number of a group.
fn skip_image(bits: &mut Bits<'_>, width: u32, height: u32) -> Option<u32> {
    let color_cache_size = read_color_cache_size(bits)?;
    let codes = CodeGroup::read(bits, color_cache_size)?;
    let pixels = u64::from(width) * u64::from(height);
    let mut largest = 0;
    let mut done = 0;
    while done < pixels {
        let symbol = codes.green.read_symbol(bits)?;
        if symbol < FIRST_COPY {
            largest = largest.max(codes.red.read_symbol(bits)? << 8 | symbol);
            codes.blue.read_symbol(bits)?;
            codes.alpha.read_symbol(bits)?;
            done += 1;
        } else if symbol < FIRST_CACHED {
            // Copied and cached pixels are earlier pixels, so their values were seen before.
            done += read_number(bits, symbol - FIRST_COPY)?;
            let distance = codes.distance.read_symbol(bits)?;
            read_number(bits, distance)?;
        } else {
            done += 1;
        }
    }
    Some(largest)
}

/// Reads the number of colours in the colour cache; 0 without one.
fn read_color_cache_size(bits: &mut Bits<'_>) -> Option<u32> {
    Some(if bits.read(1)? == 1 { 1 << bits.read(4)? } else { 0 })
}

/// Reads the length or distance of a copy whose prefix is `symbol`: the bits that the prefix leaves open follow it.
fn read_number(bits: &mut Bits<'_>, symbol: u32) -> Option<u64> {
    if symbol < 4 {
        return Some(u64::from(symbol) + 1);
    }
    let extra_bits = (symbol - 2) / 2;
    Some(u64::from(((2 + symbol % 2) << extra_bits) + bits.read(extra_bits)? + 1))
}

/// Reads bits, from the lowest to the highest of each byte.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The index of the next bit.
    next: usize,
}

impl Bits<'_> {
    /// The number in the next `count` bits, the lowest first; `None` if there are fewer.
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for k in 0..count {
            let bit = (self.bytes.get(self.next / 8)? >> (self.next % 8)) & 1;
            value |= u32::from(bit) << k;
            self.next += 1;
        }
        Some(value)
    }
}

/// A group of prefix codes.
struct CodeGroup {
    green: Code,
    red: Code,
    blue: Code,
    alpha: Code,
    distance: Code,
}

impl CodeGroup {
    /// Reads the five codes. Red, blue and alpha have 256 values, distances have 40 prefixes.
    fn read(bits: &mut Bits<'_>, color_cache_size: u32) -> Option<Self> {
        Some(Self {
            green: Code::read(bits, FIRST_CACHED + color_cache_size)?,
            red: Code::read(bits, 256)?,
            blue: Code::read(bits, 256)?,
            alpha: Code::read(bits, 256)?,
            distance: Code::read(bits, 40)?,
        })
    }

    /// The memory for the group in bytes.
    fn memory(&self) -> u64 {
        let Self { green, red, blue, alpha, distance } = self;
        GROUP_BYTES + [green, red, blue, alpha, distance].into_iter().map(Code::memory).sum::<u64>()
    }
}

/// A canonical prefix code.
struct Code {
    /// `counts[n]` symbols have a code of n bits.
    counts: [u32; MAX_LENGTH + 1],
    /// The symbols by the length of their codes, then by number. If there is only one, its code has no bits.
    symbols: Vec<u32>,
}

impl Code {
    /// Reads a code for the symbols less than `alphabet_size`.
    fn read(bits: &mut Bits<'_>, alphabet_size: u32) -> Option<Self> {
        // A simple code lists its one or two symbols.
        if bits.read(1)? == 1 {
            let has_second = bits.read(1)? == 1;
            let has_8_bits = bits.read(1)? == 1;
            let mut symbols = vec![bits.read(if has_8_bits { 8 } else { 1 })?];
            if has_second {
                symbols.push(bits.read(8)?);
            }
            let mut counts = [0; MAX_LENGTH + 1];
            counts[1] = symbols.len() as u32;
            return symbols.iter().all(|&symbol| symbol < alphabet_size).then_some(Self { counts, symbols });
        }

        // A normal code has the length of each symbol's code. The lengths are encoded with a code of their own.
        let mut lengths = [0; LENGTH_ORDER.len()];
        for &symbol in &LENGTH_ORDER[..4 + bits.read(4)? as usize] {
            lengths[symbol] = bits.read(3)?;
        }
        let length_code = Self::from_lengths(&lengths)?;
        // A file may have fewer lengths than there are symbols: the others are 0.
        let mut length_symbols_left = alphabet_size;
        if bits.read(1)? == 1 {
            let count_bits = 2 + 2 * bits.read(3)?;
            length_symbols_left = 2 + bits.read(count_bits)?;
        }
        let mut lengths = Vec::new();
        let mut previous = 8;
        while length_symbols_left > 0 && lengths.len() < alphabet_size as usize {
            length_symbols_left -= 1;
            // 16 repeats the previous length that is not 0 (8 if there is none), 17 and 18 repeat 0.
            let (length, times) = match length_code.read_symbol(bits)? {
                16 => (previous, 3 + bits.read(2)?),
                17 => (0, 3 + bits.read(3)?),
                18 => (0, 11 + bits.read(7)?),
                length => (length, 1),
            };
            if length != 0 {
                previous = length;
            }
            lengths.extend(std::iter::repeat_n(length, times as usize));
        }
        if lengths.len() > alphabet_size as usize { None } else { Self::from_lengths(&lengths) }
    }

    /// The canonical code in which symbol k has a code of `lengths[k]` bits, or none if that is 0. `None` if two
    /// symbols would have the same code, or a code is left over.
    fn from_lengths(lengths: &[u32]) -> Option<Self> {
        let mut counts = [0; MAX_LENGTH + 1];
        let mut symbols = Vec::new();
        // Kraft's sum, of 2 ^ -length over all symbols, is 1 if the code is complete. Here it is times 2 ^ MAX_LENGTH.
        let mut kraft_sum = 0;
        for (symbol, &length) in (0..).zip(lengths) {
            if length > 0 {
                counts[length as usize] += 1;
                symbols.push(symbol);
                kraft_sum += 1 << (MAX_LENGTH as u32 - length);
            }
        }
        symbols.sort_by_key(|&symbol| lengths[symbol as usize]);
        (symbols.len() == 1 || kraft_sum == 1 << MAX_LENGTH).then_some(Self { counts, symbols })
    }

    /// Reads a code and returns its symbol; `None` if the bits end before.
    fn read_symbol(&self, bits: &mut Bits<'_>) -> Option<u32> {
        if let [single] = self.symbols[..] {
            return Some(single);
        }
        // The codes of a length are consecutive numbers. `code` is relative to the first of them.
        let mut symbols = &self.symbols[..];
        let mut code = 0;
        for &count in &self.counts[1..] {
            code = 2 * code + bits.read(1)?;
            if code < count {
                return Some(symbols[code as usize]);
            }
            code -= count;
            symbols = &symbols[count as usize..];
        }
        None
    }

    /// The memory for the code's table, tree and arrays in bytes.
    fn memory(&self) -> u64 {
        if self.symbols.len() == 1 {
            return 0;
        }
        let table_bits = self.counts.iter().rposition(|&count| count > 0).unwrap_or(0).min(MAX_TABLE_BITS);
        let long_codes: u32 = self.counts[MAX_TABLE_BITS + 1..].iter().sum();
        (TABLE_ENTRY_BYTES << table_bits) + LONG_CODE_BYTES * u64::from(long_codes) + ARRAYS_BYTES
    }
}
