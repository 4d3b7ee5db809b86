//! index.csv and skipped.csv: which photo each row is of, and which photos have no row.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, PathBuf};

use csv::{ByteRecord, ReaderBuilder, Writer};

use crate::damage::{Damage, LineProblem};

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

const INDEX: [&str; 4] = ["row", "path", "label", "blake3"];
const SKIPPED: [&str; 2] = ["path", "reason"];

/// index.csv's bytes; an entry's position is its row.
pub(crate) fn write_index(entries: &[IndexEntry]) -> csv::Result<Vec<u8>> {
    let mut records = Vec::with_capacity(entries.len());
    for (row, entry) in entries.iter().enumerate() {
        let row = row.to_string().into_bytes();
        let path = entry.path.as_os_str().as_bytes().to_vec();
        let label = entry.label.to_string().into_bytes();
        let hash = entry.blake3.to_hex().as_bytes().to_vec();
        records.push([row, path, label, hash]);
    }
    write_table(INDEX, records)
}

/// skipped.csv's bytes.
pub(crate) fn write_skipped(skipped: &[SkippedPhoto]) -> csv::Result<Vec<u8>> {
    let mut records = Vec::with_capacity(skipped.len());
    for photo in skipped {
        records.push([photo.path.as_os_str().as_bytes().to_vec(), photo.reason.clone().into_bytes()]);
    }
    write_table(SKIPPED, records)
}

/// The entries of an index.csv, in the order of their rows.
///
/// # Errors
/// At the first record that is not what [`write_index`] writes for its row.
pub(crate) fn read_index(bytes: &[u8]) -> Result<Vec<IndexEntry>, Damage> {
    let mut entries = Vec::new();
    read_table(bytes, INDEX, |[row, path, label, hash]| {
        if parse::<usize>(row) != Some(entries.len()) {
            return Err(LineProblem::Row(entries.len()));
        }
        entries.push(IndexEntry {
            path: path_within(path)?,
            label: parse(label).ok_or(LineProblem::Field("label"))?,
            blake3: blake3::Hash::from_hex(hash).map_err(|_| LineProblem::Field("blake3"))?,
        });
        Ok(())
    })?;
    Ok(entries)
}

/// The photos of a skipped.csv.
///
/// # Errors
/// At the first record that is not what [`write_skipped`] writes.
pub(crate) fn read_skipped(bytes: &[u8]) -> Result<Vec<SkippedPhoto>, Damage> {
    let mut skipped = Vec::new();
    read_table(bytes, SKIPPED, |[path, reason]| {
        let reason = str::from_utf8(reason).map_err(|_| LineProblem::Field("reason"))?;
        skipped.push(SkippedPhoto { path: path_within(path)?, reason: reason.to_owned() });
        Ok(())
    })?;
    Ok(skipped)
}

/// A table with these columns.
pub(crate) fn write_table<const N: usize>(columns: [&str; N], records: Vec<[Vec<u8>; N]>) -> csv::Result<Vec<u8>> {
    let mut table = Writer::from_writer(Vec::new());
    table.write_record(columns)?;
    for record in records {
        table.write_record(record)?;
    }
    table.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// Calls `read` for each record of a table that has exactly these columns.
pub(crate) fn read_table<const N: usize>(
    bytes: &[u8],
    columns: [&str; N],
    mut read: impl FnMut([&[u8]; N]) -> Result<(), LineProblem>,
) -> Result<(), Damage> {
    let mut table = ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut line = 0;
    while table.read_byte_record(&mut record)? {
        line += 1;
        let fields: Vec<&[u8]> = record.iter().collect();
        let result = match <[&[u8]; N]>::try_from(fields) {
            Ok(fields) if line > 1 => read(fields),
            Ok(fields) if fields == columns.map(str::as_bytes) => Ok(()),
            _ => Err(LineProblem::Columns(columns.join(", "))),
        };
        result.map_err(|problem| Damage::Line { line, problem })?;
    }
    if line == 0 {
        return Err(Damage::Line { line: 1, problem: LineProblem::Columns(columns.join(", ")) });
    }
    Ok(())
}

/// A decimal number.
pub(crate) fn parse<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    str::from_utf8(field).ok()?.parse().ok()
}

/// A path that stays within the data set.
pub(crate) fn path_within(bytes: &[u8]) -> Result<PathBuf, LineProblem> {
    let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
    // No `/` at the start, no `..`: the path cannot name a file outside.
    let stays_within = path.components().all(|part| matches!(part, Component::Normal(_)));
    if stays_within && !path.as_os_str().is_empty() { Ok(path) } else { Err(LineProblem::Path(path)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        assert_eq!(read_index(&write_index(&entries).unwrap()).unwrap(), entries);
        let skipped: Vec<_> = entries
            .iter()
            .map(|entry| SkippedPhoto { path: entry.path.clone(), reason: "is not a picture: \"x\",\n".into() })
            .collect();
        assert_eq!(read_skipped(&write_skipped(&skipped).unwrap()).unwrap(), skipped);
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
            assert_eq!(read_index(table.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_path_survives(bytes in proptest::collection::vec(1u8..=255, 1..40), label in 0i64..1000) {
            prop_assume!(path_within(&bytes).is_ok());
            let entries = vec![entry(&bytes, label)];
            prop_assert_eq!(read_index(&write_index(&entries).unwrap()).unwrap(), entries);
        }
    }
}
