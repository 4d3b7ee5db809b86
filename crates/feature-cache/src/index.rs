//! index.csv and skipped.csv: which photo each row is of, and which photos have no row.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::damage::{Damage, LineProblem};
use crate::table::{Records, parse, path_within};

/// One row's photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The path that it had, relative to the data set.
    pub path: PathBuf,
    /// Its class's index.
    pub label: i64,
    /// blake3 of the file's bytes.
    pub blake3: blake3::Hash,
}

/// A photo that has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedPhoto {
    /// Its path, relative to the data set.
    pub path: PathBuf,
    /// Why it has no row.
    pub reason: String,
}

/// The columns of index.csv.
pub(crate) const INDEX_COLUMNS: [&str; 4] = ["row", "path", "label", "blake3"];
/// The columns of skipped.csv.
pub(crate) const SKIPPED_COLUMNS: [&str; 2] = ["path", "reason"];

impl IndexEntry {
    /// Its record in index.csv.
    pub(crate) fn to_record(&self, row: usize) -> [Vec<u8>; 4] {
        let path = self.path.as_os_str().as_bytes().to_vec();
        let hash = self.blake3.to_hex().as_bytes().to_vec();
        [row.to_string().into_bytes(), path, self.label.to_string().into_bytes(), hash]
    }
}

impl SkippedPhoto {
    /// Its record in skipped.csv.
    pub(crate) fn to_record(&self) -> [Vec<u8>; 2] {
        [self.path.as_os_str().as_bytes().to_vec(), self.reason.clone().into_bytes()]
    }
}

/// The entries of an index.csv, in the order of their rows.
///
/// # Errors
/// If it has other columns. The iterator gives an error at the first record that is not what
/// [`IndexEntry::to_record`] makes for its row.
pub(crate) fn read_index(bytes: &[u8]) -> Result<Records<'_, IndexEntry, 4>, Damage> {
    Records::open(bytes, INDEX_COLUMNS, |number, [row, path, label, hash]| {
        if parse(row) != Some(number) {
            return Err(LineProblem::Row(number));
        }
        Ok(IndexEntry {
            path: path_within(path)?,
            label: parse(label).ok_or(LineProblem::Field("label"))?,
            blake3: blake3::Hash::from_hex(hash).map_err(|_| LineProblem::Field("blake3"))?,
        })
    })
}

/// The photos of a skipped.csv.
///
/// # Errors
/// As [`read_index`].
pub(crate) fn read_skipped(bytes: &[u8]) -> Result<Records<'_, SkippedPhoto, 2>, Damage> {
    Records::open(bytes, SKIPPED_COLUMNS, |_, [path, reason]| {
        let reason = str::from_utf8(reason).map_err(|_| LineProblem::Field("reason"))?;
        Ok(SkippedPhoto { path: path_within(path)?, reason: reason.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;
    use crate::table::to_table;

    fn write_index(entries: &[IndexEntry]) -> Vec<u8> {
        to_table(INDEX_COLUMNS, entries.iter().enumerate().map(|(row, entry)| entry.to_record(row)))
    }

    fn index_of(table: &[u8]) -> Result<Vec<IndexEntry>, Damage> {
        read_index(table)?.collect()
    }

    fn entry(path: &[u8], label: i64) -> IndexEntry {
        IndexEntry { path: OsString::from_vec(path.to_vec()).into(), label, blake3: blake3::hash(path) }
    }

    #[test]
    fn awkward_file_names_survive() {
        let names: [&[u8]; 6] = [
            b"train/hat/a,b.jpg",
            b"train/hat/\"quoted\".jpg",
            b"train/hat/two\nlines.jpg",
            b"\xff\xfe.jpg",
            b"a\r\nb",
            b" x ",
        ];
        let entries: Vec<_> = names.iter().zip(0..).map(|(name, label)| entry(name, label)).collect();
        assert_eq!(index_of(&write_index(&entries)).unwrap(), entries);
        let skipped: Vec<_> = entries
            .iter()
            .map(|entry| SkippedPhoto { path: entry.path.clone(), reason: "is not a picture: \"x\",\n".into() })
            .collect();
        let table = to_table(SKIPPED_COLUMNS, skipped.iter().map(SkippedPhoto::to_record));
        assert_eq!(read_skipped(&table).unwrap().collect::<Result<Vec<_>, _>>().unwrap(), skipped);
    }

    #[test]
    fn each_kind_of_bad_line_is_named() {
        let hash = blake3::hash(b"").to_hex();
        for (table, message) in [
            (String::new(), "line 1: expected the columns row, path, label, blake3".to_owned()),
            ("row,path\n".into(), "line 1: expected the columns row, path, label, blake3".into()),
            (format!("row,path,label,blake3\n1,a,0,{hash}\n"), "line 2: expected row 0".into()),
            (format!("row,path,label,blake3\n0,a,x,{hash}\n"), "line 2: label is not readable".into()),
            ("row,path,label,blake3\n0,a,0,zz\n".into(), "line 2: blake3 is not readable".into()),
            (
                format!("row,path,label,blake3\n0,../a,0,{hash}\n"),
                "line 2: the path \"../a\" leaves the data set".into(),
            ),
            (format!("row,path,label,blake3\n0,/a,0,{hash}\n"), "line 2: the path \"/a\" leaves the data set".into()),
        ] {
            assert_eq!(index_of(table.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_path_survives(bytes in proptest::collection::vec(1u8..=255, 1..40), label in 0i64..1000) {
            prop_assume!(path_within(&bytes).is_ok());
            let entries = vec![entry(&bytes, label)];
            prop_assert_eq!(index_of(&write_index(&entries)).unwrap(), entries);
        }
    }
}
