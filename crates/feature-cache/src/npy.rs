//! The three kinds of .npy file in a cache, and their exact headers.
//!
//! numpy's format 1.0 (numpy/lib/format.py): magic, version, header length as u16, a Python dict, spaces up to a
//! multiple of 64 bytes, a newline; then the array. Since the manifest says what an array must look like, reading is
//! comparing the header with the one that this version writes: nothing is parsed, and no flipped byte goes unnoticed.

use std::fmt;

/// Element type and shape of a cached array; always C order and little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NpyArray {
    /// features.npy: float32, (rows, columns).
    Features { rows: usize, columns: usize },
    /// views.npy: float32, (rows, views, columns).
    Views { rows: usize, views: usize, columns: usize },
    /// labels.npy: int64, (rows,).
    Labels { rows: usize },
}

impl NpyArray {
    /// The file's first bytes: a multiple of 64, so that the mapped array is aligned for its type.
    pub(crate) fn header(self) -> Vec<u8> {
        const PREFIX: usize = 10;
        let dict = self.to_string();
        let padded = (PREFIX + dict.len() + 1).next_multiple_of(64);
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(((padded - PREFIX) as u16).to_le_bytes());
        header.extend(dict.as_bytes());
        header.resize(padded - 1, b' ');
        header.push(b'\n');
        header
    }

    /// How many elements belong to a row of the split.
    pub(crate) fn of_row(self) -> usize {
        match self {
            Self::Features { columns, .. } => columns,
            Self::Views { views, columns, .. } => views.saturating_mul(columns),
            Self::Labels { .. } => 1,
        }
    }

    /// The whole file's length in bytes, or none if it would not fit in 64 bits.
    pub(crate) fn file_bytes(self) -> Option<u64> {
        let (rows, element) = match self {
            Self::Features { rows, .. } | Self::Views { rows, .. } => (rows, size_of::<f32>()),
            Self::Labels { rows } => (rows, size_of::<i64>()),
        };
        let elements = rows.checked_mul(self.of_row())?.checked_mul(element)?;
        elements.checked_add(self.header().len())?.try_into().ok()
    }
}

/// The header's dict, as numpy writes it.
impl fmt::Display for NpyArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (descr, shape) = match self {
            Self::Features { rows, columns } => ("<f4", format!("({rows}, {columns})")),
            Self::Views { rows, views, columns } => ("<f4", format!("({rows}, {views}, {columns})")),
            Self::Labels { rows } => ("<i8", format!("({rows},)")),
        };
        write!(f, "{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3};
    use ndarray_npy::ReadNpyExt;

    use super::*;

    #[test]
    fn an_independent_reader_gets_the_array() {
        let mut file = NpyArray::Features { rows: 2, columns: 3 }.header();
        assert_eq!(file.len() % 64, 0);
        file.extend([1f32, 2., 3., 4., 5., 6.].iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(NpyArray::Features { rows: 2, columns: 3 }.file_bytes(), Some(file.len() as u64));
        let array = Array2::<f32>::read_npy(&file[..]).unwrap();
        assert_eq!(array, ndarray::array![[1., 2., 3.], [4., 5., 6.]]);

        let mut file = NpyArray::Views { rows: 1, views: 2, columns: 3 }.header();
        file.extend([1f32, 2., 3., 4., 5., 6.].iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(NpyArray::Views { rows: 1, views: 2, columns: 3 }.file_bytes(), Some(file.len() as u64));
        let array = Array3::<f32>::read_npy(&file[..]).unwrap();
        assert_eq!(array, ndarray::array![[[1., 2., 3.], [4., 5., 6.]]]);

        let mut file = NpyArray::Labels { rows: 1 }.header();
        file.extend(7i64.to_le_bytes());
        assert_eq!(Array1::<i64>::read_npy(&file[..]).unwrap(), ndarray::array![7]);
    }

    #[test]
    fn a_size_beyond_64_bits_is_no_size() {
        assert_eq!(NpyArray::Features { rows: usize::MAX, columns: 2048 }.file_bytes(), None);
        assert_eq!(NpyArray::Views { rows: 1 << 40, views: 1 << 20, columns: 2048 }.file_bytes(), None);
        assert_eq!(NpyArray::Labels { rows: usize::MAX / 8 }.file_bytes(), None);
    }
}
