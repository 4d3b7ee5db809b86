//! What the prefix codes of a lossless WebP take in its decoder, which makes tables of all of them before it decodes the
//! first pixel. A few hundred kilobytes can hold so many codes that their tables are gigabytes, so the codes themselves
//! are read first.
//!
//! The format is that of <https://developers.google.com/speed/webp/docs/webp_lossless_bitstream_specification>, the tables
//! are those of image-webp's huffman.rs.

/// Bytes of memory for a group of codes beside their tables: 5 codes of 56 bytes, in an array that is copied when it grows.
const GROUP: u64 = 3 * 5 * 56;
/// For the two arrays of a code, whose lengths are rounded up.
const ARRAYS: u64 = 128;
/// For each of the 2 ^ length entries of a code's table, and how many bits long the codes in it are at most.
const TABLE_ENTRY: u64 = 4;
const MAX_TABLE_BITS: usize = 10;
/// For each code that is longer, two nodes of a tree.
const LONGER_CODE: u64 = 32;

const MAX_LENGTH: usize = 15;
/// The order in which the lengths of the codes of lengths are.
const LENGTH_ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Symbols of the first code from here on are lengths of copies, and from [`CACHED`] on colours of the cache.
const COPIES: u32 = 256;
const CACHED: u32 = COPIES + 24;

/// Bytes of memory for the prefix codes of a lossless picture: the content of a VP8L chunk, or, where the size is given,
/// of an ALPH chunk behind its first byte. None where the data end before the last code, or a code is invalid.
pub(super) fn memory(data: &[u8], size: Option<(u32, u32)>) -> Option<u64> {
    let mut bits = Bits { bytes: data, next: 0 };
    let (mut width, height) = match size {
        Some(size) => size,
        None => {
            bits.read(8)?;
            let size = (bits.read(14)? + 1, bits.read(14)? + 1);
            bits.read(4)?;
            size
        }
    };
    // The transforms, each at most once; most have a picture of their own, of blocks or of a palette.
    let mut seen = [false; 4];
    while bits.read(1)? == 1 {
        let transform = bits.read(2)?;
        if std::mem::replace(&mut seen[transform as usize], true) {
            return None;
        }
        match transform {
            0 | 1 => {
                let block = 1 << (bits.read(3)? + 2);
                skip_picture(&mut bits, width.div_ceil(block), height.div_ceil(block))?;
            }
            2 => {}
            _ => {
                let colors = bits.read(8)? + 1;
                skip_picture(&mut bits, colors, 1)?;
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
    let cached = read_cache_size(&mut bits)?;
    // A picture of blocks says which group of codes each block is in.
    let mut groups = 1;
    if bits.read(1)? == 1 {
        let block = 1 << (bits.read(3)? + 2);
        groups += skip_picture(&mut bits, width.div_ceil(block), height.div_ceil(block))?;
    }
    let mut memory = 0;
    for _ in 0..groups {
        let codes = Codes::read(&mut bits, cached)?;
        memory += codes.memory();
    }
    Some(memory)
}

/// Reads a picture within the picture. Returns the largest number in the red and green of its pixels.
fn skip_picture(bits: &mut Bits<'_>, width: u32, height: u32) -> Option<u32> {
    let cached = read_cache_size(bits)?;
    let codes = Codes::read(bits, cached)?;
    let pixels = u64::from(width) * u64::from(height);
    let mut largest = 0;
    let mut done = 0;
    while done < pixels {
        let symbol = codes.green.read_symbol(bits)?;
        if symbol < COPIES {
            largest = largest.max(codes.red.read_symbol(bits)? << 8 | symbol);
            codes.blue.read_symbol(bits)?;
            codes.alpha.read_symbol(bits)?;
            done += 1;
        } else if symbol < CACHED {
            // What is copied, or cached, are pixels from before.
            done += read_number(bits, symbol - COPIES)?;
            let distance = codes.distance.read_symbol(bits)?;
            read_number(bits, distance)?;
        } else {
            done += 1;
        }
    }
    Some(largest)
}

/// How many colours the cache holds.
fn read_cache_size(bits: &mut Bits<'_>) -> Option<u32> {
    Some(if bits.read(1)? == 1 { 1 << bits.read(4)? } else { 0 })
}

/// A length or distance of a copy, of which a symbol gives the first bits.
fn read_number(bits: &mut Bits<'_>, symbol: u32) -> Option<u64> {
    if symbol < 4 {
        return Some(u64::from(symbol) + 1);
    }
    let more = (symbol - 2) / 2;
    Some(u64::from(((2 + symbol % 2) << more) + bits.read(more)? + 1))
}

/// The bits of a file, the lowest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl Bits<'_> {
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
struct Codes {
    green: Code,
    red: Code,
    blue: Code,
    alpha: Code,
    distance: Code,
}

impl Codes {
    fn read(bits: &mut Bits<'_>, cached: u32) -> Option<Self> {
        Some(Self {
            green: Code::read(bits, CACHED + cached)?,
            red: Code::read(bits, 256)?,
            blue: Code::read(bits, 256)?,
            alpha: Code::read(bits, 256)?,
            distance: Code::read(bits, 40)?,
        })
    }

    /// Bytes of memory for the group.
    fn memory(&self) -> u64 {
        let Self { green, red, blue, alpha, distance } = self;
        GROUP + [green, red, blue, alpha, distance].into_iter().map(Code::memory).sum::<u64>()
    }
}

/// A canonical prefix code.
struct Code {
    /// How many symbols have codes of this length, in bits.
    counts: [u32; MAX_LENGTH + 1],
    /// The symbols by length, then by number. A single one has no bits.
    symbols: Vec<u32>,
}

impl Code {
    /// Reads a code of symbols below `alphabet`.
    fn read(bits: &mut Bits<'_>, alphabet: u32) -> Option<Self> {
        if bits.read(1)? == 1 {
            let two = bits.read(1)? == 1;
            let wide = bits.read(1)? == 1;
            let mut symbols = vec![bits.read(if wide { 8 } else { 1 })?];
            if two {
                symbols.push(bits.read(8)?);
            }
            let mut counts = [0; MAX_LENGTH + 1];
            counts[1] = symbols.len() as u32;
            return symbols.iter().all(|&symbol| symbol < alphabet).then_some(Self { counts, symbols });
        }

        let mut lengths = [0; LENGTH_ORDER.len()];
        for &symbol in &LENGTH_ORDER[..4 + bits.read(4)? as usize] {
            lengths[symbol] = bits.read(3)?;
        }
        let code_of_lengths = Self::from_lengths(&lengths)?;
        let mut left = alphabet;
        if bits.read(1)? == 1 {
            let wide = 2 + 2 * bits.read(3)?;
            left = 2 + bits.read(wide)?;
        }
        let mut lengths = Vec::new();
        let mut previous = 8;
        while left > 0 && lengths.len() < alphabet as usize {
            left -= 1;
            let (length, times) = match code_of_lengths.read_symbol(bits)? {
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
        if lengths.len() > alphabet as usize { None } else { Self::from_lengths(&lengths) }
    }

    /// The code whose symbols 0, 1, 2, … have these lengths, 0 for those that it has not. None where two would have the
    /// same code, or a code is left over.
    fn from_lengths(lengths: &[u32]) -> Option<Self> {
        let mut counts = [0; MAX_LENGTH + 1];
        let mut symbols = Vec::new();
        // A code of one bit takes a half of all bit strings, one of two bits a quarter, …
        let mut taken = 0;
        for (symbol, &length) in (0..).zip(lengths) {
            if length > 0 {
                counts[length as usize] += 1;
                symbols.push(symbol);
                taken += 1 << (MAX_LENGTH as u32 - length);
            }
        }
        symbols.sort_by_key(|&symbol| lengths[symbol as usize]);
        (symbols.len() == 1 || taken == 1 << MAX_LENGTH).then_some(Self { counts, symbols })
    }

    fn read_symbol(&self, bits: &mut Bits<'_>) -> Option<u32> {
        if let [single] = self.symbols[..] {
            return Some(single);
        }
        // Codes of a length are consecutive numbers; the first follows twice the last of the length before.
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

    /// Bytes of memory for its tables.
    fn memory(&self) -> u64 {
        if self.symbols.len() == 1 {
            return 0;
        }
        let longest = self.counts.iter().rposition(|&count| count > 0).unwrap_or(0).min(MAX_TABLE_BITS);
        let longer: u32 = self.counts[MAX_TABLE_BITS + 1..].iter().sum();
        (TABLE_ENTRY << longest) + LONGER_CODE * u64::from(longer) + ARRAYS
    }
}
