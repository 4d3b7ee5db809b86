//! What can go wrong with a cache as a whole; what can be wrong with one of its files is [`Damage`].

use std::io;
use std::path::{Path, PathBuf};

use crate::damage::Damage;
use crate::difference::Difference;

/// Why a cache could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// There is no manifest, so no cache.
    #[error("{}: no feature cache here", .0.display())]
    NotACache(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What it answered.
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
    /// The cache holds rows that were made in another way.
    #[error("{}: its rows were made differently:\n{}", path.display(), Difference::table(differences, "now", "cache"))]
    OtherFingerprint {
        /// The cache.
        path: PathBuf,
        /// How: this run's value first, the cache's second.
        differences: Vec<Difference>,
    },
    /// The cache has views that would be lost.
    #[error("{}: holds other views:\n{}", path.display(), Difference::table(differences, "now", "cache"))]
    OtherViews {
        /// The cache.
        path: PathBuf,
        /// How: this run's value first, the cache's second.
        differences: Vec<Difference>,
    },
    /// Another process is writing the cache.
    #[error("{}: being written by process {owner}", path.display())]
    Locked {
        /// The cache.
        path: PathBuf,
        /// The writer's process id, as far as it is known.
        owner: String,
    },
    /// The folder holds something that is no part of a cache and would be lost.
    #[error("{}: not part of a feature cache", .0.display())]
    Foreign(PathBuf),
    /// A row holds NaN or an infinity: that of this picture or view.
    #[error("the row of picture or view {0} is not finite")]
    RowNotFinite(blake3::Hash),
    /// A row was asked for that nobody has.
    #[error("the row of picture or view {0} is missing")]
    RowMissing(blake3::Hash),
}

/// Puts the path and the action to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, CacheError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, CacheError> {
        self.map_err(|cause| CacheError::Io { action, path: path.to_owned(), cause })
    }
}
