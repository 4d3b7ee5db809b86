//! Writes .npz files: zip archives of numpy arrays (numpy/lib/format.py describes the format).

use std::io::{Cursor, Write};

use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes an .npz file in memory.
pub(super) struct NpzWriter(ZipWriter<Cursor<Vec<u8>>>);

impl NpzWriter {
    pub(super) fn new() -> Self {
        Self(ZipWriter::new(Cursor::new(Vec::new())))
    }

    /// Adds an array of float32, row-major.
    pub(super) fn float32(&mut self, name: &str, shape: &[usize], values: &[f32]) -> ZipResult<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(name, "<f4", shape, &bytes)
    }

    /// Adds an array of bytes, row-major.
    pub(super) fn uint8(&mut self, name: &str, shape: &[usize], values: &[u8]) -> ZipResult<()> {
        self.array(name, "|u1", shape, values)
    }

    /// Adds an array of texts, (texts,). Each is padded with zeros to the length of the longest; numpy removes them.
    pub(super) fn texts(&mut self, name: &str, texts: &[&str]) -> ZipResult<()> {
        let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        let mut bytes = Vec::new();
        for (k, text) in texts.iter().enumerate() {
            bytes.extend(text.chars().flat_map(|character| u32::from(character).to_le_bytes()));
            bytes.resize((k + 1) * longest * size_of::<u32>(), 0);
        }
        self.array(name, &format!("<U{longest}"), &[texts.len()], &bytes)
    }

    /// Adds an array; `element` is numpy's name of the type.
    fn array(&mut self, name: &str, element: &str, shape: &[usize], bytes: &[u8]) -> ZipResult<()> {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        self.0.start_file(format!("{name}.npy"), options)?;
        self.0.write_all(&npy_header(element, shape))?;
        self.0.write_all(bytes)?;
        Ok(())
    }

    /// The bytes of the file.
    pub(super) fn finish(self) -> ZipResult<Vec<u8>> {
        Ok(self.0.finish()?.into_inner())
    }
}

/// The header of an array, format 1.0: 10 bytes, then a Python dictionary, padded with spaces to a multiple of 64
/// bytes.
fn npy_header(element: &str, shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let dictionary = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    let before = 10;
    let length = (before + dictionary.len() + 1).next_multiple_of(64) - before;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{dictionary:<width$}\n", width = length - 1).into_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numpy_can_read_the_headers() {
        for (shape, text) in [(&[][..], "()"), (&[3], "(3,)"), (&[2, 5], "(2, 5,)")] {
            let header = npy_header("<f4", shape);
            assert!(header.len().is_multiple_of(64) && header.ends_with(b"\n"));
            let expected = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }} ");
            assert!(header[10..].starts_with(expected.as_bytes()), "{header:?}");
            assert_eq!(usize::from(header[8]), header.len() - 10);
        }
    }
}
