//! Shards: the parts of a data set that several machines extract, each into a small cache of its own.
//!
//! ```text
//! CACHE/shards/
//!   3-of-64/         the cache of the photos of shard 3 of 64
//!   3-of-64.json     ShardRecord: the state of the data set, and the kernels that computed the rows
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::OpenOptions;
use std::io::BufReader;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::regular_file::open_regular;

/// The folder of shards in a cache's folder.
pub(crate) const SHARDS: &str = "shards";

/// One of the parts of a data set. A photo belongs to the shard that the hash of its path gives, so adding photos moves
/// no other photo to another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    index: usize,
    count: NonZeroUsize,
}

/// Why a text or a pair of numbers is not a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not of the form `I/N`.
    #[error("expected I/N, shard I of N, found {0:?}")]
    Format(String),
    /// The index is not less than the count.
    #[error("there is no shard {index} of {count}: they are counted from 0")]
    Index {
        /// The number of the shard.
        index: usize,
        /// The number of shards.
        count: NonZeroUsize,
    },
    /// Too many shards.
    #[error("{0} shards; at most {max} are supported", max = Shard::MAX_COUNT)]
    Count(NonZeroUsize),
}

/// What is known of a shard besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRecord {
    /// A digest of the paths of all photos of the data set, those of other shards included.
    pub listing: String,
    /// The number of all photos.
    pub photos: usize,
    /// The kernels that computed its rows. Those of rows that were copied from an existing cache are not known.
    pub kernels: BTreeSet<String>,
}

impl Shard {
    /// The largest number of shards of a data set.
    pub const MAX_COUNT: usize = 1_000_000;

    /// Shard `index` of `count`, counted from 0.
    ///
    /// # Errors
    /// When `index` is not less than `count`, or `count` is greater than [`Self::MAX_COUNT`].
    pub fn new(index: usize, count: NonZeroUsize) -> Result<Self, ShardError> {
        if count.get() > Self::MAX_COUNT {
            return Err(ShardError::Count(count));
        }
        if index >= count.get() {
            return Err(ShardError::Index { index, count });
        }
        Ok(Self { index, count })
    }

    /// The shard of `count` that the photo at this path, relative to the data set, belongs to.
    pub fn of_photo(path: &Path, count: NonZeroUsize) -> Self {
        Self { index: shard_index(blake3::hash(path.as_os_str().as_bytes()), count), count }
    }

    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many shards there are.
    pub fn count(self) -> NonZeroUsize {
        self.count
    }

    /// Whether the photo whose path has this blake3 hash belongs to it.
    pub fn contains(self, path_hash: blake3::Hash) -> bool {
        shard_index(path_hash, self.count) == self.index
    }

    /// The folder of all shards of the cache at `cache`: `CACHE/shards`.
    pub fn all_folders(cache: &Path) -> PathBuf {
        cache.join(SHARDS)
    }

    /// The folder of this shard's cache, in the cache at `cache`: `CACHE/shards/I-of-N`.
    pub fn folder(self, cache: &Path) -> PathBuf {
        Self::all_folders(cache).join(format!("{}-of-{}", self.index, self.count))
    }

    /// The file with its [`ShardRecord`].
    pub fn record_file(self, cache: &Path) -> PathBuf {
        Self::record_of_folder(&self.folder(cache))
    }

    /// The file with the [`ShardRecord`] of the shard in this folder.
    pub(crate) fn record_of_folder(folder: &Path) -> PathBuf {
        folder.with_extension("json")
    }

    /// Reads its record; `None` if there is none, or it is not readable.
    pub fn record(self, cache: &Path) -> Option<ShardRecord> {
        let file = open_regular(OpenOptions::new().read(true), &self.record_file(cache)).ok()?;
        serde_json::from_reader(BufReader::new(file)).ok()
    }

    /// The shard whose folder has this name.
    pub(crate) fn from_folder_name(name: &OsStr) -> Option<Self> {
        let (index, count) = name.to_str()?.split_once("-of-")?;
        let shard = Self::new(index.parse().ok()?, count.parse().ok()?).ok()?;
        // No other spelling: `03-of-64` would be a second shard 3.
        (format!("{}-of-{}", shard.index, shard.count) == name.to_str()?).then_some(shard)
    }
}

/// The number of the shard of a photo whose path has this hash.
fn shard_index(path_hash: blake3::Hash, count: NonZeroUsize) -> usize {
    let first = path_hash.as_bytes().first_chunk().expect("a hash has more than eight bytes");
    // Less than `count`, so it is a usize.
    (u64::from_le_bytes(*first) % count.get() as u64) as usize
}

/// `3/64`: shard 3 of 64.
impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let (index, count) = parts.ok_or_else(|| ShardError::Format(text.to_owned()))?;
        Self::new(index, count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shards_that_exist_are_parsed() {
        assert_eq!("3/64".parse::<Shard>().unwrap().to_string(), "3 of 64");
        for (text, message) in [
            ("64/64", "there is no shard 64 of 64: they are counted from 0"),
            ("0/1000001", "1000001 shards; at most 1000000 are supported"),
            ("0/0", "expected I/N, shard I of N, found \"0/0\""),
            ("-1/2", "expected I/N, shard I of N, found \"-1/2\""),
            ("3", "expected I/N, shard I of N, found \"3\""),
            ("1/2/3", "expected I/N, shard I of N, found \"1/2/3\""),
        ] {
            assert_eq!(text.parse::<Shard>().unwrap_err().to_string(), message);
        }
        let folder = |name: &str| Shard::from_folder_name(OsStr::new(name));
        assert_eq!(folder("3-of-64"), Some("3/64".parse().unwrap()));
        for name in ["03-of-64", "64-of-64", "+3-of-64", "3-of-064", "3-of-64.json", ".3-of-64.extract"] {
            assert_eq!(folder(name), None, "{name}");
        }
    }

    /// The shards of data sets that are being extracted must not change.
    #[test]
    fn a_photo_stays_in_its_shard() {
        let count = NonZeroUsize::new(7).unwrap();
        let shards = ["train/hat/1.jpg", "train/hat/2.jpg", "cat/a,b.png"].map(|path| {
            let shard = Shard::of_photo(path.as_ref(), count);
            assert!(shard.contains(blake3::hash(path.as_bytes())));
            shard.index()
        });
        assert_eq!(shards, [6, 4, 6]);
    }
}
