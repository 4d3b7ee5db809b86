//! The .npy files of a cache: one array each, behind a header that ndarray-npy writes and reads.

use std::marker::PhantomData;

use ndarray::ArrayViewD;
use ndarray_npy::npy::header::{Header, Layout};
use ndarray_npy::{ViewElement, ViewNpyExt, WritableElement};

use crate::damage::Damage;

/// Magic string and version 1.0: all that headers this short need.
const VERSION_1: &[u8] = b"\x93NUMPY\x01\x00";

/// The layout of a .npy file, as the manifest has it: elements `T`, little-endian, in C order, of this shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NpyLayout<T> {
    shape: Vec<usize>,
    elements: PhantomData<T>,
}

impl<T: WritableElement + ViewElement> NpyLayout<T> {
    /// # Errors
    /// [`Damage::Shape`] if the array is too large for memory. An axis of length 0 counts as 1, as in ndarray.
    pub(crate) fn new(shape: &[usize]) -> Result<Self, Damage> {
        let mut bytes = Some(size_of::<T>());
        for &length in shape {
            bytes = bytes.and_then(|bytes| bytes.checked_mul(length.max(1)));
        }
        match bytes {
            Some(bytes) if bytes <= isize::MAX as usize => Ok(Self { shape: shape.to_vec(), elements: PhantomData }),
            _ => Err(Damage::Shape(shape.to_vec())),
        }
    }

    /// Elements per row: the product of all axes but the first.
    pub(crate) fn row_length(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The file's first bytes, padded to a multiple of 64 so that the mapped array is aligned; the array follows.
    pub(crate) fn header_bytes(&self) -> Vec<u8> {
        self.header().to_bytes().expect("an ASCII name of a type and a few numbers always have a header")
    }

    /// Checks that the mapped file is this array and nothing more, and returns its elements in C order.
    ///
    /// # Errors
    /// [`Damage::Header`] and [`Damage::Length`].
    pub(crate) fn elements<'a>(&self, file: &'a [u8]) -> Result<&'a [T], Damage> {
        let expected = self.header();
        let wrong_header = |found: String| Damage::Header { expected: expected.to_string(), found };

        let header = header_in(file).map_err(|problem| wrong_header(problem.to_owned()))?;
        let found = Header::from_reader(&mut &header[..]).map_err(|error| wrong_header(error.to_string()))?;
        let same_type = found.type_descriptor == expected.type_descriptor && found.layout == expected.layout;
        if !same_type || found.shape != expected.shape {
            return Err(wrong_header(found.to_string()));
        }

        let element_count: usize = self.shape.iter().product();
        let expected_bytes = header.len() as u64 + (element_count * size_of::<T>()) as u64;
        if file.len() as u64 != expected_bytes {
            return Err(Damage::Length { expected: expected_bytes, found: file.len() as u64 });
        }
        // The shape must be checked before this call: ndarray panics on shapes that are too large.
        let array = ArrayViewD::<T>::view_npy(file).map_err(|error| wrong_header(error.to_string()))?;
        Ok(array.to_slice().expect("the header says C order"))
    }

    fn header(&self) -> Header {
        Header { type_descriptor: T::type_descriptor(), layout: Layout::Standard, shape: self.shape.clone() }
    }
}

/// The file's header; an error if parsing it could take very long.
///
/// A valid header is one dict that holds one tuple. ndarray-npy's parser tries each nested list twice, so a malicious
/// header with dozens of nested brackets would never be done.
fn header_in(file: &[u8]) -> Result<&[u8], &'static str> {
    let prefix = VERSION_1.len() + size_of::<u16>();
    let rest = file.strip_prefix(VERSION_1).ok_or("a file that is not of version 1.0 of the .npy format")?;
    let (&length, _) = rest.split_first_chunk().ok_or("a file that ends before its header")?;
    let length = usize::from(u16::from_le_bytes(length));
    let header = file.get(..prefix + length).ok_or("a file that ends before its header")?;
    let brackets = header[prefix..].iter().filter(|byte| b"([{".contains(byte)).count();
    if brackets > 2 { Err("more than a dict with a tuple") } else { Ok(header) }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, Array3};
    use ndarray_npy::{ReadNpyExt, WriteNpyExt};
    use proptest::prelude::*;

    use super::*;

    /// The bytes at an address that is a multiple of 64, as in a map.
    #[repr(align(64))]
    struct Aligned([u8; 512]);

    fn with_aligned<R>(file: &[u8], use_it: impl FnOnce(&[u8]) -> R) -> R {
        let mut aligned = Aligned([0; 512]);
        aligned.0[..file.len()].copy_from_slice(file);
        use_it(&aligned.0[..file.len()])
    }

    fn features() -> Vec<u8> {
        let mut file = NpyLayout::<f32>::new(&[2, 3]).unwrap().header_bytes();
        file.extend([1f32, 2., 3., 4., 5., 6.].iter().flat_map(|value| value.to_le_bytes()));
        file
    }

    /// Why a file is not features of shape (2, 3).
    fn problem(file: &[u8]) -> String {
        with_aligned(file, |file| NpyLayout::<f32>::new(&[2, 3]).unwrap().elements(file).unwrap_err().to_string())
    }

    #[test]
    fn header_and_elements_are_an_npy_file_and_back() {
        let file = features();
        assert_eq!(Array2::<f32>::read_npy(&file[..]).unwrap(), ndarray::array![[1., 2., 3.], [4., 5., 6.]]);
        with_aligned(&file, |file| {
            let array = NpyLayout::<f32>::new(&[2, 3]).unwrap();
            assert_eq!(array.elements(file).unwrap(), [1., 2., 3., 4., 5., 6.]);
        });

        let mut file = Vec::new();
        Array3::<f32>::from_shape_fn((1, 2, 3), |(_, view, column)| (3 * view + column) as f32)
            .write_npy(&mut file)
            .unwrap();
        with_aligned(&file, |file| {
            let array = NpyLayout::<f32>::new(&[1, 2, 3]).unwrap();
            assert_eq!(array.elements(file).unwrap(), [0., 1., 2., 3., 4., 5.]);
            assert!(file.starts_with(&array.header_bytes()));
        });

        let mut file = Vec::new();
        Array1::<i64>::from(vec![7]).write_npy(&mut file).unwrap();
        with_aligned(&file, |file| assert_eq!(NpyLayout::<i64>::new(&[1]).unwrap().elements(file).unwrap(), [7]));
    }

    #[test]
    fn another_type_order_shape_or_length_is_named() {
        let expected = "expected the header {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}, found ";
        for (text, other) in [
            ("'<f4'", "'<f8'"),
            ("'<f4'", "'>f4'"),
            ("'<f4'", "'<i4'"),
            ("False", "True"),
            ("(2, 3)", "(3, 2)"),
            ("(2, 3)", "(2, 3, 1)"),
            ("(2, 3)", "(6,)"),
        ] {
            let header = NpyLayout::<f32>::new(&[2, 3]).unwrap().header().to_string();
            let found = header.replace(text, other);
            assert_ne!(found, header);
            assert_eq!(problem(&replaced(text, other)), format!("{expected}{found}"));
        }
        let file = features();
        let bytes = file.len();
        assert_eq!(problem(&file[..bytes - 1]), format!("expected {bytes} bytes, found {}", bytes - 1));
        assert_eq!(problem(&[&file[..], b"\0"].concat()), format!("expected {bytes} bytes, found {}", bytes + 1));
        assert_eq!(problem(&file[..20]), format!("{expected}a file that ends before its header"));
    }

    /// numpy writes a comma more; its headers were also those of the first caches.
    #[test]
    fn header_with_numpys_trailing_comma_is_read() {
        let file = replaced("(2, 3)}", "(2, 3), }");
        assert_ne!(file, features());
        with_aligned(&file, |file| {
            assert_eq!(NpyLayout::<f32>::new(&[2, 3]).unwrap().elements(file).unwrap(), [1., 2., 3., 4., 5., 6.]);
        });
    }

    /// Each bracket would double the time: as many as fit would take longer than the sun lasts.
    #[test]
    fn nested_brackets_do_not_stop_the_reader() {
        for bracket in ["[", "(", "{"] {
            let found = problem(&replaced("{", &bracket.repeat(40)));
            assert!(found.ends_with("found more than a dict with a tuple"), "{found}");
        }
    }

    #[test]
    fn a_header_that_claims_gigabytes_is_not_believed() {
        let mut file = features();
        file[6] = 2;
        file[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(problem(&file).ends_with("found a file that is not of version 1.0 of the .npy format"));
        let mut file = features();
        file[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(problem(&file).ends_with("found a file that ends before its header"));
    }

    #[test]
    fn no_array_is_larger_than_memory() {
        for shape in [&[usize::MAX, 2048][..], &[1 << 40, 1 << 20, 2048], &[0, usize::MAX], &[1 << 61]] {
            assert!(matches!(NpyLayout::<f32>::new(shape), Err(Damage::Shape(_))), "{shape:?}");
        }
        assert!(NpyLayout::<f32>::new(&[0, 2048]).is_ok());
    }

    /// The file with another text in its header, cut or padded to the same length.
    fn replaced(text: &str, other: &str) -> Vec<u8> {
        let file = features();
        let (header, values) = file.split_at(file.len() - 24);
        let dict = str::from_utf8(&header[10..]).unwrap().trim_end().replacen(text, other, 1);
        let padded = format!("{dict:width$}\n", width = header.len() - 11);
        [&header[..10], padded.as_bytes(), values].concat()
    }

    proptest! {
        /// A mangled file has as many elements as its layout, or it is an error.
        #[test]
        fn mangled_files(file in end_to_end::mangled(features())) {
            prop_assume!(file.len() <= 512);
            with_aligned(&file, |file| {
                if let Ok(elements) = NpyLayout::<f32>::new(&[2, 3]).unwrap().elements(file) {
                    assert_eq!(elements.len(), 6);
                }
            });
        }
    }
}
