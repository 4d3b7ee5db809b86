//! The rows of an unfinished run, kept so that the next run can continue where it stopped.
//!
//! ```text
//! header   "icebox rows 1\n", blake3 of the fingerprint, columns as u32
//! record   key (the photo's blake3, or a view's key), the row's float32 values, the first 8 bytes of blake3 over both
//! ```
//!
//! The file is only appended to. On opening, records are read until the first one that is incomplete or whose check bytes
//! do not match, and the file is truncated there: after a power cut a file may have its full length but not its content.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{CacheError, IoContext};
use crate::fingerprint::Fingerprint;

const MAGIC: &[u8] = b"icebox rows 1\n";
const HASH: usize = blake3::OUT_LEN;
const CHECK: usize = 8;

/// Finished rows on disk, by key: the photo's blake3, or a view's key.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    header: u64,
    columns: usize,
    records: HashMap<blake3::Hash, u64>,
    /// Where the next record goes: after the last complete one.
    end: u64,
}

impl Journal {
    /// Opens the journal at `path`, or creates it. Rows of another fingerprint are discarded.
    pub(crate) fn open(path: &Path, fingerprint: &Fingerprint, columns: NonZeroUsize) -> Result<Self, CacheError> {
        let columns = columns.get();
        let header = header(fingerprint, columns);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(path).context("open", path)?;
        let mut found = Vec::new();
        (&mut file).take(header.len() as u64).read_to_end(&mut found).context("read", path)?;
        if found != header {
            file.set_len(0).context("write", path)?;
            file.write_all_at(&header, 0).context("write", path)?;
        }
        let start = header.len() as u64;
        let mut journal =
            Self { path: path.to_owned(), file, header: start, columns, records: HashMap::new(), end: start };
        journal.find_records()?;
        Ok(journal)
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
        let Some(&place) = self.records.get(key) else { return Ok(false) };
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(row);
        self.file.read_exact_at(bytes, place + HASH as u64).context("read", &self.path)?;
        Ok(true)
    }

    /// Appends rows, each with its key, and syncs them to the disk.
    ///
    /// # Errors
    /// When a row is not finite, or the file cannot be written: rows that were there before stay readable.
    pub fn append<'a>(&mut self, rows: impl IntoIterator<Item = (blake3::Hash, &'a [f32])>) -> Result<(), CacheError> {
        let mut records = Vec::new();
        let mut places = Vec::new();
        for (key, row) in rows {
            if row.iter().any(|value| !value.is_finite()) {
                return Err(CacheError::RowNotFinite(key));
            }
            places.push((key, self.end + records.len() as u64));
            let start = records.len();
            records.extend(key.as_bytes());
            records.extend(bytemuck::cast_slice::<f32, u8>(row));
            let check = check(&records[start..]);
            records.extend(check);
        }
        self.file.seek(SeekFrom::Start(self.end)).context("write", &self.path)?;
        self.file.write_all(&records).context("write", &self.path)?;
        self.file.sync_data().context("write", &self.path)?;
        // Only rows that are on the disk are found from now on.
        self.end += records.len() as u64;
        self.records.extend(places);
        Ok(())
    }

    /// Finds the complete records and truncates the file after them.
    fn find_records(&mut self) -> Result<(), CacheError> {
        self.file.seek(SeekFrom::Start(self.header)).context("read", &self.path)?;
        let mut file = BufReader::with_capacity(1 << 20, &self.file);
        let mut record = vec![0; HASH + self.columns * size_of::<f32>() + CHECK];
        while file.read_exact(&mut record).is_ok() {
            let (content, found) = record.split_at(record.len() - CHECK);
            let Some(key) = content.first_chunk::<HASH>() else { break };
            if check(content) != found {
                break;
            }
            self.records.insert(blake3::Hash::from_bytes(*key), self.end);
            self.end += record.len() as u64;
        }
        self.file.set_len(self.end).context("write", &self.path)
    }
}

fn header(fingerprint: &Fingerprint, columns: usize) -> Vec<u8> {
    [MAGIC, fingerprint.digest().as_bytes(), &(columns as u32).to_le_bytes()].concat()
}

fn check(content: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    blake3::Hasher::new().update(content).finalize_xof().fill(&mut check);
    check
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fingerprint::tests::fingerprint;

    const COLUMNS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    fn picture(name: &str) -> blake3::Hash {
        blake3::hash(name.as_bytes())
    }

    fn journal_of_two(path: &Path) -> Journal {
        let mut journal = Journal::open(path, &fingerprint(), COLUMNS).unwrap();
        journal.append([(picture("a"), &[1., 2., 3.][..])]).unwrap();
        journal.append([(picture("b"), &[4., 5., 6.][..])]).unwrap();
        journal
    }

    #[test]
    fn rows_survive_until_the_fingerprint_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        drop(journal_of_two(&path));

        let journal = Journal::open(&path, &fingerprint(), COLUMNS).unwrap();
        let mut row = [0.; 3];
        assert!(journal.read(&picture("b"), &mut row).unwrap());
        assert_eq!(row, [4., 5., 6.]);
        assert!(!journal.read(&picture("c"), &mut row).unwrap());

        let other = Fingerprint { size: 299, ..fingerprint() };
        assert_eq!(Journal::open(&path, &other, COLUMNS).unwrap().rows(), 0);
    }

    #[test]
    fn truncated_anywhere_it_keeps_the_complete_records_and_can_be_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let journal = journal_of_two(&path);
        let (header, end) = (journal.header, journal.end);
        let record = (end - header) / 2;
        let whole = fs::read(&path).unwrap();
        for length in 0..=end {
            fs::write(&path, &whole[..length as usize]).unwrap();
            let mut journal = Journal::open(&path, &fingerprint(), COLUMNS).unwrap();
            assert_eq!(journal.rows() as u64, length.saturating_sub(header) / record, "cut at {length}");
            if !journal.contains(&picture("b")) {
                journal.append([(picture("b"), &[4., 5., 6.][..])]).unwrap();
            }
            let mut row = [0.; 3];
            assert!(Journal::open(&path, &fingerprint(), COLUMNS).unwrap().read(&picture("b"), &mut row).unwrap());
            assert_eq!(row, [4., 5., 6.]);
        }
    }

    #[test]
    fn a_changed_byte_loses_its_record_and_those_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let journal = journal_of_two(&path);
        let whole = fs::read(&path).unwrap();
        for place in journal.header as usize..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            let kept = Journal::open(&path, &fingerprint(), COLUMNS).unwrap().rows();
            assert_eq!(kept, (place - journal.header as usize) / (whole.len() - journal.header as usize).div_ceil(2));
        }
    }

    #[test]
    fn a_row_that_is_not_finite_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("rows"), &fingerprint(), COLUMNS).unwrap();
        let error = journal.append([(picture("a"), &[1., f32::NAN, 3.][..])]).unwrap_err();
        assert!(matches!(error, CacheError::RowNotFinite(key) if key == picture("a")));
        assert_eq!(journal.rows(), 0);
    }
}
