//! Tables: CSV files with fixed columns, read and written record by record.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder, Writer};

use crate::damage::{Damage, LineProblem};
use crate::durable::DurableFile;
use crate::error::{CacheError, IoContext};

/// The records of a table that has exactly these columns: an iterator of what `parse` makes of each. After an error it
/// must not be used any more.
pub(crate) struct Records<'a, T, const N: usize> {
    table: Reader<&'a [u8]>,
    columns: [&'static str; N],
    parse: Parse<T, N>,
    record: ByteRecord,
    /// The number of the record that was read last, the header being 1: its line, unless a field has a line break.
    line: u64,
}

/// Makes a value of a record's fields. The first argument is the record's number, counted from 0 after the header.
type Parse<T, const N: usize> = fn(usize, [&[u8]; N]) -> Result<T, LineProblem>;

impl<'a, T, const N: usize> Records<'a, T, N> {
    /// # Errors
    /// If the table does not begin with these columns.
    pub(crate) fn open(bytes: &'a [u8], columns: [&'static str; N], parse: Parse<T, N>) -> Result<Self, Damage> {
        let table = ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let mut records = Self { table, columns, parse, record: ByteRecord::new(), line: 1 };
        let found = records.table.read_byte_record(&mut records.record)?;
        if !found || records.record != columns[..] {
            return Err(records.other_columns());
        }
        Ok(records)
    }

    fn read(&mut self) -> Result<Option<T>, Damage> {
        if !self.table.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        self.line += 1;
        let fields: Vec<&[u8]> = self.record.iter().collect();
        let fields = <[&[u8]; N]>::try_from(fields).map_err(|_| self.other_columns())?;
        let number = self.line as usize - 2;
        (self.parse)(number, fields).map(Some).map_err(|problem| Damage::Line { line: self.line, problem })
    }

    fn other_columns(&self) -> Damage {
        Damage::Line { line: self.line, problem: LineProblem::Columns(self.columns.join(", ")) }
    }
}

impl<T, const N: usize> Iterator for Records<'_, T, N> {
    type Item = Result<T, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A table that is written to a file.
pub(crate) struct TableFile<const N: usize> {
    path: PathBuf,
    table: Writer<DurableFile>,
}

impl<const N: usize> TableFile<N> {
    /// Creates the file with the names of the columns.
    pub(crate) fn create(path: &Path, columns: [&str; N]) -> Result<Self, CacheError> {
        let table = Writer::from_writer(DurableFile::create(path)?);
        let mut table = Self { path: path.to_owned(), table };
        table.put(columns.map(|name| name.as_bytes().to_vec()))?;
        Ok(table)
    }

    /// Appends a record.
    pub(crate) fn put(&mut self, record: [Vec<u8>; N]) -> Result<(), CacheError> {
        self.table.write_record(record).map_err(std::io::Error::from).context("write", &self.path)
    }

    /// The file, in which all records are now.
    pub(crate) fn into_file(self) -> Result<DurableFile, CacheError> {
        self.table.into_inner().map_err(|error| error.into_error()).context("write", &self.path)
    }
}

/// The bytes of a table with these records.
pub(crate) fn to_table<const N: usize>(columns: [&str; N], records: impl IntoIterator<Item = [Vec<u8>; N]>) -> Vec<u8> {
    const IN_MEMORY: &str = "it is written to memory, and each record has as many fields as there are columns";
    let mut table = Writer::from_writer(Vec::new());
    table.write_record(columns).expect(IN_MEMORY);
    for record in records {
        table.write_record(record).expect(IN_MEMORY);
    }
    table.into_inner().expect(IN_MEMORY)
}

/// A decimal number.
pub(crate) fn parse<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    str::from_utf8(field).ok()?.parse().ok()
}

/// A path that stays within the data set.
pub(crate) fn path_within(bytes: &[u8]) -> Result<PathBuf, LineProblem> {
    let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
    // No `/` at the start, no `..`: but for symbolic links, the path names no file outside.
    let stays_within = path.components().all(|part| matches!(part, Component::Normal(_)));
    if stays_within && !path.as_os_str().is_empty() { Ok(path) } else { Err(LineProblem::Path(path)) }
}
