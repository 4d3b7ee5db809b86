//! hashes.csv: the size and modification time that each photo had when it was hashed, so that the next run need not
//! hash it again.
//!
//! It is only a hint and not covered by the manifest, since touching a photo changes this file and no row. Its last
//! line is a checksum of the rest, so a damaged file is detected and ignored.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::damage::{Damage, LineProblem};
use crate::index::{parse, path_within, read_table, write_table};

const COLUMNS: [&str; 4] = ["path", "bytes", "mtime_ns", "blake3"];
const CHECKSUM: &[u8] = b"# blake3 ";

/// A photo modified this shortly before hashes.csv was written may have changed again within the same timestamp (git:
/// racily clean); it is hashed again.
const CLOCK_GRAIN_NS: i128 = 2_000_000_000;

/// A photo's state when it was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashedPhoto {
    pub(crate) bytes: u64,
    pub(crate) mtime_ns: i128,
    pub(crate) blake3: blake3::Hash,
}

impl HashedPhoto {
    /// `metadata` must be from before the file was read.
    pub fn new(metadata: &Metadata, blake3: blake3::Hash) -> Self {
        Self { bytes: metadata.len(), mtime_ns: mtime_ns(metadata), blake3 }
    }

    /// blake3 of the file's bytes.
    pub fn blake3(&self) -> blake3::Hash {
        self.blake3
    }
}

/// The hashed photos of a data set, by path relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes {
    photos: HashMap<PathBuf, HashedPhoto>,
    written_ns: i128,
}

impl Hashes {
    /// From the photos and the state that each had when it was hashed.
    pub fn new(photos: impl IntoIterator<Item = (PathBuf, HashedPhoto)>) -> Self {
        Self { photos: photos.into_iter().collect(), written_ns: 0 }
    }

    /// The hash of the photo at `path`, if its size and modification time are those that it had when it was hashed.
    pub fn hash_if_unchanged(&self, path: &Path, metadata: &Metadata) -> Option<blake3::Hash> {
        let known = self.photos.get(path)?;
        let same = known.bytes == metadata.len() && known.mtime_ns == mtime_ns(metadata);
        (same && known.mtime_ns + CLOCK_GRAIN_NS <= self.written_ns).then_some(known.blake3)
    }

    /// Reads the file at `path`; empty if missing or damaged.
    pub(crate) fn load(path: &Path) -> Self {
        let Ok(bytes) = fs::read(path) else { return Self::default() };
        let Ok(photos) = read_hashes(&bytes) else { return Self::default() };
        let written_ns = fs::metadata(path).map_or(0, |metadata| mtime_ns(&metadata));
        Self { photos, written_ns }
    }

    /// The file's bytes: sorted by path, the checksum last.
    pub(crate) fn to_bytes(&self) -> csv::Result<Vec<u8>> {
        let mut photos: Vec<_> = self.photos.iter().collect();
        photos.sort_unstable_by(|a, b| a.0.as_os_str().as_bytes().cmp(b.0.as_os_str().as_bytes()));
        let mut records = Vec::with_capacity(photos.len());
        for (path, photo) in photos {
            let path = path.as_os_str().as_bytes().to_vec();
            let bytes = photo.bytes.to_string().into_bytes();
            let mtime_ns = photo.mtime_ns.to_string().into_bytes();
            let hash = photo.blake3.to_hex().as_bytes().to_vec();
            records.push([path, bytes, mtime_ns, hash]);
        }
        Ok(with_checksum(write_table(COLUMNS, records)?))
    }
}

/// Appends the checksum line to the table.
pub(crate) fn with_checksum(mut table: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&table).to_hex();
    table.extend(CHECKSUM);
    table.extend(checksum.as_bytes());
    table.push(b'\n');
    table
}

/// The photos of a hashes.csv, by path.
///
/// # Errors
/// [`Damage::Digest`] for any changed byte; with a right checksum, at the first record that is not what
/// [`Hashes::to_bytes`] writes.
pub(crate) fn read_hashes(bytes: &[u8]) -> Result<HashMap<PathBuf, HashedPhoto>, Damage> {
    let tail = CHECKSUM.len() + 2 * blake3::OUT_LEN + 1;
    let (table, tail) = bytes.split_at(bytes.len().saturating_sub(tail));
    let found = blake3::hash(table).to_hex();
    if tail != [CHECKSUM, found.as_bytes(), b"\n"].concat() {
        let expected = String::from_utf8_lossy(tail).trim().to_owned();
        return Err(Damage::Digest { expected, found: found.to_string() });
    }
    let mut photos = HashMap::new();
    read_table(table, COLUMNS, |[path, bytes, mtime, hash]| {
        let photo = HashedPhoto {
            bytes: parse(bytes).ok_or(LineProblem::Field("bytes"))?,
            mtime_ns: parse(mtime).ok_or(LineProblem::Field("mtime_ns"))?,
            blake3: blake3::Hash::from_hex(hash).map_err(|_| LineProblem::Field("blake3"))?,
        };
        photos.insert(path_within(path)?, photo);
        Ok(())
    })?;
    Ok(photos)
}

/// Nanoseconds since 1970.
fn mtime_ns(metadata: &Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_photo_is_trusted_only_with_the_same_size_and_an_older_time() {
        let folder = tempfile::tempdir().unwrap();
        let (photo, table) = (folder.path().join("a.jpg"), folder.path().join("hashes.csv"));
        fs::write(&photo, "picture").unwrap();
        let set_age = |seconds| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            File::options().write(true).open(&photo).unwrap().set_modified(time).unwrap();
        };
        let load = || {
            let metadata = fs::metadata(&photo).unwrap();
            let hashes = Hashes::new([("a.jpg".into(), HashedPhoto::new(&metadata, blake3::hash(b"picture")))]);
            fs::write(&table, hashes.to_bytes().unwrap()).unwrap();
            Hashes::load(&table)
        };

        set_age(60);
        let hashes = load();
        let now = || fs::metadata(&photo).unwrap();
        assert_eq!(hashes.hash_if_unchanged("a.jpg".as_ref(), &now()), Some(blake3::hash(b"picture")));
        assert_eq!(hashes.hash_if_unchanged("b.jpg".as_ref(), &now()), None);
        set_age(50);
        assert_eq!(hashes.hash_if_unchanged("a.jpg".as_ref(), &now()), None, "another time");
        set_age(0);
        assert_eq!(load().hash_if_unchanged("a.jpg".as_ref(), &now()), None, "racily clean");
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let metadata = fs::metadata(env!("CARGO_MANIFEST_DIR")).unwrap();
        let hashes = Hashes::new([("a.jpg".into(), HashedPhoto::new(&metadata, blake3::hash(b"")))]);
        let bytes = hashes.to_bytes().unwrap();
        assert_eq!(read_hashes(&bytes).unwrap(), hashes.photos);
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            assert!(matches!(read_hashes(&flipped), Err(Damage::Digest { .. })), "byte {position}");
        }
    }
}
