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

use crate::cache_folder::CacheFolder;
use crate::damage::{Damage, LineProblem};
use crate::table::{Records, parse, path_within, to_table};

/// The columns of hashes.csv.
pub(crate) const HASHES_COLUMNS: [&str; 4] = ["path", "bytes", "mtime_ns", "blake3"];
/// A longer hashes.csv is not read, since it would be held in memory. With 130 bytes a photo this is enough for 60
/// million photos, whose rows take half a terabyte.
pub(crate) const HASHES_MAX_BYTES: u64 = 8 << 30;
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
    /// The state of a photo with this hash. `metadata` must be from before the file was read: if the file changed while
    /// it was read, the next run then sees another time.
    pub fn new(metadata: &Metadata, blake3: blake3::Hash) -> Self {
        Self { bytes: metadata.len(), mtime_ns: mtime_ns(metadata), blake3 }
    }

    /// blake3 of the file's bytes.
    pub fn blake3(&self) -> blake3::Hash {
        self.blake3
    }

    /// Its record in hashes.csv.
    pub(crate) fn to_record(self, path: &Path) -> [Vec<u8>; 4] {
        let path = path.as_os_str().as_bytes().to_vec();
        let hash = self.blake3.to_hex().as_bytes().to_vec();
        [path, self.bytes.to_string().into_bytes(), self.mtime_ns.to_string().into_bytes(), hash]
    }
}

/// The hashed photos of a data set, by path relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes {
    photos: HashMap<PathBuf, HashedPhoto>,
    written_ns: i128,
}

impl Hashes {
    /// A table of these photos, each with its path and its state when it was hashed. It trusts no photo's time before
    /// it is written and read again.
    pub fn new(photos: impl IntoIterator<Item = (PathBuf, HashedPhoto)>) -> Self {
        Self { photos: photos.into_iter().collect(), written_ns: 0 }
    }

    /// The hash of the photo at `path`, if its size and modification time are those that it had when it was hashed.
    pub fn hash_if_unchanged(&self, path: &Path, metadata: &Metadata) -> Option<blake3::Hash> {
        let known = self.photos.get(path)?;
        let same = known.bytes == metadata.len() && known.mtime_ns == mtime_ns(metadata);
        (same && known.mtime_ns + CLOCK_GRAIN_NS <= self.written_ns).then_some(known.blake3)
    }

    /// The hash that the photo at `path` had.
    pub fn hash(&self, path: &Path) -> Option<blake3::Hash> {
        self.photos.get(path).map(HashedPhoto::blake3)
    }

    /// Reads the file with this name; empty if missing or damaged.
    pub(crate) fn load(folder: &CacheFolder, name: &str) -> Self {
        let Ok(bytes) = folder.read_file(Path::new(name), HASHES_MAX_BYTES) else { return Self::default() };
        let photos = read_hashes(&bytes).and_then(Iterator::collect);
        let Ok(photos) = photos else { return Self::default() };
        let written_ns = fs::metadata(folder.path().join(name)).map_or(0, |metadata| mtime_ns(&metadata));
        Self { photos, written_ns }
    }

    /// The file's bytes: sorted by path, the checksum last.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut photos: Vec<_> = self.photos.iter().collect();
        photos.sort_unstable_by(|a, b| a.0.as_os_str().as_bytes().cmp(b.0.as_os_str().as_bytes()));
        with_checksum(to_table(HASHES_COLUMNS, photos.into_iter().map(|(path, photo)| photo.to_record(path))))
    }
}

/// Appends the checksum line to the table.
pub(crate) fn with_checksum(mut table: Vec<u8>) -> Vec<u8> {
    let line = checksum_line(blake3::hash(&table));
    table.extend(line);
    table
}

/// The file's last line, for the blake3 hash of all before it.
pub(crate) fn checksum_line(table: blake3::Hash) -> Vec<u8> {
    [CHECKSUM, table.to_hex().as_bytes(), b"\n"].concat()
}

/// The photos of a hashes.csv, each with its path, in the order of the paths.
///
/// # Errors
/// [`Damage::Digest`] for any changed byte; with a right checksum, if it has other columns. The iterator gives an error
/// at the first record that is not what [`HashedPhoto::to_record`] makes.
pub(crate) fn read_hashes(bytes: &[u8]) -> Result<Records<'_, (PathBuf, HashedPhoto), 4>, Damage> {
    let tail = CHECKSUM.len() + 2 * blake3::OUT_LEN + 1;
    let (table, tail) = bytes.split_at(bytes.len().saturating_sub(tail));
    let found = blake3::hash(table);
    if tail != checksum_line(found) {
        let recorded = tail.strip_prefix(CHECKSUM).unwrap_or(tail);
        let expected = String::from_utf8_lossy(recorded).trim().to_owned();
        return Err(Damage::Digest { expected, found: found.to_hex().to_string() });
    }
    Records::open(table, HASHES_COLUMNS, |_, [path, bytes, mtime, hash]| {
        let photo = HashedPhoto {
            bytes: parse(bytes).ok_or(LineProblem::Field("bytes"))?,
            mtime_ns: parse(mtime).ok_or(LineProblem::Field("mtime_ns"))?,
            blake3: blake3::Hash::from_hex(hash).map_err(|_| LineProblem::Field("blake3"))?,
        };
        Ok((path_within(path)?, photo))
    })
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
            fs::write(&table, hashes.to_bytes()).unwrap();
            Hashes::load(&CacheFolder::open(folder.path()).unwrap(), "hashes.csv")
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
        let bytes = hashes.to_bytes();
        let read: HashMap<_, _> = read_hashes(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, hashes.photos);
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            assert!(matches!(read_hashes(&flipped), Err(Damage::Digest { .. })), "byte {position}");
        }
    }
}
