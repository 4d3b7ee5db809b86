//! The rows of an unfinished run, kept so that the next run can continue where it stopped.
//!
//! ```text
//! header   "icebox rows 1\n", blake3 of the fingerprint, columns as u32
//! record   key (the photo's blake3 hash, or a view's key), the row's float32 values, 8 bytes of blake3 over both
//! ```
//!
//! The file is only appended to. On opening, records are read until the first one that is incomplete or whose checksum
//! does not match, and the file is truncated there: after a power cut a file may have its full length but not its
//! content.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::atomic_write::sync_folder;
use crate::error::{CacheError, IoContext};
use crate::fingerprint::Fingerprint;
use crate::regular_file::open_regular;

/// The name of the journal in the working folder.
pub(crate) const ROWS: &str = "rows";

const MAGIC: &[u8] = b"icebox rows 1\n";
const KEY_LEN: usize = blake3::OUT_LEN;
const CHECKSUM_LEN: usize = 8;
const HEADER_LEN: u64 = (MAGIC.len() + blake3::OUT_LEN + size_of::<u32>()) as u64;

/// Finished rows on disk, by key: the photo's blake3, or a view's key.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    columns: usize,
    /// Where the record of each key begins.
    records: HashMap<blake3::Hash, u64>,
    /// Where the next record goes: after the last complete one.
    end: u64,
}

impl Journal {
    /// Whether there is a journal at `path` whose rows have this fingerprint.
    pub(crate) fn is_of(path: &Path, fingerprint: &Fingerprint, columns: NonZeroUsize) -> Result<bool, CacheError> {
        let header = header(fingerprint, columns.get());
        match open_regular(OpenOptions::new().read(true), path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            file => Ok(first_bytes(&file.context("open", path)?, header.len(), path)? == header),
        }
    }

    /// Whether the journal at `path` has a record, or a part of one, of any fingerprint.
    pub(crate) fn has_records(path: &Path) -> Result<bool, CacheError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            metadata => Ok(metadata.context("read", path)?.len() > HEADER_LEN),
        }
    }

    /// Opens the journal at `path`, or creates it. Rows of another fingerprint are discarded.
    pub(crate) fn open(path: &Path, fingerprint: &Fingerprint, columns: NonZeroUsize) -> Result<Self, CacheError> {
        let columns = columns.get();
        let header = header(fingerprint, columns);
        let opened = open_regular(OpenOptions::new().read(true).write(true).create(true).truncate(false), path);
        let file = opened.context("open", path)?;
        if first_bytes(&file, header.len(), path)? != header {
            file.set_len(0).context("write", path)?;
            file.write_all_at(&header, 0).context("write", path)?;
        }
        let mut journal = Self { path: path.to_owned(), file, columns, records: HashMap::new(), end: HEADER_LEN };
        journal.find_records()?;
        Ok(journal)
    }

    /// The length of its rows.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds a row with this key.
    pub fn contains(&self, key: &blake3::Hash) -> bool {
        self.records.contains_key(key)
    }

    /// Reads the row with this key into `row`; returns false if there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, key: &blake3::Hash, row: &mut [f32]) -> Result<bool, CacheError> {
        let Some(&offset) = self.records.get(key) else { return Ok(false) };
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(row);
        self.file.read_exact_at(bytes, offset + KEY_LEN as u64).context("read", &self.path)?;
        Ok(true)
    }

    /// Appends rows, each with its key, and syncs them to the disk.
    ///
    /// # Errors
    /// When a row has another length than the journal's or is not finite, or the file cannot be written: rows that were
    /// there before stay readable.
    pub fn append<'a>(&mut self, rows: impl IntoIterator<Item = (blake3::Hash, &'a [f32])>) -> Result<(), CacheError> {
        let mut records = Vec::new();
        let mut offsets = Vec::new();
        for (key, row) in rows {
            // A record of another length would end the journal when it is opened again.
            if row.len() != self.columns {
                return Err(CacheError::NewRowLength { key, expected: self.columns, found: row.len() });
            }
            if row.iter().any(|value| !value.is_finite()) {
                return Err(CacheError::RowNotFinite(key));
            }
            offsets.push((key, self.end + records.len() as u64));
            let start = records.len();
            records.extend(key.as_bytes());
            records.extend(bytemuck::cast_slice::<f32, u8>(row));
            let checksum = checksum(&records[start..]);
            records.extend(checksum);
        }
        self.file.seek(SeekFrom::Start(self.end)).context("write", &self.path)?;
        self.file.write_all(&records).context("write", &self.path)?;
        self.file.sync_data().context("write", &self.path)?;
        if self.records.is_empty() {
            // The file and its folder may be new: their names must survive a power cut, too.
            for folder in self.path.ancestors().skip(1).take(2) {
                sync_folder(folder).context("write", folder)?;
            }
        }
        // After the sync, so that only rows that are on the disk are found.
        self.end += records.len() as u64;
        self.records.extend(offsets);
        Ok(())
    }

    /// Finds the complete records and truncates the file after them.
    fn find_records(&mut self) -> Result<(), CacheError> {
        self.file.seek(SeekFrom::Start(HEADER_LEN)).context("read", &self.path)?;
        let file = BufReader::with_capacity(1 << 20, &self.file);
        for key in complete_records(file, self.columns).context("read", &self.path)? {
            self.records.insert(key, self.end);
            self.end += record_len(self.columns) as u64;
        }
        self.file.set_len(self.end).context("write", &self.path)
    }
}

/// The keys of the records, up to the first that is incomplete or whose checksum does not match.
///
/// # Errors
/// When reading fails other than by the end of the file: complete records may follow.
fn complete_records(mut file: impl Read, columns: usize) -> io::Result<Vec<blake3::Hash>> {
    let mut keys = Vec::new();
    let mut record = vec![0; record_len(columns)];
    loop {
        match file.read_exact(&mut record) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(keys),
            read => read?,
        }
        let (content, found) = record.split_at(record.len() - CHECKSUM_LEN);
        if checksum(content) != found {
            return Ok(keys);
        }
        let key = content.first_chunk::<KEY_LEN>().expect("a record begins with a key");
        keys.push(blake3::Hash::from_bytes(*key));
    }
}

/// Bytes of a record.
fn record_len(columns: usize) -> usize {
    KEY_LEN + columns * size_of::<f32>() + CHECKSUM_LEN
}

fn header(fingerprint: &Fingerprint, columns: usize) -> Vec<u8> {
    [MAGIC, fingerprint.digest().as_bytes(), &(columns as u32).to_le_bytes()].concat()
}

/// The first `length` bytes of a file, or all if it has fewer.
fn first_bytes(file: &File, length: usize, path: &Path) -> Result<Vec<u8>, CacheError> {
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes).context("read", path)?;
    Ok(bytes)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut checksum = [0; CHECKSUM_LEN];
    blake3::Hasher::new().update(content).finalize_xof().fill(&mut checksum);
    checksum
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::fingerprint::tests::fingerprint;

    const COLUMNS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    fn key(name: &str) -> blake3::Hash {
        blake3::hash(name.as_bytes())
    }

    fn journal_of_two(path: &Path) -> Journal {
        let mut journal = Journal::open(path, &fingerprint(), COLUMNS).unwrap();
        journal.append([(key("a"), &[1., 2., 3.][..])]).unwrap();
        journal.append([(key("b"), &[4., 5., 6.][..])]).unwrap();
        journal
    }

    #[test]
    fn rows_survive_until_the_fingerprint_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        drop(journal_of_two(&path));

        let journal = Journal::open(&path, &fingerprint(), COLUMNS).unwrap();
        let mut row = [0.; 3];
        assert!(journal.read(&key("b"), &mut row).unwrap());
        assert_eq!(row, [4., 5., 6.]);
        assert!(!journal.read(&key("c"), &mut row).unwrap());

        let other = Fingerprint { size: 299, ..fingerprint() };
        assert_eq!(Journal::open(&path, &other, COLUMNS).unwrap().rows(), 0);
    }

    #[test]
    fn truncated_anywhere_it_keeps_the_complete_records_and_can_be_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let end = journal_of_two(&path).end;
        let record_len = (end - HEADER_LEN) / 2;
        let whole = fs::read(&path).unwrap();
        for length in 0..=end {
            fs::write(&path, &whole[..length as usize]).unwrap();
            let mut journal = Journal::open(&path, &fingerprint(), COLUMNS).unwrap();
            assert_eq!(journal.rows() as u64, length.saturating_sub(HEADER_LEN) / record_len, "cut at {length}");
            if !journal.contains(&key("b")) {
                journal.append([(key("b"), &[4., 5., 6.][..])]).unwrap();
            }
            let mut row = [0.; 3];
            assert!(Journal::open(&path, &fingerprint(), COLUMNS).unwrap().read(&key("b"), &mut row).unwrap());
            assert_eq!(row, [4., 5., 6.]);
        }
    }

    #[test]
    fn a_changed_byte_loses_its_record_and_those_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        drop(journal_of_two(&path));
        let whole = fs::read(&path).unwrap();
        let header_len = HEADER_LEN as usize;
        for position in header_len..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, changed).unwrap();
            let kept = Journal::open(&path, &fingerprint(), COLUMNS).unwrap().rows();
            assert_eq!(kept, (position - header_len) / (whole.len() - header_len).div_ceil(2));
        }
    }

    /// A temporary read error is reported: it must not end the file early, which would cut off the rows after it.
    #[test]
    fn a_read_error_is_not_the_end_of_the_file() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk fails"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        drop(journal_of_two(&path));
        let whole = fs::read(&path).unwrap();
        let records = &whole[HEADER_LEN as usize..];
        let first = &records[..record_len(COLUMNS.get())];
        assert_eq!(complete_records(records, COLUMNS.get()).unwrap(), [key("a"), key("b")]);
        assert_eq!(complete_records(first, COLUMNS.get()).unwrap(), [key("a")]);
        let error = complete_records(first.chain(Fails), COLUMNS.get()).unwrap_err();
        assert_eq!(error.to_string(), "the disk fails");
    }

    #[test]
    fn a_named_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let opened = Journal::open(&path, &fingerprint(), COLUMNS).map(drop);
        for result in [opened, Journal::is_of(&path, &fingerprint(), COLUMNS).map(drop)] {
            let error = result.unwrap_err().to_string();
            assert!(error.ends_with("rows: cannot open: not a file"), "{error}");
        }
    }

    #[test]
    fn a_row_that_is_not_finite_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("rows"), &fingerprint(), COLUMNS).unwrap();
        let error = journal.append([(key("a"), &[1., f32::NAN, 3.][..])]).unwrap_err();
        assert!(matches!(error, CacheError::RowNotFinite(found) if found == key("a")));
        assert_eq!(journal.rows(), 0);
    }

    #[test]
    fn a_row_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal_of_two(&folder.path().join("rows"));
        let error = journal.append([(key("c"), &[7., 8.][..])]).unwrap_err().to_string();
        assert!(error.ends_with("has 2 values, expected 3"), "{error}");
        assert_eq!(journal.rows(), 2);
    }
}
