//! What can go wrong with a cache as a whole; what can be wrong with one of its files is [`Damage`].

use std::io;
use std::path::{Path, PathBuf};

use crate::damage::Damage;
use crate::difference::Difference;
use crate::shard::Shard;

/// Why a cache could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// There is no manifest.
    #[error("{}: no feature cache here", .0.display())]
    NotACache(PathBuf),
    /// A file operation failed.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `write`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The cache follows another version of the format.
    #[error("{}: cache format version {found}, this program reads {expected}", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version of this program.
        expected: u64,
    },
    /// A file of the cache is not what the manifest says.
    #[error("{}: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The cache's rows were computed with another fingerprint.
    #[error(
        "{}: its rows have another fingerprint:\n{}",
        path.display(),
        Difference::table(differences, "now", "cache")
    )]
    OtherFingerprint {
        /// The cache.
        path: PathBuf,
        /// The fields that differ: this run's value first, the cache's second.
        differences: Vec<Difference>,
    },
    /// The cache has views that would be lost.
    #[error("{}: holds other views:\n{}", path.display(), Difference::table(differences, "now", "cache"))]
    OtherViews {
        /// The cache.
        path: PathBuf,
        /// The fields that differ: this run's value first, the cache's second.
        differences: Vec<Difference>,
    },
    /// The cache's rows have another length than the new ones.
    #[error("{}: its rows have {found} values, expected {expected}", path.display())]
    RowLength {
        /// The cache.
        path: PathBuf,
        /// The length of the new rows.
        expected: usize,
        /// The length of the cache's rows.
        found: usize,
    },
    /// Another process is writing the cache.
    #[error("{}: being written by {}", path.display(), describe_owner(*owner))]
    Locked {
        /// The cache.
        path: PathBuf,
        /// The writer's process id. Writers of shards share the lock: it does not name them.
        owner: Option<u32>,
    },
    /// The wait for the process that writes the cache was cancelled.
    #[error("{}: cancelled while another process was writing it", .0.display())]
    WaitCancelled(PathBuf),
    /// The folder holds a file that does not belong to a cache and would be lost.
    #[error("{}: not part of a feature cache", .0.display())]
    Foreign(PathBuf),
    /// The path ends with `..` after a folder that does not exist.
    #[error("{}: does not end with the name of a folder", .0.display())]
    NoName(PathBuf),
    /// The manifest of the new cache would be longer than the longest that is read.
    #[error("{}: its classes would make a manifest of {bytes} bytes, more than the {max} that are read", path.display())]
    ManifestTooLong {
        /// The cache.
        path: PathBuf,
        /// How long the manifest would be.
        bytes: u64,
        /// The length of the longest that is read.
        max: u64,
    },
    /// The path is a symbolic link, and what it leads to does not exist.
    #[error("{}: a link to {}, which does not exist", path.display(), target.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// The cache was replaced again and again while it was being opened or verified.
    #[error("{}: was replaced {tries} times while it was being read", path.display())]
    ReplacedTooOften {
        /// The cache.
        path: PathBuf,
        /// How often reading it was tried.
        tries: usize,
    },
    /// The cache's folder holds shards, which would be lost.
    #[error("{}: holds shards that are not merged", .0.display())]
    Unmerged(PathBuf),
    /// The cache's folder holds a shard of another count than the shard that is to be written.
    #[error("{}: holds shard {found}, and this is shard {this}", path.display())]
    OtherShards {
        /// The folder of shards.
        path: PathBuf,
        /// The shard that this process would write.
        this: Shard,
        /// One that is there.
        found: Shard,
    },
    /// The row with this key holds NaN or an infinity.
    #[error("the row of photo or view {0} is not finite")]
    RowNotFinite(blake3::Hash),
    /// A new row has another length than the journal's.
    #[error("the row of photo or view {key} has {found} values, expected {expected}")]
    NewRowLength {
        /// The row's key.
        key: blake3::Hash,
        /// The length of the journal's rows.
        expected: usize,
        /// The length of the row.
        found: usize,
    },
    /// There is no row with this key.
    #[error("the row of photo or view {0} is missing")]
    RowMissing(blake3::Hash),
}

fn describe_owner(owner: Option<u32>) -> String {
    match owner {
        Some(process) => format!("process {process}"),
        None => "another process, perhaps of one of its shards".to_owned(),
    }
}

/// Adds the path and the action to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, CacheError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, CacheError> {
        self.map_err(|cause| CacheError::Io { action, path: path.to_owned(), cause })
    }
}
